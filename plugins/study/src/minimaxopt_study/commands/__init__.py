"""The commands under ``minimaxopt study``."""
