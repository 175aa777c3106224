"""Derivatives of a risk and the linear algebra of their products; knows no game."""
