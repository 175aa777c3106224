"""The study's networks: built from a profile's settings, packed into and loaded from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from minimaxopt_adversarial import AttackNetwork, MnistCNN
from minimaxopt_study._digits import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimaxopt_study._desk import Desk

CLASSIFIER, ATTACKER = "classifier", "attacker"


def new_classifier(settings: Mapping[str, Any], seed: int) -> MnistCNN:
    """A classifier with weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MnistCNN(**{name: settings[name] for name in ("width", "stride", "hidden", "dropout", "init")})
    # At the cited size one thread then needs 5 to 40% less time for a step or an evaluation; small sizes do not mind.
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue, reportArgumentType] - an overload of torch's that its stubs lack


def new_attacker(settings: Mapping[str, Any], eta: float, seed: int) -> AttackNetwork:
    """An attack network with weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttackNetwork(eta, bounds=BOUNDS, **settings)


def pack(role: str, network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors under a role's prefix."""
    return {f"{role}.{name}": tensor for name, tensor in network.state_dict().items()}


def load(desk: Desk, key: str, role: str) -> Any:
    """The network that a task trained in a role, in evaluation mode."""
    settings = desk.store.result(key)["settings"]
    if role == CLASSIFIER:
        network: nn.Module = new_classifier(settings[CLASSIFIER], 0)
    else:
        network = new_attacker(settings[ATTACKER], settings["eta"], 0)
    tensors = desk.store.tensors(key)
    prefix = f"{role}."
    network.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    return network.eval()
