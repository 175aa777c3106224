"""The local type of a point: first and second derivatives where constraints leave the players free, and proofs by moves.

A stationary point is strict local minimax if ``d2f/dv2 < 0`` and ``d2f/du2 - d2f/dudv (d2f/dv2)^-1 d2f/dvdu > 0``; it is
local minimax only if both hold without strictness, and the gradients vanish (Jin, Netrapalli and Jordan 2020, Props. 18
to 20). A negative verdict is given only with a move that improves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import final

import torch

from minimaxopt import calculus
from minimaxopt._measure import Measured
from minimaxopt._tangent import Tangent
from minimaxopt._tree import add, squared_norm
from minimaxopt._types import Player, Point, Tensors
from minimaxopt.certificate import Constraint, Kind, Move, Quantity
from minimaxopt.linear import Eigenpair, Operator, conjugate_gradient, random_like, smallest_eigenvalue

PLAYERS: tuple[Player, Player] = ("u", "v")
_LADDER = [10 ** (k / 2) for k in range(-12, 1)]  # lengths of trial moves, relative to the point's own size
_NOISE = 64  # of the risk's rounding, in units of its last digit
_FAR = 0.1  # a Newton step longer than this leads to another point rather than to this one


@final
@dataclass
class Local:
    """What derivatives say of a point."""

    kind: Kind = "undecided"
    reason: str = ""
    move: Move | None = None
    distance: float | None = None
    stationarity: dict[str, Quantity] = field(default_factory=dict[str, Quantity])
    eigenvalues: dict[str, Quantity] = field(default_factory=dict[str, Quantity])
    constraints: dict[str, Constraint] = field(default_factory=dict[str, Constraint])


def classify(measured: Measured, tolerance: float) -> Local:
    """Return the local type of the measured point.

    Args:
        measured: the game on its data.
        tolerance: how large a gradient, and how small an eigenvalue, counts as zero.
    """
    return _Classification(measured, tolerance).run()


@final
class _Classification:
    def __init__(self, measured: Measured, tolerance: float) -> None:
        self.measured, self.tolerance = measured, tolerance
        self.point = measured.point
        self.found = Local()
        dtype = next(iter(self.point.u.values())).dtype
        eps = torch.finfo(dtype).eps
        self.risk = measured.value(self.point)
        self.noise = _NOISE * eps * max(1.0, abs(self.risk))
        self.cg_tolerance = math.sqrt(eps)
        self.slopes = measured.slopes(self.point)
        self.residuals: dict[Player, float] = {p: self._residual(self.point, self.slopes, p) for p in PLAYERS}
        self.found.stationarity = {p: Quantity(r, "exact") for p, r in self.residuals.items()}
        self.tangents: dict[Player, Tangent] = {}
        for player in PLAYERS:
            projected = measured.constrained(player)
            project = partial(measured.project, player) if projected else None
            x, slope = calculus.of(self.point, player), calculus.of(self.slopes, player)
            self.tangents[player] = Tangent(project, x, slope, tolerance)
            if projected:
                self.found.constraints[player] = self.tangents[player].constraint
        self._unsolved = 0.0
        self.scales: dict[Player, float] = {player: self._scale(player) for player in PLAYERS}

    # -- the decision --------------------------------------------------------------------------------------------------

    def run(self) -> Local:
        if not math.isfinite(self.risk + sum(self.residuals.values())):
            return self._undecided("the risk or its gradient is not finite at the point")
        moving = self.residuals["v"] > self.tolerance, max(self.residuals.values()) > self.tolerance
        # Where a gradient decides, an eigenvalue is told in passing.
        follower = self._eigenvalue("v", roughly=moving[0])
        leader = self._eigenvalue("u", roughly=moving[1])
        if self.residuals["v"] > self.tolerance:
            return self._follower_leaves_by_gradient()
        if follower is not None and follower.value < -self._threshold(follower):
            reason = f"the follower's curvature is upward: d2f/dv2 has the eigenvalue {-follower.value:.4g} > 0"
            return self._follower_leaves(follower.vector, "that eigenvector", reason)
        if self.residuals["u"] > self.tolerance:
            return self._leader_leaves_by_gradient()
        for player in PLAYERS:
            if not self.tangents[player].decidable:
                return self._undecided(f"project_{player}: {self.tangents[player].why_not}")
        if follower is not None and not follower.value > self._threshold(follower):
            return self._undecided(
                f"d2f/dv2 is singular within the tolerance: its largest eigenvalue is {-follower.value:.3g}, and "
                f"{self._threshold(follower):.3g} counts as zero"
            )
        nash = leader is None or leader.value > self._threshold(leader)
        if nash:
            return self._minimax("local Nash", self._sentence(follower, leader))
        assert leader is not None
        if self.tangents["v"].constraint.weak:
            return self._undecided(
                "a constraint of the follower touches without pressing, so that its answer to the leader is one-sided"
            )
        schur = self._schur()
        if schur.value < -self._threshold(schur):
            reason = (
                f"the leader gains though the follower answers: the Schur complement has the eigenvalue "
                f"{schur.value:.4g} < 0"
            )
            return self._leader_leaves(schur.vector, "that eigenvector", reason)
        if not schur.value > self._threshold(schur):
            return self._undecided(
                f"the Schur complement is singular within the tolerance: its smallest eigenvalue is {schur.value:.3g}, "
                f"and {self._threshold(schur):.3g} counts as zero"
            )
        sentence = f"{self._sentence(follower, None)}, and the Schur complement's smallest {schur.value:.4g} > 0"
        if leader.value < -self._threshold(leader):
            sentence += f"; no Nash point, since d2f/du2 has the eigenvalue {leader.value:.4g} < 0"
        else:
            sentence += (
                f"; whether Nash is open, since d2f/du2 has the eigenvalue {leader.value:.3g}, zero within error"
            )
        return self._minimax("strict local minimax", sentence)

    def _sentence(self, follower: Eigenpair | None, leader: Eigenpair | None) -> str:
        said = (
            "no direction is free to the follower"
            if follower is None
            else f"stationary, with the largest eigenvalue of d2f/dv2 {-follower.value:.4g} < 0"
        )
        if leader is not None:
            said += f" and the smallest of d2f/du2 {leader.value:.4g} > 0"
        elif self.tangents["u"].constraint.free < 0.5:
            said += " and none to the leader" if follower is None else " and no direction free to the leader"
        return said

    def _minimax(self, kind: Kind, sentence: str) -> Local:
        """Give the positive verdict, unless a Newton step shows that the derivatives here are not those of a point near."""
        if not self._settles():
            far = "" if self.found.distance is None else f" (it is {self.found.distance:.2g} long)"
            return self._undecided(
                f"by its derivatives {kind}, but a Newton step towards the stationary point does not settle{far}: the "
                "point is not near enough to one"
            )
        self.found.kind, self.found.reason = kind, f"{sentence}."
        return self.found

    def _undecided(self, reason: str) -> Local:
        self.found.kind, self.found.reason, self.found.distance = "undecided", f"{reason}.", None
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
        probe = random_like(calculus.of(self.point, player), 5)
        image = tangent.form(self._own(player), 0.0)(probe)
        # Where the matrix is formed a large number does no harm; Lanczos' precision is relative to it.
        factor = 1e3 if tangent.constraint.dimension <= 64 else 10.0
        return factor * max(1.0, float(squared_norm(image.values()).sqrt()))

    def _eigenvalue(self, player: Player, *, roughly: bool) -> Eigenpair | None:
        """Return the smallest eigenvalue of the player's own Hessian on its free directions; none without any."""
        tangent = self.tangents[player]
        if not tangent.decidable or (tangent.constraint.free < 0.5 and not tangent.constraint.weak):
            return None
        form, like = self._form(player), calculus.of(self.point, player)
        pair = smallest_eigenvalue(form, like, max_steps=30) if roughly else _settled(form, like, self.tolerance)
        sign = 1.0 if player == "u" else -1.0
        self.found.eigenvalues[player] = Quantity(sign * pair.value, pair.how, pair.error)
        return pair

    def _schur(self) -> Eigenpair:
        self._unsolved = 0.0
        pair = _settled(self._schur_product, self.point.u, self.tolerance)
        # By the optimality of conjugate gradients the form is wrong by the square of the residual only.
        pair = pair._replace(error=pair.error + self._unsolved**2 * max(1.0, abs(pair.scale)))
        self.found.eigenvalues["schur"] = Quantity(pair.value, pair.how, pair.error)
        return pair

    def _schur_product(self, x: Tensors) -> Tensors:
        """Return ``[d2f/du2 - d2f/dudv (d2f/dv2)^-1 d2f/dvdu] x`` on the free directions."""
        free_u = _identity if self.tangents["u"].constraint.weak else self.tangents["u"].free
        answer, residual = self._solve(self._to_follower(free_u(x)))
        self._unsolved = max(self._unsolved, residual)
        return add(self._form("u")(x), free_u(self._to_leader(answer)))

    def _to_follower(self, x: Tensors) -> Tensors:
        return self.tangents["v"].free(self.measured.block(self.point, "v", "u")(x))

    def _to_leader(self, y: Tensors) -> Tensors:
        return self.measured.block(self.point, "u", "v")(self.tangents["v"].free(y))

    def _solve(self, b: Tensors) -> tuple[Tensors, float]:
        """Solve with the follower's own Hessian on its free directions."""
        if self.tangents["v"].constraint.free < 0.5:
            return {n: torch.zeros_like(t) for n, t in b.items()}, 0.0
        n = sum(t.numel() for t in b.values())
        found = conjugate_gradient(self._form("v"), b, tolerance=self.cg_tolerance, max_steps=min(4 * n + 10, 200))
        return found.x, float(found.residual)

    def _threshold(self, pair: Eigenpair) -> float:
        return max(self.tolerance, pair.error)

    # -- the way to the point itself -----------------------------------------------------------------------------------

    def _residual(self, point: Point, slopes: Point, player: Player) -> float:
        """Return ``||x - P(x - F(x))||``."""
        x = calculus.of(point, player)
        there = self.measured.project(player, add(x, calculus.of(slopes, player), -1.0))
        return float(squared_norm(add(x, there, -1.0).values()).sqrt())

    def _settles(self) -> bool:
        """Whether a Newton step shrinks the gradient as it does near a non-degenerate stationary point."""
        before = math.hypot(*self.residuals.values())
        rounding = self.noise * max(1.0, *self.scales.values())
        if before <= rounding:
            self.found.distance = 0.0
            return True
        free_u, free_v = self.tangents["u"].free, self.tangents["v"].free
        answer, _ = self._solve(_negated(free_v(self.slopes.v)))
        total = free_u(add(self.slopes.u, self._to_leader(answer)))
        steps = min(4 * sum(t.numel() for t in total.values()) + 10, 200)
        newton = conjugate_gradient(self._schur_product, _negated(total), tolerance=self.cg_tolerance, max_steps=steps)
        du = free_u(newton.x)
        dv = free_v(add(answer, self._solve(self._to_follower(du))[0]))
        there = Point(
            self.measured.project("u", add(self.point.u, du)), self.measured.project("v", add(self.point.v, dv))
        )
        self.found.distance = math.sqrt(float(squared_norm(du.values()) + squared_norm(dv.values())))
        slopes = self.measured.slopes(there)
        after = math.hypot(*(self._residual(there, slopes, p) for p in PLAYERS))
        return self.found.distance <= _FAR and (after <= 0.25 * before or after <= rounding)

    # -- moves that improve --------------------------------------------------------------------------------------------

    def _follower_leaves_by_gradient(self) -> Local:
        reason = f"the follower can still climb: its projected gradient is {self.residuals['v']:.3g} long"
        return self._follower_leaves(_negated(self.slopes.v), "its gradient", reason, signs=(1.0,))

    def _follower_leaves(
        self, direction: Tensors, along: str, reason: str, signs: tuple[float, ...] = (1.0, -1.0)
    ) -> Local:
        def gain(moved: Tensors, _: float) -> tuple[float, float]:
            after = self.measured.value(Point(self.point.u, moved))
            return after - self.risk, after

        return self._leaves("v", direction, along, reason, signs, gain)

    def _leader_leaves_by_gradient(self) -> Local:
        reason = f"the leader can still descend: its projected gradient is {self.residuals['u']:.3g} long"
        return self._leader_leaves(_negated(self.slopes.u), "its negative gradient", reason, signs=(1.0,))

    def _leader_leaves(
        self, direction: Tensors, along: str, reason: str, signs: tuple[float, ...] = (1.0, -1.0)
    ) -> Local:
        def gain(moved: Tensors, length: float) -> tuple[float, float]:
            after = max(self.measured.value(Point(moved, v)) for v in self._answers(moved, length))
            return self.risk - after, after

        return self._leaves("u", direction, along, reason, signs, gain)

    def _leaves(
        self,
        player: Player,
        direction: Tensors,
        along: str,
        reason: str,
        signs: tuple[float, ...],
        gain: Callable[[Tensors, float], tuple[float, float]],
    ) -> Local:
        """Give the negative verdict if a move bears it out: from the shortest that shows, on while it gains."""
        x = calculus.of(self.point, player)
        norm = float(squared_norm(direction.values()).sqrt())
        size = max(1.0, float(squared_norm(x.values()).sqrt()))
        best: tuple[float, Move] | None = None
        for sign in signs:
            last = 0.0
            for step in _LADDER if player == "v" else _LADDER[:-2]:  # the leader's answer is sought nearby
                moved = self.measured.project(player, add(x, direction, sign * step * size / norm))
                length = float(squared_norm(add(moved, x, -1.0).values()).sqrt())
                if length == 0:
                    continue
                gained, after = gain(moved, length)
                if gained > max(self.noise, last):
                    last = gained
                    if best is None or gained > best[0]:
                        best = gained, Move(player, along, length, self.risk, after)
                elif last:
                    break
        if best is None:
            return self._undecided(f"{reason}, but no move along {along} improved by more than rounding")
        self.found.kind, self.found.reason, self.found.move = "not local minimax", f"{reason}.", best[1]
        return self.found

    def _answers(self, u: Tensors, length: float) -> Iterator[Tensors]:
        """Yield what the follower might do nearby when the leader has moved by ``length``."""
        v = self.point.v
        yield v
        definite = self.tangents["v"].decidable and not self.tangents["v"].constraint.weak
        at = v
        for _ in range(2):
            slope = self.measured.slopes(Point(u, at), ("v",)).v
            up = _negated(slope)
            steep = float(squared_norm(up.values()).sqrt())
            if steep == 0:
                return
            # Where f is flat in v the follower gains less than the leader by moving by the root of the leader's length.
            for share in (1.0, 0.1):
                yield self.measured.project("v", add(v, up, share * math.sqrt(length) / steep))
            if definite:
                newton, _ = self._solve(self.tangents["v"].free(up))
                step = self.tangents["v"].free(newton)
                reach = float(squared_norm(step.values()).sqrt())
                limit = 10 * math.sqrt(length)  # it stays local: the bound vanishes with the leader's move
                at = self.measured.project("v", add(at, step, min(1.0, limit / reach) if reach else 1.0))
                yield at


def _settled(apply: Operator, like: Tensors, tolerance: float) -> Eigenpair:
    """Return the smallest eigenvalue, looked at more closely where its sign is within its error."""
    pair = smallest_eigenvalue(apply, like)
    if pair.how == "estimate" and not abs(pair.value) > max(tolerance, 3 * pair.error):
        return smallest_eigenvalue(apply, like, precision=1e-6, max_steps=1000)
    return pair


def _identity(x: Tensors) -> Tensors:
    return x


def _negated(x: Tensors) -> Tensors:
    return {n: -t for n, t in x.items()}
