"""The progress bar: what it shows, and that it is quiet where nobody looks."""

from __future__ import annotations

import io
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from minimaxopt import Checkpoint, Descent, Game, SimultaneousGDA, solve
from minimaxopt.loop.progress_bar import Bar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

sgd = partial(torch.optim.SGD, lr=0.125)


class Terminal(io.StringIO):
    """A terminal of 150 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Connect the errors' stream to a terminal. Called inside the test, since pytest sets the stream before it."""

    def now() -> Terminal:
        found = Terminal()
        monkeypatch.setattr(sys, "stderr", found)
        monkeypatch.setenv("COLUMNS", "150")
        monkeypatch.setenv("TERM", "xterm")
        return found

    return now


def play(**options: Any) -> Any:
    game = Game(lambda u, v: u**2 + 41 - v**2, torch.tensor(1.0), torch.tensor(1.0))
    return solve(game, SimultaneousGDA(), steps=30, u_optimizer=sgd, v_optimizer=partial(sgd, lr=0.5), **options)


def test_it_shows_step_risk_rates_and_time(connect: Callable[[], Terminal]) -> None:
    terminal = connect()
    play(progress=True)
    text = terminal.getvalue()
    for part in ("simultaneous-gda", "30/30", "risk 41", "lr u 0.12", "lr v 0.5", "0:00:00"):
        assert part in text


def test_it_shows_the_rate_and_the_time_left(connect: Callable[[], Terminal]) -> None:
    terminal = connect()
    with Bar("title", 1000, shown=True) as bar:
        for step in range(1, 8):
            bar.update(step, 1.5, {"u": 1e-3})
            time.sleep(0.02)
    text = terminal.getvalue()
    assert "steps/s" in text
    assert "lr u 0.001" in text
    assert "7/1000" in text


def test_it_is_shown_by_default_in_a_terminal_only(
    connect: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = connect()
    play()
    assert "30/30" in terminal.getvalue()
    quiet = io.StringIO()
    monkeypatch.setattr(sys, "stderr", quiet)
    play()
    assert quiet.getvalue() == ""
    play(progress=True)
    assert "30/30" in quiet.getvalue()
    assert capsys.readouterr().out == ""


def test_it_is_quiet_when_asked(connect: Callable[[], Terminal]) -> None:
    terminal = connect()
    play(progress=False)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_it_ends_whatever_happens(error: BaseException, connect: Callable[[], Terminal]) -> None:
    terminal = connect()
    with pytest.raises(type(error)), Bar("title", 9, shown=True):
        raise error
    assert terminal.getvalue().endswith(("\n", "\x1b[?25h"))  # the cursor is back


def test_a_resumed_solve_begins_where_it_was(connect: Callable[[], Terminal], tmp_path: Path) -> None:
    terminal = connect()
    play(progress=False, callbacks=[Checkpoint(tmp_path)])
    play(progress=True, resume=tmp_path)
    assert "30/30" in terminal.getvalue()
    with Bar("title", 9, done=4, shown=True):
        pass
    assert "4/9" in terminal.getvalue()


def test_a_solve_without_steps_shows_nothing_odd(connect: Callable[[], Terminal]) -> None:
    terminal = connect()
    solve(Game(lambda u, v: u**2, torch.tensor(1.0), None), Descent(), steps=0, progress=True)
    assert "0/0" in terminal.getvalue()
