"""Utility and leakage of a fitted filter, and the trade-off between the two."""
