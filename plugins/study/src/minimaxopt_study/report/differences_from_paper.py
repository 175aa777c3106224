"""The settings of a study compared with the paper's: what differs, and what the paper does not state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minimaxopt_study.paper import printed as paper
from minimaxopt_study.profiles.sections import CifarClassifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from minimaxopt_study.profiles.profile import Profile

UNSAID = "not said"
LABELS = {"first": "at the input", "all": "at every layer"}


def differences_from_paper(profile: Profile, data: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return where this study differs from the paper, and what the paper leaves open: setting, paper, here."""
    experiment, classifier, attacker, games = profile.experiment, profile.classifier, profile.attacker, (
        profile.minimax_attnet, profile.alt_attnet, profile.maximin_attnet,
    )  # fmt: skip
    alone = (profile.undefended, profile.adversarial_round, profile.lwa, profile.minimax_grad)
    hardened = (profile.adversarial_round, profile.lwa, profile.minimax_grad)
    rows = [
        (f"training {experiment.many}", f"{experiment.train:,}", f"{data['train']:,}"),
        (f"test {experiment.many}", f"{paper.TEST_IMAGES:,}", f"{data['evaluated']:,}"),
        ("data", experiment.title, data["name"] if not data.get("verified", True) else experiment.title),
        ("classifier (the paper: similar to this)", experiment.classifier, _network(profile)),
        ("η", ", ".join(f"{eta:g}" for eta in experiment.eta), ", ".join(f"{eta:g}" for eta in profile.eta)),
        ("cat-and-mouse rounds", str(experiment.rounds), str(profile.rounds)),
        ("batch", "128", _each(training.batch for training in (*alone, *games, profile.attack))),
        ("steps of the undefended classifier", f"{experiment.undefended_steps:,}", f"{profile.undefended.steps:,}"),
        ("steps of LWA and Minimax-Grad", "100,000", _each(t.steps for t in (profile.lwa, profile.minimax_grad))),
        ("steps of the games with attack networks", "100,000", _each(game.steps for game in games)),
        ("steps of a fresh attack network", "30,000", f"{profile.attack.steps:,}"),
        ("classifiers' learning rate", "0.0001", _each(training.rate for training in (*alone, *games))),
        ("attack networks' learning rate", "0.001", _each((profile.attack.rate, *(g.attacker_rate for g in games)))),
        ("gamma of Alg. 1", "1", _each(game.gamma for game in (profile.minimax_attnet, profile.maximin_attnet))),
        ("attack networks' layers", "300, 300, 300 units", f"{', '.join(map(str, attacker.hidden))} units"),
        ("attack networks' dropout", "0.5", f"{attacker.dropout:g}"),
        ("where attack networks see the label", "at the input", LABELS[attacker.label_layers]),
        ("loss that a fresh attack network raises", "cross-entropy, as in training", _loss(profile)),
        ("steps of a round", UNSAID, f"{profile.adversarial_round.steps:,}"),
        ("start of the rounds, LWA and Minimax-Grad", UNSAID, _each(_start(t.warm_start) for t in hardened)),
        ("start of the games' classifiers", UNSAID, _each(_start(game.warm_start) for game in games)),
        ("unit of η", UNSAID + ", but pixels lie in [-1, 1]", profile.eta_reading),
        ("classifier's initialisation", UNSAID, classifier.init),
        ("classifier's dropout and weight decay", UNSAID, f"{classifier.dropout:g} and {classifier.weight_decay:g}"),
        ("attack networks' output", UNSAID, attacker.output),
        ("factor of the label beside the pixels", UNSAID, f"{attacker.label_gain:g}"),
        (f"η of {experiment.called(list(experiment.figures)[1])}", UNSAID, f"{profile.games_eta:g}"),
    ]
    return [row for row in rows if row[1] != row[2]]


def _network(profile: Profile) -> str:
    net = profile.classifier
    if isinstance(net, CifarClassifier):
        return f"{net.width} and {net.width} channels, max-pooling, {net.hidden[0]} and {net.hidden[1]} units"
    halving = "max-pooling" if net.stride == 1 else "strides of 2"
    return f"{net.width} and {2 * net.width} channels, {halving}, {net.hidden} units"


def _each(values: Iterable[float | int | str]) -> str:
    """Return the different values, in order."""
    return ", ".join(dict.fromkeys(f"{v:,}" if isinstance(v, int) else f"{v:g}" if isinstance(v, float) else v
                                   for v in values))  # fmt: skip


def _start(warm: bool) -> str:
    return "warm (from the undefended or the previous classifier)" if warm else "random"


def _loss(profile: Profile) -> str:
    return "cross-entropy, as in training" if profile.attack.loss == "cross-entropy" else "margin of the logits"


def settings(profile: Profile) -> list[tuple[str, str, str]]:
    """Return every setting: its name, its value, its meaning."""
    return list(_settings(profile, ""))


def _settings(section: Any, prefix: str) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if hasattr(value, "model_fields_set"):
            rows += _settings(value, f"{prefix}{name}.")
        elif name not in ("about", "chosen"):
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            rows.append((prefix + name, shown, field.description or ""))
    return rows
