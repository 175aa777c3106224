"""The form of saved solutions and checkpoints: every field that is read, with its type.

Imported only where a file is read, since pydantic takes a tenth of a second to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, Strict, ValidationError
from torch import Tensor

from minimaxopt._types import Player
from minimaxopt.errors import ResumeError
from minimaxopt.results.certificate import Certificate
from minimaxopt.results.status import Status


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


def _equal_lengths(columns: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    uneven = [name for name, (steps, values) in columns.items() if len(steps) != len(values)]
    if uneven:
        raise ValueError(f"column {uneven[0]!r} has another number of steps than of values")
    return columns


def _certificate(content: dict[str, Any]) -> dict[str, Any]:
    Certificate.from_dict(content)
    return content


def _one_dimensional(tensor: Tensor) -> Tensor:
    if tensor.dim() != 1:
        raise ValueError(f"a column has the shape {tuple(tensor.shape)}")
    return tensor


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Tensors = dict[Player, dict[str, Tensor]]
_Column = Annotated[Tensor, AfterValidator(_one_dimensional)]


class _ModuleState(_Form):
    """What a player's modules hold beside the parameters that move."""

    tensors: dict[str, Tensor]
    attributes: dict[str, Any]


class SavedSolution(_Form):
    """The content of ``solution.json``."""

    parameters: _Tensors
    module_state: dict[Player, _ModuleState]
    status: Annotated[Status, Strict(False)]
    message: str
    history: Annotated[dict[str, tuple[list[int], list[float]]], AfterValidator(_equal_lengths)]
    steps: NonNegativeInt
    seconds: _Seconds
    gradient_evaluations: NonNegativeInt
    manifest: dict[str, Any]
    certificate: Annotated[dict[str, Any], AfterValidator(_certificate)] | None = None


class _Optimizer(BaseModel):
    """What ``torch.optim.Optimizer.state_dict`` returns; an optimizer may add to it."""

    model_config = ConfigDict(strict=True)

    state: dict[Any, Any]
    param_groups: list[dict[str, Any]]


class _Group(_Form):
    """A parameter group as its factory built it."""

    tensors: list[str]
    settings: dict[str, str]


class _Optimization(_Form):
    """A player's optimizer and schedule as their factories built them."""

    groups: list[_Group]
    scheduler: dict[str, str]


class _IndexedSource(_Form):
    position: NonNegativeInt


class _IteratedSource(_Form):
    epoch: NonNegativeInt
    taken: NonNegativeInt
    further: NonNegativeInt
    loader: Any = None


class _CombinedSource(_Form):
    sources: dict[str, _IndexedSource | _IteratedSource | _CombinedSource]


class _Run(_Form):
    """The state of a context."""

    step: NonNegativeInt
    source: _IndexedSource | _IteratedSource | _CombinedSource
    parameters: _Tensors
    module_state: dict[Player, _ModuleState]
    optimizers: dict[Player, _Optimizer]
    schedulers: dict[Player, dict[str, Any]]
    gradient_evaluations: NonNegativeInt
    hessian_engine: list[Any] = []


class SavedCheckpoint(_Form):
    """The content of ``checkpoint.json``."""

    run: _Run
    frozen: str
    optimization: dict[Player, _Optimization]
    state: Any
    history: Annotated[dict[str, tuple[_Column, _Column]], AfterValidator(_equal_lengths)]
    callbacks: dict[str, Any]
    seconds: _Seconds
    manifest: dict[str, Any]


def check(content: Any, form: type[BaseModel], path: Path) -> dict[str, Any]:
    """Return the content of a file if it has a form.

    Args:
        content: what ``storage.read`` returned.
        form: ``SavedSolution`` or ``SavedCheckpoint``.
        path: the file, for the error.

    Raises:
        ResumeError: a field is missing, unknown, or not of its type.
    """
    try:
        form.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ResumeError(
            f"path: {path} does not hold what this version of minimaxopt saves ({place or 'content'}: {first['msg']}); "
            "load it with the version that wrote it, or run again"
        ) from error
    return content
