"""The local type of a point: first and second derivatives where constraints leave the players free, and proofs by moves.

A stationary point is strict local minimax if ``d2f/dv2 < 0`` and ``d2f/du2 - d2f/dudv (d2f/dv2)^-1 d2f/dvdu > 0``; it is
local minimax only if both hold without strictness, and the gradients vanish (Jin, Netrapalli and Jordan 2020, Props. 18
to 20). A negative verdict is given only with a move that improves, a positive one only where a Newton step shrinks the
gradient and no kink is found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
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
from minimaxopt.certificates.improving_moves import Moves
from minimaxopt.certificates.nonsmoothness import kink
from minimaxopt.certificates.tangent_space import Tangent
from minimaxopt.results.certificate import Constraint, Kind, Move, Quantity

PLAYERS: tuple[Player, Player] = ("u", "v")
_FORMED = 512  # up to this size a matrix is formed rather than guessed at
_FAR = 0.1  # a Newton step longer than this leads to another point rather than to this one
_WHO: dict[Player, str] = {"u": "the leader can still descend", "v": "the follower can still climb"}


@final
@dataclass
class Local:
    """The local type of a point, with the numbers that decide it."""

    kind: Kind = "undecided"
    reason: str = ""
    move: Move | None = None
    distance: float | None = None
    stationarity: dict[str, Quantity] = field(default_factory=dict[str, Quantity])
    eigenvalues: dict[str, Quantity] = field(default_factory=dict[str, Quantity])
    constraints: dict[str, Constraint] = field(default_factory=dict[str, Constraint])


def classify(measured: DatasetRisk, tolerance: float) -> Local:
    """Return the local type of the measured point.

    Args:
        measured: the game on its data.
        tolerance: how large a gradient, and how small an eigenvalue, counts as zero.
    """
    return _Classification(measured, tolerance).run()


@final
class _Classification:
    def __init__(self, measured: DatasetRisk, tolerance: float) -> None:
        self.measured, self.tolerance = measured, tolerance
        self.found = Local()
        given = measured.point
        slopes = measured.slopes(given)
        self.residuals: dict[Player, float] = {p: self._residual(given, slopes, p) for p in PLAYERS}
        self.found.stationarity = {p: Quantity(r, "exact") for p, r in self.residuals.items()}
        there = {player: self._onto(player, given, slopes) for player in PLAYERS}
        self.point, self.slopes = given, slopes
        if any(there[player] is not of(given, player) for player in PLAYERS):
            self.point = Point(there["u"], there["v"])
            self.slopes = measured.slopes(self.point)
        self.tangents = {player: self._tangent(player, self.point, self.slopes) for player in PLAYERS}
        self.found.constraints = {p: self.tangents[p].constraint for p in PLAYERS if measured.constrained(p)}
        self.moves = Moves(measured, self.point, tolerance)
        self.cg_tolerance = math.sqrt(self.moves.eps)
        self.scales: dict[Player, float] = {player: self._scale(player) for player in PLAYERS}
        self._unsolved = 0.0
        self._factor: Tensor | None = None  # of the follower's own Hessian on its free directions
        self._gentlest = math.inf  # its smallest eigenvalue

    def _tangent(self, player: Player, point: Point, slopes: Point) -> Tangent:
        project = partial(self.measured.project, player) if self.measured.constrained(player) else None
        return Tangent(project, of(point, player), of(slopes, player), self.tolerance)

    def _onto(self, player: Player, given: Point, slopes: Point) -> Tensors:
        """Return the player's values brought onto the constraints that hold it.

        A player that stands beside a bound by less than the tolerance, and presses on it, stands on it: one step along
        the gradient and back by the projection leads there, and what the projection took away is the bound's force.
        """
        x, slope = of(given, player), of(slopes, player)
        if not self.measured.constrained(player) or not self.residuals[player] <= self.tolerance:
            return x
        project = partial(self.measured.project, player)
        moved = project(add(x, slope, -1.0))
        shift = add(moved, x, -1.0)
        held = add(shift, Tangent(project, moved, add(slope, shift), self.tolerance).free(shift), -1.0)
        rounding = 16 * torch.finfo(next(iter(x.values())).dtype).eps * max(1.0, _norm(x))
        return x if _norm(held) <= rounding else project(add(x, held))

    # -- the decision --------------------------------------------------------------------------------------------------

    def run(self) -> Local:
        if not math.isfinite(self.moves.risk + sum(self.residuals.values())):
            return self._undecided("the risk or its gradient is not finite at the point")
        steep: list[Player] = [p for p in ("v", "u") if self.residuals[p] > self.tolerance]
        # Where a gradient decides, an eigenvalue is told in passing.
        follower = self._eigenvalue("v", roughly="v" in steep)
        leader = self._eigenvalue("u", roughly=bool(steep))
        for player in steep:
            if player == "u" and "v" not in steep and self._upward(follower):
                break
            if self._leaves_by_gradient(player):
                return self.found
        if steep:  # too little for the risk to show it: the point may be as near to a stationary one as rounding allows
            follower, leader = self._eigenvalue("v"), self._eigenvalue("u")
        if follower is not None and self._upward(follower):
            reason = f"the follower's curvature is upward: d2f/dv2 has the eigenvalue {-follower.value:.4g} > 0"
            return self._leaves("v", self.moves.of_follower(follower.vector, "that eigenvector"), reason)
        for player in PLAYERS:
            if not self.tangents[player].decidable:
                return self._undecided(f"project_{player}: {self.tangents[player].why_not}")
        if follower is not None and not follower.value > self._threshold(follower):
            return self._undecided(self._singular("d2f/dv2 is", "largest", -follower.value, follower))
        if leader is None or leader.value > self._threshold(leader):
            return self._minimax("local Nash", self._sentence(follower, leader), steep)
        if self.tangents["v"].constraint.weak:
            return self._undecided(
                "a constraint of the follower touches without pressing, so that its answer to the leader is one-sided"
            )
        schur = self._schur()
        if schur.value < -max(self.tolerance, schur.error):
            reason = (
                f"the leader gains though the follower answers: the Schur complement has the eigenvalue "
                f"{schur.value:.4g} < 0"
            )
            return self._leaves("u", self.moves.of_leader(schur.vector, "that eigenvector", self._newton()), reason)
        if not schur.value > self._threshold(schur):
            return self._undecided(self._singular("the Schur complement is", "smallest", schur.value, schur))
        sentence = f"{self._sentence(follower, None)}, and the Schur complement's smallest {schur.value:.4g} > 0"
        if self.tangents["u"].constraint.weak:
            sentence += "; whether Nash is open, since a constraint of the leader touches without pressing"
        elif leader.value < -max(self.tolerance, leader.error):
            sentence += f"; no Nash point, since d2f/du2 has the eigenvalue {leader.value:.4g} < 0"
        else:
            sentence += (
                f"; whether Nash is open, since d2f/du2 has the eigenvalue {leader.value:.3g}, zero within error"
            )
        return self._minimax("strict local minimax", sentence, steep)

    def _upward(self, follower: Eigenpair | None) -> bool:
        return follower is not None and follower.value < -max(self.tolerance, follower.error)

    def _threshold(self, pair: Eigenpair) -> float:
        """Return how large a positive eigenvalue must be to be known as positive."""
        return max(self.tolerance, pair.error, pair.below)

    def _singular(self, what: str, which: str, value: float, pair: Eigenpair) -> str:
        return (
            f"{what} singular within the tolerance: its {which} eigenvalue is {value:.3g}, and "
            f"{self._threshold(pair):.3g} counts as zero"
        )

    def _sentence(self, follower: Eigenpair | None, leader: Eigenpair | None) -> str:
        said = (
            "stationary, with no direction free to the follower"
            if follower is None
            else f"stationary, with the largest eigenvalue of d2f/dv2 {-follower.value:.4g} < 0"
        )
        if leader is not None:
            said += f" and the smallest of d2f/du2 {leader.value:.4g} > 0"
        elif self.tangents["u"].constraint.free < 0.5 and not self.tangents["u"].constraint.weak:
            said += " and none to the leader" if follower is None else " and no direction free to the leader"
        return said

    def _minimax(self, kind: Kind, sentence: str, steep: list[Player]) -> Local:
        """Give the positive verdict, unless something shows that the derivatives here are not those of a point near."""
        if not self._settles():
            far = "" if self.found.distance is None else f" (it is {self.found.distance:.2g} long)"
            return self._undecided(
                f"by its derivatives {kind}, but a Newton step towards the stationary point does not settle{far}: the "
                "point is not near enough to one"
            )
        near = 1e4 * self.moves.eps * max(self.moves.size(player) for player in PLAYERS)
        if steep and not (self.found.distance or 0.0) <= near:
            return self._hidden(steep[0])
        reach = 2 * self.moves.eps ** (1 / 3)
        if (found := kink(self.measured, self.point, reach, self.tolerance)) is not None:
            reason = f"f has a kink at the point, where its gradient jumps by {found.jump:.3g}"
            for ascent in found.ascents:
                move = self.moves.of_follower(ascent, "the gradient on one side of it", (1.0,))
                if move is not None:
                    return self._leaves("v", move, f"{reason}, and on one side of it the follower climbs")
            return self._undecided(f"{reason}, so that derivatives do not decide")
        self.found.kind, self.found.reason = kind, f"{sentence}."
        return self.found

    def _undecided(self, reason: str) -> Local:
        self.found.kind, self.found.reason, self.found.distance = "undecided", f"{reason}.", None
        return self.found

    def _hidden(self, player: Player) -> Local:
        return self._undecided(
            f"{_WHO[player]}: its projected gradient is {self.residuals[player]:.3g} long, over the tolerance of "
            f"{self.tolerance:.3g}, but no move along it improved by more than rounding"
        )

    def _leaves_by_gradient(self, player: Player) -> bool:
        up = negated(of(self.slopes, player))
        if player == "v":
            move = self.moves.of_follower(up, "its gradient", (1.0,))
        else:
            move = self.moves.of_leader(up, "its negative gradient", self._newton(), (1.0,))
        reason = f"{_WHO[player]}: its projected gradient is {self.residuals[player]:.3g} long"
        if move is not None:
            self._leaves(player, move, reason)
        return move is not None

    def _leaves(self, player: Player, move: Move | None, reason: str) -> Local:
        """Give the negative verdict if a move bears it out."""
        if move is None:
            return self._undecided(f"{reason}, but no move along it improved by more than rounding")
        self.found.kind, self.found.reason, self.found.move = "not local minimax", f"{reason}.", move
        return self.found

    # -- eigenvalues ---------------------------------------------------------------------------------------------------

    def _own(self, player: Player) -> Operator:
        """Return the Hessian of the player's own loss."""
        block = self.measured.block(self.point, player, player)
        return block if player == "u" else lambda x: {n: -t for n, t in block(x).items()}

    def _form(self, player: Player) -> Operator:
        tangent = self.tangents[player]
        return tangent.form(self._own(player), self.scales[player], everywhere=tangent.constraint.weak)

    def _scale(self, player: Player) -> float:
        """Return a number above the eigenvalues on the free directions, for the form on the others."""
        tangent = self.tangents[player]
        if not tangent.constraint.active:
            return 1.0
        probe = random_like(of(self.point, player), 5)
        image = tangent.form(self._own(player), 0.0)(probe)
        # Where the matrix is formed a large number does no harm; Lanczos' precision is relative to it.
        factor = 1e3 if tangent.constraint.dimension <= DENSE else 10.0
        return factor * max(1.0, _norm(image))

    def _eigenvalue(self, player: Player, *, roughly: bool = False) -> Eigenpair | None:
        """Return the smallest eigenvalue of the player's own Hessian on its free directions; none without any."""
        tangent = self.tangents[player]
        if not tangent.decidable or (tangent.constraint.free < 0.5 and not tangent.constraint.weak):
            return None
        form, like = self._form(player), of(self.point, player)
        if roughly:
            pair = smallest_eigenvalue(form, like, max_steps=30)
        else:
            pair, matrix = _settled(form, like, self.tolerance)
            if player == "v":
                self._gentlest = max(pair.value, self.tolerance)
                self._factor = None if matrix is None else _factored(matrix)
        sign = 1.0 if player == "u" else -1.0
        self.found.eigenvalues[player] = Quantity(sign * pair.value, pair.accuracy, pair.error)
        return pair

    def _schur(self) -> Eigenpair:
        self._unsolved = 0.0
        pair, _ = _settled(self._schur_product, self.point.u, self.tolerance)
        # By the optimality of conjugate gradients the form is too small, by at most this.
        pair = pair._replace(error=pair.error + self._unsolved / self._gentlest)
        self.found.eigenvalues["schur"] = Quantity(pair.value, pair.accuracy, pair.error)
        return pair

    def _schur_product(self, x: Tensors) -> Tensors:
        """Return ``[d2f/du2 - d2f/dudv (d2f/dv2)^-1 d2f/dvdu] x`` on the free directions."""
        free_u = _identity if self.tangents["u"].constraint.weak else self.tangents["u"].free
        right = self._to_follower(free_u(x))
        answer, residual = self._solve(right)
        self._unsolved = max(self._unsolved, (residual * _norm(right)) ** 2)
        return add(self._form("u")(x), free_u(self._to_leader(answer)))

    def _to_follower(self, x: Tensors) -> Tensors:
        return self.tangents["v"].free(self.measured.block(self.point, "v", "u")(x))

    def _to_leader(self, y: Tensors) -> Tensors:
        return self.measured.block(self.point, "u", "v")(self.tangents["v"].free(y))

    def _solve(self, b: Tensors) -> tuple[Tensors, float]:
        """Solve with the follower's own Hessian on its free directions; return the relative residual as well."""
        if self.tangents["v"].constraint.free < 0.5:
            return {n: torch.zeros_like(t) for n, t in b.items()}, 0.0
        if self._factor is not None:
            right = torch.cat([t.reshape(-1).double() for t in b.values()])
            return shaped(torch.cholesky_solve(right[:, None], self._factor)[:, 0], b), 0.0
        n = sum(t.numel() for t in b.values())
        found = conjugate_gradient(self._form("v"), b, tolerance=self.cg_tolerance, max_steps=min(4 * n + 10, 200))
        return found.x, float(found.residual)

    def _newton(self) -> Operator | None:
        """Return the map from the follower's slope to its Newton step; none where the constraint does not allow one."""
        tangent = self.tangents["v"]
        if not tangent.decidable or tangent.constraint.weak:
            return None
        return lambda slope: tangent.free(self._solve(tangent.free(negated(slope)))[0])

    # -- the way to the point itself -----------------------------------------------------------------------------------

    def _residual(self, point: Point, slopes: Point, player: Player) -> float:
        """Return ``||x - P(x - F(x))||``."""
        x = of(point, player)
        there = self.measured.project(player, add(x, of(slopes, player), -1.0))
        return _norm(add(x, there, -1.0))

    def _length(self, point: Point, slopes: Point) -> float:
        return math.hypot(*(self._residual(point, slopes, player) for player in PLAYERS))

    def _settles(self) -> bool:
        """Return whether a Newton step shrinks the gradient as it does near a non-degenerate stationary point."""
        before = self._length(self.point, self.slopes)
        onto = [_norm(add(a, b, -1.0)) for a, b in zip(self.point, self.measured.point, strict=True)]
        rounding = self.moves.noise * max(1.0, *self.scales.values())
        if before <= rounding:
            self.found.distance = math.hypot(*onto)
            return True
        free_u, free_v = self.tangents["u"].free, self.tangents["v"].free
        answer, _ = self._solve(negated(free_v(self.slopes.v)))
        total = free_u(add(self.slopes.u, self._to_leader(answer)))
        steps = min(4 * sum(t.numel() for t in total.values()) + 10, 200)
        newton = conjugate_gradient(self._schur_product, negated(total), tolerance=self.cg_tolerance, max_steps=steps)
        du = free_u(newton.x)
        dv = free_v(add(answer, self._solve(self._to_follower(du))[0]))
        there = Point(
            self.measured.project("u", add(self.point.u, du)), self.measured.project("v", add(self.point.v, dv))
        )
        self.found.distance = math.hypot(_norm(du), _norm(dv), *onto)
        after = self._length(there, self.measured.slopes(there))
        if after > max(0.25 * before, rounding):
            shaken = self.moves.shaken(7)
            change = [add(a, b, -1.0) for a, b in zip(self.measured.slopes(shaken), self.slopes, strict=True)]
            rounding = max(rounding, 8 * math.hypot(*(_norm(part) for part in change)))
        return self.found.distance <= _FAR and after <= max(0.25 * before, rounding)


def _settled(apply: Operator, like: Tensors, tolerance: float) -> tuple[Eigenpair, Tensor | None]:
    """Return the smallest eigenvalue, looked at more closely where it is not known as negative, and the matrix if formed."""
    size = sum(t.numel() for t in like.values())
    pair = smallest_eigenvalue(apply, like) if size > DENSE else None
    if pair is not None and pair.value < -max(tolerance, 3 * pair.error):
        return pair, None
    if size <= _FORMED:
        matrix = matrix_of(apply, like)
        return spectrum_end(matrix, like), matrix
    return smallest_eigenvalue(apply, like, precision=1e-6, max_steps=1000, sure=True), None


def _factored(matrix: Tensor) -> Tensor | None:
    factor, failed = torch.linalg.cholesky_ex((matrix + matrix.T) / 2)
    return None if bool(failed) else factor


def _identity(x: Tensors) -> Tensors:
    return x


def _norm(x: Tensors) -> float:
    return float(squared_norm(x.values()).sqrt())
