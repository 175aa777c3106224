"""What a study computes: its tasks and their graph."""
