from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from minimaxopt import errors
from minimaxopt.plugins import RESTRICTION, load_callback, load_solver, plugin_host
from minimaxopt.plugins.problem import load_problem

SADDLE = '''
    from typing import Annotated
    import torch
    from minimaxopt import Game
    from minimaxopt import hookimpl
    from minimaxopt import Problem

    def saddle(pull: Annotated[float, "strength of the coupling"] = 2.0) -> Problem:
        """The quadratic saddle."""
        return Problem(Game(lambda u, v: u * u - v * v + pull * u * v, torch.tensor(1.0), torch.tensor(1.0)))

    @hookimpl
    def register_problems(register):
        register("saddle", saddle)
'''

SOLVER = '''
    from dataclasses import dataclass, field
    from typing import ClassVar
    from minimaxopt import hookimpl

    @dataclass(frozen=True)
    class Lazy:
        """Do nothing.

        Args:
            patience: how long to do it.
        """
        patience: float = 1.0
        names: list[str] = field(default_factory=lambda: ["a"])
        name: ClassVar[str] = "lazy"
        players: ClassVar[tuple[str, ...]] = ("u", "v")
        def init(self, ctx): return None
        def step(self, ctx, state): return None, {}

    @hookimpl
    def register_solvers(register):
        register("NAME", Lazy)
'''


def hooks(body: str) -> str:
    """A plugin whose hooks are ``body``."""
    return "from minimaxopt import hookimpl\n" + body


def record(name: str, distribution: str = ""):
    records = [r for r in plugin_host().records if r.name == name and r.distribution == (distribution or name)]
    assert len(records) == 1
    return records[0]


# -- a good plugin, and broken ones beside it --------------------------------------------------------------------------


def test_a_good_plugin_is_loaded_and_listed(site):
    site.install("good", SADDLE)
    good = record("good")
    assert (good.status, good.version, good.error, good.problems) == ("loaded", "1.0", None, ("saddle",))
    assert load_problem("saddle", pull=3.0).game.f(1.0, 1.0) == 3.0
    assert plugin_host() is plugin_host()


BROKEN = {
    "import fails": ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
    "syntax error": ("def oops(:", "SyntaxError"),
    "exits on import": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "hook raises": (
        hooks("@hookimpl\ndef register_problems(register):\n    raise RuntimeError('out of order')"),
        "register_problems failed: RuntimeError: out of order",
    ),
    "hook exits": (hooks("@hookimpl\ndef register_callbacks(register):\n    raise SystemExit"), "SystemExit"),
    "misspelled hook": (
        hooks("@hookimpl\ndef register_problem(register): pass"),
        "unknown hook 'register_problem'.*the hooks are register_callbacks, register_commands, register_problems",
    ),
    "wrong parameter": (hooks("@hookimpl\ndef register_problems(registry): pass"), "registry"),
    "unmarked hook": (
        hooks("@hookimpl\ndef register_solvers(register): pass\ndef register_problems(register): pass"),
        "register_problems is not marked as a hook; write @hookimpl above it",
    ),
    "no hook": ("x = 1", "it implements no hook; mark at least one"),
    "generator hook": (
        hooks("@hookimpl\ndef register_problems(register):\n    yield"),
        "a hook is a plain function that returns nothing",
    ),
    "asks for plugins while loading": (
        "from minimaxopt.plugins import plugin_host\nplugin_host()",
        "plugins are being loaded; ask for problems and solvers inside a function",
    ),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_reported_and_harms_nobody(site, source, reason):
    site.install("good", SADDLE)
    site.install("broken", source)
    broken = record("broken")
    assert broken.status == "failed"
    assert isinstance(broken.error, errors.PluginError)
    assert broken.error.args[0].startswith("plugin 'broken' (broken 1.0): ")
    with pytest.raises(errors.PluginError, match=reason):
        raise broken.error
    assert record("good").status == "loaded"
    assert load_problem("saddle").game.f(1.0, 1.0) == 2.0


def test_a_broken_plugin_keeps_its_original_exception(site):
    site.install("broken", "import no_such_module_anywhere")
    error = record("broken").error
    assert error is not None
    assert isinstance(error.__cause__, ModuleNotFoundError)


def test_an_interruption_by_the_user_is_not_swallowed(site):
    site.install("good", SADDLE)
    site.install("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugin_host()
    site.restrict("good")
    assert plugin_host().problems.keys() == {"saddle"}  # what was interrupted is not remembered


def test_corrupt_metadata_hide_no_other_plugin(site):
    site.install("good", SADDLE)
    site.install("corrupt", SADDLE)
    info = site.root / "corrupt" / "corrupt-1.0.dist-info"
    (info / "entry_points.txt").write_text("[minimaxopt]\nthis line has no equals sign\n")
    site.restrict("good", "?")
    assert {r.name: r.status for r in plugin_host().records if r.status != "skipped"} == {
        "good": "loaded",
        "?": "failed",
    }


# -- registrations -----------------------------------------------------------------------------------------------------

OPTION = "def build({}) -> object: return None\n@hookimpl\ndef register_problems(register):\n    register('p', build)"
HEAD = "from typing import Annotated\nfrom dataclasses import dataclass\nfrom minimaxopt import hookimpl\n"
CLASS = (
    "class S:\n    name = 's'; players = ('u',)\n    def init(self, ctx): ...\n    def step(self, ctx, state): ...\n"
)
REGISTER = "@hookimpl\ndef register_solvers(register):\n    register('s', S)"
BAD_REGISTRATIONS = {
    "option without type": (HEAD + OPTION.format("eta=0.1"), "option 'eta' has no type"),
    "option without help": (HEAD + OPTION.format("eta: float = 0.1"), "option 'eta' has no help text"),
    "option without default": (HEAD + OPTION.format("eta: Annotated[float, 'radius']"), "option 'eta' has no default"),
    "options not named": (HEAD + OPTION.format("**options"), r"option '\*\*options' cannot be given by name"),
    "unresolved type": (
        "from __future__ import annotations\n" + HEAD + OPTION.format("eta: Annotated[Missing, 'radius'] = 0.1"),
        "annotations cannot be read .*Missing.* outside TYPE_CHECKING",
    ),
    "not callable": (HEAD + "@hookimpl\ndef register_problems(register): register('p', 5)", "int cannot be called"),
    "no name": (HEAD + "@hookimpl\ndef register_problems(register): register('a b', dict)", "name is not usable"),
    "name of another type": (HEAD + "@hookimpl\ndef register_callbacks(register): register(3, list)", "not usable"),
    "twice": (
        HEAD + "@hookimpl\ndef register_callbacks(register):\n    for _ in 'ab': register('c', object)",
        "registered this name before",
    ),
    "swallowed by the plugin": (
        HEAD + "@hookimpl\ndef register_problems(register):\n    try: register('', dict)\n    except Exception: pass",
        "name is not usable",
    ),
    "solver not frozen": (HEAD + "@dataclass\n" + CLASS + REGISTER, "S is not a frozen dataclass"),
    "solver without step": (
        HEAD + "@dataclass(frozen=True)\n" + CLASS.replace("def step", "def stop") + REGISTER,
        "S has no step; a solver has name, players, init",
    ),
    "setting without default": (
        HEAD + "@dataclass(frozen=True)\n" + CLASS + "    rate: float\n" + REGISTER,
        "setting 'rate' has no default",
    ),
}


@pytest.mark.parametrize(("source", "reason"), BAD_REGISTRATIONS.values(), ids=BAD_REGISTRATIONS.keys())
def test_a_bad_registration_refuses_the_plugin(site, source, reason):
    site.install("bad", source)
    bad = record("bad")
    assert bad.status == "failed"
    with pytest.raises(errors.PluginError, match=reason):
        raise bad.error
    assert bad.problems == bad.solvers == bad.callbacks == ()


def test_one_bad_registration_unloads_all_that_the_plugin_brought(site):
    site.install("half", SADDLE + "\n    @hookimpl\n    def register_solvers(register): raise OSError('disk')\n")
    assert plugin_host().problems == {}
    with pytest.raises(errors.PluginError, match=r"problem 'saddle' is not available: .*OSError: disk") as raised:
        load_problem("saddle")
    assert isinstance(raised.value.__cause__.__cause__, OSError)


def test_registering_after_the_hook_has_no_effect_but_an_error(site):
    site.install("late", hooks("kept = []\n@hookimpl\ndef register_problems(register): kept.append(register)"))
    assert record("late").status == "loaded"
    with pytest.raises(errors.PluginError, match="only while its hook runs"):
        sys.modules["late"].kept[0]("p", dict)
    assert (record("late").status, plugin_host().problems) == ("loaded", {})


# -- clashes -----------------------------------------------------------------------------------------------------------


def test_two_plugins_of_one_problem_name_are_both_refused(site):
    site.install("first", SADDLE)
    site.install("second", SADDLE)
    site.install("third", SADDLE.replace('"saddle"', '"other"'))
    for name in ("first", "second"):
        with pytest.raises(errors.PluginError, match=r"'saddle' is claimed by plugin 'first' .* and plugin 'second'"):
            raise record(name).error
    assert plugin_host().problems.keys() == {"other"}
    with pytest.raises(errors.PluginError, match="claimed by plugin 'first'"):
        load_problem("saddle")
    site.restrict("second")
    assert plugin_host().problems.keys() == {"saddle"}


def test_a_chain_of_clashes_does_not_depend_on_the_order(site):
    for name, brings in (("one", "ab"), ("two", "bc"), ("three", "cd")):
        body = "@hookimpl\ndef register_callbacks(register):\n    for name in {!r}: register(name, object)"
        site.install(name, hooks(body.format(brings)))
    assert [r.status for r in plugin_host().records if r.status != "skipped"] == ["failed"] * 3


def test_two_plugins_of_one_entry_point_name_are_both_refused(site):
    site.install("dist-a", SADDLE, name="twin")
    site.install("dist-b", SADDLE.replace('"saddle"', '"other"'), name="twin")
    for distribution in ("dist-a", "dist-b"):
        with pytest.raises(
            errors.PluginError, match=r"plugin 'twin' is claimed by .*\(dist-a 1.0\) and .*\(dist-b 1.0\)"
        ):
            raise record("twin", distribution).error
    with pytest.raises(errors.PluginError, match="dist-b"):
        load_problem("other")


def test_the_name_of_a_built_in_solver_is_taken(site):
    site.install("pirate", SOLVER.replace("NAME", "sensitivity"))
    with pytest.raises(errors.PluginError, match="solver 'sensitivity' is built in"):
        raise record("pirate").error
    assert load_solver("sensitivity").gamma == 1.0


def test_plugins_are_ordered_by_name_then_distribution(site):
    for distribution, name in (("z-dist", "a"), ("b-dist", "c"), ("a-dist", "c"), ("y-dist", "b")):
        site.install(distribution, hooks("@hookimpl\ndef register_problems(register): pass"), name=name)
    listed = [(r.name, r.distribution) for r in plugin_host().records if r.status != "skipped"]
    assert listed == [("a", "z-dist"), ("b", "y-dist"), ("c", "a-dist"), ("c", "b-dist")]


# -- asking ------------------------------------------------------------------------------------------------------------


def test_an_unknown_problem_lists_the_known_and_the_failed(site):
    site.install("good", SADDLE)
    site.install("broken", "import no_such_module_anywhere")
    with pytest.raises(errors.UnknownNameError, match="there is no 'sadle'; did you mean 'saddle'") as raised:
        load_problem("sadle")
    assert "Not loaded: plugin 'broken' (broken 1.0): " in str(raised.value)
    assert isinstance(raised.value.__cause__.__cause__, ModuleNotFoundError)


def test_an_unknown_problem_names_the_plugins_left_out(site):
    site.install("good", SADDLE)
    site.restrict()
    with pytest.raises(errors.UnknownNameError, match=f"Left out by {RESTRICTION}: .*'good'"):
        load_problem("saddle")


def test_the_restriction_loads_only_what_it_names(site):
    site.install("good", SADDLE)
    site.install("broken", "import no_such_module_anywhere")
    site.restrict("good")
    assert (record("good").status, record("broken").status, record("broken").error) == ("loaded", "skipped", None)
    site.restrict()
    assert (record("good").status, plugin_host().problems) == ("skipped", {})


def test_without_a_restriction_everything_is_loaded(site, monkeypatch):
    site.install("good", SADDLE)
    site.install("other", SADDLE.replace('"saddle"', '"other"'))
    monkeypatch.delenv(RESTRICTION)
    # Only what this test installed: the plugins of the environment are tested where they live.
    places = [str(site.root / name) for name in ("good", "other")]
    monkeypatch.setattr(metadata, "distributions", lambda: metadata.Distribution.discover(path=places))
    assert [(r.name, r.status) for r in plugin_host().records] == [("good", "loaded"), ("other", "loaded")]


def test_a_restriction_to_what_is_not_installed_says_so(site):
    site.install("good", SADDLE)
    site.restrict("goood")
    with pytest.raises(errors.PluginError, match=f"{RESTRICTION} names it, .*; did you mean 'good'"):
        raise next(r.error for r in plugin_host().records if r.name == "goood")


def test_a_plugin_shadowed_on_the_path_does_not_count(site):
    site.install("good", SADDLE)
    older = site.root / "older" / "good-0.5.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: good\nVersion: 0.5\n")
    (older / "entry_points.txt").write_text("[minimaxopt]\nold = good\n")
    sys.path.append(str(older.parent))  # restored with sys.path by the fixture
    plugin_host.cache_clear()
    assert [r.name for r in plugin_host().records if r.distribution == "good"] == ["good"]


# -- solvers and callbacks ---------------------------------------------------------------------------------------------


def test_a_built_in_solver_takes_settings_and_needs_no_plugin(monkeypatch):
    monkeypatch.setattr("minimaxopt.plugins.host.plugin_host", lambda: pytest.fail("plugins were looked for"))
    assert load_solver("sensitivity", gamma=0.5).gamma == 0.5


def test_a_plugin_brings_a_solver_with_settings(site):
    site.install("lazy", SOLVER.replace("NAME", "lazy"))
    solver = load_solver("lazy", patience=2.0)
    assert (solver.patience, solver.names) == (2.0, ["a"])
    assert record("lazy").solvers == ("lazy",)
    with pytest.raises(errors.UnknownNameError, match=r"setting of solver 'lazy': .*; did you mean 'patience'"):
        load_solver("lazy", patiense=2.0)


def test_unknown_solvers_and_settings_are_refused_with_a_guess(site):
    with pytest.raises(errors.UnknownNameError, match="solver: there is no 'sensitivty'; did you mean 'sensitivity'"):
        load_solver("sensitivty")
    with pytest.raises(errors.UnknownNameError, match="'gama'; did you mean 'gamma'"):
        load_solver("sensitivity", gama=1.0)
    with pytest.raises(errors.ArgumentError, match="gamma: "):
        load_solver("sensitivity", gamma=-1.0)


def test_a_plugin_brings_a_callback(site):
    body = "def bell(sound='ding'): return sound\n@hookimpl\ndef register_callbacks(register): register('bell', bell)"
    site.install("bells", hooks(body))
    assert record("bells").callbacks == ("bell",)
    assert load_callback("bell", sound="dong") == "dong"
    with pytest.raises(errors.UnknownNameError, match="setting of callback 'bell'"):
        load_callback("bell", loud=True)
    with pytest.raises(errors.UnknownNameError, match="callback: there is no 'bel'; did you mean 'bell'"):
        load_callback("bel")


def test_importing_minimaxopt_loads_no_plugin_and_no_heavy_module(site):
    site.install("noisy", "raise SystemExit('a plugin was imported')")
    lazy = "typer", "pydantic", "matplotlib", "pandas", "rich.progress", "noisy"
    code = f"import sys, minimaxopt.plugins.problem; print([name for name in {lazy!r} if name in sys.modules])"
    environment = {"PATH": "", "PYTHONPATH": str(site.root / "noisy")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
