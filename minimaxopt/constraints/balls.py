"""Balls of the Euclidean norm and of the sum of magnitudes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, final

import torch
from torch import Tensor

from minimaxopt.constraints.box import check_radius, radius_like
from minimaxopt.constraints.simplex import nearest_weights
from minimaxopt.constraints.trees import noise_for, numbers_in, rebuilt, spread, tensors_in
from minimaxopt.errors import ArgumentError

if TYPE_CHECKING:
    from minimaxopt._types import Tree

_Nearest: TypeAlias = Callable[[Tensor, "float | Tensor"], tuple[Tensor, Tensor]]
"""Offsets from the center, one ball a row, and radii -> flags of the rows outside, and their nearest offsets."""


@final
@dataclass(frozen=True, eq=False)
class L2Ball:
    """Project onto a Euclidean ball: shrink longer offsets from the center to the radius.

    ``P(x) = center + (x - center) min(1, radius / ||x - center||_2)``

    Each tensor of a player has a ball of its own; ``joint=True`` makes them one vector in one ball.

    Args:
        radius: the radius, not negative: a number, or with ``per_sample`` also a tensor with one number a row.
        center: a number, a tensor that broadcasts to each of the player's, or a nesting of these like the player's.
        per_sample: whether each row of the first dimension is a vector of its own, in a ball of its own.
        joint: whether all tensors together are one vector (with ``per_sample``: their rows of the same number).

    Raises:
        ArgumentError: for a radius that is negative, not finite, or of a shape that does not fit.

    Examples:
        >>> x = torch.tensor([[3.0, 4.0], [0.5, 0.0]])
        >>> L2Ball(1.0, per_sample=True)(x)
        tensor([[0.6000, 0.8000],
                [0.5000, 0.0000]])
        >>> L2Ball(1.0, joint=True)({"a": torch.tensor(3.0), "b": torch.tensor(4.0)})
        {'a': tensor(0.6000), 'b': tensor(0.8000)}

    Source: the Euclidean projection on a ball.
    """

    radius: float | Tensor
    center: Tree = 0.0
    per_sample: bool = field(default=False, kw_only=True)
    joint: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_radius(self.radius, self.per_sample)
        numbers_in("center", self.center)

    def __call__(self, tree: Tree) -> Tree:
        """Return the nearest point of the ball."""
        return _project(self, tree, _nearest_l2)

    def draw(self, like: Tree, generator: torch.Generator | None = None) -> Tree:
        """Return a random point, uniform in the ball.

        Args:
            like: template of the point: its structure, shapes, dtypes and devices.
            generator: the random stream; ``None`` for torch's own.
        """

        def unit(rows: Tensor) -> Tensor:
            normal = noise_for(rows, generator).normal_(generator=generator)
            length = normal.square().sum(-1, keepdim=True).sqrt().clamp_min(torch.finfo(rows.dtype).tiny)
            # The share of the volume within a radius grows with the radius to the power of the dimension.
            share = noise_for(rows, generator, (rows.shape[0], 1)).uniform_(generator=generator)
            return normal / length * share ** (1 / rows.shape[1])

        return _draw(self, like, unit)


@final
@dataclass(frozen=True, eq=False)
class L1Ball:
    """Project onto an l1-ball: shrink all offsets from the center equally until they sum to the radius.

    ``P(x) = center + sign(d) max(|d| - tau, 0)`` for ``d = x - center``, with the least ``tau >= 0`` for which
    ``||P(x) - center||_1 <= radius``

    Each tensor of a player has a ball of its own; ``joint=True`` makes them one vector in one ball.

    Args:
        radius: the radius, not negative: a number, or with ``per_sample`` also a tensor with one number a row.
        center: a number, a tensor that broadcasts to each of the player's, or a nesting of these like the player's.
        per_sample: whether each row of the first dimension is a vector of its own, in a ball of its own.
        joint: whether all tensors together are one vector (with ``per_sample``: their rows of the same number).

    Raises:
        ArgumentError: for a radius that is negative, not finite, or of a shape that does not fit.

    Examples:
        >>> L1Ball(1.0)(torch.tensor([1.0, -0.5, 0.1]))
        tensor([ 0.7500, -0.2500,  0.0000])

    Source: Duchi et al. 2008, Fig. 1, by sorting.
    """

    radius: float | Tensor
    center: Tree = 0.0
    per_sample: bool = field(default=False, kw_only=True)
    joint: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_radius(self.radius, self.per_sample)
        numbers_in("center", self.center)

    def __call__(self, tree: Tree) -> Tree:
        """Return the nearest point of the ball."""
        return _project(self, tree, _nearest_l1)

    def draw(self, like: Tree, generator: torch.Generator | None = None) -> Tree:
        """Return a random point, uniform in the ball.

        Args:
            like: template of the point: its structure, shapes, dtypes and devices.
            generator: the random stream; ``None`` for torch's own.
        """

        def unit(rows: Tensor) -> Tensor:
            # Magnitudes and the distance to the surface are uniform on the simplex of one more dimension.
            spacings = noise_for(rows, generator, (rows.shape[0], rows.shape[1] + 1)).exponential_(generator=generator)
            signs = noise_for(rows, generator).uniform_(-1, 1, generator=generator).sign()
            return signs * spacings[:, :-1] / spacings.sum(-1, keepdim=True)

        return _draw(self, like, unit)


def _nearest_l2(offsets: Tensor, radius: float | Tensor) -> tuple[Tensor, Tensor]:
    if not offsets.numel():
        return _nowhere(offsets)
    # Squares of float32 overflow beyond 1e19. The norm is homogeneous, so that the scale needs no derivative.
    scale = offsets.detach().abs().amax(-1, keepdim=True)
    scale = torch.where(scale > 0, scale, 1)
    square = (offsets / scale).square().sum(-1, keepdim=True)
    outside = square.detach().sqrt() * scale > radius
    # The root has no derivative at zero, and where() would pass its NaN on from the rows that it leaves out.
    norm = torch.where(outside, square, 1).sqrt()
    return outside, offsets / scale * (radius / norm)


def _nearest_l1(offsets: Tensor, radius: float | Tensor) -> tuple[Tensor, Tensor]:
    if not offsets.numel():
        return _nowhere(offsets)
    magnitudes = offsets.abs()
    outside = magnitudes.detach().sum(-1, keepdim=True) > radius
    return outside, offsets.detach().sign() * nearest_weights(magnitudes, radius)


def _nowhere(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return flags saying that no row of an empty tensor lies outside, and the offsets."""
    return torch.zeros((offsets.shape[0], 1), dtype=torch.bool, device=offsets.device), offsets


def _project(ball: L1Ball | L2Ball, tree: Tree, nearest: _Nearest) -> Tree:
    tensors = tensors_in(tree)
    centers = spread("center", ball.center, tree, tensors)
    offsets = [_rows(x - center, ball.per_sample) for x, center in zip(tensors, centers, strict=True)]
    balls = _balls(ball, offsets)
    projected = [nearest(d, radius_like(ball.radius, d, d.dim(), ball.per_sample)) for d in balls]
    outside = [rows_outside for rows_outside, _ in projected] * (len(offsets) if ball.joint else 1)
    nearest_offsets = _parts(ball, [offset for _, offset in projected], offsets)
    # Where nothing has to move, x itself comes back, to the last digit.
    return rebuilt(
        tree,
        [
            torch.where(_over(rows_outside, x), center + offset.reshape(x.shape), x)
            for x, center, rows_outside, offset in zip(tensors, centers, outside, nearest_offsets, strict=True)
        ],
    )


def _draw(ball: L1Ball | L2Ball, like: Tree, unit: Callable[[Tensor], Tensor]) -> Tree:
    tensors = [x.detach() for x in tensors_in(like, "like")]
    centers = spread("center", ball.center, like, tensors)
    rows = [_rows(x, ball.per_sample) for x in tensors]
    drawn = [radius_like(ball.radius, d, d.dim(), ball.per_sample) * unit(d).to(d.device) for d in _balls(ball, rows)]
    offsets = _parts(ball, drawn, rows)
    placed = [center + d.reshape(x.shape) for x, center, d in zip(tensors, centers, offsets, strict=True)]
    return rebuilt(like, [x.detach() for x in placed])


def _rows(x: Tensor, per_sample: bool) -> Tensor:
    """Return one vector a row: each sample, or the whole tensor."""
    if not per_sample:
        return x.reshape(1, -1)
    if x.dim() == 0:
        raise ArgumentError("per_sample: a 0-d tensor has no samples; give one row per sample")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _balls(ball: L1Ball | L2Ball, rows: list[Tensor]) -> list[Tensor]:
    """Return the rows of each tensor, or, if the ball is joint, of all tensors joined in one matrix."""
    if not ball.joint or len(rows) < 2:
        return rows
    for kind, values in (
        ("numbers of samples", {d.shape[0] for d in rows}),
        ("dtypes", {d.dtype for d in rows}),
        ("devices", {d.device for d in rows}),
    ):
        if len(values) > 1:
            listed = ", ".join(sorted(map(str, values)))
            raise ArgumentError(
                f"joint: tensors of different {kind} ({listed}) do not form one vector; leave joint out"
            )
    return [torch.cat(rows, dim=1)]


def _parts(ball: L1Ball | L2Ball, joined: list[Tensor], rows: list[Tensor]) -> list[Tensor]:
    """Undo ``_balls``."""
    if not ball.joint or len(rows) < 2:
        return joined
    return list(joined[0].split([d.shape[1] for d in rows], dim=1))


def _over(outside: Tensor, x: Tensor) -> Tensor:
    """Reshape one flag per row so that it broadcasts to ``x``."""
    return outside.reshape(()) if outside.shape[0] == 1 else outside.reshape(-1, *(1,) * (x.dim() - 1))
