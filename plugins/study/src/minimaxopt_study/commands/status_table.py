"""The progress of a study as ``minimaxopt study status`` prints it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from minimaxopt_study.commands.status import KindProgress
from minimaxopt_study.formatting import clock, plural

if TYPE_CHECKING:
    from minimaxopt_study.commands.status import Status


def status_table(status: Status, title: str) -> Table:
    """Return a row for each kind of task, and one for all."""
    columns = ("recorded", "took") if status.recorded else ("done", "running", "left", "took", "about left")
    table = Table("task", *columns, title=title, title_justify="left")
    kinds = status.kinds.values()
    total = KindProgress(
        done=sum(kind.done for kind in kinds),
        running=sum(kind.running for kind in kinds),
        left=sum(kind.left for kind in kinds),
        seconds=status.seconds,
        seconds_left=status.seconds_left,
    )
    for name, kind in {**status.kinds, "all": total}.items():
        counts = (kind.done,) if status.recorded else (kind.done, kind.running, kind.left)
        times = [clock(kind.seconds)] if status.recorded else [clock(kind.seconds), _about(kind.seconds_left)]
        table.add_row(name, *(str(count) if count else "-" for count in counts), *times,
                      style="bold" if kind is total else "")  # fmt: skip
    return table


def status_lines(status: Status) -> list[str]:
    """Return the sentences under the table."""
    lines = [
        f"running for {clock(task.seconds)}, about {_about(task.seconds_left)} left: {task.title}"
        for task in status.running
    ]
    for kind, (stored, current) in status.outdated.items():
        lines.append(
            f"{kind}: stored in version {', '.join(map(str, stored))}, now {current}; a run would compute it anew"
        )
    if status.recorded:
        missing = ", ".join(f"{kind.left} of {name!r}" for name, kind in status.kinds.items() if kind.left)
        return [*lines, "a record, without weights" + (f"; not recorded: {missing}" if missing else "")]
    if not status.active:
        return [*lines, "no run is active"]
    restriction = f" ({', '.join(status.only)} only)" if status.only else ""
    workers = f" with {status.workers} {plural('worker', status.workers)}" if status.workers else ""
    finish = "" if status.finish is None else f", done at about {datetime.fromisoformat(status.finish):%Y-%m-%d %H:%M}"
    return [*lines, f"a run{restriction} is active{workers}{finish}"]


def _about(seconds: float | None) -> str:
    """Return time left as a person reads it."""
    if seconds is None:
        return "not known yet"
    return clock(seconds) if seconds else "-"
