"""Random streams: named, replayable, and invisible from outside."""

from __future__ import annotations

import random
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimaxopt.game.random_streams import bring_to_rest, drawn_from, preserve_rng_state, replay, stream

PURPOSES = ("callback", "data", "respond", "risk", "shuffle")


def test_streams_of_different_names_differ() -> None:
    names = list(product((0, 1, -1), (0, 1, 10), PURPOSES, (0, 1, 10)))
    assert len({stream(*name) for name in names}) == len(names)


@given(seed=st.integers(), step=st.integers(0), substep=st.integers(0))
def test_a_stream_is_a_pure_function_that_any_generator_accepts(seed: int, step: int, substep: int) -> None:
    first = stream(seed, step, "risk", substep)
    assert first == stream(seed, step, "risk", substep)
    assert 0 <= first < 2**63
    torch.Generator().manual_seed(first)


def test_streams_stay_what_they_are_across_releases() -> None:
    # A changed stream would change every result that somebody has published.
    assert stream(0, 0, "risk") == 5838512610433227800
    assert stream(7, 3, "respond", 2) == 3805629153208136433


def test_replay_repeats_the_draws() -> None:
    with preserve_rng_state():
        replay(stream(3, 0, "risk"))
        first = torch.rand(5)
        replay(stream(3, 0, "risk"))
        again = torch.rand(5)
        replay(stream(3, 1, "risk"))
        other = torch.rand(5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_undisturbed_leaves_the_global_state_as_found() -> None:
    before = torch.get_rng_state()
    with preserve_rng_state([torch.device("cpu")]):
        replay(1)
        torch.rand(100)
        assert not torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.get_rng_state(), before)


def test_undisturbed_leaves_the_global_state_as_found_after_an_exception() -> None:
    before = torch.get_rng_state()

    @preserve_rng_state()
    def fail() -> None:
        replay(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_hosts_generators_are_replayed_too() -> None:
    def draws() -> list[float]:
        return [random.random(), random.gauss(), np.random.rand(), np.random.randn()]

    with preserve_rng_state():
        replay(stream(3, 0, "risk"))
        first = draws()
        replay(stream(3, 0, "risk"))
        assert draws() == first
        replay(stream(3, 0, "risk"), host=False)
        assert not set(draws()) & set(first)
        replay(stream(3, 1, "risk"))
        assert not set(draws()) & set(first)


@pytest.mark.parametrize(
    "draw",
    [
        random.random, random.gauss, partial(random.shuffle, [1, 2]), partial(random.getrandbits, 1),
        np.random.rand, np.random.randn, partial(np.random.permutation, 3), partial(np.random.bytes, 1),
        partial(random.seed, 3), partial(np.random.seed, 3),
    ],
)  # fmt: skip
def test_any_draw_from_the_hosts_generators_is_noticed(draw: Any) -> None:
    with preserve_rng_state():
        for _ in range(2):
            bring_to_rest()
            torch.rand(1)
            assert not drawn_from()
            bring_to_rest()
            draw()
            assert drawn_from()


@pytest.mark.parametrize("engine", [np.random.MT19937, np.random.PCG64, np.random.Philox])
def test_the_hosts_generators_are_left_as_found(engine: Any) -> None:
    original = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(engine(1))
        np.random.randn()  # keeps a second number back
        random.gauss()
        python, numpy = random.getstate(), repr(np.random.get_state(legacy=False))
        with preserve_rng_state():
            replay(4)
            np.random.randn()
        assert (random.getstate(), repr(np.random.get_state(legacy=False))) == (python, numpy)
        assert isinstance(np.random.get_bit_generator(), engine)
    finally:
        np.random.set_bit_generator(original)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_is_replayed_and_left_as_found(name: str) -> None:
    device = torch.device(name)
    torch.rand(1, device=device)
    before = torch.cuda.get_rng_state(device)
    with preserve_rng_state([device]):
        replay(5, [device])
        first = torch.rand(4, device=device)
        replay(5, [device])
        assert torch.equal(first, torch.rand(4, device=device))
    assert torch.equal(torch.cuda.get_rng_state(device), before)
