"""The five tables of a data set in the paper's form, as pure functions of the results.

The paper prints them as Tables 1-5 for MNIST and as Tables 6-10 for CIFAR-10; here both are called by their kind, 1-5.
Rows are defences, columns are attacks, all numbers are test errors. The last round R of this study stands where the
paper has its own last, round 80 or 40.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import ALTERNATING, KINDS_OF_TABLE, LWA, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv

if TYPE_CHECKING:
    from minimaxopt_study.results.gather import Results, Row

WORST, WORST_OF_ALL = "worst", "worst over all rounds"
BEYOND = "AttNet-tuned"  # a column of our own


@dataclass(frozen=True)
class Cell:
    """One number of a table: its value from each seed, and the paper's.

    Examples:
        >>> Cell({0: 0.5, 1: 0.7}, 0.6).as_json()["mean"]
        0.6
    """

    by_seed: Mapping[int, float]
    paper: float | None

    def as_json(self) -> dict[str, float | int | None]:
        """Return mean, sample standard deviation (None for one seed), number of seeds, the paper's number."""
        values = list(self.by_seed.values())
        return {
            "mean": round(fmean(values), 6) if values else None,
            "std": round(stdev(values), 6) if len(values) > 1 else None,
            "n": len(values),
            "paper": self.paper,
        }


def build(results: Results) -> dict[int, dict[str, Any]]:
    """Return all five tables by their kind, with a ``Cell`` for each number."""
    return {number: _TABLES[number](results) for number in KINDS_OF_TABLE}


def as_json(table: Any) -> Any:
    """Return a table with its cells written out, ready for JSON."""
    if isinstance(table, Cell):
        return table.as_json()
    if isinstance(table, Mapping):
        return {key: as_json(value) for key, value in table.items()}
    return table


def cells(table: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Cell]]:
    """Yield every cell of a table with the keys that lead to it."""
    if isinstance(table, Cell):
        yield path, table
    elif isinstance(table, Mapping):
        for key, value in table.items():
            yield from cells(value, (*path, key))


def _table1(results: Results) -> dict[str, Any]:
    table = paper.table(results.experiment.printed(1))
    printed = table["values"]
    table["values"] = {
        # The undefended classifier knows no eta: any of the rows that evaluate it has its clean error.
        "clean": _cell(results, NO_DEFENSE, results.eta[0], lambda row: row.clean, printed["clean"]),
        "FGSM": {
            f"{eta:g}": _cell(results, NO_DEFENSE, eta, lambda row: row.fgsm_curr, printed["FGSM"].get(f"{eta:g}"))
            for eta in results.eta
        },
    }
    return table


def _table2(results: Results) -> dict[str, Any]:
    table = paper.table(results.experiment.printed(2))
    printed = table["values"]["FGSM"]
    table["values"]["FGSM"] = {
        f"{eta:g}": _cell(results, adv(1), eta, lambda row: row.fgsm[0], printed.get(f"{eta:g}")) for eta in results.eta
    }
    # The paper prints n/a: there is one classifier for each eta, so no one clean error. Ours stand beside it.
    table["clean by eta"] = {
        f"{eta:g}": _cell(results, adv(1), eta, lambda row: row.clean, None) for eta in results.eta
    }
    table["here"] = [
        "Adv train is the classifier Adv FGSM1, attacked by the FGSM1 that it was trained on; the clean column is n/a "
        "in the paper, since each eta has a classifier of its own: their clean errors are under 'clean by eta'"
    ]
    return table


def _table3(results: Results) -> dict[str, Any]:
    last = results.rounds
    columns: dict[str, Callable[[Row], float | None]] = {
        "No attack": lambda row: row.clean,
        "FGSM1": lambda row: row.fgsm[0],
        "FGSM2": lambda row: row.fgsm[1],
        f"FGSM{last}": lambda row: row.fgsm[last - 1],
        "FGSM-curr": lambda row: row.fgsm_curr,
        WORST: lambda row: max(row.fgsm[0], row.fgsm[1], row.fgsm[last - 1], row.fgsm_curr),
        WORST_OF_ALL: lambda row: max(*row.fgsm, row.fgsm_curr),
    }
    table = _by_eta(results, 3, (NO_DEFENSE, adv(1), adv(2), adv(last), LWA, MINIMAX_GRAD), columns)
    table["title"] = f"defences x FGSM attacks, {last} rounds"
    return table


def _table4(results: Results) -> dict[str, Any]:
    return _by_eta(results, 4, (NO_DEFENSE, adv(1), adv(results.rounds), MINIMAX_GRAD), _network_columns(results))


def _table5(results: Results) -> dict[str, Any]:
    return _by_eta(results, 5, (MINIMAX, ALTERNATING, MINIMAX_GRAD), _network_columns(results))


_TABLES: dict[int, Callable[[Results], dict[str, Any]]] = {1: _table1, 2: _table2, 3: _table3, 4: _table4, 5: _table5}


def _larger(row: Row, *more: float) -> float | None:
    return None if row.attnet_curr is None else max(row.fgsm_curr, row.attnet_curr, *more)


def _network_columns(results: Results) -> dict[str, Callable[[Row], float | None]]:
    columns: dict[str, Callable[[Row], float | None]] = {
        "FGSM-curr": lambda row: row.fgsm_curr,
        "AttNet-curr": lambda row: row.attnet_curr,
        WORST: lambda row: _larger(row),
    }
    if any(row.attnet_tuned is not None for row in results.rows.values()):
        columns[BEYOND] = lambda row: row.attnet_tuned
    columns[WORST_OF_ALL] = lambda row: _larger(row, *row.fgsm, row.attnet_tuned or 0.0)
    return columns


def _by_eta(results: Results, kind: int, rows: tuple[str, ...],
            columns: Mapping[str, Callable[[Row], float | None]]) -> dict[str, Any]:  # fmt: skip
    table = paper.table(results.experiment.printed(kind))
    printed = table["eta"]
    last, of_paper = results.rounds, results.experiment.rounds
    table["eta"] = {
        f"{eta:g}": {
            row: {
                column: _cell(
                    results, row, eta, value,
                    printed.get(f"{eta:g}", {}).get(_printed(results, row), {}).get(_printed(results, column)),
                )
                for column, value in columns.items()
            }
            for row in rows
        }
        for eta in results.eta
    }  # fmt: skip
    table["here"] = [f"{WORST_OF_ALL!r} also takes in FGSM1 to FGSM{last} where they are not printed; not in the paper"]
    if last != of_paper:
        table["here"].append(f"round {last} is this study's last: it stands beside the paper's round {of_paper}")
    if BEYOND in columns:
        table["here"].append(
            f"{BEYOND!r} is a further attack network with settings of its own, beyond the paper: {WORST!r} leaves it "
            f"out, {WORST_OF_ALL!r} takes it in"
        )
    if kind > 3:
        table["attack networks"] = _networks(results, rows)
    return table


def _networks(results: Results, rows: tuple[str, ...]) -> dict[str, Any]:
    """Return both candidates for AttNet-curr and which was chosen, for each eta, row and seed."""
    return {
        f"{eta:g}": {
            row: {
                str(seed): {
                    "chosen on training images": errors.chosen,
                    "training error": dict(errors.attnet_train),
                    "test error": dict(errors.attnet),
                }
                for seed in results.seeds
                if (errors := results.rows.get((row, eta, seed))) is not None
            }
            for row in rows
        }
        for eta in results.eta
    }


def _printed(results: Results, name: str) -> str:
    """Return the paper's name of a row or column."""
    last = f"FGSM{results.rounds}"
    return name.removesuffix(last) + results.experiment.last if name.endswith(last) else name


def _cell(results: Results, row: str, eta: float, value: Callable[[Row], float | None],
          printed: float | None) -> Cell:  # fmt: skip
    by_seed: dict[int, float] = {}
    for seed in results.seeds:
        errors = results.rows.get((row, eta, seed))
        number = value(errors) if errors is not None else None
        if number is not None:
            by_seed[seed] = number
    return Cell(by_seed, printed)
