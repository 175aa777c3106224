"""The plugin host: discovery by entry points, hooks, and the problems that plugins bring.

Nothing is discovered or loaded by importing this package; the first question about plugins does it.
"""

from __future__ import annotations

from minimaxopt.plugins.hookspecs import hookimpl
from minimaxopt.plugins.host import RESTRICTION, Host, PluginRecord, load_callback, load_solver, plugin_host
from minimaxopt.plugins.options import Option, describe_options
from minimaxopt.plugins.problem import Problem, load_problem

__all__ = [
    "RESTRICTION",
    "Host",
    "Option",
    "PluginRecord",
    "Problem",
    "describe_options",
    "hookimpl",
    "load_callback",
    "load_problem",
    "load_solver",
    "plugin_host",
]
