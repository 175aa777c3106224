"""Attacks by the gradient of a classifier's loss, and AutoAttack."""
