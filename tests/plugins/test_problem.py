from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from pydantic import Field

from minimaxopt import errors
from minimaxopt.game.game import Game
from minimaxopt.plugins.options import Option, convert, describe_settings, from_text, parsed_docstring
from minimaxopt.plugins.problem import Problem, describe_options, load_problem

PLUGIN = '''
    from typing import Annotated
    import torch
    from pydantic import Field
    from minimaxopt.errors import ArgumentError
    from minimaxopt import Game
    from minimaxopt import hookimpl
    from minimaxopt import Problem

    def bowl(
        dim: Annotated[int, "dimension", Field(ge=1)] = 2,
        scales: Annotated[tuple[float, ...], "curvatures"] = (1.0,),
        eta: Annotated[float, "radius"] = 0.1,
    ) -> Problem:
        """A bowl."""
        if eta < 0:
            raise ArgumentError(f"eta: {eta} is negative; give a radius of at least 0")
        return Problem(Game(lambda u, v: (u * u - v * v).sum(), torch.ones(dim), torch.ones(dim)),
                       settings={"steps": dim, "scales": scales})

    def nothing() -> Problem:
        """Not a problem."""

    def odd(thing: Annotated[torch.Tensor, "a tensor"] = None) -> Problem:
        """An option that nobody can write."""

    @hookimpl
    def register_problems(register):
        for name, build in (("bowl", bowl), ("nothing", nothing), ("odd", odd)):
            register(name, build)
'''


def game() -> Game:
    return Game(lambda u, v: u * v, torch.tensor(1.0), torch.tensor(1.0))


def test_a_problem_has_empty_defaults_of_its_own():
    first, second = Problem(game()), Problem(game())
    assert (first.data, first.metrics, first.settings) == (None, {}, {})
    assert first.settings is not second.settings


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"game": 3}, "game: 3 is not a Game"),
        ({"metrics": [len]}, "metrics: .* is not a mapping"),
        ({"metrics": {"error": 0.5}}, r"metrics\['error'\]: 0.5 cannot be called"),
        ({"settings": "steps"}, "settings: 'steps' is not a mapping"),
    ],
)
def test_a_problem_of_wrong_parts_is_refused(arguments, reason):
    with pytest.raises(errors.ArgumentError, match=reason):
        Problem(**{"game": game(), **arguments})


def test_a_problem_of_unusable_data_is_refused():
    with pytest.raises(errors.DataError, match="data: int is neither Batches nor an iterable"):
        Problem(game(), data=3)
    assert Problem(game(), data=[1, 2]).data == [1, 2]


def test_options_are_described_from_the_signature():
    def build(eta: Annotated[float, "radius"] = 0.3, kind: Annotated[Literal["a", "b"] | None, "which"] = None): ...

    eta, kind = describe_options(build)
    assert (eta.name, eta.type_name, eta.default, eta.help) == ("eta", "float", 0.3, "radius")
    assert (kind.type_name, kind.default, kind.help) == ("'a' | 'b' | None", None, "which")
    assert describe_options(partial(build, eta=0.1))[0].default == 0.1


def test_options_are_converted_and_applied(site):
    site.install("bowls", PLUGIN)
    assert load_problem("bowl").settings == {"steps": 2, "scales": (1.0,)}
    assert load_problem("bowl", dim="3", scales=[1, "2"]).settings == {"steps": 3, "scales": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"dims": 3}, errors.UnknownNameError, "option of problem 'bowl': there is no 'dims'; did you mean 'dim'"),
        ({"zzz": 3}, errors.UnknownNameError, "Known: dim, eta, scales"),
        ({"dim": "many"}, errors.ArgumentError, "dim: 'many' does not fit: .*valid integer.*; give int, such as 2"),
        ({"dim": 2.5}, errors.ArgumentError, "dim: 2.5 does not fit"),
        ({"dim": 0}, errors.ArgumentError, "dim: 0 does not fit: .*greater than or equal to 1"),
        ({"scales": "1,x"}, errors.ArgumentError, r"scales: '1,x' does not fit: "),
        ({"eta": -1}, errors.ArgumentError, "eta: -1.0 is negative"),
    ],
)
def test_options_that_do_not_fit_are_refused(site, options, kind, reason):
    site.install("bowls", PLUGIN)
    with pytest.raises(kind, match=reason):
        load_problem("bowl", **options)


def test_a_factory_that_returns_no_problem_is_refused(site):
    site.install("bowls", PLUGIN)
    with pytest.raises(errors.PluginError, match="its factory returned NoneType; it must return a Problem"):
        load_problem("nothing")


def test_an_option_that_cannot_be_checked_is_the_plugins_error(site):
    site.install("bowls", PLUGIN)
    with pytest.raises(errors.PluginError, match="thing: values of type Tensor cannot be checked"):
        load_problem("odd", thing=3)


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (float, "0.2", 0.2),
        (float, ".5", 0.5),
        (float, "1e-3", 1e-3),
        (int, "5", 5),
        (bool, "True", True),
        (bool, "false", False),
        (str, "5", "5"),
        (str, "plain text", "plain text"),
        (float | str, "0.2", 0.2),
        (float | Literal["sigma"], "sigma", "sigma"),
        (float | None, "none", None),
        (Literal[1, 2], "2", 2),
        (Path, "some/where", Path("some/where")),
        (tuple[float, ...], "0.2,0.4", (0.2, 0.4)),
        (tuple[float, ...], "0.2", (0.2,)),
        (tuple[float, ...], "", ()),
        (list[str], "a, b", ["a", "b"]),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, float], '{"a": 1}', {"a": 1.0}),
    ],
)
def test_text_is_read_as_the_type_wants(type_, text, value):
    read = from_text(Option("x", type_, value), text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("type_", "text"),
    [(float, "wide"), (int, "2.5"), (bool, "maybe"), (Literal["a", "b"], "c"), (list[int], "1,x"), (float, "none")],
)
def test_text_that_does_not_fit_is_refused(type_, text):
    with pytest.raises(errors.ArgumentError, match=f"x: {text!r} does not fit: .*; give .*"):
        from_text(Option("x", type_, None), text)


def test_a_python_text_that_fits_stays_a_text():
    assert convert(Option("x", float | str, 0.0), "0.2") == "0.2"
    assert convert(Option("x", float, 0.0), "0.2") == 0.2


def test_constraints_are_kept():
    option = Option("rate", Annotated[float, Field(gt=0)], 1.0)
    assert convert(option, 0.5) == 0.5
    with pytest.raises(errors.ArgumentError, match=r"rate: -1.0 does not fit: .*greater than 0; give float"):
        convert(option, -1.0)


@pytest.mark.parametrize(
    ("sections", "texts"),
    [
        (
            "Args:\n    low, high: bounds,\n        in volts.\n\nSource: a book.",
            ("bounds, in volts.", "bounds, in volts."),
        ),
        ("Args:\n    low (float): the lower bound.\nSource: a book.", ("the lower bound.", "")),
        ("Parameters\n----------\nlow : float\n    the lower bound.", ("the lower bound.", "")),
        ("Args:\n    without a colon", ("", "")),
        ("", ("", "")),
    ],
)
def test_help_comes_from_the_docstring(sections, texts):
    def build(low=0.0, high=1.0):
        pass

    build.__doc__ = f"Clip.\n\nTo an interval.\n\n{sections}"
    assert tuple(option.help for option in describe_settings(partial(build))) == texts
    assert (parsed_docstring(build).description or "").startswith("Clip.\n\nTo an interval.")


def test_settings_without_types_are_described_leniently():
    def build(sound: NotImported = "ding", *, loud=False):  # noqa: F821 # pyright: ignore - the point of the test
        """Ring.

        Args:
            sound: of the bell,
                in letters.
            loud: or not.
        """

    sound, loud = describe_settings(build)
    assert (sound.default, sound.help, loud.help) == ("ding", "of the bell, in letters.", "or not.")
    assert from_text(loud, "true") is True
    assert from_text(sound, "dong") == "dong"
