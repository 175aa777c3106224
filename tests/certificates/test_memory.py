"""A game of a million parameters: the memory of a certificate beside that of the risk's own backward pass."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident memory from /proc")

LIMIT = 30  # vectors as large as the gradient of both players

SCRIPT = """
import json, sys
import torch
import torch.nn.functional as F
from torch import nn
from minimaxopt import Game, certify

torch.set_num_threads(1)


def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


class Attacker(nn.Module):
    def __init__(self, size, hidden):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size, hidden), nn.Softplus(), nn.Linear(hidden, size))

    def forward(self, x):
        return x + 0.1 * torch.tanh(self.net(x))


def network(size, hidden):
    u = nn.Sequential(nn.Linear(size, 2 * hidden), nn.Tanh(), nn.Linear(2 * hidden, 10))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, size, generator=generator), torch.randint(10, (32,), generator=generator)
    return Game(lambda u, v, b: F.cross_entropy(u(v(b[0])), b[1]), u, Attacker(size, hidden)), [(x, y)]


def quadratic(n):
    a, b, c = torch.ones(n), torch.full((n,), 1.5), torch.linspace(1, 1.2, n)
    a[0] = -0.5
    c[0] = 0.998  # apart from the others by so little that Lanczos takes 50 to 100 steps, not 1,000
    return Game(lambda u, v: (a * u**2 / 2 + b * u * v - c * v**2 / 2).sum(), torch.zeros(n), torch.zeros(n)), None


def tensors(player):
    return list(player.parameters()) if isinstance(player, nn.Module) else [player]


small, data = network(6, 4) if sys.argv[1] == "network" else quadratic(70)
certify(small, (small.u, small.v), data, restarts=1, steps=2)  # what libraries load at their first use is not counted
game, data = network(784, 350) if sys.argv[1] == "network" else quadratic(500_000)
parameters = [t.requires_grad_() for t in [*tensors(game.u), *tensors(game.v)]]
n = sum(t.numel() for t in parameters)
torch.autograd.grad(game.f(game.u, game.v, *(data or ())), parameters)
before = peak()
certificate = certify(game, (game.u, game.v), data, restarts=1, steps=3)
vectors = (peak() - before) / (4 * n)
accuracies = {name: quantity.accuracy for name, quantity in certificate.eigenvalues.items()}
report = {"n": n, "vectors": vectors, "kind": certificate.kind, "cost": certificate.cost, "accuracies": accuracies}
print(json.dumps(report))
"""


@pytest.mark.parametrize(("name", "kind"), [("network", "not local minimax"), ("quadratic", "strict local minimax")])
def test_the_memory_is_a_few_gradients(name: str, kind: str) -> None:
    # Freed memory goes back to the system at once, so that the peak is that of what is in use.
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, check=False, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["n"] >= 1_000_000 or (name == "network" and measured["n"] >= 900_000)
    assert measured["kind"] == kind
    assert 1 < measured["vectors"] <= LIMIT
    assert measured["accuracies"]["v"] == "estimate"
    assert measured["cost"]["gradient_evaluations"] > 50
