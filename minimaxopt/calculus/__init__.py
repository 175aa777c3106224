"""Derivatives of a risk and the linear algebra of their products; knows no game.

A risk is a function ``f(u, v)`` of two dictionaries of tensors by name, such as ``ctx.risk()`` of a ``Context`` returns.
The page "Derivatives" of the documentation says which engine computes what, and at which cost.
"""

from minimaxopt._types import Point, Tensors
from minimaxopt.calculus.conjugate_gradient import CGResult, conjugate_gradient
from minimaxopt.calculus.gradients import Gradients, PenalizedGradient, operator, penalized_gradient
from minimaxopt.calculus.hessian import Blocks, hvp
from minimaxopt.calculus.spectrum import Eigenpair, smallest_eigenvalue

__all__ = [
    "Blocks",
    "CGResult",
    "Eigenpair",
    "Gradients",
    "PenalizedGradient",
    "Point",
    "Tensors",
    "conjugate_gradient",
    "hvp",
    "operator",
    "penalized_gradient",
    "smallest_eigenvalue",
]
