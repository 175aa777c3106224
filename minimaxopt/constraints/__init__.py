"""Projections on sets: the nearest allowed point, differentiable by autograd almost everywhere.

Each is called with a tensor or a nesting of tensors and returns the same structure; its ``draw`` returns a random point
of the set.
"""

from __future__ import annotations

from minimaxopt.constraints.balls import L1Ball, L2Ball
from minimaxopt.constraints.box import Box, LInfBall
from minimaxopt.constraints.product import Product
from minimaxopt.constraints.simplex import Simplex

__all__ = ["Box", "L1Ball", "L2Ball", "LInfBall", "Product", "Simplex"]
