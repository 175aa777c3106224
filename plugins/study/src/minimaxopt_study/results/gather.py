"""The results of a study so far, gathered from its store for tables, figures and claims."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum
from typing import TYPE_CHECKING, Any

from minimaxopt_adversarial import EtaSweep, MaskingFlag, RobustnessEvaluation, masking_flags
from minimaxopt_study.paper.names import CO_TRAINED, FRESH, TUNED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimaxopt.plugins import ResultStore
    from minimaxopt_study.paper.printed import Experiment
    from minimaxopt_study.plan.plan import Plan
    from minimaxopt_study.profiles.profile import Profile


@dataclass(frozen=True)
class Row:
    """The errors of one classifier: of one defence, at one eta, from one seed.

    Args:
        clean: error on the untouched test images.
        fgsm: errors under FGSM1, FGSM2, ..., made against the classifiers of the rounds.
        fgsm_curr: error under FGSM made against this classifier itself.
        attnet: test errors under its attack networks, by "fresh", "co-trained" and "tuned".
        attnet_train: the same on training images.

    Examples:
        >>> row = Row(0.03, (0.9, 0.2), 0.9, {"fresh": 0.5, "co-trained": 0.6}, {"fresh": 0.55, "co-trained": 0.52})
        >>> row.chosen, row.attnet_curr
        ('fresh', 0.5)
    """

    clean: float
    fgsm: tuple[float, ...]
    fgsm_curr: float
    attnet: Mapping[str, float]
    attnet_train: Mapping[str, float]

    @property
    def chosen(self) -> str | None:
        """The attack network that errs most on training images: choosing on test images would be biased upward."""
        errors = {name: error for name, error in self.attnet_train.items() if name != TUNED}
        return max(errors, key=lambda name: errors[name]) if errors else None

    @property
    def attnet_curr(self) -> float | None:
        """Test error under the chosen attack network."""
        return self.attnet[self.chosen] if self.chosen is not None else None

    @property
    def attnet_tuned(self) -> float | None:
        """Test error under the tuned attack network, where the profile has one."""
        return self.attnet.get(TUNED)


@dataclass(frozen=True)
class Cost:
    """Optimizer steps and seconds behind a number: all trainings that it rests on, and its own evaluation."""

    steps: int
    seconds: float


@dataclass(frozen=True)
class Attacked:
    """One classifier under modern attacks: of one defence, at one eta, from one seed."""

    evaluation: RobustnessEvaluation
    flags: tuple[MaskingFlag, ...]


@dataclass(frozen=True)
class Results:
    """All results of a study.

    Args:
        experiment: the paper's experiments on the same data set.
        eta, rounds, seeds, games_eta, samples_eta: as in the profile.
        test_images: images on which errors were counted.
        curve_images: images on which the errors along the trainings were counted.
        rows: (defence, eta, seed) to its errors; a missing one has not been computed.
        costs: (defence, eta, column) to its cost, summed over seeds.
        grad_curves: (eta, seed) to the columns of Minimax-Grad's training: "step", "clean", "FGSM-curr".
        pair_curves: (defence, seed, start) to the columns of a game: "step", "pair".
        misled: (defence, seed, start) to the share of images that the game's classifier puts into a wrong class because
            its attack network was told that class.
        panel: Figure 3's samples: images by attack, and labels.
        attackers: (defence, eta, seed) to what is known of the fresh attack network's training.
        attacked: (defence, eta, seed) to the results of modern attacks.
    """

    experiment: Experiment
    eta: tuple[float, ...]
    rounds: int
    seeds: tuple[int, ...]
    games_eta: float
    samples_eta: float
    test_images: int
    curve_images: int
    rows: Mapping[tuple[str, float, int], Row]
    costs: Mapping[tuple[str, float, str], Cost]
    grad_curves: Mapping[tuple[float, int], Mapping[str, list[float]]]
    pair_curves: Mapping[tuple[str, int, int], Mapping[str, list[float]]]
    misled: Mapping[tuple[str, int, int], float]
    panel: Mapping[str, Any] | None
    attackers: Mapping[tuple[str, float, int], Mapping[str, float]]
    attacked: Mapping[tuple[str, float, int], Attacked]


def gather(plan: Plan, store: ResultStore, profile: Profile) -> Results:
    """Gather the results that are stored so far."""
    done = {task.key: store.result(task.key) for task in plan.graph if task.key in store}
    evaluations = {place: done[key]["values"] for place, key in plan.evaluations.items() if key in done}
    rows = {place: _row(values) for place, values in evaluations.items()}
    attackers = {
        place: done[dict(plan.graph[key].parents)[FRESH]]["values"]
        for place, key in plan.evaluations.items()
        if key in done and dict(plan.graph[key].parents).get(FRESH) in done
    }
    panel_key = next(iter(plan.panels.values()), None)
    return Results(
        experiment=profile.experiment,
        eta=profile.eta,
        rounds=profile.rounds,
        seeds=profile.seeds,
        games_eta=profile.games_eta,
        samples_eta=profile.samples_eta,
        test_images=max((int(values["images"]) for values in evaluations.values()), default=0),
        curve_images=max(
            (done[key]["values"]["curve digits"] for key in plan.attnet_runs.values() if key in done), default=0
        ),
        rows=rows,
        costs=_costs(plan, done),
        grad_curves={at: done[key]["values"]["curve"] for at, key in plan.grad_runs.items() if key in done},
        pair_curves={at: done[key]["values"]["curve"] for at, key in plan.attnet_runs.items() if key in done},
        misled={at: done[key]["values"]["misled"] for at, key in plan.attnet_runs.items() if key in done},
        panel=done[panel_key]["values"] if panel_key in done else None,
        attackers=attackers,
        attacked=_attacked(plan, done),
    )


def _attacked(plan: Plan, done: Mapping[str, Any]) -> dict[tuple[str, float, int], Attacked]:
    """Return the stored results of modern attacks, with the flags that follow from them."""
    attacked: dict[tuple[str, float, int], Attacked] = {}
    for place, key in plan.strong.items():
        if key not in done:
            continue
        values = done[key]["values"]
        evaluation = RobustnessEvaluation.from_dict(values["evaluation"])
        auto = plan.autoattacks.get(place)
        if auto is not None and auto in done:
            auto_evaluation = RobustnessEvaluation.from_dict(done[auto]["values"]["evaluation"])
            evaluation = replace(
                evaluation,
                autoattack=auto_evaluation.autoattack,
                settings=evaluation.settings | auto_evaluation.settings,
            )
        attacked[place] = Attacked(evaluation, masking_flags([evaluation], sweep=EtaSweep.from_dict(values["sweep"])))
    return attacked


def _row(values: Mapping[str, Any]) -> Row:
    errors = values["errors"]
    fgsm = tuple(errors[f"FGSM{number}"] for number in range(1, len(errors) + 1) if f"FGSM{number}" in errors)
    return Row(errors["No attack"], fgsm, errors["FGSM-curr"], values["attnet"], values["attnet_train"])


def _costs(plan: Plan, done: Mapping[str, Any]) -> dict[tuple[str, float, str], Cost]:
    costs: dict[tuple[str, float, str], Cost] = {}
    lineages = plan.graph.lineages()
    for (defence, eta, _), key in plan.evaluations.items():
        if key not in done:
            continue
        parents = dict(plan.graph[key].parents)
        for column, attacks in _columns(parents).items():
            trained = (parents["classifier"], *(parents[attack] for attack in attacks if attack in parents))
            chain = frozenset().union(*(lineages[key] for key in trained))
            steps = sum(plan.graph[ancestor].steps for ancestor in chain)
            seconds = fsum(done[ancestor]["seconds"] for ancestor in chain if ancestor in done)
            own = done[key]["values"]["seconds"]
            seconds += sum(own.get(attack, 0.0) for attack in {*attacks, column})
            before = costs.get((defence, eta, column), Cost(0, 0.0))
            costs[defence, eta, column] = Cost(before.steps + steps, before.seconds + seconds)
    return costs


def _columns(parents: Mapping[str, str]) -> dict[str, list[str]]:
    """Return for each column of a row the attacks that it rests on; the maxima rest on several."""
    rounds = [role for role in parents if role.startswith("FGSM")]
    columns = {"No attack": [], "FGSM-curr": []} | {role: [role] for role in rounds}
    columns["worst"] = [*dict.fromkeys((*rounds[:2], *rounds[-1:])), "FGSM-curr"]
    columns["worst over all rounds"] = [*rounds, "FGSM-curr"]
    networks = [name for name in (FRESH, CO_TRAINED) if name in parents]
    if networks:
        columns["AttNet-curr"] = networks
        columns["worst with networks"] = [*networks, "FGSM-curr", "AttNet-curr"]
        tuned = [TUNED] if TUNED in parents else []
        columns |= {"AttNet-tuned": tuned} if tuned else {}
        every = [*networks, *tuned, *rounds, "FGSM-curr", "AttNet-curr"]
        columns["worst over all rounds with networks"] = every
    return columns
