"""A study of a few steps on few images, and the command that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from minimaxopt.cli.app import application

if TYPE_CHECKING:
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
