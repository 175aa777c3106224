"""Compiled steps: ``torch.compile`` for derivatives, CUDA graphs for whole steps."""
