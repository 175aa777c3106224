"""How much a fitted filter keeps and leaks, and the trade-off between the two."""
