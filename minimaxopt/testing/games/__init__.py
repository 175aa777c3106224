"""Games with known answers."""
