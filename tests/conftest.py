"""What several test files share: distributions made for one test, so that real discovery finds real plugins."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from minimaxopt.plugins import RESTRICTION, plugin_host

# Two workers of two threads each would fight over two cores.
torch.set_num_threads(1)

# No test fails because the machine is busy.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


class Site:
    """Installs throw-away distributions; only they are loaded, whatever else the environment has."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch = root, monkeypatch
        self.names: list[str] = []
        monkeypatch.setenv(RESTRICTION, "")

    def install(self, distribution: str, source: str, *, name: str | None = None, module: str | None = None) -> None:
        """Install ``source`` as a module behind the entry point ``name`` (by default the distribution's own name)."""
        name = name or distribution
        module = module or distribution.replace("-", "_")
        place = self.root / distribution
        info = place / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[minimaxopt]\n{name} = {module}\n")
        (place / f"{module}.py").write_text(textwrap.dedent(source))
        self.monkeypatch.syspath_prepend(place)
        self.restrict(*self.names, name)

    def restrict(self, *names: str) -> None:
        """Load these plugins only, and look again."""
        self.names = list(names)
        self.monkeypatch.setenv(RESTRICTION, ",".join(names))
        plugin_host.cache_clear()


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An environment in which the test's own plugins are installed."""
    before = set(sys.modules)
    plugin_host.cache_clear()
    root = tmp_path_factory.mktemp("site")
    yield Site(root, monkeypatch)
    plugin_host.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(root)):
            del sys.modules[name]
