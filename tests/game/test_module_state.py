"""What modules hold beside what moves is read and put back as values, of whatever kind an attribute is at the time."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minimaxopt import Game, solve
from minimaxopt.game.module_state import ModuleState, changed

SGD = partial(torch.optim.SGD, lr=0.1)


class Meter:
    def __init__(self) -> None:
        self.total, self.log = 0.0, [1.0]


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("mean", torch.zeros(2))
        self.tensor, self.number, self.text, self.nothing = torch.zeros(2), 1, "a", None
        self.items, self.table, self.queue, self.pair = [1, 2], {"a": torch.zeros(1)}, deque([1], maxlen=3), (1, "b")
        self.array, self.generator, self.meter = np.zeros(2), torch.Generator().manual_seed(3), Meter()


def put(module: Everything, name: str, value: Any) -> None:
    setattr(module, name, value)


class Lean(nn.Module):
    """Without containers, so that unchanged modules are told at a glance."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.number, self.flag, self.nothing = nn.Parameter(torch.ones(2)), 1, True, None
        self.register_buffer("mean", torch.zeros(2))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", torch.ones(2)),
        ("number", torch.ones(1)),
        ("number", 1.0),
        ("number", np.ones(2)),
        ("flag", 1),
        ("nothing", torch.zeros(2)),
        ("mean", torch.ones(2)),
    ],
    ids=repr,
)
def test_an_attribute_that_becomes_another_kind_is_a_change(name: str, value: Any) -> None:
    module = Lean()
    state = ModuleState([("", module)], set(), set())
    before = state.read()
    assert state.read() is before
    setattr(module, name, value)
    after = state.read()
    assert changed(before, after) == [name]
    state.write(before)
    assert changed(before, state.read()) == []
    state.write(after)
    assert changed(after, state.read()) == []


CHANGES: dict[str, Any] = {
    "frozen in place": lambda m: m.frozen.add_(1),
    "buffer in place": lambda m: m.mean.add_(1),
    "buffer assigned": lambda m: put(m, "mean", m.mean + 1),
    "buffer of another shape": lambda m: put(m, "mean", torch.ones(3)),
    "tensor in place": lambda m: m.tensor.add_(1),
    "tensor assigned": lambda m: put(m, "tensor", m.weight * 2),
    "tensor gone": lambda m: delattr(m, "tensor"),
    "tensor to None": lambda m: put(m, "tensor", None),
    "None to tensor": lambda m: put(m, "nothing", m.weight * 2),
    "None to list of tensors": lambda m: put(m, "nothing", [m.weight * 2]),
    "number": lambda m: put(m, "number", 2),
    "number to tensor": lambda m: put(m, "number", torch.ones(1)),
    "text": lambda m: put(m, "text", "b"),
    "new number": lambda m: put(m, "fresh", 1),
    "new tensor": lambda m: put(m, "fresh", torch.ones(2)),
    "list": lambda m: m.items.append(3),
    "list to None": lambda m: put(m, "items", None),
    "dictionary": lambda m: m.table["a"].add_(1),
    "queue": lambda m: m.queue.extend([2, 3, 4]),
    "tuple": lambda m: put(m, "pair", (2, "b")),
    "array": lambda m: m.array.__setitem__(0, 1.0),
    "generator": lambda m: torch.rand(1, generator=m.generator),
    "helper's number": lambda m: put(m.meter, "total", 1.0),
    "helper's list": lambda m: m.meter.log.append(2.0),
    "mode": lambda m: m.eval(),
}


@torch.no_grad()
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_read_and_can_be_undone_and_made_again(change: str) -> None:
    module = Everything()
    state = ModuleState([("", module)], set(), set())
    before = state.read()
    assert changed(before, state.read()) == []
    for _ in range(2):
        CHANGES[change](module)
        after = state.read()
        assert len(changed(before, after)) == 1
        state.write(before)
        assert changed(before, state.read()) == []
        state.write(after)
        assert changed(after, state.read()) == []
        assert not any(t.requires_grad for t in after.values() if isinstance(t, Tensor))
        state.write(before)


@torch.no_grad()
def test_values_that_were_read_are_never_changed_in_place() -> None:
    module = Everything()
    state = ModuleState([("", module)], set(), set())
    before = state.read()
    copies = {name: value.clone() for name, value in before.items() if isinstance(value, Tensor)}
    for _ in range(3):
        for change in ("frozen in place", "buffer in place", "tensor in place", "dictionary"):
            CHANGES[change](module)
        state.read()
        state.write(before)
    assert all(torch.equal(before[name], value) for name, value in copies.items())
    assert before["table"]["a"].item() == 0.0


def test_changes_that_no_version_tells_are_found_by_value() -> None:
    module = Everything()
    state = ModuleState([("", module)], set(), set())
    before = state.read()
    assert not state.find_silent_changes()
    module.frozen.data.mul_(2)
    assert changed(before, state.read()) == []  # nothing tells
    assert state.find_silent_changes()
    assert changed(before, state.read()) == ["frozen"]


def test_what_shares_memory_with_a_moving_tensor_is_no_state_of_its_own() -> None:
    module = Everything()
    module.tensor = module.weight.detach()
    from minimaxopt.game.trees import storage_of

    assert "tensor" not in ModuleState([("", module)], {storage_of(module.weight)}, set()).read()


def test_a_hidden_state_that_begins_as_none_is_carried_from_step_to_step() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
            self.hidden: Tensor | None = None

        def forward(self) -> Tensor:
            before = 1.0 if self.hidden is None else self.hidden.detach()
            self.hidden = self.weight * before + 1
            return self.hidden

    solution = solve(Game(lambda u, v: u().square(), Recurrent(), None), "descent", steps=3, u_optimizer=SGD)
    hand = Recurrent()
    for _ in range(3):
        (gradient,) = torch.autograd.grad(hand().square(), hand.weight)
        with torch.no_grad():
            hand.weight -= 0.1 * gradient
    assert solution.u.weight.item() == pytest.approx(hand.weight.item(), abs=1e-12)
    assert solution.u.hidden.item() == pytest.approx(hand.hidden.item(), abs=1e-12)
