"""Sets by name: each one's projection, and how far a point violates it, written down a second time in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minimaxopt.constraints import Box, L1Ball, L2Ball, LInfBall, Product, Simplex

SHAPE = (3, 4)
Array = NDArray[np.float64]
CENTER = np.linspace(-0.25, 0.5, 12).reshape(SHAPE)
RADII = np.array([0.5, 1.0, 2.0])


@dataclass(frozen=True)
class Known:
    """A set of 3 x 4 matrices."""

    project: Callable[[Any], Any]
    violation: Callable[[Array], float]


def _above(values: Any, bound: Any) -> float:
    return float(np.max(np.asarray(values) - bound))


def _simplex(x: Array, total: float) -> float:
    return max(_above(-x, 0), float(np.abs(x.sum(-1) - total).max()))


def _joined(*parts: Callable[[Array], float]) -> Callable[[Array], float]:
    return lambda x: max(part(x) for part in parts)


LOW, HIGH = np.full(4, -1.0), np.array([0.0, 1.0, np.inf, 2.0])

SETS: dict[str, Known] = {
    "box": Known(Box(-1, 2), lambda x: max(_above(-1, x), _above(x, 2))),
    "box of tensors": Known(
        Box(torch.from_numpy(LOW), torch.from_numpy(HIGH)), lambda x: max(_above(LOW, x), _above(x, HIGH))
    ),
    "linf": Known(LInfBall(0.7, torch.from_numpy(CENTER)), lambda x: _above(np.abs(x - CENTER), 0.7)),
    "linf a sample": Known(
        LInfBall(torch.from_numpy(RADII), per_sample=True), lambda x: _above(np.abs(x).max(1), RADII)
    ),
    "l2": Known(L2Ball(1.5, torch.from_numpy(CENTER)), lambda x: float(np.linalg.norm(x - CENTER)) - 1.5),
    "l2 a sample": Known(
        L2Ball(torch.from_numpy(RADII), per_sample=True), lambda x: _above(np.linalg.norm(x, axis=1), RADII)
    ),
    "l1": Known(L1Ball(2.0, 0.25), lambda x: float(np.abs(x - 0.25).sum()) - 2.0),
    "l1 a sample": Known(L1Ball(torch.from_numpy(RADII), per_sample=True), lambda x: _above(np.abs(x).sum(1), RADII)),
    "simplex": Known(Simplex(1.5), lambda x: _simplex(x, 1.5)),
    "product": Known(
        lambda x: torch.stack(Product([Simplex(), L2Ball(1.0), None])(list(x))),
        _joined(lambda x: _simplex(x[0], 1.0), lambda x: float(np.linalg.norm(x[1])) - 1.0),
    ),
    "joint l2": Known(
        lambda x: torch.cat(L2Ball(1.0, joint=True)([x[:1], x[1:]])), lambda x: float(np.linalg.norm(x)) - 1.0
    ),
    "joint l1": Known(
        lambda x: torch.cat(L1Ball(1.0, joint=True)([x[:1], x[1:]])), lambda x: float(np.abs(x).sum()) - 1.0
    ),
    "joint l2 a sample": Known(
        lambda x: torch.cat(L2Ball(1.0, joint=True, per_sample=True)([x[:, :1], x[:, 1:]]), 1),
        lambda x: _above(np.linalg.norm(x, axis=1), 1.0),
    ),
}

# Maps into a set that are not its projection, for checks that must see the difference.
IMPOSTORS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "clipping at the radius of the l2 ball": ("joint l2", lambda x: LInfBall(12**-0.5)(x)),
    "scaling instead of shrinking": ("joint l1", lambda x: x * (1 / x.abs().sum()).clamp(max=1)),
    "normalising instead of shifting": ("simplex", lambda x: 1.5 * (x.abs() + 1) / (x.abs() + 1).sum(-1, keepdim=True)),
    "one ball for the whole": ("l2 a sample", lambda x: L2Ball(0.5)(x)),
    "the smallest box": ("box of tensors", lambda x: Box(-1, 0)(x)),
    "each tensor in a smaller ball": (
        "joint l1",
        lambda x: torch.cat([L1Ball(0.4)(x[:1]), L1Ball(0.6)(x[1:])]),
    ),
}
