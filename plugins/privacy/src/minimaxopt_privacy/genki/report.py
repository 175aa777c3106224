"""The GENKI comparison as a table, a picture and verdicts: ours beside what the study published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minimaxopt_privacy.evaluation.evaluate import wilson
from minimaxopt_privacy.evaluation.tradeoff import COLOURS
from minimaxopt_privacy.genki.published import DIMENSIONS, LEAKAGE_GOAL, LINEAR_GOAL, README, STORED, UTILITY_GOAL
from minimaxopt_privacy.genki.study import ONE_SIZE, Outcome

TEST_FACES = 200


def interval(share: float) -> tuple[float, float]:
    """Return the 95% interval of a share of 200 test faces; the mean over seeds counts as one look at the same faces.

    >>> [round(end, 2) for end in interval(0.6)]
    [0.53, 0.67]
    """
    return wilson(round(share * TEST_FACES), TEST_FACES)


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """Return for each method and dimension the means over seeds, their spread, intervals and published numbers."""
    found = []
    for (method, dimension), cells in outcome.scores.items():
        useful, leakage = (np.array([cell[name] for cell in cells]) for name in ("useful", "leakage"))
        families: dict[str, list[float]] = {}
        for cell in cells:
            for score in cell["private"][0]["scores"]:
                families.setdefault(score["family"], []).append(score["value"])
        base, _, noise = method.partition("+")
        choice = outcome.choices.get((base, dimension))
        found.append(
            {
                "method": method,
                "dimension": dimension,
                "useful": float(useful.mean()),
                "useful_spread": float(useful.std(ddof=1)) if len(useful) > 1 else 0.0,
                "useful_interval": interval(float(useful.mean())),
                "leakage": float(leakage.mean()),
                "leakage_spread": float(leakage.std(ddof=1)) if len(leakage) > 1 else 0.0,
                "leakage_interval": interval(float(leakage.mean())),
                "families": {name: float(np.mean(values)) for name, values in families.items()},
                "seeds": len(cells),
                # Noise takes the settings that were chosen without it, whose scores are not its own.
                "validated": None if choice is None or noise else {"useful": choice.useful, "leakage": choice.leakage},
                "settings": {} if choice is None else dict(choice.settings),
                "published": _published(method, dimension),
                "looks": outcome.looks[method, dimension],
            }
        )
    return found


def _published(method: str, dimension: int) -> dict[str, tuple[float, float]]:
    name = method.partition("@")[0]
    told: dict[str, tuple[float, float]] = {}
    if dimension == DIMENSIONS[0] and name in README:
        told["README"] = README[name]
    if dimension in DIMENSIONS:
        at = DIMENSIONS.index(dimension)
        for stored, (smile, gender) in STORED.items():
            if stored == name or (name in ("linear", "mlp") and stored.startswith("minimax")):
                told[f"file ({stored})" if stored != name else "file"] = (smile[at], gender[at])
    return told


def markdown(outcome: Outcome) -> str:
    """Return the table and the verdicts."""
    lines = [
        "| method | d | smile | spread | gender, worst | spread | logistic | rbf-svm | random-forest | mlp | by validation "
        "| published smile / gender |",
        "|" + "---|" * 12,
    ]
    for row in rows(outcome):
        ends = [f"{row[name]:.3f} [{row[f'{name}_interval'][0]:.2f}, {row[f'{name}_interval'][1]:.2f}]" for name in
                ("useful", "leakage")]  # fmt: skip
        told = "; ".join(f"{where} {a:.3f} / {b:.3f}" for where, (a, b) in row["published"].items())
        validated = row["validated"]
        cells = [
            row["method"] + ("" if row["looks"] == 1 else f" (test faces scored with {row['looks']} settings)"),
            "any" if row["method"] in ONE_SIZE else str(row["dimension"]),
            ends[0],
            f"{row['useful_spread']:.3f}",
            ends[1],
            f"{row['leakage_spread']:.3f}",
            *(f"{row['families'][name]:.3f}" if name in row["families"] else "" for name in
              ("logistic", "rbf-svm", "random-forest", "mlp")),
            "" if validated is None else f"{validated['useful']:.3f} / {validated['leakage']:.3f}",
            told,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    protocol = outcome.protocol
    seeds = len(protocol.seeds)
    about = (
        f"Means over {seeds} seed{'s' if seeds > 1 else ''} on {TEST_FACES} test faces, with 95% intervals of the choice of "
        "faces (Wilson) and the standard deviation over seeds; gender by the worst of four fresh attackers, which errs upward. "
        "All settings by cross-validation on the training faces; its means stand in the column before the last."
    )
    if any(name.endswith(("laplace", "gaussian")) for name in protocol.methods):
        about += (
            f" Noise of ε = {protocol.epsilon:g}; after a filter it takes the settings that were chosen without it."
        )
    lines += [
        "",
        about,
        "",
        *(f"- {sentence}" for sentence in verdicts(rows(outcome))),
    ]
    return "\n".join(lines) + "\n"


def verdicts(found: list[Mapping[str, Any]] | list[dict[str, Any]]) -> list[str]:
    """Return what became of the two goals, judged by 95% intervals.

    >>> row = {"method": "mlp", "dimension": 10, "useful": 0.9, "leakage": 0.5, "leakage_interval": (0.43, 0.57)}
    >>> verdicts([{**row, "useful_interval": (0.85, 0.93)}])[0].split(":")[-1].strip()
    'reached, and below the whole range.'
    """
    told: list[str] = []
    goals = {"mlp": (UTILITY_GOAL, LEAKAGE_GOAL[0]), "linear": LINEAR_GOAL}
    for row in found:
        base = row["method"].partition("@")[0]
        if base not in goals:
            continue
        useful, leakage = goals[base]
        name = f"{row['method']}, d = {row['dimension']} (goal: smile {useful}, gender under {leakage})"
        kept = row["useful"] - useful
        linear = row.get("families", {}).get("logistic")
        if linear is not None:
            name += f"; by a softmax attacker alone, the study's, the gender is read with {linear:.3f}"
        if row["useful_interval"][1] < useful:
            told.append(f"{name}: missed, the smile by {-kept:.3f}.")
        elif row["leakage_interval"][0] > leakage:
            told.append(f"{name}: missed, the gender by {row['leakage'] - leakage:.3f}.")
        elif kept >= 0 and row["leakage_interval"][1] < leakage:
            told.append(f"{name}: reached, and below the whole range.")
        else:
            away = f"smile {kept:+.3f}, gender {row['leakage'] - leakage:+.3f}"
            told.append(f"{name}: {away} from the goal, which {TEST_FACES} faces do not tell apart.")
    return told


def plot(outcome: Outcome, path: str | Path) -> None:
    """Draw smile against gender on the test faces, a panel for each dimension, and the sweep over rho below."""
    from matplotlib.figure import Figure

    dimensions = outcome.protocol.dimensions
    figure = Figure(figsize=(max(9.0, 3.3 * len(dimensions)), 8.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    _draw_faces(above, outcome)
    _draw_sweep(below, outcome)
    figure.savefig(path, dpi=150)


def _draw_faces(figure: Any, outcome: Outcome) -> None:
    found = rows(outcome)
    dimensions = outcome.protocol.dimensions
    bases = dict.fromkeys(row["method"].partition("@")[0] for row in found)
    plain = dict.fromkeys(base.partition("+")[0] for base in bases)
    shades = dict(zip(plain, COLOURS * 3, strict=False))
    colours = {base: shades[base.partition("+")[0]] for base in bases}  # with noise the same, in another shape
    panels = np.atleast_1d(figure.subplots(1, len(dimensions), sharex=True, sharey=True))
    shown: dict[str, Any] = {}
    for dimension, axes in zip(dimensions, panels, strict=True):
        for row in found:
            if row["dimension"] != dimension and row["method"] not in ONE_SIZE:
                continue
            base, _, held = row["method"].partition("@")
            x, y = row["leakage"], row["useful"]
            ends = [
                [[mean - row[f"{name}_interval"][0]], [row[f"{name}_interval"][1] - mean]]
                for name, mean in (("useful", y), ("leakage", x))
            ]
            bars = axes.errorbar(
                [x], [y], *np.abs(ends), "D" if held else "^" if "+" in base else "o", color=colours[base], alpha=0.85,
                elinewidth=0.5,
                markersize=6, markerfacecolor="white" if held else colours[base],
            )  # fmt: skip
            shown.setdefault(f"{base}, ρ = {held}" if held else base, bars)
        if dimension == DIMENSIONS[0]:
            for name, (smile, gender) in README.items():
                axes.plot(gender, smile, "x", color=colours.get(name, "black"), markersize=9, mew=2)
            (shown["as published"],) = axes.plot([], [], "x", color="black", markersize=9, mew=2)
        axes.axvline(0.5, color="grey", linestyle=":")
        axes.set_title(f"{dimension} numbers published", fontsize=10)
        axes.set_xlabel("gender read by the worst attacker")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("smile read")
    figure.suptitle(f"{TEST_FACES} test faces, 95% intervals: up and to the left is better", fontsize=11)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=7, frameon=False, fontsize=8)


def _draw_sweep(figure: Any, outcome: Outcome) -> None:
    panels = figure.subplots(1, 2)
    shades = dict(zip(outcome.protocol.dimensions, COLOURS * 3, strict=False))
    for (method, dimension), choice in outcome.choices.items():
        if "@" in method or not any("rho" in row["settings"] for row in choice.tried):
            continue
        sweep = _sweep(choice.tried, outcome.protocol.target)
        rhos = [row["settings"]["rho"] for row in sweep]
        for axes, name in zip(panels, ("leakage", "useful"), strict=True):
            axes.plot(
                rhos, [row[name] for row in sweep], "o-" if method == "linear" else "s--", color=shades[dimension],
                label=f"{method}, d = {dimension}",
            )  # fmt: skip
    for axes, label in zip(panels, ("gender read by the worse of two attackers", "smile read"), strict=True):
        axes.set(xscale="log", xlabel="ρ, the price of utility", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].axhline(0.5, color="grey", linestyle=":")
    panels[1].axhline(outcome.protocol.target, color="grey", linestyle=":")
    figure.suptitle("Cross-validation on the training faces: the best candidate at each ρ", fontsize=11)
    if panels[0].get_legend_handles_labels()[0]:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )


def _sweep(tried: Any, target: float) -> list[Any]:
    """Return the best candidate at each rho, by the criterion by which all are chosen."""
    best = []
    for rho in sorted({row["settings"]["rho"] for row in tried}):
        mine = [row for row in tried if row["settings"]["rho"] == rho]
        able = [row for row in mine if row["useful"] >= target]
        best.append(min(able, key=lambda r: r["leakage"]) if able else max(mine, key=lambda r: r["useful"]))
    return best
