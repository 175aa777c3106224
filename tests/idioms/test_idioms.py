"""Every idiom with every solver: equal to a loop written by hand, or refused by name before the first step."""

from __future__ import annotations

import pytest

from tests.idioms.aspects import ASPECTS, with_solver
from tests.idioms.cells import ROWS
from tests.idioms.idioms import IDIOMS, Idiom


CELLS = [(idiom, name) for idiom in IDIOMS for name, row in ROWS.items() if idiom.plays(name, row.family)]


@pytest.mark.parametrize(("idiom", "name"), CELLS, ids=lambda part: getattr(part, "name", part))
def test_a_solve(idiom: Idiom, name: str) -> None:
    assert with_solver(idiom, name) == []


@pytest.mark.parametrize(
    ("idiom", "aspect"),
    [(idiom, aspect) for idiom in IDIOMS for aspect in ASPECTS if idiom.plays(aspect)],
    ids=lambda part: getattr(part, "name", part),
)
def test_an_aspect(idiom: Idiom, aspect: str) -> None:
    assert ASPECTS[aspect](idiom) == []
