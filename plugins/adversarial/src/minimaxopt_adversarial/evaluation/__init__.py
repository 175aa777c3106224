"""Error rates under attack, strong attacks, and signs of masked gradients."""
