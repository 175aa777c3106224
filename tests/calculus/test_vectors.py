"""Arithmetic on flat dictionaries of tensors."""

from __future__ import annotations

import torch

from minimaxopt.calculus.vectors import add, dot, finite, negated, squared_norm

A = {"x": torch.tensor([1.0, 2.0]), "y": torch.tensor(3.0)}
B = {"x": torch.tensor([4.0, 5.0]), "y": torch.tensor(6.0)}


def test_products_and_norms_run_over_all_tensors() -> None:
    assert float(dot(A.values(), B.values())) == 32
    assert float(dot([A["y"]], [B["y"]])) == 18
    assert float(squared_norm(A.values())) == 14


def test_sums_are_formed_by_name() -> None:
    assert torch.equal(add(A, B, -2.0)["x"], torch.tensor([-7.0, -8.0]))
    assert torch.equal(add(A, B)["y"], torch.tensor(9.0))
    assert torch.equal(negated(A)["x"], torch.tensor([-1.0, -2.0]))


def test_what_is_finite() -> None:
    assert bool(finite(A.values()))
    assert bool(finite([]))
    assert bool(finite([torch.tensor([1, 2])]))  # integers always are
    assert not bool(finite([A["x"], torch.tensor(float("nan"))]))
    assert not bool(finite([torch.tensor(complex(float("inf"), 0.0))]))
