"""Linear systems with a player's Hessian, solved by conjugate gradients without forming it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from minimaxopt._types import Record, Tensors
from minimaxopt.calculus.conjugate_gradient import conjugate_gradient
from minimaxopt.calculus.hessian import Blocks
from minimaxopt.calculus.vectors import add, negated
from minimaxopt.errors import ArgumentError


class Answer(NamedTuple):
    """The solution of a system, and what a step records of it."""

    x: Tensors
    record: Record
    """``linear_residual``, relative to the right side; ``not_concave``, 1 where ``f`` was not concave enough."""


def follower_system(
    blocks: Blocks,
    b: Tensors,
    *,
    damping: float,
    steps: int,
    tolerance: float,
    start: Tensors | None,
) -> Answer:
    """Solve ``(-d2f/dv2 + damping I) w = b`` by conjugate gradients, in the sense of least squares where they break.

    Where the iteration meets a direction along which the damped matrix is not positive, the same right side is solved
    in the least squares, ``min_w ||b + (d2f/dv2) w||^2 + damping^2 ||w||^2``, whose normal equations have a matrix that
    is positive whatever the sign of ``d2f/dv2``. To go on with the iterate so far would leave the negative directions
    out, and then a point that the exact direction leaves, such as 0 of ``3 x^2 + y^2 + 4 x y``, may attract instead.

    A step costs one product, in the least squares two.
    """

    def curvature(w: Tensors) -> Tensors:
        return blocks.product(w, row="v", column="v")

    def definite(w: Tensors) -> Tensors:
        return add(negated(curvature(w)), w, damping)

    def normal(w: Tensors) -> Tensors:
        return add(curvature(curvature(w)), w, damping**2)

    solution = conjugate_gradient(definite, b, start=start, tolerance=tolerance, max_steps=steps)
    broke = solution.negative is not None
    if broke:
        right = negated(curvature(b))
        solution = conjugate_gradient(normal, right, start=start, tolerance=tolerance, max_steps=steps)
    return Answer(solution.x, solve_record(solution.residual, broke))


def solve_record(residual: Tensor, broke: bool) -> Record:
    """Return what a step records of a system of the follower's."""
    return {"linear_residual": residual, "not_concave": torch.full_like(residual, float(broke))}


def check_system(cg_steps: int, cg_tolerance: float, damping: float = 0.0) -> None:
    """Refuse settings with which no system can be solved."""
    if cg_steps < 1:
        raise ArgumentError(f"cg_steps: {cg_steps} solves nothing; give at least 1")
    if not 0 <= cg_tolerance < 1:
        raise ArgumentError(f"cg_tolerance: {cg_tolerance} is no relative residual; give a number from 0 to below 1")
    if not 0 <= damping < float("inf"):
        raise ArgumentError(f"damping: is {damping}; give a finite number that is not negative")
