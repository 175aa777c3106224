"""Write ``modules.md``, the page on what works with which modules, from the table in ``tests/idioms``.

``python docs/modules.py`` tries every cell first, which takes some minutes, and writes the page only if each is as
declared; ``--declared`` writes it without. ``tests/idioms`` tries the cells in every run of the tests, and fails when the
page is not that of the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.idioms.aspects import ASPECTS, wrong_cells  # noqa: E402 - the tests are no installed package
from tests.idioms.cells import EXACT, ROWS  # noqa: E402
from tests.idioms.idioms import IDIOMS, INPLACE, Idiom  # noqa: E402

PAGE = ROOT / "docs" / "modules.md"

_COLUMNS = {
    "first order": ("first",),
    "second order": ("second",),
    "`KBeam(vectorise=True)`": ("vectorised",),
    "`certify`": ("certify",),
    "save, load": ("save and load", "first"),
    "resume": ("resume", "first"),
    "roll-back": ("roll-back", "first"),
    "`inplace=True`": ("in place",),
}

_TEXT = """\
# Modules: what works, and what is refused

People write modules in many ways: with frozen layers, ties, hooks, closures, counters, checkpointed activations. This
is the table of those ways against every solver, `certify`, saved solutions, resumed and rolled-back runs. A cell is

- **right**: after two to four steps every parameter, buffer and plain attribute is that of a loop written by hand in
  plain PyTorch, to {exact} in double precision; ties still tie, and the modules that were given are untouched;
- **refused**: an error says so before the first step, naming the tensor or the operation and what to do instead;
- **–**: says nothing about the idiom.

There is no other kind of cell. {cells} cells of {idioms} idioms with {solvers} settings of solvers are tried in every run
of the tests (`tests/idioms`), where the idioms, the loops and the errors can be read.

A hand-written loop is matched under the library's conventions: every evaluation of a step begins with the buffers,
frozen parameters and attributes with which the step opened, and those that the leader's last evaluation leaves are
kept, once a step. A parameter's gradient is what its hooks make of it.

{table}

## Where a copy would not do

`solve` plays on copies and leaves the game's modules as they are. A function that was made for the original, such as
`self.prior = lambda: self.a**2` in a constructor or a wrapped `forward`, would go on reading the original, whose values
never move. It is refused by name, and two remedies are open: let it take `self` as an argument, or play on the modules
themselves, as a loop of one's own does:

```python
import torch
from torch import nn
from minimaxopt import Game, solve


class Penalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))
        self.prior = lambda: self.a**2


game = Game(lambda u, v: u.prior() + u.a * v - v**2, Penalised(), torch.zeros(()))
solution = solve(game, "alternating-gda", steps=100, inplace=True)
print(solution.u is game.u)
```

```text
True
```
"""


def cell(idiom: Idiom, families: tuple[str, ...]) -> str:
    """Return what the table says of an idiom in a column."""
    if not idiom.plays(families[0]):
        return "–"
    if families == ("in place",):
        return "refused" if idiom.refusal_in_place("alternating-gda", "first") else "right"
    return "refused" if idiom.refusal(*families) else "right"


def note(idiom: Idiom) -> str:
    """Return the reason of a refusal, the remedy, and what was not tried."""
    notes = [idiom.why] if idiom.why else []
    if any(INPLACE in names for names in idiom.refused.values()):
        notes.append("play with `inplace=True`")
    if "vectorised" in idiom.refused and "first" not in idiom.refused:
        notes.append("`torch.vmap` cannot follow, so not with `KBeam(vectorise=True)`")
    solvers = [name for name in idiom.skipped if name in ROWS]
    if solvers:
        notes.append(f"not tried with {', '.join(solvers)}")
    return "; ".join(notes)


def number_of_cells() -> int:
    """Return how many cells say something."""
    solvers = sum(idiom.plays(name, row.family) for idiom in IDIOMS for name, row in ROWS.items())
    return solvers + sum(idiom.plays(aspect) for idiom in IDIOMS for aspect in ASPECTS)


def page() -> str:
    """Return the page."""
    head = ["idiom", *_COLUMNS, "why, and what to do"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for idiom in IDIOMS:
        row = [idiom.name, *(cell(idiom, families) for families in _COLUMNS.values()), note(idiom)]
        lines.append(f"| {' | '.join(row)} |")
    return _TEXT.format(
        exact=f"{EXACT:.0e}",
        cells=number_of_cells(),
        idioms=len(IDIOMS),
        solvers=len(ROWS),
        table="\n".join(lines),
    )


def declared_wrongly() -> Iterator[str]:
    """Try every cell; yield what is not as declared."""
    for idiom in IDIOMS:
        for family in dict.fromkeys(row.family for row in ROWS.values()):
            for name, difference in wrong_cells(idiom, family).items():
                yield f"{idiom.name}, {name}: {difference}"
        for aspect, check in ASPECTS.items():
            try:
                differences = check(idiom) if idiom.plays(aspect) else []
            except Exception as error:  # noqa: BLE001 - a foreign error is a wrong cell
                differences = [f"{type(error).__name__}: {error}"]
            yield from (f"{idiom.name}, {aspect}: {difference}" for difference in differences[:1])


if __name__ == "__main__":
    wrong = [] if "--declared" in sys.argv[1:] else list(declared_wrongly())
    if wrong:
        sys.exit("\n".join([*wrong, f"{len(wrong)} cells are not as declared; the page is left as it was."]))
    PAGE.write_text(page())
