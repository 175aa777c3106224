"""Several members' derivatives as one pass: ``torch.func.vmap`` over players, batches, buffers and constants of ``f``.

Each player of each member becomes a view into one storage, so that nothing is gathered between steps; every member
keeps its own optimizers, schedules, buffers and records, and is moved by its solver as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import CellType, FunctionType
from typing import Any, NamedTuple, TypeAlias, final

import optree
import torch
from torch import Tensor

from minimaxopt._compile import operator_of, penalised_of
from minimaxopt._made import Made
from minimaxopt._tree import squared_norm
from minimaxopt._types import Player, Point, Record, Tensors
from minimaxopt.calculus import Gradients, OwnDerivatives, Penalised
from minimaxopt.data import Indexed
from minimaxopt.errors import ArgumentError, MinimaxoptError
from minimaxopt.game import Flipped
from minimaxopt.solvers import AlternatingGDA, Ascent, Context, Descent, Sensitivity, SimultaneousGDA

_LOOP = "use form='loop'"
_DEPTH = 4  # closures that hold functions that hold functions; one may hold itself
_SUPPORTED = (Sensitivity, AlternatingGDA, SimultaneousGDA, Descent, Ascent)
_Found: TypeAlias = Gradients | Penalised


@final
class Vectorised:
    """Makes a step of several members at once.

    Args:
        contexts: the members' contexts, before their first steps.
        solvers: their solvers.

    Raises:
        ArgumentError: if the members differ in more than values.
    """

    def __init__(self, contexts: Sequence[Context], solvers: Sequence[Any]) -> None:
        refuse(contexts, solvers)
        self._constants = _Constants([ctx.game.f for ctx in contexts])
        self._places = {id(ctx): place for place, ctx in enumerate(contexts)}
        self._forms = {id(ctx): Made() for ctx in contexts}
        self._together: list[Context] = []
        self._stacks: dict[Player, Tensors] = {"u": {}, "v": {}}
        self._began = False

    def make(self, contexts: Sequence[Context], solvers: Sequence[Any]) -> None:
        """Make the step that each of ``contexts`` has opened; what it reports is taken when the step is closed.

        Raises:
            ArgumentError: at the first step, if ``f`` cannot be vectorised; nobody has moved then.
        """
        held = list(contexts)
        if len(held) < 2:
            return
        if [id(ctx) for ctx in held] != [id(ctx) for ctx in self._together]:
            self._stack(held)
        batches = _batches(held)
        if batches is None:  # the last batches of two epochs, of different lengths: each member makes its step alone
            return
        phases = [_phases(solver) for solver in solvers]
        records: list[list[Record]] = [[] for _ in held]
        for turn, parts in enumerate(zip(*phases, strict=True)):
            try:
                found = self._evaluate(held, parts, batches)
            except MinimaxoptError:
                raise
            except Exception as error:
                if not turn and not self._began:
                    raise _refused(error) from error
                if turn:
                    raise
                return  # whose value it was that f did not bear shows when each makes its step alone
            for ctx, part, record, row in zip(held, parts, records, found, strict=True):
                record.append(_moved_along(ctx, part, row))
        self._began = True
        for ctx, record in zip(held, records, strict=True):
            ctx.captured = self._forms[id(ctx)]
            self._forms[id(ctx)].put(ctx, _joined(record))

    def _stack(self, contexts: list[Context]) -> None:
        self._together = contexts
        with torch.no_grad():
            for player, stacks in self._stacks.items():
                stacks.clear()
                for name in contexts[0].functional.parameters[player]:
                    members = [ctx.functional.parameters[player][name] for ctx in contexts]
                    stacks[name] = torch.stack([t.detach() for t in members])
                    for place, tensor in enumerate(members):
                        tensor.data = stacks[name][place]

    def _evaluate(self, contexts: list[Context], parts: Sequence[Any], batches: _Batches) -> list[_Row]:
        questions = [_asked(ctx, part) for ctx, part in zip(contexts, parts, strict=True)]
        functional = contexts[0].functional
        constants, rebuilt = self._constants.of([self._places[id(ctx)] for ctx in contexts])
        buffers = _stacked([ctx.buffers for ctx in contexts])

        def risk(u: Tensors, v: Tensors, batch: Any, buffers: Any, chosen: Any) -> tuple[Tensor, Any]:
            value, after = functional.evaluate(u, v, batch, buffers, rebuilt(chosen))
            return value, (value, after)

        # Batches, buffers and constants stay in the last places: derivatives are taken in the first two.
        def gradients(u: Tensors, v: Tensors, batch: Any, buffers: Any, chosen: Any, half: Tensor) -> Any:
            def f(u: Tensors, v: Tensors, batch: Any, buffers: Any) -> tuple[Tensor, Any]:
                return risk(u, v, batch, buffers, chosen)

            if penalised:
                return penalised_of(f)(u, v, batch, buffers, half)
            return operator_of(f, players)(u, v, batch, buffers)

        penalised = any(question.players is None for question in questions)
        players: tuple[Player, ...] = ("u", "v") if penalised else questions[0].players or ("u", "v")
        device = contexts[0].devices[0]
        halves = torch.tensor([q.gamma / 2 for q in questions], dtype=torch.float64, device=device)
        dims = (0, 0, 0 if batches.apart else None, 0, 0, 0)
        with torch.no_grad():
            found = torch.func.vmap(gradients, in_dims=dims)(
                self._stacks["u"], self._stacks["v"], batches.tensors, buffers, constants, halves
            )
        rows = _rows(found, len(contexts))
        if penalised:
            return [_Row(Penalised(*row[:4]), row[4]) for row in rows]
        named = [(row[0], dict(zip(players, row[1], strict=True)), row[2]) for row in rows]
        return [
            _Row(Gradients(value, slopes.get("u", {}), slopes.get("v", {})), after) for value, slopes, after in named
        ]


class _Row(NamedTuple):
    """A member's share of a joint evaluation: its derivatives, and the buffers after."""

    found: _Found
    after: dict[Player, Tensors]


class _Batches(NamedTuple):
    tensors: tuple[Any, ...]
    apart: bool
    """Whether each member has its own, in the first dimension."""


# -- a solver asks, and is answered ------------------------------------------------------------------------------------


class _Question(NamedTuple):
    players: tuple[Player, ...] | None
    """Whose components of the operator are wanted; ``None`` for the penalised gradient."""
    gamma: float


@final
class _Asked(Exception):  # noqa: N818 - an event, not a failure
    def __init__(self, question: _Question) -> None:
        super().__init__()
        self.question = question


@final
class _Asking(OwnDerivatives):
    """Takes down which derivatives a solver wants, and breaks its step off there."""

    def risk(self, eager: Any, batch: Any, buffers: Any, seeded: Any, note: Any, shell: Any = None) -> OwnDerivatives:
        del eager, batch, buffers, seeded, note, shell
        return self

    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        raise AssertionError("a solver that can be vectorised asks for derivatives only")

    def operator(self, point: Point, players: Sequence[Player]) -> Gradients:
        raise _Asked(_Question(tuple(players), 0.0))

    def penalised(self, point: Point, gamma: float | Tensor) -> Penalised:
        raise _Asked(_Question(("u", "v") if gamma == 0 else None, float(gamma)))


@final
class _Answer(OwnDerivatives):
    """Hands a solver its share of what was evaluated for all."""

    def __init__(self, row: _Row) -> None:
        self._row = row
        self._note: Callable[[dict[Player, Tensors]], None] = _ignore

    def risk(self, eager: Any, batch: Any, buffers: Any, seeded: Any, note: Any, shell: Any = None) -> OwnDerivatives:
        del eager, batch, buffers, seeded, shell
        self._note = note
        return self

    def __call__(self, u: Tensors, v: Tensors) -> Tensor:
        raise AssertionError("a solver that can be vectorised asks for derivatives only")

    def operator(self, point: Point, players: Sequence[Player]) -> Gradients:
        self._note(self._row.after)
        return Gradients(*self._row.found[:3])

    def penalised(self, point: Point, gamma: float | Tensor) -> Penalised:
        self._note(self._row.after)
        found = self._row.found
        return found if isinstance(found, Penalised) else Penalised(*found, squared_norm(found.v.values()))


def _ignore(buffers: dict[Player, Tensors]) -> None:
    del buffers


def _asked(ctx: Context, part: Any) -> _Question:
    before, ctx.compiled = ctx.gradient_evaluations, _Asking()
    try:
        part.step(ctx, None)
    except _Asked as asked:
        return asked.question
    finally:
        ctx.compiled, ctx.gradient_evaluations = None, before
    raise AssertionError("a solver's step evaluates something")


def _moved_along(ctx: Context, part: Any, row: _Row) -> Record:
    ctx.compiled = _Answer(row)
    try:
        return part.step(ctx, None)[1]
    finally:
        ctx.compiled = None


def _phases(solver: Any) -> tuple[Any, ...]:
    """Return solvers of one evaluation each, whose steps are together the solver's."""
    if not isinstance(solver, AlternatingGDA):
        return (solver,)
    climbs = (Ascent(),) * solver.ascent_steps
    return (Descent(), *climbs) if solver.first == "u" else (*climbs, Descent())


def _joined(records: list[Record]) -> Record:
    """Return what alternating steps report: the follower's record, with the risk at which the leader moved."""
    if len(records) == 1:
        return records[0]
    follower = next(record for record in reversed(records) if "sensitivity" in record)
    leader = next(record for record in records if "sensitivity" not in record)
    return {**follower, "risk": leader["risk"]}


# -- stacks ------------------------------------------------------------------------------------------------------------


def _stacked(trees: Sequence[Any]) -> Any:
    """Return a tree whose tensors hold those of all trees, in a new first dimension."""
    return optree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def _rows(found: Any, n: int) -> list[Any]:
    leaves, spec = optree.tree_flatten(found)
    apart = [leaf.unbind(0) for leaf in leaves]
    return [optree.tree_unflatten(spec, [parts[i] for parts in apart]) for i in range(n)]


def _batches(contexts: Sequence[Context]) -> _Batches | None:
    """Return the members' batches stacked, one batch where all have the same, or ``None`` where shapes differ."""
    first = contexts[0]
    if not first.batch or all(_same_source(ctx, first) for ctx in contexts):
        return _Batches(first.batch, apart=False)
    forms = [_form(ctx.batch) for ctx in contexts]
    if any(form != forms[0] for form in forms):
        return None
    return _Batches(_stacked([ctx.batch for ctx in contexts]), apart=True)


def _same_source(ctx: Context, first: Context) -> bool:
    a, b = ctx.source, first.source
    same = isinstance(a, Indexed) and isinstance(b, Indexed) and a.batches is b.batches
    return a is b or (same and a.position == b.position)


def _form(batch: Any) -> Any:
    leaves, spec = optree.tree_flatten(batch, none_is_leaf=True)
    return spec, [(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else type(x) for x in leaves]


# -- constants of f ----------------------------------------------------------------------------------------------------


@final
class _Constants:
    """What the members' functions ``f`` hold beside their arguments; floats and tensors may differ.

    Looked for in ``functools.partial`` and in closures.
    """

    def __init__(self, functions: Sequence[Any]) -> None:
        parts: list[list[tuple[str, Any]]] = [[] for _ in functions]
        for f, held in zip(functions, parts, strict=True):
            _take_apart(f, "f", held)
        names = [name for name, _ in parts[0]]
        for place, held in enumerate(parts):
            if [name for name, _ in held] != names:
                raise ArgumentError(f"form: f of runs[{place}] is another function than that of runs[0]; {_LOOP}")
        self._f = functions[0]
        self._fixed = [value for _, value in parts[0]]
        self._varying: dict[int, list[Tensor]] = {}
        for i, name in enumerate(names):
            values = [held[i][1] for held in parts]
            if not all(_equal(value, values[0]) for value in values):
                self._varying[i] = _as_tensors(name, values)

    def of(self, places: Sequence[int]) -> tuple[Any, Callable[[Any], Any]]:
        """Return the varying constants of some members, stacked, and what builds ``f`` from one member's."""
        order = list(self._varying)
        stacked = tuple(torch.stack([self._varying[i][place] for place in places]) for i in order)

        def rebuilt(chosen: Sequence[Any]) -> Any:
            if not order:
                return self._f
            values = list(self._fixed)
            for i, value in zip(order, chosen, strict=True):
                values[i] = value
            return _put_together(self._f, iter(values))

        return stacked, rebuilt


def _take_apart(f: Any, name: str, held: list[tuple[str, Any]], depth: int = _DEPTH) -> None:
    if isinstance(f, Flipped):
        _take_apart(f.f, name, held)
    elif isinstance(f, partial):
        held.append((f"{name}, a partial of {len(f.args)} and {sorted(f.keywords)}", None))
        _take_apart(f.func, name, held)
        for i, value in enumerate(f.args):
            _take_apart(value, f"argument {i} of {name}", held)
        for key, value in f.keywords.items():
            _take_apart(value, f"{key!r} of {name}", held)
    elif isinstance(f, FunctionType) and depth:
        held.append((f"{name}, code {id(f.__code__)} of {id(f.__globals__)}", (f.__defaults__, f.__kwdefaults__)))
        for key, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            _take_apart(cell.cell_contents, f"{key!r} of {name}", held, depth - 1)
    else:
        held.append((name, f))


def _put_together(f: Any, values: Any, depth: int = _DEPTH) -> Any:
    if isinstance(f, Flipped):
        return Flipped(_put_together(f.f, values))
    if isinstance(f, partial):
        next(values)
        function = _put_together(f.func, values)
        arguments = [_put_together(value, values) for value in f.args]
        return partial(function, *arguments, **{k: _put_together(value, values) for k, value in f.keywords.items()})
    if isinstance(f, FunctionType) and depth:
        next(values)
        if not f.__closure__:
            return f
        cells = tuple(CellType(_put_together(cell.cell_contents, values, depth - 1)) for cell in f.__closure__)
        made = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, cells)
        made.__kwdefaults__ = f.__kwdefaults__
        return made
    return next(values)


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tensor) or isinstance(b, Tensor) or type(a) is not type(b):
        return False
    try:
        return bool(a == b)
    except (TypeError, ValueError, RuntimeError):  # objects that hold tensors cannot be compared
        return False


def _as_tensors(name: str, values: Sequence[Any]) -> list[Tensor]:
    if all(isinstance(value, float) for value in values):
        return [torch.tensor(value, dtype=torch.float64) for value in values]
    first = values[0]
    if all(isinstance(x, Tensor) and (x.shape, x.dtype) == (first.shape, first.dtype) for x in values):
        return list(values)
    kinds = ", ".join(sorted({type(value).__name__ for value in values}))
    raise ArgumentError(
        f"form: {name} differs between runs ({kinds}), and only floats, and tensors of one shape, can be stacked; let "
        f"it be one of these, or {_LOOP}"
    )


# -- what is refused ---------------------------------------------------------------------------------------------------


def refuse(contexts: Sequence[Context], solvers: Sequence[Any]) -> None:
    """Refuse members that differ in more than values, and what has no vectorised form."""
    for place, (ctx, solver) in enumerate(zip(contexts, solvers, strict=True)):
        _refuse(place, ctx, solver, contexts[0], solvers[0])
    _Constants([ctx.game.f for ctx in contexts])


def _refuse(place: int, ctx: Context, solver: Any, first: Context, leading: Any) -> None:
    if type(solver) not in _SUPPORTED:
        names = ", ".join(repr(kind.name) for kind in _SUPPORTED)
        raise ArgumentError(
            f"form: {solver.name!r} of runs[{place}] has no vectorised form; give one of {names}, or {_LOOP}"
        )
    for setting in ("split", "projected", "alternate"):
        if getattr(solver, setting, False):
            raise ArgumentError(f"form: there is no vectorised form with {setting}; leave it out, or {_LOOP}")
    if ctx.fresh_ascent and getattr(solver, "ascent_steps", 1) > 1:
        raise ArgumentError(f"form: a vectorised step has one batch; give ascent_batches='same', or {_LOOP}")
    if ctx.responding:
        raise ArgumentError(
            f"form: the follower of runs[{place}] responds by a function of its own, which cannot be stacked; {_LOOP}"
        )
    if ctx.compiled is not None or ctx.captured is not None:
        raise ArgumentError(
            f"form: runs[{place}] is compiled, which a vectorised step cannot be; leave compile out, or {_LOOP}"
        )
    if type(solver) is not type(leading) or (
        _phases(solver) != _phases(leading) and not isinstance(solver, Sensitivity)
    ):
        raise ArgumentError(
            f"form: runs[0] and runs[{place}] have different solvers; give one with settings alike, or {_LOOP}"
        )
    if isinstance(ctx.game.f, Flipped) is not isinstance(first.game.f, Flipped):
        raise ArgumentError(
            f"form: runs[0] and runs[{place}] are played in different orders; give one order, or {_LOOP}"
        )
    if _shape(ctx) != _shape(first):
        raise ArgumentError(
            f"form: the players of runs[0] and runs[{place}] have different tensors, or lie on different devices; give "
            f"players of one structure, or {_LOOP}"
        )
    (plain, still), (others, stills) = ctx.functional.settings(), first.functional.settings()
    if plain != others or any(a != b or not torch.equal(s, t) for (a, s), (b, t) in zip(still, stills, strict=True)):
        raise ArgumentError(
            f"form: modules of runs[0] and runs[{place}] differ in settings, mode or frozen tensors; make them alike, or "
            f"{_LOOP}"
        )


def _shape(ctx: Context) -> Any:
    held = (ctx.functional.parameters, ctx.functional.buffers)
    return [
        (player, name, tuple(t.shape), t.dtype, t.device)
        for tensors in held
        for player in ("u", "v")
        for name, t in tensors[player].items()
    ]


def _refused(error: Exception) -> ArgumentError:
    text = str(error)
    if "randomness" in text or "random operation" in text:
        reason = "f draws random numbers, such as dropout's, and each member would need draws of its own"
    else:
        reason = (
            f"f cannot be vectorised ({type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'})"
        )
    return ArgumentError(f"form: {reason}; {_LOOP}")
