"""The study as a graph: the trainings, attacks and evaluations that a profile asks for.

Nothing is computed here. A plan is a pure function of the profile, the seeds and the images' fingerprint, and so can be
rebuilt by ``status`` and ``report`` without the images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minimaxopt_study.paper.names import (
    ALTERNATING,
    CO_TRAINED,
    FRESH,
    LWA,
    MAXIMIN,
    MINIMAX,
    MINIMAX_GRAD,
    NO_DEFENSE,
    TRANSFER,
    TUNED,
    adv,
    in_tables,
)
from minimaxopt_study.plan.kinds import KINDS, VERSIONS
from minimaxopt_study.plan.task import Graph, Task, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from minimaxopt_study.profiles.profile import Profile
    from minimaxopt_study.profiles.sections import Modern, Section


@dataclass(frozen=True)
class Plan:
    """A graph, and the keys of the tasks that hold the numbers of tables and figures.

    Args:
        graph: all tasks.
        evaluations: (defence, eta, seed) to the key of the task that evaluates it.
        classifiers: (defence, eta, seed) to the key of the task that trained it.
        grad_runs: (eta, seed) to the key of the Minimax-Grad training, for Figure 1.
        attnet_runs: (defence, seed, start) to the key of the game at ``Profile.games_eta``, for Figure 2.
        panels: seed to the key of the samples of Figure 3.
        strong: (defence, eta, seed) to the key of the task that attacks it as one would today.
        autoattacks: likewise, with AutoAttack.
    """

    graph: Graph
    evaluations: dict[tuple[str, float, int], str]
    classifiers: dict[tuple[str, float, int], str]
    grad_runs: dict[tuple[float, int], str]
    attnet_runs: dict[tuple[str, int, int], str]
    panels: dict[int, str]
    strong: dict[tuple[str, float, int], str]
    autoattacks: dict[tuple[str, float, int], str]


def derive(profile: Profile, fingerprint: str, versions: Mapping[int, Mapping[str, int]] | None = None) -> Plan:
    """Derive the plan of a profile on images with a fingerprint.

    Args:
        profile: what is to be done.
        fingerprint: of the images.
        versions: for each seed the version of each kind of task, where a study was run with others than today's, so
            that its report can still be written.

    Examples:
        >>> from minimaxopt_study.profiles.profile import load_profile
        >>> plan = derive(load_profile("quick"), "images")
        >>> plan.graph[plan.evaluations["LWA", 0.4, 0]].title
        'evaluation of LWA, eta 0.4, seed 0'
    """
    builder = _Builder(profile, fingerprint, VERSIONS)
    for seed in profile.seeds:
        builder.versions = VERSIONS | dict((versions or {}).get(seed, {}))
        builder.whole_study(seed)
    return Plan(Graph(builder.tasks), builder.evaluations, builder.classifiers, builder.grad_runs,
                builder.attnet_runs, builder.panels, builder.strong, builder.autoattacks)  # fmt: skip


@dataclass
class _Builder:
    profile: Profile
    fingerprint: str
    versions: Mapping[str, int]
    tasks: list[Task] = field(default_factory=list)
    evaluations: dict[tuple[str, float, int], str] = field(default_factory=dict)
    classifiers: dict[tuple[str, float, int], str] = field(default_factory=dict)
    grad_runs: dict[tuple[float, int], str] = field(default_factory=dict)
    attnet_runs: dict[tuple[str, int, int], str] = field(default_factory=dict)
    panels: dict[int, str] = field(default_factory=dict)
    strong: dict[tuple[str, float, int], str] = field(default_factory=dict)
    autoattacks: dict[tuple[str, float, int], str] = field(default_factory=dict)

    def whole_study(self, seed: int) -> None:
        undefended = self._add("undefended", f"undefended classifier, seed {seed}", seed, (), self.profile.undefended,
                               classifier=self._classifier())  # fmt: skip
        for eta in self.profile.eta:
            self._at(eta, seed, undefended)

    def _at(self, eta: float, seed: int, undefended: str) -> None:
        profile, place, radius = self.profile, f"eta {eta:g}, seed {seed}", self.profile.radius(eta)
        attacks: list[tuple[str, str]] = []
        current = undefended
        defences = {NO_DEFENSE: undefended}
        for number in range(1, profile.rounds + 1):
            examples = self._add("examples", f"FGSM{number} on the evaluated images, {place}", seed,
                                 (("classifier", current),), eta=radius)  # fmt: skip
            attacks.append((f"FGSM{number}", examples))
            current = self._add(
                "adversarial round", f"{adv(number)}, {place}", seed, (("attacked", current),),
                profile.adversarial_round, eta=radius, round=number, classifier=self._classifier(),
            )  # fmt: skip
            defences[adv(number)] = current
        for name, kind, section in ((LWA, "lwa", profile.lwa), (MINIMAX_GRAD, "minimax-grad", profile.minimax_grad)):
            parents = (("start", undefended),) if section.warm_start else ()
            recorded = self._curve() if name == MINIMAX_GRAD else {}  # Figure 1
            defences[name] = self._add(kind, f"{name}, {place}", seed, parents, section, eta=radius,
                                       classifier=self._classifier(), **recorded)  # fmt: skip
        self.grad_runs[eta, seed] = defences[MINIMAX_GRAD]
        games = {name: self._games(name, eta, seed, undefended) for name in self._games_at(eta, seed)}
        defences |= {name: games[name] for name in (MINIMAX, ALTERNATING)}
        for name, key in defences.items():
            self.classifiers[name, eta, seed] = key
            self._evaluation(name, eta, seed, key, attacks)
            if profile.modern is not None and name in in_tables(profile.rounds):
                self._modern(name, eta, seed, defences, profile.modern)
        if eta == profile.samples_eta and seed == profile.seeds[0]:
            self._panel(eta, seed, undefended, attacks, games)

    def _games_at(self, eta: float, seed: int) -> tuple[str, ...]:
        # Tables 4 and 5 have no row of Maximin-AttNet: it is only in figures, at their etas. Figure 3 shows one seed.
        drawn = eta == self.profile.games_eta or (eta == self.profile.samples_eta and seed == self.profile.seeds[0])
        return (MINIMAX, ALTERNATING, MAXIMIN) if drawn else (MINIMAX, ALTERNATING)

    def _games(self, name: str, eta: float, seed: int, undefended: str) -> str:
        profile = self.profile
        sections = {MINIMAX: profile.minimax_attnet, ALTERNATING: profile.alt_attnet, MAXIMIN: profile.maximin_attnet}
        section = sections[name]
        parents = (("start", undefended),) if section.warm_start else ()
        in_figure = eta == profile.games_eta
        keys = [
            self._add(
                "attnet game", f"{name}, eta {eta:g}, seed {seed}" + (f", start {start + 1}" if start else ""), seed,
                parents, section, leave_out=("gamma",) if name == ALTERNATING else (),
                eta=profile.radius(eta), method=name, start=start, classifier=self._classifier(),
                attacker=self._attacker(), **self._curve(),
            )
            for start in range(profile.figures.starts if in_figure else 1)
        ]  # fmt: skip
        if in_figure:
            self.attnet_runs |= {(name, seed, start): key for start, key in enumerate(keys)}
        return keys[0]

    def _evaluation(self, name: str, eta: float, seed: int, key: str, attacks: list[tuple[str, str]]) -> None:
        profile, radius, place = self.profile, self.profile.radius(eta), f"{name}, eta {eta:g}, seed {seed}"
        networks: list[tuple[str, str]] = []
        if name in (NO_DEFENSE, adv(1), adv(profile.rounds), MINIMAX_GRAD, MINIMAX, ALTERNATING):
            attackers = {FRESH: (profile.attack, profile.attacker)}
            if profile.tuned_attack is not None:
                attackers[TUNED] = (profile.tuned_attack, profile.tuned_attack.attacker)
            for role, (training, network) in attackers.items():
                title = f"{'tuned ' if role == TUNED else ''}attack network against {place}"
                trained = self._add("attack network", title, seed, (("classifier", key),), training,
                                    leave_out=("choose_on", "attacker"), eta=radius,
                                    attacker=network.model_dump(mode="json"))  # fmt: skip
                networks.append((role, trained))
        if name in (MINIMAX, ALTERNATING):
            networks.append((CO_TRAINED, key))
        self.evaluations[name, eta, seed] = self._add(
            "evaluation", f"evaluation of {place}", seed, (("classifier", key), *attacks, *networks),
            eta=radius, choose_on=profile.attack.choose_on,
        )  # fmt: skip

    def _modern(self, name: str, eta: float, seed: int, defences: dict[str, str], modern: Modern) -> None:
        radius, place, key = self.profile.radius(eta), f"{name}, eta {eta:g}, seed {seed}", defences[name]
        # Transferred images are made against the undefended classifier, and those for itself against a hardened one.
        source = defences[NO_DEFENSE if name != NO_DEFENSE else adv(1)]
        steps = 3 * modern.steps * modern.restarts
        self.strong[name, eta, seed] = self._add(
            "strong attacks", f"attacks of today on {place}", seed, (("classifier", key), (TRANSFER, source)),
            eta=radius, images=modern.images, steps=modern.steps, restarts=modern.restarts,
            sweep_images=modern.sweep_images, sweep_steps=modern.sweep_steps, weight=modern.images * steps / 300,
        )  # fmt: skip
        if modern.autoattack_images:
            self.autoattacks[name, eta, seed] = self._add(
                "autoattack", f"AutoAttack on {place}", seed, (("classifier", key),), eta=radius,
                images=modern.autoattack_images, weight=float(modern.autoattack_images),  # after the others
            )  # fmt: skip

    def _panel(self, eta: float, seed: int, undefended: str, attacks: list[tuple[str, str]],
               games: dict[str, str]) -> None:  # fmt: skip
        self.panels[seed] = self._add(
            "panel", f"samples of each attack, eta {eta:g}, seed {seed}", seed,
            (("classifier", undefended), ("FGSM1", attacks[0][1]), ("FGSM-last", attacks[-1][1]), *games.items()),
            eta=self.profile.radius(eta), samples=self.profile.figures.samples,
            iterations=self.profile.figures.iterations,
        )  # fmt: skip

    def _curve(self) -> dict[str, Any]:
        figures = self.profile.figures
        return {"points": figures.points, "curve_digits": figures.curve_digits}

    def _classifier(self) -> dict[str, Any]:
        return self.profile.classifier.model_dump(mode="json")

    def _attacker(self) -> dict[str, Any]:
        return self.profile.attacker.model_dump(mode="json")

    def _add(self, kind: str, title: str, seed: int, parents: tuple[tuple[str, str], ...],
             section: Section | None = None, *, leave_out: tuple[str, ...] = (), weight: float | None = None,
             **settings: Any) -> str:  # fmt: skip
        cost = KINDS[kind].cost
        training = section.model_dump(mode="json", exclude=set(leave_out)) if section is not None else {}
        steps = int(training.get("steps", 0))
        task = Task(
            kind, title, canonical(training | settings), parents, self.fingerprint, seed,
            self.versions[kind], steps, cost * max(steps, 1) if weight is None else cost * weight,
        )  # fmt: skip
        self.tasks.append(task)
        return task.key


def trainings(plan: Plan) -> Iterator[Task]:
    """Return the tasks that take optimizer steps."""
    return (task for task in plan.graph if task.steps)
