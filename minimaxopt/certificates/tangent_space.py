"""The free directions of a constraint at a point, and the constraint's curvature, known only by the projection.

For a player's own loss ``h`` with gradient ``F`` let ``z = x - a F`` and ``J`` be the Jacobian of the projection at
``z``. On a polyhedral set ``J`` is the projection on the directions that are free; on a curved one its eigenvalues on
those directions are ``1 / (1 + a k)``, ``k`` being the curvature of the Lagrangian's constraint part. The quadratic form

``J H J + (J - J^2) / a + s (I - J)^4``

is therefore that of the Lagrangian's Hessian on the free directions, up to the factor ``(1 + a k)^-2``, and ``s`` on the
others, which thus do not disturb the search for its smallest eigenvalue.

Source: the derivative of the natural map of a variational inequality, Facchinei and Pang 2003, Secs. 1.5.2 and 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, final

import torch
from torch import Tensor

from minimaxopt._types import Tensors
from minimaxopt.calculus.conjugate_gradient import Operator
from minimaxopt.calculus.spectrum import random_like
from minimaxopt.calculus.vectors import add, dot, squared_norm
from minimaxopt.results.certificate import Constraint

_DENSE = 64
_PROBES = 8


@final
class Tangent:
    """The free directions of one player at a point.

    Args:
        project: the player's projection of flat tensors, or ``None``.
        x: the player's tensors at the point, allowed ones.
        grad: the gradient of the player's own loss there.
        tolerance: largest gradient norm that counts as zero.

    Attributes:
        decidable: whether second derivatives can be taken along the constraint; ``why_not`` gives the reason.
        constraint: how the constraint acts.
    """

    def __init__(
        self, project: Callable[[Tensors], Tensors] | None, x: Tensors, grad: Tensors, tolerance: float
    ) -> None:
        self.why_not = ""
        self._x = x
        self._jacobian: Operator | None = None
        self._a = 1.0
        n = sum(t.numel() for t in x.values())
        self.constraint = Constraint(active=False, free=n, dimension=n)
        if project is None:
            return
        self._project = project
        dtype = next(iter(x.values())).dtype
        grad_norm = float(squared_norm(grad.values()).sqrt())
        # Short, so that the curvature enters to first order, and long beside the rounding of the projection.
        reach = torch.finfo(dtype).eps ** 0.25
        self._a = reach / max(grad_norm, tolerance)
        jacobian = self._at(add(x, grad, -self._a))
        if jacobian is None:
            if self.why_not:
                self.constraint = Constraint(active=True, free=n, dimension=n, accuracy="estimate")
            return
        self._jacobian = jacobian
        weak = self._weak(grad, tolerance)
        if not weak and not self._euclidean(jacobian):  # where a kink lies on the way, the Jacobian may be anything
            self.why_not = "the projection's Jacobian is not symmetric, so that it is not a Euclidean projection"
            return
        free, accuracy = self._trace(jacobian, n)
        active = weak or free < n * (1 - 1e-9)
        if not active:
            self._jacobian = None  # nothing is held back
        self.constraint = Constraint(active=active, free=free, dimension=n, accuracy=accuracy, weak=weak)

    @property
    def decidable(self) -> bool:
        """``True`` if second derivatives can be taken along the constraint."""
        return not self.why_not

    def free(self, x: Tensors) -> Tensors:
        """Return ``J x``, the part of ``x`` that the constraint leaves free."""
        return x if self._jacobian is None else self._jacobian(x)

    def form(self, hessian: Operator, scale: float, *, everywhere: bool = False) -> Operator:
        """Return the map of the quadratic form above for the Hessian of the player's own loss.

        ``everywhere`` leaves the constraint out: definite in all directions is definite in those that are free.
        """
        jacobian = self._jacobian
        if jacobian is None or everywhere:
            return hessian

        def product(w: Tensors) -> Tensors:
            once = jacobian(w)
            curved = add(once, jacobian(once), -1.0)
            rest = add(w, once, -1.0)
            for _ in range(3):
                rest = add(rest, jacobian(rest), -1.0)
            return add(add(jacobian(hessian(once)), curved, 1 / self._a), rest, scale)

        return product

    def _at(self, z: Tensors) -> Operator | None:
        """Return the product with the projection's Jacobian at ``z``; none where it cannot be differentiated."""
        at = {n: t.detach().requires_grad_() for n, t in z.items()}
        with torch.enable_grad():
            image = self._project({n: t.clone() for n, t in at.items()})  # it may work in place
        if not any(t.requires_grad for t in image.values()):
            if _close(image, z):
                return None  # it does nothing here, whatever it is made of
            self.why_not = "the projection acts at the point and cannot be differentiated by autograd"
            return None
        names = list(at)

        def product(x: Tensors) -> Tensors:
            moving = {n: t for n, t in image.items() if t.requires_grad}
            products = torch.autograd.grad(
                list(moving.values()),
                [at[n] for n in names],
                [x[n] for n in moving],
                retain_graph=True,
                allow_unused=True,
            )
            parts: dict[str, Tensor | None] = dict(zip(names, products, strict=True))
            return {n: torch.zeros_like(at[n]) if (g := parts[n]) is None else g for n in names}

        return product

    def _euclidean(self, jacobian: Operator) -> bool:
        a, b = random_like(self._x, 1), random_like(self._x, 2)
        left, right = float(dot(a.values(), jacobian(b).values())), float(dot(b.values(), jacobian(a).values()))
        return abs(left - right) <= 1e3 * torch.finfo(next(iter(self._x.values())).dtype).eps

    def _weak(self, grad: Tensors, tolerance: float) -> bool:
        """Return whether the free directions change when the gradient changes by ``tolerance``."""
        assert self._jacobian is not None
        n = sum(t.numel() for t in grad.values())
        for seed in (3, 4):
            shift = random_like(grad, seed)
            probe = random_like(grad, seed + 10)
            size = self._a * tolerance * math.sqrt(n)
            jacobians = [self._at(add(add(self._x, grad, -self._a), shift, sign * size)) for sign in (-1.0, 1.0)]
            if any(jacobian is None for jacobian in jacobians):
                return False
            images = [jacobian(probe) for jacobian in jacobians if jacobian is not None]
            change = max(float(t.abs().max()) for t in add(images[0], images[1], -1.0).values())
            if change > 0.02 / math.sqrt(n):  # of a probe of unit norm, whose typical value is 1 / sqrt(n)
                return True
        return False

    def _trace(self, jacobian: Operator, n: int) -> tuple[float, Literal["exact", "estimate"]]:
        if n <= _DENSE:
            total = 0.0
            for name, tensor in self._x.items():
                for i in range(tensor.numel()):
                    unit = {k: torch.zeros_like(t) for k, t in self._x.items()}
                    unit[name].view(-1)[i] = 1
                    total += float(jacobian(unit)[name].view(-1)[i])
            return total, "exact"
        # Signs can cancel in a direction or two, and a direction that is lost might be the one that decides.
        probe = random_like(self._x, 99)
        if float(squared_norm(jacobian(probe).values())) < 1e-6 / n:
            return 0.0, "estimate"
        total = 0.0
        for seed in range(_PROBES):
            signs = {k: t.sign() for k, t in random_like(self._x, 100 + seed).items()}
            total += float(dot(signs.values(), jacobian(signs).values()))
        return max(1.0, total / _PROBES), "estimate"


def _close(a: Tensors, b: Tensors) -> bool:
    return all(torch.allclose(a[n], b[n], rtol=1e-6, atol=1e-12) for n in a)
