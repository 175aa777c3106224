"""``Certificate``: numbers about a solution, each marked as exact, a bound or an estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, cast, final

Accuracy: TypeAlias = Literal["exact", "lower bound", "upper bound", "estimate"]
Kind: TypeAlias = Literal["strict local minimax", "local Nash", "not local minimax", "undecided"]


@final
@dataclass(frozen=True)
class Quantity:
    """A number with what is known of it.

    Args:
        value: the number; infinite where the risk was found to have no bound.
        accuracy: ``"exact"`` (to rounding), ``"lower bound"``, ``"upper bound"`` or ``"estimate"``.
        error: the standard error over the batches of the data for a risk, the residual of the iteration for an
            eigenvalue; ``None`` where there is none.
        note: where it comes from, in words.

    Examples:
        >>> from minimaxopt.results.certificate import Quantity
        >>> print(Quantity(0.25, "lower bound", 0.01, "fresh follower 3"))
        >= 0.25 +- 0.01 (fresh follower 3)
    """

    value: float
    accuracy: Accuracy
    error: float | None = None
    note: str = ""

    def __str__(self) -> str:
        sign = {"exact": "", "lower bound": ">= ", "upper bound": "<= ", "estimate": "about "}[self.accuracy]
        error = "" if not self.error or not math.isfinite(self.value) else f" +- {self.error:.2g}"
        number = f"{sign}{self.value:.6g}"
        if math.isinf(self.value):
            empty = (self.value, self.accuracy) in ((math.inf, "upper bound"), (-math.inf, "lower bound"))
            number = "unknown" if empty else "unbounded above" if self.value > 0 else "unbounded below"
        elif math.isnan(self.value):
            number = "not a number"
        return f"{number}{error}{f' ({self.note})' if self.note else ''}"


@final
@dataclass(frozen=True)
class Move:
    """An actual move that improves, for the player that makes it: the proof of a negative verdict.

    Args:
        player: who moves, ``"u"`` or ``"v"``.
        along: the direction in words.
        length: the Euclidean length of the move.
        before: the risk at the point.
        after: the risk after the move; after a move of the leader, with the follower's local answer to it.
    """

    player: Literal["u", "v"]
    along: str
    length: float
    before: float
    after: float

    def __str__(self) -> str:
        who = "the leader" if self.player == "u" else "the follower"
        answered = " with the follower's best answer nearby" if self.player == "u" else ""
        return (
            f"{who} moves {self.length:.3g} along {self.along}: the risk goes from {self.before:.9g} to "
            f"{self.after:.9g}{answered}"
        )


@final
@dataclass(frozen=True)
class Constraint:
    """The effect of a player's constraint at the point.

    Args:
        active: whether the projection holds the player back.
        free: directions that are left free.
        dimension: the number of values that the player has.
        accuracy: ``"exact"`` or ``"estimate"``, of ``free``.
        weak: whether some constraint touches without pressing, so that second derivatives decide only if they do so in
            all directions.
    """

    active: bool
    free: float
    dimension: int
    accuracy: Literal["exact", "estimate"] = "exact"
    weak: bool = False

    def __str__(self) -> str:
        if not self.active:
            return "not active"
        about = "" if self.accuracy == "exact" else "about "
        weak = ", some weakly active" if self.weak else ""
        return f"active, {about}{self.free:.0f} of {self.dimension} directions free{weak}"


@final
@dataclass(frozen=True)
class Certificate:
    """The quality of a point of a game, as far as it could be determined.

    A search for the follower's best answer only ever shows that the risk can be at least so high; a certificate
    therefore never says that a point is robust, only what the strongest of its followers reached. The local type, in
    contrast, is decided by derivatives at the point.

    Attributes:
        kind: the local type of the point: ``"strict local minimax"``, ``"local Nash"`` (which is strict local minimax
            too), ``"not local minimax"`` or ``"undecided"``.
        reason: why, with the eigenvalue and the direction.
        move: a move that improves and so proves ``"not local minimax"``.
        risk: ``f(u, v)``.
        worst: the largest risk that any follower reached against ``u``: at most ``max_v f(u, v)``, unless the follower,
            named in its note, was given as a game with a risk of its own, as another kind of module, or as a function
            that answers each of several batches by itself. Where the follower has a loss of its own, the largest ``f``
            among followers trained on that loss, which bounds nothing.
        best: the smallest risk that any leader reached against ``v``: at least ``min_u f(u, v)``; ``None`` where the
            follower has a loss of its own.
        gap: ``worst - best``, at most the true duality gap, with followers left out whose risk does not bound
            ``max_v f(u, v)``. It is zero at a Nash point; at a minimax point that is no Nash point it is positive, and
            may be infinite. ``None`` where the follower has a loss of its own.
        followers: what each follower reached against ``u``, by name.
        leaders: what each leader reached against ``v``, by name.
        stationarity: by player, ``||x - P(x - F(x))||``, the length of the projected step along the gradient of the
            player's own loss.
        constraints: by player, for those whose game has a projection.
        eigenvalues: ``"v"``, the largest of ``d2f/dv2``; ``"u"``, the smallest of ``d2f/du2``; ``"schur"``, the
            smallest of the Schur complement ``d2f/du2 - d2f/dudv (d2f/dv2)^-1 d2f/dvdu``; on the directions that
            constraints leave free, the curvature of the constraints included.
        distance: how far, by a Newton step, the nearest point of this type is expected to be.
        sandwich: ``(min_u f(u, v), max_v f(u, v))``, between which both the maximin and the minimax value lie; only
            where both best responses are exact.
        cost: gradient evaluations (a Hessian product counts one), evaluations of the risk alone, seconds.
        settings: what the certificate was computed with.

    Examples:
        >>> import torch
        >>> from minimaxopt import Certificate, Game, certify
        >>> game = Game(lambda u, v: u**2 - v**2 + u * v, torch.tensor(0.0), torch.tensor(0.0))
        >>> certificate = certify(game, (game.u, game.v), restarts=0)
        >>> certificate.kind, certificate.minimax, Certificate.from_dict(certificate.to_dict()) == certificate
        ('local Nash', True, True)

    Source: local minimax points, Jin, Netrapalli and Jordan 2020; ``sandwich``, Hamm and Mehra 2018, Lemma 1.5.
    """

    kind: Kind
    reason: str
    risk: Quantity
    worst: Quantity
    best: Quantity | None
    gap: Quantity | None
    followers: dict[str, Quantity]
    leaders: dict[str, Quantity]
    stationarity: dict[str, Quantity]
    eigenvalues: dict[str, Quantity]
    constraints: dict[str, Constraint] = field(default_factory=dict[str, Constraint])
    move: Move | None = None
    distance: float | None = None
    sandwich: tuple[float, float] | None = None
    cost: dict[str, float] = field(default_factory=dict[str, float])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def minimax(self) -> bool:
        """``True`` if the point is known to be a local minimax point; a local Nash point is one too."""
        return self.kind in ("strict local minimax", "local Nash")

    def __str__(self) -> str:
        also = " (and so strict local minimax)" if self.kind == "local Nash" else ""
        rows = [("kind", f"{self.kind}{also}"), ("", self.reason)]
        if self.move is not None:
            rows.append(("proof", str(self.move)))
        if self.distance and self.minimax:
            rows.append(("", f"such a point is about {self.distance:.2g} away"))
        rows += [("risk", str(self.risk)), ("worst case", str(self.worst))]
        rows += [("", f"{name}: {found}") for name, found in self.followers.items()]
        if self.best is not None:
            rows.append(("best answer of u", str(self.best)))
        if self.gap is not None:
            rows.append(("gap", f"{self.gap}; 0 at a Nash point only"))
        if self.sandwich is not None:
            low, high = self.sandwich
            rows.append(("sandwich", f"{low:.6g} <= max min f <= min max f <= {high:.6g} (exact responses)"))
        zero = f"; up to {self.settings['tolerance']:.3g} counts as zero" if "tolerance" in self.settings else ""
        rows += [(f"stationarity {player}", f"{found}{zero}") for player, found in self.stationarity.items()]
        rows += [(f"constraint {player}", str(found)) for player, found in self.constraints.items()]
        names = {"v": ("d2f/dv2", "largest"), "u": ("d2f/du2", "smallest"), "schur": ("Schur complement", "smallest")}
        for name, found in self.eigenvalues.items():
            of, which = names[name]
            rows.append((of, f"{which} eigenvalue {found}"))
        cost = ", ".join(f"{value:.4g} {name.replace('_', ' ')}" for name, value in self.cost.items())
        if cost:
            rows.append(("cost", cost))
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {text}" for label, text in rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain values that JSON can hold (infinity as a text)."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Certificate:
        """Return the certificate that ``to_dict`` described.

        Raises:
            ValueError: a field is missing, or not of its type.
        """
        # Imported here: a tenth of a second that `import minimaxopt` should not cost.
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(_numbers(dict(content)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _numbers(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_numbers(item) for item in cast("list[Any]", value)]
    return float(value) if value in ("inf", "-inf", "nan") else value
