"""Curvature at a point, on the directions that constraints leave free: eigenvalues and the Schur complement.

``d2f/du2``, ``-d2f/dv2`` and ``d2f/du2 - d2f/dudv (d2f/dv2)^-1 d2f/dvdu`` are known by their products with vectors
alone; up to 512 values a matrix is formed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from minimaxopt._types import Player, Point, Tensors
from minimaxopt.calculus.conjugate_gradient import Operator, conjugate_gradient
from minimaxopt.calculus.spectrum import (
    DENSE,
    Eigenpair,
    matrix_of,
    random_like,
    shaped,
    smallest_eigenvalue,
    spectrum_end,
)
from minimaxopt.calculus.vectors import add, negated, of, squared_norm
from minimaxopt.certificates.dataset_risk import DatasetRisk
from minimaxopt.certificates.tangent_space import Tangent

_FORMED = 512  # up to this size a matrix is formed, and its spectrum is exact to rounding


@final
class Curvature:
    """Second derivatives of a game at a point.

    Args:
        measured: the game on its data.
        point: where.
        tangents: each player's free directions there.
        tolerance: the magnitude of an eigenvalue that counts as zero.
        cg_tolerance: the relative residual of linear systems.

    Attributes:
        scales: numbers above the eigenvalues on the free directions, by player.
    """

    def __init__(
        self,
        measured: DatasetRisk,
        point: Point,
        tangents: Mapping[Player, Tangent],
        tolerance: float,
        cg_tolerance: float,
    ) -> None:
        self.measured, self.point, self.tangents, self.tolerance = measured, point, tangents, tolerance
        self.cg_tolerance = cg_tolerance
        self.scales: dict[Player, float] = {"u": self._scale("u"), "v": self._scale("v")}
        self._unsolved = 0.0
        self._factor: Tensor | None = None  # of the follower's own Hessian on its free directions
        self._gentlest = math.inf  # its smallest eigenvalue

    def _own(self, player: Player) -> Operator:
        """Return the Hessian of the player's own loss."""
        block = self.measured.block(self.point, player, player)
        return block if player == "u" else lambda x: {n: -t for n, t in block(x).items()}

    def _own_together(self, player: Player) -> Operator | None:
        """Return the same for several vectors at once, where no constraint is active."""
        block = self.measured.block_of_several(self.point, player, player)
        if block is None or self.tangents[player].constraint.active:
            return None
        return block if player == "u" else lambda x: {n: -t for n, t in block(x).items()}

    def _form(self, player: Player) -> Operator:
        tangent = self.tangents[player]
        return tangent.form(self._own(player), self.scales[player], everywhere=tangent.constraint.weak)

    def _scale(self, player: Player) -> float:
        """Return a number above the eigenvalues on the free directions; it weighs the blocked ones in the form."""
        tangent = self.tangents[player]
        if not tangent.constraint.active:
            return 1.0
        probe = random_like(of(self.point, player), 5)
        image = tangent.form(self._own(player), 0.0)(probe)
        # Where the matrix is formed a large number does no harm; Lanczos' precision is relative to it.
        factor = 1e3 if tangent.constraint.dimension <= DENSE else 10.0
        return factor * max(1.0, _norm(image))

    def eigenvalue(self, player: Player, *, roughly: bool = False) -> Eigenpair | None:
        """Return the smallest eigenvalue of the player's own Hessian on its free directions; none without any."""
        tangent = self.tangents[player]
        if not tangent.decidable or (tangent.constraint.free < 0.5 and not tangent.constraint.weak):
            return None
        form, like = self._form(player), of(self.point, player)
        if roughly:
            pair = smallest_eigenvalue(form, like, max_steps=30)
        else:
            pair, matrix = _smallest(form, like, self.tolerance, self._own_together(player))
            if player == "v":
                self._gentlest = max(pair.value, self.tolerance)
                self._factor = None if matrix is None else _factored(matrix)
        return pair

    def schur(self) -> Eigenpair:
        """Return the smallest eigenvalue of the Schur complement on the free directions."""
        self._unsolved = 0.0
        pair, _ = _smallest(self.schur_product, self.point.u, self.tolerance)
        # By the optimality of conjugate gradients the form is too small, by at most this.
        return pair._replace(error=pair.error + self._unsolved / self._gentlest)

    def schur_product(self, x: Tensors) -> Tensors:
        """Return ``[d2f/du2 - d2f/dudv (d2f/dv2)^-1 d2f/dvdu] x`` on the free directions."""
        free_u = _identity if self.tangents["u"].constraint.weak else self.tangents["u"].free
        right = self.to_follower(free_u(x))
        answer, residual = self.solve(right)
        self._unsolved = max(self._unsolved, (residual * _norm(right)) ** 2)
        return add(self._form("u")(x), free_u(self.to_leader(answer)))

    def to_follower(self, x: Tensors) -> Tensors:
        """Return ``d2f/dvdu x`` on the follower's free directions."""
        return self.tangents["v"].free(self.measured.block(self.point, "v", "u")(x))

    def to_leader(self, y: Tensors) -> Tensors:
        """Return ``d2f/dudv y`` for the part of ``y`` that is free."""
        return self.measured.block(self.point, "u", "v")(self.tangents["v"].free(y))

    def solve(self, b: Tensors) -> tuple[Tensors, float]:
        """Solve with the follower's own Hessian on its free directions; return the relative residual as well."""
        if self.tangents["v"].constraint.free < 0.5:
            return {n: torch.zeros_like(t) for n, t in b.items()}, 0.0
        if self._factor is not None:
            right = torch.cat([t.reshape(-1).double() for t in b.values()])
            return shaped(torch.cholesky_solve(right[:, None], self._factor)[:, 0], b), 0.0
        n = sum(t.numel() for t in b.values())
        solution = conjugate_gradient(self._form("v"), b, tolerance=self.cg_tolerance, max_steps=min(4 * n + 10, 200))
        return solution.x, float(solution.residual)

    def newton(self) -> Operator | None:
        """Return the map from the follower's gradient to its Newton step; none where the constraint allows none."""
        tangent = self.tangents["v"]
        if not tangent.decidable or tangent.constraint.weak:
            return None
        return lambda gradient: tangent.free(self.solve(tangent.free(negated(gradient)))[0])


def _smallest(
    apply: Operator, like: Tensors, tolerance: float, together: Operator | None = None
) -> tuple[Eigenpair, Tensor | None]:
    """Return the smallest eigenvalue, more precisely if it may not be negative, and the matrix if one was formed."""
    size = sum(t.numel() for t in like.values())
    pair = smallest_eigenvalue(apply, like) if size > DENSE else None
    if pair is not None and pair.value < -max(tolerance, 3 * pair.error):
        return pair, None
    if size <= _FORMED:
        matrix = matrix_of(apply, like, together)
        return spectrum_end(matrix, like), matrix
    return smallest_eigenvalue(apply, like, precision=1e-6, max_steps=1000, sure=True), None


def _factored(matrix: Tensor) -> Tensor | None:
    factor, failed = torch.linalg.cholesky_ex((matrix + matrix.T) / 2)
    return None if bool(failed) else factor


def _identity(x: Tensors) -> Tensors:
    return x


def _norm(x: Tensors) -> float:
    return float(squared_norm(x.values()).sqrt())
