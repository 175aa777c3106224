"""Every idiom with every solver: equal to a loop written by hand, or refused by name before the first step."""

from __future__ import annotations

import pytest

from minimaxopt.errors import MinimaxoptError
from tests.idioms import cells
from tests.idioms.idioms import IDIOMS, Idiom

CELLS = [
    pytest.param(idiom, name, id=f"{idiom.name}-{name}")
    for idiom in IDIOMS
    for name, row in cells.ROWS.items()
    if not {name, row.family} & set(idiom.skipped)
]


@pytest.mark.parametrize(("idiom", "name"), CELLS)
def test_a_solve(idiom: Idiom, name: str) -> None:
    row = cells.ROWS[name]
    expected = idiom.refused.get(name, idiom.refused.get(row.family))
    if expected is None:
        assert cells.equals_the_loop(idiom, row) == []
    else:
        with pytest.raises(MinimaxoptError, match=expected):
            cells.played(idiom, idiom.build(), row)
