"""Networks: the paper's classifiers, and the attack network."""
