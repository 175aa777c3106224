"""The study's networks: built from a profile's settings, packed into and loaded from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from minimaxopt_adversarial import AttackNetwork, CifarCNN, MnistCNN
from minimaxopt_study.tasks.images import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minimaxopt_study.tasks.workspace import Workspace

CLASSIFIER, ATTACKER = "classifier", "attacker"


def new_classifier(settings: Mapping[str, Any], seed: int) -> nn.Module:
    """Return a classifier with weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.get("architecture") == "cifar":
            network: nn.Module = CifarCNN(**_some(settings, "width", "hidden", "dropout", "init"))
        else:
            network = MnistCNN(**_some(settings, "width", "stride", "hidden", "dropout", "init"))
    # At the cited size one thread then needs 5 to 40% less time for a step or an evaluation; small sizes do not mind.
    # torch's stubs lack this overload.
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _some(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: settings[name] for name in names}


def new_attacker(settings: Mapping[str, Any], eta: float, shape: tuple[int, ...], seed: int) -> AttackNetwork:
    """Return an attack network for images of a shape, with weights drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttackNetwork(eta, bounds=BOUNDS, shape=shape, **settings)


def pack(role: str, network: nn.Module) -> dict[str, Tensor]:
    """Return a network's tensors on the CPU, named by its role."""
    return {f"{role}.{name}": tensor.cpu() for name, tensor in network.state_dict().items()}


def load(workspace: Workspace, key: str, role: str) -> Any:
    """Return the network that a task trained in a role, in evaluation mode."""
    settings = workspace.store.result(key)["settings"]
    if role == CLASSIFIER:
        network: nn.Module = new_classifier(settings[CLASSIFIER], 0)
    else:
        network = new_attacker(settings[ATTACKER], settings["eta"], workspace.images.shape, 0)
    tensors = workspace.store.tensors(key)
    prefix = f"{role}."
    network.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    return network.to(workspace.device).eval()
