"""The public surface: small, explicit, documented."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

import minimaxopt
from minimaxopt import calculus
from minimaxopt.solvers import SOLVERS

PUBLIC = [name for name in minimaxopt.__all__ if name not in ("__version__", "hookimpl")]


def lacks(document: str | None, parts: tuple[str, ...]) -> list[str]:
    return [part for part in parts if part not in (document or "")]


def test_the_surface_is_explicit_and_small() -> None:
    assert len(minimaxopt.__all__) == len(set(minimaxopt.__all__))
    solvers = {solver.__name__ for solver in SOLVERS.values()}
    assert solvers <= set(minimaxopt.__all__)
    assert len(set(minimaxopt.__all__) - solvers) <= 35
    for name in minimaxopt.__all__:
        assert hasattr(minimaxopt, name)


@pytest.mark.parametrize("name", [n for n in PUBLIC if n != "Status"])
def test_public_names_have_a_sentence_and_an_example(name: str) -> None:
    document = inspect.getdoc(getattr(minimaxopt, name))
    assert document
    assert document.splitlines()[0].endswith((".", ":"))
    assert lacks(document, ("Example",)) == []


FUNCTIONS_OF_CALCULUS = [name for name in calculus.__all__ if name not in ("Point", "Tensors")]


@pytest.mark.parametrize("name", FUNCTIONS_OF_CALCULUS)
def test_names_of_calculus_are_documented(name: str) -> None:
    thing = getattr(calculus, name)
    document = inspect.getdoc(thing)
    assert document
    assert document.splitlines()[0].endswith(".")
    if not (isinstance(thing, type) and issubclass(thing, tuple)):
        assert lacks(document, ("Example", "Source: ")) == []


# The next value of a player: an arrow, or an equation of iterates.
UPDATE = re.compile(r"``[^`]*(<- |[uvxw]_(i|\{i\+1\}) = )[^`]*``")


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_solvers_state_their_update_equation_and_source(name: str) -> None:
    solver = SOLVERS[name]
    assert lacks(solver.__doc__, ("Source: ", ">>> ")) == []
    assert UPDATE.search(solver.__doc__)
    settings = [field.name for field in dataclasses.fields(solver)]
    assert [s for s in settings if f"        {s}: " not in solver.__doc__] == []
    assert dataclasses.is_dataclass(solver)
    assert solver.__dataclass_params__.frozen


def test_what_lacks_documentation_is_found() -> None:
    assert lacks("A sentence.", ("Example", "Source: ")) == ["Example", "Source: "]
    assert lacks(None, ("Example",)) == ["Example"]
    assert UPDATE.search("It descends ``f = u v`` until the end.") is None
