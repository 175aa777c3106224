"""Made-up results, so that everything after the trainings is tested without one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from minimaxopt_study.paper import printed as paper
from minimaxopt_study.paper.names import ALTERNATING, LWA, MAXIMIN, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.results.gather import Cost, Results, Row

sys.path.insert(0, str(Path(__file__).parent))  # spawned workers find the toy tasks by their module's name

Make = Callable[..., Results]
NETWORK_ROWS = (NO_DEFENSE, adv(1), adv(3), MINIMAX_GRAD, MINIMAX, ALTERNATING)


def paper_row(experiment: paper.Experiment, defence: str, eta: float) -> Row:
    """A row that says what the paper says, its last round standing for round 3."""
    key, last = f"{eta:g}", experiment.last
    third_table, fourth, fifth = (paper.table(experiment.printed(kind))["eta"][key] for kind in (3, 4, 5))
    printed = defence.replace("FGSM3", last)
    third = third_table.get(printed)
    network = (fifth | fourth).get(printed)
    if third is None:
        third = {"No attack": 0.01, "FGSM1": 0.05, "FGSM2": 0.05, last: 0.05, "FGSM-curr": network["FGSM-curr"]}
    fresh = {"fresh": network["AttNet-curr"]} if network else {}
    fgsm = (third["FGSM1"], third["FGSM2"], third[last])
    return Row(third["No attack"], fgsm, third["FGSM-curr"], fresh, fresh)


def curve(end: float, *names: str) -> dict[str, list[float]]:
    return {"step": [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]} | {name: [0.9, *[end] * 5] for name in names}


@pytest.fixture
def made_up() -> Make:
    """``made_up(seeds=..., eta=..., changes={(defence, eta): Row})``: the paper's own results, but for the changes."""

    def make(
        seeds: tuple[int, ...] = (0,),
        eta: tuple[float, ...] | None = None,
        changes: Mapping[tuple[str, float], Row | None] | None = None,
        ends: tuple[float, float, float] = (0.3, 0.2, 0.1),
        images: int = 10_000,
        experiment: paper.Experiment = paper.MNIST,
    ) -> Results:
        eta = eta or (experiment.eta[1], experiment.eta[3])
        rows: dict[tuple[str, float, int], Row] = {}
        for defence in (NO_DEFENSE, adv(1), adv(2), adv(3), LWA, MINIMAX_GRAD, MINIMAX, ALTERNATING):
            for e in eta:
                row = (changes or {}).get((defence, e), paper_row(experiment, defence, e))
                if row is not None:
                    rows |= {(defence, e, seed): row for seed in seeds}
        maxima = [
            f"worst{where}{networks}" for where in ("", " over all rounds") for networks in ("", " with networks")
        ]
        columns = ("No attack", "FGSM1", "FGSM2", "FGSM3", "FGSM-curr", "AttNet-curr", *maxima)
        grey = experiment is paper.MNIST
        pixels = [
            [[v if grey else [v, -v, v / 2] for x in range(28) for v in [x / 28 - y / 28]] for y in range(28)]
            for _ in "12"
        ]
        names = ("original", "FGSM1", "FGSM3", "IFGSM1", MINIMAX, ALTERNATING, MAXIMIN)
        return Results(
            experiment=experiment,
            eta=eta,
            rounds=3,
            seeds=seeds,
            games_eta=eta[-1],
            samples_eta=eta[0],
            test_images=images,
            curve_images=images,
            rows=rows,
            costs={(row, e, c): Cost(1234, 56.0) for row, e, _ in rows for c in columns},
            grad_curves={(e, seed): curve(0.05, "clean", "FGSM-curr") for e in eta for seed in seeds},
            pair_curves={
                (name, seed, start): curve(end + 0.001 * start, "pair")
                for name, end in zip((MINIMAX, ALTERNATING, MAXIMIN), ends, strict=True)
                for seed in seeds
                for start in (0, 1)
            },
            misled={(name, seed, 0): 0.4 if name == MAXIMIN else 0.0 for name in (MINIMAX, MAXIMIN) for seed in seeds},
            panel={"labels": [3, 7], "images": dict.fromkeys(names, pixels)},
            attacked={},
            attackers={(name, e, seed): {"saturated": 0.1} for (name, e, seed) in rows if name in NETWORK_ROWS},
        )

    return make
