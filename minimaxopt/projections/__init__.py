"""Projections on sets: the nearest allowed point, differentiable by autograd almost everywhere.

Each is called with a tensor or a nesting of tensors and returns the same structure; its ``draw`` returns a random point
of the set.
"""

from __future__ import annotations

from minimaxopt.projections.balls import L1Ball, L2Ball
from minimaxopt.projections.box import Box, LInfBall
from minimaxopt.projections.product import Product
from minimaxopt.projections.simplex import Simplex

__all__ = ["Box", "L1Ball", "L2Ball", "LInfBall", "Product", "Simplex"]
