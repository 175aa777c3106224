"""Plugins: found by entry point on first use, loaded one by one, and dropped whole if anything about them fails.

Nothing is found or imported by ``import minimaxopt``. Each plugin has a plugin manager of its own, so that none can
reach another, and dropping one is complete.
"""

from __future__ import annotations

import difflib
import functools
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, final

from minimaxopt.errors import PluginError, unknown_name
from minimaxopt.plugins.discovery import REGISTERED, Kind, Plugin, PluginRecord, attach, find_entry_points, load
from minimaxopt.plugins.hookspecs import PROJECT
from minimaxopt.plugins.options import check_names, describe_settings
from minimaxopt.solvers import SOLVERS

if TYPE_CHECKING:
    import typer


RESTRICTION = f"{PROJECT.upper()}_LOAD_PLUGINS"
"""Environment variable: the entry-point names to load, separated by commas; empty loads none, unset loads all."""


@final
class Host:
    """The plugins of this process, and what they registered.

    Args:
        plugins: loaded or failed; whatever two of them claim is refused to both.
    """

    def __init__(self, plugins: list[Plugin]) -> None:
        self._plugins = sorted(plugins, key=lambda plugin: (plugin.name, plugin.distribution))
        self._refuse_clashes("plugin", lambda plugin: [plugin.name])
        for kind in REGISTERED:
            self._refuse_clashes(kind, lambda plugin, kind=kind: plugin.brought[kind], taken=_built_in(kind))

    @property
    def records(self) -> tuple[PluginRecord, ...]:
        """The state of each plugin, ordered by name, then distribution."""
        return tuple(plugin.record() for plugin in self._plugins)

    @property
    def problems(self) -> dict[str, Callable[..., Any]]:
        """Name to factory."""
        return self._brought("problem")

    @property
    def solvers(self) -> dict[str, Callable[..., Any]]:
        """Name to class or factory; the plugins' own, without the built-in ones."""
        return self._brought("solver")

    @property
    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """Name to class or factory."""
        return self._brought("callback")

    def find(self, kind: Kind, name: str) -> Callable[..., Any]:
        """Return what is registered as ``name``.

        Raises:
            PluginError: a plugin that failed claimed the name; the message is its own error.
            UnknownNameError: nobody did; the message lists the known names and the plugins that might have brought it.
        """
        known = {**self._brought(kind), **_built_in(kind)}
        if name in known:
            return known[name]
        failed = [plugin for plugin in self._plugins if plugin.error is not None]
        for plugin in failed:
            if name in plugin.brought[kind]:
                raise PluginError(f"{kind} {name!r} is not available: {plugin.error}") from plugin.error
        skipped = [repr(plugin.name) for plugin in self._plugins if plugin.skipped]
        remedies = [f"Not loaded: {plugin.error}" for plugin in failed]
        if skipped:
            remedies.append(f"Left out by {RESTRICTION}: {', '.join(skipped)}")
        raise unknown_name(kind, name, known, remedy=". ".join(remedies)) from (failed[0].error if failed else None)

    def add_commands(self, cli: typer.Typer, stage: Callable[[], typer.Typer], taken: Collection[str]) -> None:
        """Add the plugins' commands to ``cli``; a plugin whose commands fail is dropped with all that it brought.

        Args:
            cli: the application.
            stage: makes an empty application, on which one plugin's commands are tried.
            taken: names of the commands that ``cli`` has already.
        """
        stages: dict[Plugin, typer.Typer] = {}
        for plugin in self._plugins:
            if plugin.loaded:
                stages[plugin] = stage()
                attach(plugin, stages[plugin])
        self._refuse_clashes("command", lambda plugin: plugin.brought["command"], taken=taken)
        for plugin, tried in stages.items():
            if plugin.loaded:
                cli.registered_commands.extend(tried.registered_commands)
                cli.registered_groups.extend(tried.registered_groups)

    def _brought(self, kind: Kind) -> dict[str, Callable[..., Any]]:
        return {
            name: thing for plugin in self._plugins if plugin.loaded for name, thing in plugin.brought[kind].items()
        }

    def _refuse_clashes(
        self, kind: str, names: Callable[[Plugin], Collection[str]], taken: Collection[str] = ()
    ) -> None:
        """Fail every plugin that claims another's name; all clashes are collected before the first fails."""
        claims: defaultdict[str, list[Plugin]] = defaultdict(list)
        for plugin in self._plugins:
            if plugin.loaded:
                for name in names(plugin):
                    claims[name].append(plugin)
        for name, owners in claims.items():
            for owner in owners:
                if name in taken:
                    owner.fail(f"{kind} {name!r} is built in; register another name")
                if len(owners) > 1:
                    remedy = "uninstall all but one" + (f" or restrict {RESTRICTION}" if kind != "plugin" else "")
                    claimants = " and ".join(other.title for other in owners)
                    owner.fail(f"{kind} {name!r} is claimed by {claimants}, and all are refused; {remedy}")


def _built_in(kind: Kind) -> dict[str, Callable[..., Any]]:
    return dict(SOLVERS) if kind == "solver" else {}


_loading = threading.local()


@functools.cache
def plugin_host() -> Host:
    """Find and load the plugins, once; later calls return the same host.

    ``MINIMAXOPT_LOAD_PLUGINS`` restricts what is loaded: entry-point names separated by commas; empty loads none.
    ``plugin_host.cache_clear()`` makes the next call look again.

    Raises:
        PluginError: a plugin asked for this while it was itself being loaded.

    Examples:
        >>> from minimaxopt.plugins import plugin_host
        >>> all(record.status in ("loaded", "failed", "skipped") for record in plugin_host().records)
        True
    """
    if getattr(_loading, "now", False):
        raise PluginError("plugins are being loaded; ask for problems and solvers inside a function, not on import")
    _loading.now = True
    try:
        return Host(_load_all())
    finally:
        _loading.now = False


def _load_all() -> list[Plugin]:
    restriction = os.environ.get(RESTRICTION)
    wanted = None if restriction is None else {name.strip() for name in restriction.split(",")} - {""}
    entries = sorted(find_entry_points(), key=lambda pair: (pair[1].name, pair[1].distribution))
    for point, plugin in entries:
        if wanted is not None and plugin.name not in wanted:
            plugin.skipped = True
        elif plugin.error is None:
            load(point, plugin)
    plugins = [plugin for _, plugin in entries]
    installed = {plugin.name for plugin in plugins}
    for name in sorted((wanted or set()) - installed):
        absent = Plugin(name)
        close = difflib.get_close_matches(name, installed, n=1)
        guess = f"did you mean {close[0]!r}?" if close else "install it, or correct the name"
        absent.fail(f"{RESTRICTION} names it, and no installed distribution provides it; {guess}")
        plugins.append(absent)
    return plugins


def load_solver(name: str, **settings: Any) -> Any:
    """Build the solver ``name``, one of minimaxopt's own or of a plugin's.

    Args:
        name: as listed by ``minimaxopt solvers``.
        settings: as listed by ``minimaxopt solvers show NAME``: the fields of its dataclass.

    Raises:
        UnknownNameError: there is no such solver, or no such setting of it.
        ArgumentError: the solver refuses a setting's value.
        PluginError: the plugin that would bring the solver failed to load.

    Examples:
        >>> from minimaxopt.plugins import load_solver
        >>> load_solver("sensitivity", gamma=0.5).gamma
        0.5
    """
    # No plugin needs to be found for a solver of our own.
    return _build("solver", name, SOLVERS[name] if name in SOLVERS else plugin_host().find("solver", name), settings)


def load_callback(name: str, **settings: Any) -> Any:
    """Build the callback that a plugin registered as ``name``, for ``solve(callbacks=[...])``.

    Args:
        name: as listed by ``minimaxopt plugins``.
        settings: the parameters of its factory.

    Raises:
        UnknownNameError: there is no such callback, or no such setting of it.
        PluginError: the plugin that would bring the callback failed to load.
    """
    return _build("callback", name, plugin_host().find("callback", name), settings)


def _build(kind: Kind, name: str, build: Callable[..., Any], settings: dict[str, Any]) -> Any:
    check_names(f"setting of {kind} {name!r}", settings, describe_settings(build))
    return build(**settings)
