"""The paper: its printed numbers, and its names for defences and attacks."""
