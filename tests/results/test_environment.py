"""The environment of a result: what decides its last bits is recorded, and only that."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import torch

from minimaxopt.plugins import environment


def test_the_processor_its_instructions_and_the_blas_are_recorded() -> None:
    recorded = environment()
    assert recorded["processor"]
    assert recorded["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert recorded["blas"].startswith("torch ")
    assert ", numpy " in recorded["blas"]
    assert json.loads(json.dumps(recorded)) == recorded


def test_a_package_that_is_not_installed_is_refused() -> None:
    assert environment(packages=["torch"])["torch"]
    with pytest.raises(metadata.PackageNotFoundError):
        environment(packages=["no-such-package"])
