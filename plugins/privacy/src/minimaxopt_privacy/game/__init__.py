"""The game of a privacy filter: filters, prediction heads, labels and the risk."""
