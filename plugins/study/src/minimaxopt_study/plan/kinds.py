"""The kinds of task: the function that computes each, the version of its numbers, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

_TASKS = "minimaxopt_study.tasks"


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Args:
        function: what computes it, as ``"module:name"``.
        cost: of a step (of modern attacks: an image and step), against a step of plain training.
        version: of its numbers. **Raise it by one with every change after which the function returns other numbers**,
            and only then: results of another version are recomputed. 0 is the version of all results that were
            stored before versions were declared.
    """

    function: str
    cost: float
    version: int = 0


KINDS: dict[str, Kind] = {
    "undefended": Kind(f"{_TASKS}.training:undefended", 1.0),
    "examples": Kind(f"{_TASKS}.evaluation:examples", 11.0),
    "adversarial round": Kind(f"{_TASKS}.training:adversarial_round", 0.9),
    "lwa": Kind(f"{_TASKS}.training:lwa", 1.9),
    "minimax-grad": Kind(f"{_TASKS}.training:minimax_grad", 3.1),
    "attnet game": Kind(f"{_TASKS}.training:attnet_game", 4.2),
    "attack network": Kind(f"{_TASKS}.training:attack_network", 2.6),
    "evaluation": Kind(f"{_TASKS}.evaluation:evaluation", 40.0),
    "panel": Kind(f"{_TASKS}.evaluation:panel", 14.0),
    "strong attacks": Kind(f"{_TASKS}.modern_attacks:strong", 1.0),
    "autoattack": Kind(f"{_TASKS}.modern_attacks:auto", 1.0),
}
FUNCTIONS = {name: kind.function for name, kind in KINDS.items()}
VERSIONS = {name: kind.version for name, kind in KINDS.items()}
