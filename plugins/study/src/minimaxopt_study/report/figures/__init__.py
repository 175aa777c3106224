"""The figures: what they plot, and how they are drawn."""
