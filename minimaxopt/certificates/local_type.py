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

from minimaxopt._types import PLAYERS, Player, Point, Tensors
from minimaxopt.calculus.conjugate_gradient import conjugate_gradient
from minimaxopt.calculus.spectrum import (
    Eigenpair,
)
from minimaxopt.calculus.vectors import add, negated, of, projected_residual, squared_norm
from minimaxopt.certificates.curvature import Curvature
from minimaxopt.certificates.dataset_risk import DatasetRisk
from minimaxopt.certificates.improving_moves import ImprovingMoves
from minimaxopt.certificates.nonsmoothness import gradient_jump
from minimaxopt.certificates.tangent_space import Tangent
from minimaxopt.results.certificate import Constraint, Kind, Move, Quantity

_FAR = 0.1  # a Newton step longer than this leads to another point rather than to this one
_UNSETTLED: dict[Player, str] = {"u": "the leader can still descend", "v": "the follower can still climb"}


@final
@dataclass
class LocalType:
    """The local type of a point, with the numbers that decide it."""

    kind: Kind = "undecided"
    reason: str = ""
    move: Move | None = None
    distance: float | None = None
    stationarity: dict[str, Quantity] = field(default_factory=dict[str, Quantity])
    eigenvalues: dict[str, Quantity] = field(default_factory=dict[str, Quantity])
    constraints: dict[str, Constraint] = field(default_factory=dict[str, Constraint])


def classify(measured: DatasetRisk, tolerance: float) -> LocalType:
    """Return the local type of the measured point.

    Args:
        measured: the game on its data.
        tolerance: the norm of a gradient, and the magnitude of an eigenvalue, that count as zero.
    """
    return _Classification(measured, tolerance).run()


@final
class _Classification:
    def __init__(self, measured: DatasetRisk, tolerance: float) -> None:
        self.measured, self.tolerance = measured, tolerance
        self.local = LocalType()
        start = measured.point
        grads = measured.own_gradients(start)
        self.residuals: dict[Player, float] = {p: self._residual(start, grads, p) for p in PLAYERS}
        self.local.stationarity = {p: Quantity(r, "exact") for p, r in self.residuals.items()}
        onto = {player: self._onto(player, start, grads) for player in PLAYERS}
        self.point, self.grads = start, grads
        if any(onto[player] is not of(start, player) for player in PLAYERS):
            self.point = Point(onto["u"], onto["v"])
            self.grads = measured.own_gradients(self.point)
        self.tangents: dict[Player, Tangent] = {
            player: self._tangent(player, self.point, self.grads) for player in PLAYERS
        }
        self.local.constraints = {p: self.tangents[p].constraint for p in PLAYERS if measured.constrained(p)}
        self.moves = ImprovingMoves(measured, self.point, tolerance)
        self.cg_tolerance = math.sqrt(self.moves.eps)
        self.curvature = Curvature(measured, self.point, self.tangents, tolerance, self.cg_tolerance)

    def _tangent(self, player: Player, point: Point, grads: Point) -> Tangent:
        project = partial(self.measured.project, player) if self.measured.constrained(player) else None
        return Tangent(project, of(point, player), of(grads, player), self.tolerance)

    def _onto(self, player: Player, point: Point, grads: Point) -> Tensors:
        """Return the player's values, moved onto the constraints against which the gradient presses.

        A player that stands beside a bound by less than the tolerance, and presses on it, stands on it: one step along
        the gradient and back by the projection leads there, and what the projection took away is the bound's force.
        """
        x, grad = of(point, player), of(grads, player)
        if not self.measured.constrained(player) or not self.residuals[player] <= self.tolerance:
            return x
        project = partial(self.measured.project, player)
        moved = project(add(x, grad, -1.0))
        shift = add(moved, x, -1.0)
        blocked = add(shift, Tangent(project, moved, add(grad, shift), self.tolerance).free(shift), -1.0)
        rounding = 16 * torch.finfo(next(iter(x.values())).dtype).eps * max(1.0, _norm(x))
        return x if _norm(blocked) <= rounding else project(add(x, blocked))

    # -- the decision --------------------------------------------------------------------------------------------------

    def run(self) -> LocalType:
        if not math.isfinite(self.moves.risk + sum(self.residuals.values())):
            return self._undecided("the risk or its gradient is not finite at the point")
        nonstationary: list[Player] = [p for p in ("v", "u") if self.residuals[p] > self.tolerance]
        # Where a gradient decides, the eigenvalues are only reported.
        follower = self._eigenvalue("v", roughly="v" in nonstationary)
        leader = self._eigenvalue("u", roughly=bool(nonstationary))
        for player in nonstationary:
            if player == "u" and "v" not in nonstationary and self._upward(follower):
                break
            if self._leaves_by_gradient(player):
                return self.local
        if nonstationary:  # but no move shows it: the point may be as near to a stationary one as rounding allows
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
            return self._minimax("local Nash", self._sentence(follower, leader), nonstationary)
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
            return self._leaves(
                "u", self.moves.of_leader(schur.vector, "that eigenvector", self.curvature.newton()), reason
            )
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
        return self._minimax("strict local minimax", sentence, nonstationary)

    def _upward(self, follower: Eigenpair | None) -> bool:
        return follower is not None and follower.value < -max(self.tolerance, follower.error)

    def _threshold(self, pair: Eigenpair) -> float:
        """Return the value above which an eigenvalue is known to be positive."""
        return max(self.tolerance, pair.error, pair.below)

    def _singular(self, subject: str, which: str, value: float, pair: Eigenpair) -> str:
        return (
            f"{subject} singular within the tolerance: its {which} eigenvalue is {value:.3g}, and "
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

    def _minimax(self, kind: Kind, sentence: str, nonstationary: list[Player]) -> LocalType:
        """Return the positive verdict, unless the derivatives may not be those of a stationary point nearby."""
        if not self._settles():
            far = "" if self.local.distance is None else f" (it is {self.local.distance:.2g} long)"
            return self._undecided(
                f"by its derivatives {kind}, but a Newton step towards the stationary point does not settle{far}: the "
                "point is not near enough to one"
            )
        near = 1e4 * self.moves.eps * max(self.moves.size(player) for player in PLAYERS)
        if nonstationary and not (self.local.distance or 0.0) <= near:
            return self._hidden(nonstationary[0])
        reach = 2 * self.moves.eps ** (1 / 3)
        if (jump := gradient_jump(self.measured, self.point, reach, self.tolerance)) is not None:
            reason = f"f has a kink at the point, where its gradient jumps by {jump.length:.3g}"
            for ascent in jump.ascents:
                move = self.moves.of_follower(ascent, "the gradient on one side of it", (1.0,))
                if move is not None:
                    return self._leaves("v", move, f"{reason}, and on one side of it the follower climbs")
            return self._undecided(f"{reason}, so that derivatives do not decide")
        self.local.kind, self.local.reason = kind, f"{sentence}."
        return self.local

    def _undecided(self, reason: str) -> LocalType:
        self.local.kind, self.local.reason, self.local.distance = "undecided", f"{reason}.", None
        return self.local

    def _hidden(self, player: Player) -> LocalType:
        return self._undecided(
            f"{_UNSETTLED[player]}: its projected gradient is {self.residuals[player]:.3g} long, over the tolerance of "
            f"{self.tolerance:.3g}, but no move along it improved by more than rounding"
        )

    def _leaves_by_gradient(self, player: Player) -> bool:
        up = negated(of(self.grads, player))
        if player == "v":
            move = self.moves.of_follower(up, "its gradient", (1.0,))
        else:
            move = self.moves.of_leader(up, "its negative gradient", self.curvature.newton(), (1.0,))
        reason = f"{_UNSETTLED[player]}: its projected gradient is {self.residuals[player]:.3g} long"
        if move is not None:
            self._leaves(player, move, reason)
        return move is not None

    def _leaves(self, player: Player, move: Move | None, reason: str) -> LocalType:
        """Return the negative verdict if a move proves it."""
        if move is None:
            return self._undecided(f"{reason}, but no move along it improved by more than rounding")
        self.local.kind, self.local.reason, self.local.move = "not local minimax", f"{reason}.", move
        return self.local

    # -- eigenvalues ---------------------------------------------------------------------------------------------------

    def _eigenvalue(self, player: Player, *, roughly: bool = False) -> Eigenpair | None:
        pair = self.curvature.eigenvalue(player, roughly=roughly)
        if pair is not None:
            sign = 1.0 if player == "u" else -1.0
            self.local.eigenvalues[player] = Quantity(sign * pair.value, pair.accuracy, pair.error)
        return pair

    def _schur(self) -> Eigenpair:
        pair = self.curvature.schur()
        self.local.eigenvalues["schur"] = Quantity(pair.value, pair.accuracy, pair.error)
        return pair

    # -- distance to the stationary point ------------------------------------------------------------------------------

    def _residual(self, point: Point, grads: Point, player: Player) -> float:
        """Return ``||x - P(x - F(x))||``."""
        project = partial(self.measured.project, player)
        return float(projected_residual(of(point, player), of(grads, player), project).sqrt())

    def _length(self, point: Point, grads: Point) -> float:
        return math.hypot(*(self._residual(point, grads, player) for player in PLAYERS))

    def _settles(self) -> bool:
        """Return whether a Newton step shrinks the gradient as it does near a non-degenerate stationary point."""
        before = self._length(self.point, self.grads)
        onto = [_norm(add(a, b, -1.0)) for a, b in zip(self.point, self.measured.point, strict=True)]
        rounding = self.moves.noise * max(1.0, *self.curvature.scales.values())
        if before <= rounding:
            self.local.distance = math.hypot(*onto)
            return True
        free_u, free_v = self.tangents["u"].free, self.tangents["v"].free
        answer, _ = self.curvature.solve(negated(free_v(self.grads.v)))
        total = free_u(add(self.grads.u, self.curvature.to_leader(answer)))
        steps = min(4 * sum(t.numel() for t in total.values()) + 10, 200)
        newton = conjugate_gradient(
            self.curvature.schur_product, negated(total), tolerance=self.cg_tolerance, max_steps=steps
        )
        du = free_u(newton.x)
        dv = free_v(add(answer, self.curvature.solve(self.curvature.to_follower(du))[0]))
        settled = Point(
            self.measured.project("u", add(self.point.u, du)), self.measured.project("v", add(self.point.v, dv))
        )
        self.local.distance = math.hypot(_norm(du), _norm(dv), *onto)
        after = self._length(settled, self.measured.own_gradients(settled))
        if after > max(0.25 * before, rounding):
            shaken = self.moves.shaken(7)
            change = [add(a, b, -1.0) for a, b in zip(self.measured.own_gradients(shaken), self.grads, strict=True)]
            rounding = max(rounding, 8 * math.hypot(*(_norm(part) for part in change)))
        return self.local.distance <= _FAR and after <= max(0.25 * before, rounding)


def _norm(x: Tensors) -> float:
    return float(squared_norm(x.values()).sqrt())
