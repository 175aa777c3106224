"""What a player's modules hold beside the parameters that an optimizer moves.

Frozen parameters, buffers, and the numbers and tensors kept as plain attributes are a state that the modules' own code
may change in any evaluation. It is read and put back as values, so that an evaluation can begin where the step began,
and a run can be rolled back, saved and resumed.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, final

import numpy as np
import optree
import torch
from torch import Tensor, nn

from minimaxopt.game.trees import parts_with_names, storage_of, tensors_of

State: TypeAlias = dict[str, Any]
"""Values by name; tensors among them are never changed in place."""

_OF_TORCH = frozenset(vars(nn.Module())) - {"training"}
_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
_CONTAINERS = (list, dict, set, deque, tuple)
_LARGE = 2**14  # values
_ABSENT: Any = object()
_NEVER_READ: State = {}


@final
class _Slot:
    """A place of a module that holds a tensor.

    Attributes:
        home: the tensor that belongs there; a value is put back by writing into it, since others may refer to it.
        value: the value that ``home`` is known to hold, as long as it has ``version``; ``None`` where it must be read.
        unversioned: whether ``home`` was seen to change without its version, as by ``tensor.data``.
    """

    __slots__ = ("home", "key", "name", "store", "strict", "unversioned", "value", "version")

    def __init__(self, name: str, store: dict[str, Any], key: str, *, strict: bool) -> None:
        self.name, self.store, self.key, self.strict = name, store, key, strict
        self.home: Tensor = store[key]
        self.value: Tensor | None = None
        self.version = -1
        self.unversioned = self.home.is_inference()

    def holds(self, value: object) -> bool:
        return value is not None and self.value is value and not self.unversioned and self.home._version == self.version

    def read(self) -> Tensor:
        tensor: Tensor = self.store[self.key]
        if tensor is not self.home:
            return torch.func.debug_unwrap(tensor).detach().clone()
        value = self.value
        if value is None or not self.holds(value):
            value = self.value = tensor.detach().clone()
            self.version = self._version()
        return value

    def write(self, value: Tensor) -> None:
        home = self.home
        if self.store.get(self.key) is not home:
            self.store[self.key] = home
        elif self.holds(value):
            return
        if home.shape == value.shape and home.dtype == value.dtype and home.device == value.device:
            home.detach().copy_(value)
        else:
            new = value.clone()
            self.home = nn.Parameter(new, requires_grad=False) if isinstance(home, nn.Parameter) else new
            self.store[self.key] = self.home
        self.value, self.version = value, self._version()

    def _version(self) -> int:
        return -1 if self.unversioned else self.home._version


@final
class ModuleState:
    """The state of some modules, as values by name.

    Args:
        modules: by path.
        moving: storages of the tensors that optimizers move; what shares memory with them is no state of its own.
        known: ids of tensors whose state is kept elsewhere; those of these modules are added.
    """

    def __init__(self, modules: Iterable[tuple[str, nn.Module]], moving: set[int], known: set[int]) -> None:
        self._moving, self._elsewhere = moving, frozenset(known)
        self._parts: list[tuple[str, Any]] = []
        parts: set[int] = set()
        for path, module in modules:
            for inner, part in parts_with_names(module):
                if id(part) not in parts:
                    parts.add(id(part))
                    self._parts.append((".".join(x for x in (path, inner) if x), part))
        self._stores = [vars(part) for _, part in self._parts]
        for _, part in self._parts:
            if isinstance(part, nn.Module):
                self._stores += [vars(part)["_buffers"], vars(part)["_parameters"]]
        self._slots: dict[str, _Slot] = {}
        self._plain: list[tuple[str, dict[str, Any], str]] = []
        self._mutable: list[tuple[str, dict[str, Any], str]] = []
        self._sizes: list[int] = []
        self._last: State = {}
        self._present: State = _NEVER_READ
        self._values: list[Any] = []
        self._scan()
        known.update(id(slot.home) for slot in self._slots.values())

    def _scan(self) -> None:
        """Find the places anew, since attributes have come or gone."""
        before, self._slots, self._plain, self._mutable = self._slots, {}, [], []
        homes: set[int] = set()
        for path, part in self._parts:
            start = f"{path}." if path else ""
            stores: dict[str, dict[str, Any]] = vars(part) if isinstance(part, nn.Module) else {}
            for kind in ("_parameters", "_buffers"):
                for key, tensor in stores.get(kind, {}).items():
                    if tensor is not None and not (kind == "_parameters" and tensor.requires_grad):
                        self._add_tensor(before, homes, start + key, stores[kind], key, strict=True)
            attributes = vars(part)
            for key, value in attributes.items():
                if key in _OF_TORCH:
                    continue
                if isinstance(value, Tensor):
                    self._add_tensor(before, homes, start + key, attributes, key, strict=False)
                elif _is_plain(value):
                    self._plain.append((start + key, attributes, key))
                elif isinstance(value, torch.Generator) or _is_array(value) or _is_plain_container(value):
                    self._mutable.append((start + key, attributes, key))
        self._sizes = [len(store) for store in self._stores]

    def _add_tensor(
        self, before: Mapping[str, _Slot], homes: set[int], name: str, store: dict[str, Any], key: str, *, strict: bool
    ) -> None:
        tensor: Tensor = store[key]
        if storage_of(torch.func.debug_unwrap(tensor)) in self._moving or id(tensor) in self._elsewhere:
            return
        slot = before.get(name) or _Slot(name, store, key, strict=strict)
        if id(slot.home) not in homes:  # a tensor in two places is one value
            homes.add(id(slot.home))
            self._slots[name] = slot

    def read(self) -> State:
        """Return the present values; the dictionary is the last one as long as nothing has changed."""
        if self._unchanged():
            return self._present
        if not self._of_their_kinds():
            self._scan()
        state: State = {name: slot.read() for name, slot in self._slots.items() if slot.key in slot.store}
        for name, store, key in self._plain:
            if key in store:
                state[name] = store[key]
        for name, store, key in self._mutable:
            if key in store:
                last = self._last.get(name, _ABSENT)
                if not _same_content(store[key], last):
                    self._last[name] = last = _copied(store[key])
                state[name] = last
        self._remember(state)
        return state

    @torch.no_grad()
    def _write(self, state: State) -> None:
        if not self._of_their_kinds():
            self._scan()
        for name, slot in self._slots.items():
            value = state.get(name, _ABSENT)
            if isinstance(value, Tensor):
                slot.write(value)
            elif not slot.strict:
                _set(slot.store, slot.key, _copied(value))
        for name, store, key in self._plain:
            value = state.get(name, _ABSENT)
            if store.get(key, _ABSENT) is not value:
                _set(store, key, _copied(value))
        for name, store, key in self._mutable:
            if not _same_content(store.get(key, _ABSENT), state.get(name, _ABSENT)):
                _refill(store, key, state.get(name, _ABSENT))
        if not self._of_their_kinds():
            self._scan()
        if len(state) > len(self._slots) + len(self._plain) + len(self._mutable):
            self._create(state)

    def _of_their_kinds(self) -> bool:
        """Return whether no attribute has become one of another kind, such as a tensor where ``None`` was."""
        return (
            all(isinstance(slot.store.get(slot.key), Tensor) for slot in self._slots.values())
            and all(_is_plain(store.get(key)) for _, store, key in self._plain)
            and all(not isinstance(store.get(key), (Tensor, *_IMMUTABLE)) for _, store, key in self._mutable)
        )

    def write(self, state: State) -> None:
        """Put values back; attributes that ``state`` does not have go."""
        if not self._unchanged() or state is not self._present:
            self._write(state)
            self._remember(state)

    def _unchanged(self) -> bool:
        """Return whether the modules hold the values of ``_present``."""
        if list(map(len, self._stores)) != self._sizes:
            self._scan()
            return False
        if self._mutable or self._present is _NEVER_READ:
            return False
        for slot in self._slots.values():
            if slot.store.get(slot.key) is not slot.home or not slot.holds(self._present.get(slot.name)):
                return False
        # By identity: a tensor in the place of a number has an equality of its own.
        return all(store.get(key) is value for (_, store, key), value in zip(self._plain, self._values, strict=True))

    def _remember(self, state: State) -> None:
        self._present = state
        self._values = [store.get(key) for _, store, key in self._plain]

    def _create(self, state: State) -> None:
        """Set the attributes that the modules do not have now."""
        here = {*self._slots, *(name for name, *_ in self._plain), *(name for name, *_ in self._mutable)}
        parts = dict(self._parts)
        for name, value in state.items():
            path, _, key = name.rpartition(".")
            if name not in here and path in parts and value is not _ABSENT:
                vars(parts[path])[key] = _copied(value)
        self._scan()

    @property
    def required(self) -> dict[str, Tensor]:
        """Frozen parameters and buffers, which a saved state must have too."""
        return {name: slot.home for name, slot in self._slots.items() if slot.strict}

    def changed_tensors(self, state: State) -> list[Tensor]:
        """Return the modules' tensors that hold another value than in ``state``."""
        return [slot.home for name, slot in self._slots.items() if not slot.holds(state.get(name))]

    def find_silent_changes(self, *, sampled: bool = False) -> bool:
        """Return whether a tensor changed without its version, as ``tensor.data`` allows; it is then read always.

        Args:
            sampled: look at some thousand values of a large tensor instead of at all, for a check that is often made.
        """
        part = _sample if sampled else _whole
        silent = [
            slot
            for slot in self._slots.values()
            if slot.value is not None and slot.holds(slot.value) and not _equal(part(slot.home), part(slot.value))
        ]
        for slot in silent:
            slot.unversioned = True
        return bool(silent)

    def distrust_versions(self) -> None:
        """Read and write all tensors always, whatever their version says."""
        for slot in self._slots.values():
            slot.unversioned = True


def changed(before: State, after: State) -> list[str]:
    """Return the names of the values that differ.

    >>> changed({"a": 1, "b": torch.ones(2)}, {"a": 2, "b": torch.ones(2)})
    ['a']
    """
    names = dict.fromkeys([*before, *after])
    return [name for name in names if not _equal(before.get(name, _ABSENT), after.get(name, _ABSENT))]


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        same = isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype
        # NaN equals itself here.
        return (
            same
            and a.device == b.device
            and bool(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)))
            and bool(torch.equal(a.isnan(), b.isnan()))
        )
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        )
    leaves_a, spec_a = optree.tree_flatten(a, none_is_leaf=True)
    leaves_b, spec_b = optree.tree_flatten(b, none_is_leaf=True)
    if len(leaves_a) == 1 and leaves_a[0] is a:
        return type(a) is type(b) and (a == b or (a != a and b != b))
    return spec_a == spec_b and all(_equal(x, y) for x, y in zip(leaves_a, leaves_b, strict=True))


def _is_plain(value: Any) -> bool:
    """Return whether a value cannot be changed, so that it stands for itself."""
    if isinstance(value, tuple):
        return all(_is_plain(part) for part in value)
    return isinstance(value, _IMMUTABLE) or (isinstance(value, np.generic) and value.dtype.kind in "biuf")


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biufc"


def _whole(tensor: Tensor) -> Tensor:
    return tensor


def _sample(tensor: Tensor) -> Tensor:
    if tensor.numel() <= _LARGE or not tensor.is_contiguous():
        return tensor
    return tensor.detach().view(-1)[:: tensor.numel() // (_LARGE // 4)]


def _is_plain_container(value: Any) -> bool:
    """Return whether a value is a container of numbers, texts and tensors alone."""
    if not isinstance(value, _CONTAINERS):
        return False
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    return all(
        isinstance(x, _IMMUTABLE)
        or (isinstance(x, Tensor) and not isinstance(x, nn.Parameter))
        or _is_plain_container(x)
        for x in parts
    )


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.func.debug_unwrap(value).detach().clone()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, (*_CONTAINERS, np.ndarray)) and not tensors_of(value):
        return copy.deepcopy(value)
    tree: Any = value
    return optree.tree_map(_copied, tree, none_is_leaf=True) if isinstance(value, _CONTAINERS) else tree


def _same_content(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Generator):
        return isinstance(b, Tensor) and torch.equal(a.get_state(), b)
    return _equal(a, b)


def _set(store: dict[str, Any], key: str, value: Any) -> None:
    if value is _ABSENT:
        store.pop(key, None)
    else:
        store[key] = value


def _refill(store: dict[str, Any], key: str, value: Any) -> None:
    """Put a container's content back into the container that is there, since others may refer to it."""
    present = store.get(key, _ABSENT)
    if isinstance(present, torch.Generator) and isinstance(value, Tensor):
        present.set_state(value)
        return
    if value is _ABSENT or type(present) is not type(value):
        _set(store, key, _copied(value))
        return
    content = _copied(value)
    if isinstance(present, list):
        present[:] = content
    elif isinstance(present, (dict, set)):
        present.clear()
        present.update(content)
    elif isinstance(present, deque):
        present.clear()
        present.extend(content)
    else:
        store[key] = content
