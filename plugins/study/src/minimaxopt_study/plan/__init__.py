"""The plan of a study: its tasks and their graph."""
