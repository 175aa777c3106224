"""``certify``: bounds, gap and local type of a point of a game."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import optree
import torch
from torch import nn

from minimaxopt._types import PLAYERS, OptimizerFactory, Player, Tree
from minimaxopt.calculus.vectors import of, projected_residual
from minimaxopt.certificates.best_responses import OWN, BestResponses
from minimaxopt.certificates.dataset_risk import DatasetRisk
from minimaxopt.certificates.fresh_players import require_fresh
from minimaxopt.certificates.given_players import allowed, require_form
from minimaxopt.certificates.local_type import LocalType, classify
from minimaxopt.errors import ArgumentError, DataError
from minimaxopt.game.copying import tensors_with_names
from minimaxopt.game.devices import devices_of, usable_device
from minimaxopt.game.game import Game
from minimaxopt.game.random_streams import preserve_rng_state
from minimaxopt.game.trees import is_responding
from minimaxopt.results.certificate import Accuracy, Certificate, Quantity
from minimaxopt.results.environment import environment
from minimaxopt.results.solution import Solution


def certify(
    game: Game,
    solution: Solution | tuple[Tree, Tree],
    data: Any = None,
    *,
    fit_data: Any = None,
    followers: Mapping[str, Any] | Iterable[Any] = (),
    restarts: int = 5,
    steps: int = 500,
    tolerance: float | None = None,
    fresh_follower: Callable[[], Tree] | None = None,
    u_optimizer: OptimizerFactory | None = None,
    v_optimizer: OptimizerFactory | None = None,
    exact: Mapping[str, Callable[[Tree], Tree]] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Certificate:
    """Certify a point: bound its worst case and its gap, and decide its local type.

    Every number of the certificate says whether it is exact, a bound or an estimate.

    ``max_v f(u, v) >= worst``, ``min_u f(u, v) <= best``, ``worst - best <= max_v' f(u, v') - min_u' f(u', v)``

    Followers are trained against the frozen leader by ``Ascent``, leaders against the frozen follower by ``Descent``;
    they are trained on ``fit_data`` and scored on ``data``, in evaluation mode. The local type is decided by
    derivatives on ``data``: the lengths of the projected gradients, and the smallest eigenvalues of ``d2f/du2``,
    ``-d2f/dv2`` and the Schur complement on the directions that constraints leave free, without forming a matrix larger
    than 64 by 64. The page "Certificates" of the documentation says what a certificate guarantees.

    Args:
        game: the game; its players serve as the form of the solution's.
        solution: what ``solve`` returned, or a point ``(u, v)``.
        data: data to score on: ``Batches`` or any collection of batches that can be read more than once; for games
            solved with data, data held out.
        fit_data: data to train fresh players on; by default ``data``.
        followers: further followers by name (or in a list, named by their ``__name__``): other values of ``v``,
            functions ``respond(risk, u, batch) -> v`` such as an attack, or whole games that share the leader's form
            and bring their own risk and follower.
        restarts: fresh followers, and fresh leaders, to train. A fresh player shares nothing learned with the
            solution's: modules are initialised anew, tensors drawn from the domain.
        steps: steps of each training.
        tolerance: largest norm of a gradient and largest magnitude of an eigenvalue that count as zero; by default
            1e-5, and 1e-3 in single precision.
        fresh_follower: returns a new follower, where modules cannot be initialised anew by ``reset_parameters``.
        u_optimizer: factory of the optimizer of trained leaders; by default Adam at 0.05 for tensors and 1e-3 for
            modules, its rate lowered to zero along a cosine.
        v_optimizer: the same for trained followers.
        exact: exact best responses, where they are known: ``{"v": u -> v, "u": v -> u}``. With both, the sandwich of
            Lemma 1.5 is given.
        seed: of every random draw.
        device: where to compute.

    Returns:
        A ``Certificate``: ``print`` it, read its attributes, or store it by ``solution.save(path, certificate=...)``.

    Raises:
        ArgumentError: if an argument cannot be used, or a fresh player cannot be made.

    Examples:
        >>> import torch
        >>> from minimaxopt import Game, certify
        >>> game = Game(lambda u, v: 3 * u**2 + v**2 + 4 * u * v, torch.tensor(0.0), torch.tensor(0.0))
        >>> certificate = certify(game, (game.u, game.v), restarts=2)
        >>> certificate.kind, certificate.worst.value
        ('not local minimax', inf)

    Where the follower has a loss of its own, followers are trained on it, and ``worst`` is the largest ``f`` that they
    reach, which bounds nothing; there is no gap, no sandwich and no local type, since these are of ``f`` alone. The
    stationarity is that of each player's own loss.

    Source: Hamm and Mehra 2018, Lemma 1, for the bounds; Jin, Netrapalli and Jordan 2020 for the local type.
    """
    started = time.perf_counter()
    u, v = (solution.u, solution.v) if isinstance(solution, Solution) else _pair(solution)
    _check(game, restarts, steps, tolerance, exact, seed, fit_data, fresh_follower)
    require_form("solution: its u", u, game.u)
    require_form("solution: its v", v, game.v)
    if restarts and fresh_follower is None and not game.responding:
        require_fresh("v", v)  # now, and not after the work
    named = _named(followers)
    _check_two_losses(game, named, exact)
    place = usable_device(device)
    fit = data if fit_data is None else fit_data
    optimizers: dict[Player, OptimizerFactory | None] = {"u": u_optimizer, "v": v_optimizer}
    with preserve_rng_state(devices_of((u, v))), torch.inference_mode(False), torch.enable_grad():
        at = replace(game, u=u, v=v)
        limit = _tolerance(at, tolerance)
        DatasetRisk(at, data, seed, place).refuse_originals(
            named for player in PLAYERS for named in tensors_with_names(player, game.u if player == "u" else game.v)
        )
        at = allowed("solution: its {player}", at, limit, place)
        search = BestResponses(at, data, fit, steps, seed, place, optimizers, limit)
        # What others wrote comes first, so that its errors do.
        answers = {player: search.exactly(player, answer) for player, answer in _exact(exact)}
        reached = search.named(named)
        measured = search.own
        risk = measured.risk()
        local = _local_type(measured, limit)
        spent = measured.gradients, measured.evaluations
        measured.forget()
        followers_reached = search.followers(restarts, fresh_follower) | reached
        leaders_reached = search.leaders(restarts)
    bounding = {name: quantity for name, quantity in followers_reached.items() if name not in search.foreign}
    highest = _extreme(bounding, answers.get("v"), 1.0)
    above = {name: quantity for name, quantity in followers_reached.items() if quantity.value > highest.value}
    worst = _extreme(above, None, 1.0) if above else highest
    if not game.zero_sum:
        worst = replace(worst, accuracy="estimate", note=f"{worst.note}, among followers trained on their own loss")
    best = _extreme(leaders_reached, answers.get("u"), -1.0) if game.zero_sum else None
    both = best is not None and highest.accuracy == best.accuracy == "exact"
    return Certificate(
        kind=local.kind,
        reason=local.reason,
        risk=Quantity(
            risk.value,
            "exact" if data is None else "estimate",
            risk.error,
            "" if risk.error is None else "standard error over the batches",
        ),
        worst=worst,
        best=best,
        gap=None if best is None else _gap(highest, best, both, [] if worst is highest else sorted(search.foreign)),
        followers=followers_reached,
        leaders=leaders_reached,
        stationarity=local.stationarity,
        eigenvalues=local.eigenvalues,
        constraints=local.constraints,
        move=local.move,
        distance=local.distance,
        sandwich=(best.value, highest.value) if best is not None and both else None,
        cost={
            "gradient_evaluations": spent[0] + search.gradients,
            "risk_evaluations": spent[1] + search.evaluations,
            "seconds": time.perf_counter() - started,
        },
        settings={
            "restarts": restarts,
            "steps": steps,
            "tolerance": limit,
            "seed": seed,
            "data": "none" if data is None else type(data).__name__,
            **environment(devices_of((u, v))),
            **measured.hessian_engine.record(),
        },
    )


def _pair(solution: Any) -> tuple[Tree, Tree]:
    if isinstance(solution, tuple) and len(cast("tuple[Any, ...]", solution)) == 2:
        return cast("tuple[Any, Any]", solution)
    raise ArgumentError(
        f"solution: {type(solution).__name__} is neither a Solution nor a pair (u, v); give what solve returned"
    )


def _check(
    game: Any, restarts: Any, steps: Any, tolerance: Any, exact: Any, seed: Any, fit_data: Any, make: Any
) -> None:
    if not isinstance(game, Game):
        raise ArgumentError(f"game: {type(game).__name__} is not a Game; give Game(f, u, v)")
    if game.u is None or game.v is None:
        raise ArgumentError("game: has only one player, and a certificate needs two; give a game with both")
    for name, value in (("restarts", restarts), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ArgumentError(f"{name}: {value!r} is not a number of {name}; give a non-negative integer")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ArgumentError(f"seed: {seed!r} is not an integer; give one")
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if tolerance is not None and not (number and 0 < tolerance < math.inf):
        raise ArgumentError(f"tolerance: {tolerance!r} is not a positive number; give one")
    if exact is not None and not (set(exact) <= {"u", "v"} and all(callable(answer) for answer in exact.values())):
        raise ArgumentError(f"exact: has {sorted(exact)}; give functions for 'u', for 'v', or for both")
    if make is not None and not callable(make):
        raise ArgumentError(f"fresh_follower: {type(make).__name__} is not callable; give a function that makes one")
    if isinstance(fit_data, Iterator):
        raise DataError(
            "fit_data: an iterator can be read only once, and each training reads the data; give Batches, a list of "
            "batches or a DataLoader"
        )


def _check_two_losses(game: Game, followers: Mapping[str, Any], exact: Any) -> None:
    for name, value in (("followers", followers), ("exact", exact)):
        if value and not game.zero_sum:
            raise ArgumentError(
                f"{name}: are answers to f, and this game's follower has a loss of its own; leave {name} out, or certify "
                "the game without follower_loss"
            )


def _exact(exact: Mapping[str, Callable[[Tree], Tree]] | None) -> list[tuple[Player, Callable[[Tree], Tree]]]:
    return [("v" if player == "v" else "u", answer) for player, answer in (exact or {}).items()]


def _tolerance(game: Game, chosen: float | None) -> float:
    dtypes: set[torch.dtype] = set()
    for player, tree in (("u", game.u), ("v", game.v)):
        if is_responding(tree):
            continue
        leaves: list[Any] = optree.tree_leaves(tree, none_is_leaf=True)
        modules = [leaf for leaf in leaves if isinstance(leaf, nn.Module)]
        types = {leaf.dtype for leaf in leaves if isinstance(leaf, torch.Tensor)}
        types |= {p.dtype for module in modules for p in module.parameters() if p.requires_grad}
        if not types:
            raise ArgumentError(
                f"solution: its {player} has no tensor that requires gradients, and a certificate asks what {player} "
                "would gain by moving; unfreeze it (requires_grad_(True)), certify leaves it as it is"
            )
        dtypes |= types
    if chosen is not None:
        return float(chosen)
    return 1e-5 if dtypes == {torch.float64} else 1e-3


def _local_type(measured: DatasetRisk, tolerance: float) -> LocalType:
    if not measured.game.zero_sum:
        return _of_two_losses(measured)
    if not measured.game.responding:
        return classify(measured, tolerance)
    gradients = measured.own_gradients(measured.point, ("u",))
    length = float(projected_residual(measured.point.u, gradients.u, partial(measured.project, "u")).sqrt())
    return LocalType(
        "undecided",
        "the follower responds by a function, so that the risk has no derivatives in a v of its own; certify a game with "
        "a follower of parameters for the local type.",
        stationarity={"u": Quantity(length, "exact", note="with the answer held constant")},
    )


def _of_two_losses(measured: DatasetRisk) -> LocalType:
    gradients = measured.own_gradients(measured.point)
    lengths = {
        player: projected_residual(of(measured.point, player), of(gradients, player), partial(measured.project, player))
        for player in PLAYERS
    }
    return LocalType(
        "undecided",
        "the follower minimises a loss of its own, and gap, sandwich and local type are of f alone.",
        stationarity={
            "u": Quantity(float(lengths["u"].sqrt()), "exact", note="of f, with the follower held"),
            "v": Quantity(float(lengths["v"].sqrt()), "exact", note="of the follower's own loss"),
        },
    )


def _named(followers: Any) -> dict[str, Any]:
    if isinstance(followers, Mapping):
        named = dict(cast("Mapping[str, Any]", followers))
        for name in named:
            if not isinstance(name, str) or name == OWN or name.startswith("fresh follower "):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not all typed
                raise ArgumentError(
                    f"followers: {name!r} is not a name, or is one of the certificate's own; choose another"
                )
        return named
    if isinstance(followers, (str, torch.Tensor, nn.Module, Game)) or not isinstance(followers, Iterable):
        raise ArgumentError(
            f"followers: {type(followers).__name__} is neither a mapping of names nor a list; give {{'name': follower}}"
        )
    listed = list(cast("Iterable[Any]", followers))
    names = [getattr(follower, "__name__", f"follower {i + 1}") for i, follower in enumerate(listed)]
    return {
        name if names.count(name) == 1 else f"{name} {i + 1}": follower
        for i, (name, follower) in enumerate(zip(names, listed, strict=True))
    }


def _extreme(reached: Mapping[str, Quantity], exactly: Quantity | None, sign: float) -> Quantity:
    """Return the largest (``sign`` 1) or smallest risk that was reached, or the exact one where it is known."""
    name, quantity = max(reached.items(), key=lambda item: sign * item[1].value)
    near = 1e-9 * max(1.0, abs(quantity.value))
    if exactly is not None and math.isfinite(exactly.value) and sign * exactly.value >= sign * quantity.value - near:
        return exactly
    accuracy: Accuracy = "lower bound" if sign > 0 else "upper bound"
    wrong = "; the exact response given is worse" if exactly is not None else ""
    return Quantity(quantity.value, accuracy, quantity.error, f"{name}{wrong}")


def _gap(highest: Quantity, lowest: Quantity, both: bool, without: list[str]) -> Quantity:
    gap, note = highest.value - lowest.value, f"without {', '.join(without)}" if without else ""
    if both:
        return Quantity(gap, "exact", note=note)
    # Where the risk has no value both bounds are empty, and the gap is at least zero all the same.
    return Quantity(0.0 if math.isnan(gap) else max(0.0, gap), "lower bound", note=note)
