"""Finding plugins by entry point, and loading one in isolation."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pluggy

from minimaxopt.errors import PluginError
from minimaxopt.plugins import hookspecs
from minimaxopt.plugins.options import describe_options, describe_settings

if TYPE_CHECKING:
    import typer

Kind: TypeAlias = Literal["problem", "solver", "callback", "command"]
REGISTERED: tuple[Kind, ...] = ("problem", "solver", "callback")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class PluginRecord:
    """The state of one plugin.

    Args:
        name: of its entry point.
        distribution: that declares the entry point; empty where none is known.
        version: of the distribution.
        status: "loaded", "failed", or "skipped" where ``MINIMAXOPT_LOAD_PLUGINS`` leaves it out.
        error: why it failed, the original exception being its cause.
        problems: names that it brought; empty unless loaded, like the following ones.
        solvers: the same.
        callbacks: the same.
        commands: the same; filled in by the command line only.
    """

    name: str
    distribution: str
    version: str
    status: Literal["loaded", "failed", "skipped"]
    error: PluginError | None = None
    problems: tuple[str, ...] = ()
    solvers: tuple[str, ...] = ()
    callbacks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def _nothing() -> dict[Kind, dict[str, Any]]:
    return {"problem": {}, "solver": {}, "callback": {}, "command": {}}


@dataclass(eq=False)
class Plugin:
    """A plugin being loaded: what it has registered so far, and its first error."""

    name: str
    distribution: str = ""
    version: str = ""
    skipped: bool = False
    error: PluginError | None = None
    brought: dict[Kind, dict[str, Any]] = field(default_factory=_nothing)
    manager: pluggy.PluginManager | None = None

    @property
    def title(self) -> str:
        """The plugin's name, with distribution and version, for messages."""
        origin = f" ({self.distribution} {self.version})" if self.distribution else ""
        return f"plugin {self.name!r}{origin}"

    @property
    def loaded(self) -> bool:
        """``True`` if what the plugin brought can be used."""
        return self.error is None and not self.skipped

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        """Mark the plugin as failed; the first reason is kept, since later ones tend to follow from it."""
        if self.error is None:
            self.error = PluginError(f"{self.title}: {reason}")
            self.error.__cause__ = cause

    @contextmanager
    def isolated(self, doing: str) -> Generator[None]:
        """Turn any exception of the plugin into its failure; ``KeyboardInterrupt`` passes through."""
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001 - even sys.exit() in a plugin must not end the host
            said = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            self.fail(f"{doing} failed: {said}", error)

    def record(self) -> PluginRecord:
        """Return the plugin's state for display."""
        status = "skipped" if self.skipped else "loaded" if self.loaded else "failed"
        problems, solvers, callbacks, commands = (
            tuple(sorted(self.brought[kind])) if self.loaded else () for kind in (*REGISTERED, "command")
        )
        return PluginRecord(
            self.name, self.distribution, self.version, status, self.error, problems, solvers, callbacks, commands
        )


def find_entry_points() -> Generator[tuple[metadata.EntryPoint, Plugin]]:
    """Yield the installed plugins, unloaded, in no particular order.

    Distributions are read one at a time, unlike in ``importlib.metadata.entry_points``, for which one corrupt
    ``entry_points.txt`` anywhere hides all others.
    """
    names: set[str] = set()
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError):
            continue  # unreadable, hence nobody's plugin
        if not re.search(rf"^\s*\[\s*{hookspecs.PROJECT}\s*\]", text, re.MULTILINE):
            continue
        try:
            name, version = str(distribution.metadata["Name"]), str(distribution.version)
            # Python imports the first of several copies on its path, so only that one counts.
            normal = re.sub(r"[-_.]+", "-", name).lower()
            if normal in names or metadata.distribution(name).read_text("entry_points.txt") != text:
                continue
            names.add(normal)
            points = distribution.entry_points.select(group=hookspecs.PROJECT)
        except Exception as error:  # noqa: BLE001 - whatever a broken distribution raises is that distribution's failure
            broken = Plugin("?", str(getattr(distribution, "_path", "")))
            broken.fail(f"its metadata cannot be read ({type(error).__name__}: {error}); reinstall it", error)
            yield metadata.EntryPoint("?", "", hookspecs.PROJECT), broken
            continue
        for point in points:
            yield point, Plugin(point.name, name, version)


def load(point: metadata.EntryPoint, plugin: Plugin) -> None:
    """Import the plugin and call its hooks; afterwards it holds what it registered, and its error if it failed."""
    with plugin.isolated(f"loading {point.value!r}"):
        module = point.load()
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(module, name=plugin.name)
        plugin.manager = manager
        _check_hooks(manager, module)
    # A plugin that fails from here on is still asked, so that the names it would have brought lead to its error.
    for kind in REGISTERED:
        call_hook(plugin, f"register_{kind}s", register=_Registrar(plugin, kind))


def call_hook(plugin: Plugin, hook: str, **arguments: Any) -> None:
    """Call one hook of one plugin in isolation."""
    if plugin.manager is None:
        return
    with plugin.isolated(hook):
        results = getattr(plugin.manager.hook, hook)(**arguments)
        if results:
            # A generator or coroutine has not even begun to register anything.
            raise PluginError(f"it returned {results[0]!r}; a hook is a plain function that returns nothing")
    for argument in arguments.values():
        if isinstance(argument, _Registrar):
            argument.closed = True


def _check_hooks(manager: pluggy.PluginManager, module: object) -> None:
    hooks = sorted(name for name in vars(hookspecs) if name.startswith("register_"))
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{error}; the hooks are {', '.join(hooks)}") from error
    implemented = {caller.name for caller in manager.get_hookcallers(module) or ()}
    for name in hooks:
        if name not in implemented and inspect.isroutine(inspect.getattr_static(module, name, None)):
            raise PluginError(f"{name} is not marked as a hook; write @hookimpl above it")
    if not implemented:
        raise PluginError(f"it implements no hook; mark at least one of {', '.join(hooks)} with @hookimpl")


@dataclass(eq=False)
class _Registrar:
    """The ``register`` that a hook receives; a refused registration fails the plugin even if the plugin catches it."""

    plugin: Plugin
    kind: Kind
    closed: bool = False

    def __call__(self, name: str, thing: Callable[..., object], /) -> None:
        if self.closed:  # what has been loaded by now, this plugin included, stays as it is
            raise PluginError(f"{self.kind} {name!r}: register is valid only while its hook runs; call it there")
        try:
            self._check(name, thing)
        except PluginError as error:
            self.plugin.fail(f"{self.kind} {name!r}: {error}", error)
            raise PluginError(f"{self.kind} {name!r}: {error}") from error

    def _check(self, name: Any, thing: Any) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError("the name is not usable; use letters, digits, '.', '_' and '-', a letter or digit first")
        if name in self.plugin.brought[self.kind]:
            raise PluginError("the plugin registered this name before; register each name once")
        self.plugin.brought[self.kind][name] = thing
        if not callable(thing):
            raise PluginError(
                f"{type(thing).__name__} cannot be called; register the class or function, not its result"
            )
        if self.kind == "problem":
            describe_options(thing)
            return
        if self.kind == "solver" and isinstance(thing, type):
            _check_solver(thing)
        describe_settings(thing)


def _check_solver(solver: type) -> None:
    parameters = getattr(solver, "__dataclass_params__", None)
    if not dataclasses.is_dataclass(solver) or not getattr(parameters, "frozen", False):
        raise PluginError(f"{solver.__name__} is not a frozen dataclass; write @dataclass(frozen=True) above it")
    missing = [part for part in ("name", "players", "init", "step") if not hasattr(solver, part)]
    if missing:
        raise PluginError(
            f"{solver.__name__} has no {' and no '.join(missing)}; "
            "a solver has name, players, init(ctx) and step(ctx, state)"
        )


def attach(plugin: Plugin, stage: typer.Typer) -> None:
    """Let the plugin add its commands to ``stage``, an empty application, and list them."""
    import typer

    callback = stage.registered_callback
    call_hook(plugin, "register_commands", cli=stage)
    with plugin.isolated("register_commands"):
        if stage.registered_callback is not callback:
            raise PluginError("it replaced the application's callback; add commands or a typer of its own instead")
        # Built here, where a command that typer cannot read is this plugin's failure and nobody else's.
        group: Any = typer.main.get_command(stage)
        plugin.brought["command"] = dict(group.commands)
