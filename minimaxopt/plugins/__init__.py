"""The plugin host, and the tools that plugins share with the core.

Nothing is discovered or loaded by importing this package; the first question about plugins does it.
"""

from __future__ import annotations

from minimaxopt.execution.processes import Outcome, WorkerDiedError, WorkerPool, map_in_processes
from minimaxopt.game.devices import usable_device
from minimaxopt.plugins.checks import argument_error, check_choice, check_count, check_number, finite_number
from minimaxopt.plugins.commands import (
    DIVERGED,
    FAILED,
    INTERRUPTED,
    REFUSED,
    comma_separated,
    markdown_table,
)
from minimaxopt.plugins.hookspecs import hookimpl
from minimaxopt.plugins.host import RESTRICTION, Host, PluginRecord, load_callback, load_solver, plugin_host
from minimaxopt.plugins.options import Option, describe_options
from minimaxopt.plugins.problem import Problem, load_problem
from minimaxopt.results.environment import environment
from minimaxopt.results.result_store import ResultStore, content_key, read_json
from minimaxopt.results.storage import unwritable, write_atomically, write_json

__all__ = [
    "DIVERGED",
    "FAILED",
    "INTERRUPTED",
    "REFUSED",
    "RESTRICTION",
    "Host",
    "Option",
    "Outcome",
    "PluginRecord",
    "Problem",
    "ResultStore",
    "WorkerDiedError",
    "WorkerPool",
    "argument_error",
    "check_choice",
    "check_count",
    "check_number",
    "comma_separated",
    "content_key",
    "describe_options",
    "environment",
    "finite_number",
    "hookimpl",
    "load_callback",
    "load_problem",
    "load_solver",
    "map_in_processes",
    "markdown_table",
    "plugin_host",
    "read_json",
    "unwritable",
    "usable_device",
    "write_atomically",
    "write_json",
]
