"""Draw the rooms of minimaxopt from its imports: python docs/architecture.py writes docs/images/architecture.png.

A room is a folder of the core, or one of its plugins; an arrow says that a file of one imports from the other. Arrows
that follow from others are left out. What is drawn is kept in the picture's metadata, so that a test can tell whether
it is out of date.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "architecture.png"
PLUGINS = ("adversarial", "bench", "privacy", "study")


def sources() -> dict[str, list[Path]]:
    """Return the files of each room, by its name."""
    core = ROOT / "minimaxopt"
    rooms: dict[str, list[Path]] = {"minimaxopt": [core / "__init__.py"]}
    for entry in sorted(core.iterdir()):
        if entry.is_dir() and (entry / "__init__.py").exists():
            rooms[entry.name] = sorted(entry.rglob("*.py"))
        elif entry.suffix == ".py" and entry.stem != "__init__":
            rooms[entry.stem] = [entry]
    for plugin in PLUGINS:
        rooms[f"minimaxopt_{plugin}"] = sorted((ROOT / "plugins" / plugin / "src").rglob("*.py"))
    return rooms


def arrows() -> dict[str, list[str]]:
    """Return the rooms that each room imports from, type checking included, imports within functions not.

    An import within a function is how the version of the package is read, and how a wrapper finds a solver by its name.
    """
    rooms = sources()
    targets: dict[str, set[str]] = {room: set() for room in rooms}
    for room, files in rooms.items():
        for path in files:
            for node in _module_level(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    targets[room] |= _rooms_of(node, rooms)
    return {room: sorted(found - {room}) for room, found in targets.items()}


def reduced(graph: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return the arrows that do not follow from others."""

    def reachable(room: str) -> set[str]:
        below = set(graph[room])
        return below.union(*(reachable(other) for other in below))

    kept: list[tuple[str, str]] = []
    for room, targets in graph.items():
        for target in targets:
            if not any(target in reachable(other) for other in targets if other != target):
                kept.append((room, target))
    return kept


def levels(graph: dict[str, list[str]]) -> dict[str, int]:
    """Return how far above the bottom each room stands: one above the highest room that it imports from."""
    height: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((of(target) for target in graph[room]), default=-1)
        return height[room]

    for room in graph:
        of(room)
    return height


def draw(path: Path) -> None:
    """Draw the picture."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch

    graph = arrows()
    height = levels(graph)
    rows: dict[int, list[str]] = {}
    for room in sorted(graph, key=lambda name: (height[name], name)):
        rows.setdefault(height[room], []).append(room)
    places = {
        room: (3.0 * (i - (len(row) - 1) / 2) + 0.55 * (level % 2), 1.25 * level)
        for level, row in rows.items()
        for i, room in enumerate(row)
    }
    figure, axes = plt.subplots(figsize=(9.5, 0.72 * len(rows) + 1), layout="constrained")
    for start, end in reduced(graph):
        (x0, y0), (x1, y1) = places[start], places[end]
        axes.add_patch(
            FancyArrowPatch(
                (x0, y0 - 0.3), (x1, y1 + 0.3), arrowstyle="-|>", mutation_scale=10, color="#7a8793", linewidth=1.0,
                shrinkA=0, shrinkB=0, connectionstyle=f"arc3,rad={0.18 if y0 - y1 > 1.3 else 0}",
            )
        )  # fmt: skip
    for room, (x, y) in places.items():
        plugin = room.startswith("minimaxopt")
        box = {"boxstyle": "round,pad=0.35", "facecolor": "#fde9d0" if plugin else "#dbe9f6", "edgecolor": "#44515c"}
        axes.text(x, y, room.removeprefix("_"), ha="center", va="center", fontsize=10, bbox=box)
    xs = [x for x, _ in places.values()]
    axes.set(xlim=(min(xs) - 2, max(xs) + 2), ylim=(-0.8, 1.25 * max(rows) + 0.8))
    axes.axis("off")
    axes.set_title("Rooms import only from rooms below (arrows that follow from others are left out)", fontsize=10)
    figure.savefig(path, dpi=130, metadata={"Description": json.dumps(graph, sort_keys=True)})
    plt.close(figure)


def _module_level(tree: ast.Module) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return nodes


def _rooms_of(node: ast.ImportFrom, rooms: dict[str, list[Path]]) -> set[str]:
    head, _, rest = (node.module or "").partition(".")
    if head.startswith("minimaxopt_"):
        return {head} & rooms.keys()
    if head != "minimaxopt":
        return set()
    if rest:
        return {rest.partition(".")[0]}
    return {alias.name if alias.name in rooms else "minimaxopt" for alias in node.names}


if __name__ == "__main__":
    draw(PICTURE)
