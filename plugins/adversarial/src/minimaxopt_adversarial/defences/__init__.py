"""Defences as games, and adversarial training in rounds."""
