"""Games: the risk, the players and their tensors, batches, and random streams."""
