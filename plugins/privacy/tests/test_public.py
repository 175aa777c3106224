from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import minimaxopt_privacy

PAGE = Path(__file__).parents[3] / "docs" / "privacy.md"


def test_every_public_name_is_there_and_in_the_reference():
    text = PAGE.read_text()
    for name in minimaxopt_privacy.__all__:
        assert getattr(minimaxopt_privacy, name).__doc__
        assert f"::: minimaxopt_privacy.{name}\n" in text, name
    assert "::: minimaxopt_privacy.MinimaxFiltr\n" not in text


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'MinimaxFiltr'"):
        minimaxopt_privacy.MinimaxFiltr  # noqa: B018 - looking is what fails


def test_the_host_need_not_wait_for_scikit_learn():
    """It imports the plugin whatever command is run."""
    code = "import sys, minimaxopt_privacy.plugin; print(sorted({'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
