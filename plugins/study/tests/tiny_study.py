"""A study of a few steps on few images, the command that runs it, and what makes it cheap."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from matplotlib.figure import Figure
from typer.testing import CliRunner

from minimaxopt.cli.app import application
from minimaxopt.plugins import Outcome
from minimaxopt_study.report import write
from minimaxopt_study.runner import scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TINY = """
name = "tiny"
eta = [0.2, 0.4]
rounds = 3
checkpoint_every = 0
[data]
evaluate_on = "held-out"
held_out = 100
[classifier]
width = 2
stride = 2
hidden = 8
dropout = 0.5
[attacker]
hidden = [8]
[undefended]
steps = 40
rate = 1e-2
[adversarial_round]
steps = 3
rate = 1e-2
[lwa]
steps = 3
rate = 1e-2
[minimax_grad]
steps = 4
rate = 1e-2
[minimax_attnet]
steps = 4
rate = 1e-2
attacker_rate = 1e-3
[alt_attnet]
steps = 4
rate = 1e-2
attacker_rate = 1e-3
[maximin_attnet]
steps = 4
rate = 1e-2
attacker_rate = 1e-3
[attack]
steps = 3
rate = 1e-3
choose_on = 100
[figures]
points = 2
samples = 2
[modern]
images = 12
steps = 2
restarts = 2
sweep_images = 6
sweep_steps = 1
autoattack_images = 0
"""


def write_profile(folder: Path, **changes: str) -> Path:
    """A file with the profile; each change replaces all lines of a setting, such as ``eta="[0.4]"``."""
    text = TINY
    for name, value in changes.items():
        lines = text.splitlines(keepends=True)
        fitting = [line for line in lines if line.startswith(f"{name} = ")]
        assert fitting, f"the profile has no {name}"
        text = "".join(f"{name} = {value}\n" if line in fitting else line for line in lines)
    path = folder / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path


def invoke(*arguments: str) -> Any:
    """Run ``minimaxopt study ...`` in this process."""
    return CliRunner().invoke(application(), ["study", *arguments])


class OneProcess:
    """``WorkerPool`` for one job at a time in this process: a worker's start costs more than all trainings of a study.

    All that a worker would get or send is pickled.
    """

    def __init__(self, prepare: Callable[..., Any], arguments: Sequence[Any], workers: int) -> None:
        self.compute = prepare(*copied(tuple(arguments)))
        self.job: Any = None
        self.threads = torch.get_num_threads()

    def __class_getitem__(cls, job: object) -> type[OneProcess]:
        return cls

    def __enter__(self) -> OneProcess:
        torch.set_num_threads(1)
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self.threads)

    @property
    def busy(self) -> bool:
        return self.job is not None

    @property
    def idle(self) -> int:
        return int(not self.busy)

    def submit(self, job: Any) -> None:
        assert not self.busy
        self.job = job

    def wait(self) -> list[Outcome[Any]]:
        job, self.job = self.job, None
        return [Outcome(job, copied(self.compute(copied(job))))]


def copied(content: Any) -> Any:
    """Send something to another process and back."""
    return pickle.loads(pickle.dumps(content))


@contextmanager
def in_one_process() -> Iterator[None]:
    """Compute the tasks of runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "WorkerPool", OneProcess)
        yield


@contextmanager
def without_pictures() -> Iterator[None]:
    """Write reports with the figures' data and captions, but with blank pictures: drawing takes most of the time."""
    figures_of = write.figures_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "draw_worst", blank)
        patch.setattr(write, "figures_of", lambda e: {name: (data, blank) for name, (data, _) in figures_of(e).items()})
        yield


def blank(data: object) -> Figure:
    return Figure()
