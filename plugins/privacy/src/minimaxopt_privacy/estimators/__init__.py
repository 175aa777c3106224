"""Filters as scikit-learn transformers: minimax, classical, and noise mechanisms."""
