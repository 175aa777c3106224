"""Random damage to saved files; as a script, how many of many damaged files are read, refused by name, or neither.

Run ``python -m tests.results.damage 3000``.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, MultiStepLR, SequentialLR

from minimaxopt import Batches, Checkpoint, EarlyStop, Game, SimultaneousGDA, Solution, solve
from minimaxopt.errors import ResumeError
from minimaxopt.results.certificate import Certificate, Constraint, Move, Quantity


@dataclass
class Files:
    """The two files of a save, in memory."""

    head: bytes
    tensors: bytes
    head_name: str
    tensors_name: str

    @classmethod
    def of(cls, folder: Path, name: str) -> Files:
        head = (folder / f"{name}.json").read_bytes()
        file = json.loads(head)["tensors"]
        return cls(head, (folder / file).read_bytes(), f"{name}.json", file)

    def put(self, folder: Path, head: bytes | None, tensors: bytes | None) -> None:
        for name, content in ((self.head_name, head), (self.tensors_name, tensors)):
            (folder / name).unlink(missing_ok=True)
            if content is not None:
                (folder / name).write_bytes(content)


# -- damage ------------------------------------------------------------------------------------------------------------


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 5])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def zero_block(content: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(content)), rng.choice([1, 16, 512])
    return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]


def repeat_block(content: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(content)), rng.choice([1, 16, 512])
    return content[: start + size] + content[start:]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container of a JSON value with a key of it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


ODD: list[Any] = [
    None, True, -1, 0, 7, 1e308, "", "x", "NaN", [], [1], {}, {"$tensor": "0"}, {"$tensor": "999"}, {"$float": "nan"},
    {"$tuple": [1, 2]}, {"$set": [[]]}, {"$dtype": "nn"}, {"$device": "moon"}, {"$numpy": ["float32", 1.5]}, {"$odd": 1},
    {"$Counter": [[1, 2]]}, {"$defaultdict": ["eval", []]}, {"$deque": [None, 3]}, {"$namedtuple": ["os", "system", []]},
]  # fmt: skip


def change_field(head: Any, rng: random.Random) -> None:
    """Remove, replace, rename or swap fields of a JSON value."""
    container, key = rng.choice(places(head))
    match rng.choice(["remove", "replace", "rename", "swap", "nudge"]):
        case "remove":
            del container[key]
        case "rename" if isinstance(container, dict):
            container[rng.choice(["x", f"{key}_", f"${key}"])] = container.pop(key)
        case "swap":
            other, place = rng.choice(places(head))
            container[key], other[place] = json.loads(json.dumps([other[place], container[key]]))
        case "nudge" if isinstance(container[key], (int, float)):
            container[key] += 1
        case _:
            container[key] = rng.choice(ODD)


def changed_json(content: bytes, rng: random.Random) -> bytes:
    head = json.loads(content)
    change_field(head, rng)
    return json.dumps(head).encode()


RAW: list[Callable[[bytes, random.Random], bytes]] = [flip_bits, truncate, zero_block, repeat_block]


def damaged(files: Files, other: Files, rng: random.Random) -> tuple[bytes | None, bytes | None]:
    """Return the two files' contents with one damage; ``other`` is a sound save of another point."""
    match rng.choice(["head", "tensors", "fields", "fields", "swap head", "swap tensors", "lose"]):
        case "head":
            return rng.choice(RAW)(files.head, rng), files.tensors
        case "tensors":
            return files.head, rng.choice(RAW)(files.tensors, rng)
        case "fields":
            return changed_json(files.head, rng), files.tensors
        case "swap head":
            mixed = {**json.loads(files.head), **rng.choice(list(_parts(json.loads(other.head))))}
            return json.dumps(mixed).encode(), files.tensors
        case "swap tensors":
            return files.head, other.tensors
        case _:
            return rng.choice([(None, files.tensors), (files.head, None), (b"", files.tensors), (files.head, b"")])


def _parts(head: dict[str, Any]) -> Any:
    yield {"content": head["content"]}
    yield {"sha256": head["sha256"]}
    yield {"content": head["content"], "sha256": head["sha256"]}


def digest(content: Any, tensors: bytes) -> str:
    """Return the digest that a head with this content names."""
    return hashlib.sha256(json.dumps(content).encode() + b"\n" + tensors).hexdigest()


def signed_again(files: Files, rng: random.Random) -> tuple[bytes, bytes]:
    """Return the files with a field of the content changed, and the digest made to fit: what only the form can refuse."""
    head = json.loads(files.head)
    change_field(head["content"], rng)
    head["sha256"] = digest(head["content"], files.tensors)
    return json.dumps(head).encode(), files.tensors


# -- what is saved -----------------------------------------------------------------------------------------------------


def game() -> Game:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.fill_(0.1 * i)
    return Game(lambda u, v, x: (u(x) + v).square().mean() - v.square().sum(), net, torch.ones(2))


def play(steps: int, **more: Any) -> Solution:
    x = torch.linspace(-1, 1, 12).reshape(6, 2)
    return solve(
        game(), SimultaneousGDA(), steps=steps, data=Batches(x, 3), progress=False,
        u_optimizer=partial(torch.optim.Adam, lr=0.1),
        u_scheduler=lambda o: SequentialLR(o, [ConstantLR(o, 1.0, 1), MultiStepLR(o, [3])], [2]),
        v_optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.5), **more,
    )  # fmt: skip


def content(solution: Solution) -> str:
    """Return everything in a solution but the time, as one text."""
    tensors = {**solution.u.state_dict(), "v": solution.v}
    rest = (
        solution.history.to_dict(),
        solution.steps,
        solution.status,
        solution.message,
        solution.gradient_evaluations,
    )
    return repr([{k: t.tolist() for k, t in tensors.items()}, rest, solution.manifest, solution.certificate])


def outcome(read: Callable[[], Solution], sound: str) -> str:
    """Return what became of reading a damaged file, in a word."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = read()
    except ResumeError as error:
        named = re.match(
            r"(path: .*(solution|checkpoint)|resume: |steps: |(solution|checkpoint)\.|[uv][:.])", str(error)
        )
        return "refused" if named and "; " in str(error) else f"unclear: {error}"
    except Exception as error:  # noqa: BLE001 - what is counted
        return f"foreign: {type(error).__name__}: {error}"
    return "equal" if content(result) == sound else "silent"


@dataclass
class Case:
    """A kind of file: two sound saves, how one is read, and what then comes out."""

    files: Files
    other: Files
    read: Callable[[Path], Solution]
    sound: str


def solutions(folder: Path) -> Case:
    whole, other = play(6), play(3)
    risk = Quantity(0.5, "exact", 0.1)
    certificate = Certificate(
        kind="undecided", reason="a test", risk=risk, worst=Quantity(math.inf, "lower bound"), best=risk, gap=risk,
        followers={"fresh follower 1": risk}, leaders={}, stationarity={"u": risk}, eigenvalues={},
        constraints={"v": Constraint(True, 1.0, 2)}, move=Move("u", "the gradient", 0.1, 0.5, 0.4), sandwich=(0.4, math.inf),
    )  # fmt: skip
    whole.save(folder / "a", certificate=certificate)
    other.save(folder / "b")
    load = lambda at: Solution.load(at, game())  # noqa: E731 - the field of a dataclass
    return Case(
        Files.of(folder / "a", "solution"), Files.of(folder / "b", "solution"), load, content(load(folder / "a"))
    )


def checkpoints(folder: Path) -> Case:
    for name, steps in (("a", 4), ("b", 2)):
        play(steps, callbacks=[Checkpoint(folder / name), EarlyStop("risk", patience=9, every=1)])
    resume = lambda at: play(6, resume=at, callbacks=[EarlyStop("risk", patience=9, every=1)])  # noqa: E731
    files = [Files.of(folder / name, "checkpoint") for name in "ab"]
    return Case(*files, resume, content(resume(folder / "a")))


CASES: dict[str, Callable[[Path], Case]] = {"solution": solutions, "checkpoint": checkpoints}


def count(case: Case, folder: Path, number: int, seed: int = 0, *, sign: bool = False) -> Counter[str]:
    """Return how often damaged files had which outcome."""
    rng, outcomes = random.Random(seed), Counter[str]()
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(number):
        contents = signed_again(case.files, rng) if sign else damaged(case.files, case.other, rng)
        case.files.put(folder, *contents)
        outcomes[outcome(partial(case.read, folder), case.sound)] += 1
    return outcomes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for kind, build in CASES.items():
            case = build(Path(place, kind))
            for sign in (False, True):
                result = count(case, Path(place, kind, "damaged"), int(sys.argv[1]), sign=sign)
                print(f"{kind}{', signed again' if sign else ''}:")
                print("\n".join(f"  {number:5d} {name[:150]}" for name, number in result.most_common()))
