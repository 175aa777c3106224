"""The public names of the plugin: explicit, documented, and the code of the README runs as printed there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import minimaxopt_adversarial

README = Path(__file__).parent.parent / "README.md"
PUBLIC = [name for name in minimaxopt_adversarial.__all__ if inspect.getmodule(getattr(minimaxopt_adversarial, name))]
DOCUMENTED = [name for name in PUBLIC if not hasattr(getattr(minimaxopt_adversarial, name), "__origin__")]


def test_the_names_are_explicit() -> None:
    assert sorted(minimaxopt_adversarial.__all__) == sorted(set(minimaxopt_adversarial.__all__))
    assert len(DOCUMENTED) > 30


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_names_have_a_sentence_and_an_example(name: str) -> None:
    document = inspect.getdoc(getattr(minimaxopt_adversarial, name)) or ""
    assert re.match(r"[A-Z][^\n]*[.:](\n|$)", document)
    assert "Examples:" in document
    assert ">>> " in document


def test_the_readme_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for code, shown in blocks:
        exec(compile(code, str(README), "exec"), names)
        assert capsys.readouterr().out == shown
