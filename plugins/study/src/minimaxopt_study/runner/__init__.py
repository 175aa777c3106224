"""The computation of tasks in worker processes, and its display."""
