"""Ablations: how much the settings matter that the paper leaves open, or that a small study changes.

Each choice is one change of a profile's settings, everything else as it is. A variant is run with the same seeds into
the same store, so that only what depends on the changed setting is computed, and is compared with the base seed by
seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from minimaxopt.errors import ArgumentError
from minimaxopt.plugins import comma_separated, markdown_table, write_atomically, write_json
from minimaxopt_study.commands.run import run_study
from minimaxopt_study.formatting import DASH
from minimaxopt_study.paper.names import ALTERNATING, MINIMAX, MINIMAX_GRAD, NO_DEFENSE, adv
from minimaxopt_study.plan.selection import choices as choices_on
from minimaxopt_study.profiles.profile import Profile, parse_profile
from minimaxopt_study.results import tables
from minimaxopt_study.results.gather import gather
from minimaxopt_study.study import open_study

if TYPE_CHECKING:
    from pathlib import Path

    from minimaxopt_study.results.gather import Results
    from minimaxopt_study.runner.scheduler import Reporter

BASE = "base"


@dataclass(frozen=True)
class Choice:
    """One change of a profile.

    Args:
        name: short name.
        says: what is changed, from what to what.
        changes: dotted names of settings to their values.
    """

    name: str
    says: str
    changes: Mapping[str, Any]

    def applied(self, profile: Profile) -> Profile:
        """Return the profile with this change."""
        settings = profile.model_dump(mode="json")
        for dotted, value in self.changes.items():
            *sections, last = dotted.split(".")
            place = settings
            for section in sections:
                place = place[section]
            place[last] = value
        return parse_profile(settings)


CHOICES: tuple[Choice, ...] = (
    Choice("initialisation", "PyTorch's default instead of the cited tutorial's", {"classifier.init": "torch"}),
    Choice("eta reading", "eta in the unit of pixels in [0, 1], twice as far", {"eta_reading": "unit interval"}),
    Choice("cold rounds", "the rounds, LWA and Minimax-Grad start at random",
           {f"{section}.warm_start": False for section in ("adversarial_round", "lwa", "minimax_grad")}),
    Choice("warm games", "the games with attack networks start from the undefended classifier",
           {f"{section}.warm_start": True for section in ("minimax_attnet", "alt_attnet", "maximin_attnet")}),
    Choice("gamma 0", "Alg. 1 without its penalty", {"minimax_attnet.gamma": 0.0, "maximin_attnet.gamma": 0.0}),
    Choice("gamma 10", "Alg. 1 with ten times the printed penalty",
           {"minimax_attnet.gamma": 10.0, "maximin_attnet.gamma": 10.0}),
    Choice("gamma of Eq. 8 x 10", "Minimax-Grad with ten times Eq. 8's gamma", {"minimax_grad.gamma_scale": 10.0}),
    Choice("printed dropout", "the attack network's dropout of 0.5, as printed", {"attacker.dropout": 0.5}),
    Choice("attack loss", "fresh attack networks raise the cross-entropy, as in training",
           {"attack.loss": "cross-entropy"}),
)  # fmt: skip


def named(text: str) -> tuple[Choice, ...]:
    """Return the choices in a comma-separated list.

    Raises:
        ArgumentError: there is none of a name.

    Examples:
        >>> [choice.name for choice in named("gamma 0, cold rounds")]
        ['cold rounds', 'gamma 0']
    """
    wanted = set(comma_separated(text))
    known = [choice.name for choice in CHOICES]
    unknown = sorted(wanted - set(known))
    if unknown or not wanted:
        fault = f"there is no {unknown[0]!r}" if unknown else f"{text!r} names nothing"
        raise ArgumentError(f"only: {fault}; choose among {', '.join(known)}, with commas between")
    return tuple(choice for choice in CHOICES if choice.name in wanted)


@dataclass(frozen=True)
class ComparedCell:
    """A cell of the tables whose error is compared."""

    kind: int
    row: str
    column: str

    @property
    def name(self) -> str:
        """Row and column, as headings show them."""
        return f"{self.row}, {self.column}"


def compared_cells(profile: Profile) -> tuple[ComparedCell, ...]:
    """Return the cells that are compared."""
    return (
        ComparedCell(3, NO_DEFENSE, "No attack"),
        ComparedCell(3, NO_DEFENSE, "FGSM-curr"),
        ComparedCell(4, NO_DEFENSE, "AttNet-curr"),
        ComparedCell(3, adv(profile.rounds), "FGSM-curr"),
        ComparedCell(3, MINIMAX_GRAD, "worst"),
        ComparedCell(5, MINIMAX, "worst"),
        ComparedCell(5, ALTERNATING, "worst"),
    )


@dataclass(frozen=True)
class Effect:
    """The effect of a choice on one cell at one eta.

    Args:
        choice, quantity, eta: of what.
        base, changed: mean over seeds without and with the change.
        difference: its mean over seeds, each seed with itself.
        standard_error: of that mean; None below two seeds.
        seeds: how many.
    """

    choice: str
    quantity: str
    eta: float
    base: float
    changed: float
    difference: float
    standard_error: float | None
    seeds: int

    @property
    def matters(self) -> bool:
        """True if the difference is more than two standard errors."""
        return self.standard_error is not None and abs(self.difference) > 2 * self.standard_error


def measure(profile: Profile, folder: Path, reporter: Reporter, *, chosen: Sequence[Choice] = CHOICES,
            **options: Any) -> list[Effect]:  # fmt: skip
    """Run the base and every variant in one folder, and write ``choices.json`` and ``choices.md`` there.

    Args:
        profile: the base.
        folder: folder of the studies; stored results are used again.
        reporter: receives the progress of each run.
        chosen: which choices.
        options: as of ``run_study``: workers, data_dir, and so on.
    """
    profile = profile.model_copy(update={"modern": None})  # which the quantities do not look at
    variants = {BASE: profile} | {choice.name: choice.applied(profile) for choice in chosen}
    only = [name for name in choices_on(profile.experiment) if name.startswith("table")]
    results: dict[str, Results] = {}
    for name, variant in variants.items():
        if name != BASE:
            reporter.note(f"choice: {name}")
        run_study(variant, folder, reporter, only=only, **options)
        study = open_study(folder)
        results[name] = gather(study.plan, study.store, variant)
    effects = [
        effect for name in list(variants)[1:] for effect in _effects(profile, name, results[BASE], results[name])
    ]
    write_json(folder / "choices.json", _as_json(profile, folder, chosen, effects))
    write_atomically(folder / "choices.md", markdown(profile, chosen, effects).encode())
    return effects


def _effects(profile: Profile, name: str, base: Results, changed: Results) -> Iterator[Effect]:
    built = [tables.build(results) for results in (base, changed)]
    for eta in profile.eta:
        for quantity in compared_cells(profile):
            without, changed_by_seed = (
                table[quantity.kind]["eta"][f"{eta:g}"][quantity.row][quantity.column].by_seed for table in built
            )
            both = sorted(without.keys() & changed_by_seed.keys())
            if not both:
                continue
            differences = [changed_by_seed[seed] - without[seed] for seed in both]
            error = stdev(differences) / sqrt(len(both)) if len(both) > 1 else None
            before, after = (fmean(values[seed] for seed in both) for values in (without, changed_by_seed))
            yield Effect(name, quantity.name, eta, before, after, fmean(differences), error, len(both))


def _as_json(profile: Profile, folder: Path, chosen: Sequence[Choice], effects: Sequence[Effect]) -> dict[str, Any]:
    study = open_study(folder)
    return {
        "profile": profile.name,
        "seeds": list(profile.seeds),
        "data": study.data,
        "versions": {str(seed): dict(versions) for seed, versions in study.versions.items()},
        "choices": {choice.name: {"says": choice.says, "changes": dict(choice.changes)} for choice in chosen},
        "effects": [
            {
                "choice": effect.choice, "quantity": effect.quantity, "eta": effect.eta, "base": round(effect.base, 6),
                "changed": round(effect.changed, 6), "difference": round(effect.difference, 6),
                "standard error": None if effect.standard_error is None else round(effect.standard_error, 6),
                "seeds": effect.seeds,
            }
            for effect in effects
        ],
    }  # fmt: skip


def markdown(profile: Profile, chosen: Sequence[Choice], effects: Sequence[Effect]) -> str:
    """Return the effects as Markdown: a table for each eta, a row for each choice."""
    names = [quantity.name for quantity in compared_cells(profile)]
    seeds = len(profile.seeds)
    lines = [
        f"# How much the choices matter: {profile.experiment.title}, profile {profile.name}", "",
        f"Test errors, mean over {seeds} {'seed' if seeds == 1 else 'seeds'}: the base, then what each change adds, "
        "seed by seed, with the standard error of that mean over seeds. Bold: more than two standard errors. Other "
        "training runs differ, and with many cells some exceed two standard errors by chance.", "",
    ]  # fmt: skip
    for eta in profile.eta:
        at = {(effect.choice, effect.quantity): effect for effect in effects if effect.eta == eta}
        bases = [next((effect.base for (_, name), effect in at.items() if name == wanted), None) for wanted in names]
        rows = [("base", *(DASH if base is None else f"{base:.3f}" for base in bases))]
        for choice in chosen:
            cells = (_cell(at.get((choice.name, name))) for name in names)
            rows.append((f"{choice.name}: {choice.says}", *cells))
        lines += [f"## η = {eta:g}", "", markdown_table(("choice", *names), rows), ""]
    return "\n".join(lines)


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return DASH
    text = f"{effect.difference:+.3f}" + (
        f" ({effect.standard_error:.3f})" if effect.standard_error is not None else ""
    )
    return f"**{text}**" if effect.matters else text
