"""Writing the report of a study: tables, figures, claims, and pages in Markdown and HTML."""

from __future__ import annotations

import base64
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2

from minimaxopt.plugins import write_atomically, write_json
from minimaxopt_study.formatting import abbreviated, clock
from minimaxopt_study.paper import printed as paper
from minimaxopt_study.report import content, modern_content, summary
from minimaxopt_study.report.differences_from_paper import differences_from_paper, settings
from minimaxopt_study.report.figures.all_figures import Picture, figures_of
from minimaxopt_study.report.figures.style import png
from minimaxopt_study.report.figures.worst_case import draw_worst, worst_figure
from minimaxopt_study.results import modern_worst_case, tables
from minimaxopt_study.results.evidence import evidence
from minimaxopt_study.results.gather import gather
from minimaxopt_study.results.modern_worst_case import worst_cases
from minimaxopt_study.results.verdicts import judge

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from minimaxopt.plugins import ResultStore
    from minimaxopt_study.plan.plan import Plan
    from minimaxopt_study.results.gather import Results
    from minimaxopt_study.study import Study

POINTS_IN_AN_INCH = 72


def write_report(study: Study, without: Collection[str] = ()) -> Path:
    """Write everything that can be made from a study's results so far.

    Args:
        study: whose folder gets the files.
        without: keys of results that are taken for absent, such as damaged ones.

    Returns:
        The path of the HTML report.
    """
    store = study.store.without(without)
    return write_results(study, store, gather(study.plan, store, study.profile))


def write_results(study: Study, store: ResultStore, results: Results) -> Path:
    """Write results as those of a study; return the path of the HTML report."""
    folder, profile, data = study.folder, study.profile, study.data
    built = tables.build(results)
    for kind, table in built.items():
        number = results.experiment.printed(kind)
        write_json(folder / "tables" / f"table{number}.json", tables.as_json(table))
    pictures = [_figure(folder, name, picture, results) for name, picture in figures_of(results.experiment).items()]
    cases = worst_cases(results)
    worst = None
    if cases:
        worst = _figure(folder, "worst", (worst_figure, draw_worst), results)
        write_json(folder / "tables" / "modern.json", modern_worst_case.as_json(cases))
    numbers = evidence(results, built)
    judgements = judge(numbers)
    write_json(folder / "claims.json", [judgement.as_json() for judgement in judgements])
    costs = [
        {"defence": defence, "eta": eta, "attack": attack, "steps": cost.steps, "seconds": round(cost.seconds, 2)}
        for (defence, eta, attack), cost in results.costs.items()
    ]
    write_json(folder / "costs.json", costs)
    page = {
        "profile": profile,
        "data": data,
        "runs": study.runs,
        "experiment": profile.experiment,
        "source": paper.source(profile.experiment),
        "reference": paper.REFERENCE,
        "summary": summary.summary(profile, data, results, judgements, numbers, cases),
        "claims": content.claims(judgements),
        "tables": content.tables(results, built, cases),
        "modern": modern_content.modern(cases, results),
        "worst": worst,
        "figures": pictures,
        "attackers": content.attackers(results),
        "smaller": differences_from_paper(profile, data),
        "settings": settings(profile),
        "of_255": summary.of_255(profile, data),
        "clock": clock,
        **_spent(study.plan, store),
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    markdown = environment.from_string(_template("report.md.j2")).render(page)
    write_atomically(folder / "report.md", markdown.encode())
    environment.autoescape = True
    html = environment.from_string(_template("report.html.j2")).render(page)
    path = folder / "report.html"
    write_atomically(path, html.encode())
    return path


def _figure(folder: Path, name: str, picture: Picture, results: Results) -> dict[str, str]:
    make, draw = picture
    data = make(results)
    drawn = draw(data)
    raw = png(drawn)
    write_json(folder / "figures" / f"{name}.json", data)
    write_atomically(folder / "figures" / f"{name}.png", raw)
    return {
        "name": name,
        "called": data["caption"].partition(".")[0],
        "title": data["title"],
        "caption": data["caption"],
        # A narrower screen scrolls: below a CSS pixel for each point the labels could not be read.
        "width": str(round(POINTS_IN_AN_INCH * drawn.get_figwidth())),
        "inline": "data:image/png;base64," + base64.b64encode(raw).decode(),
    }


def _spent(plan: Plan, store: ResultStore) -> dict[str, Any]:
    """Return seconds and code by kind of task, and the environments in which the stored tasks were computed."""
    spent: dict[str, dict[str, float]] = {}
    code: dict[str, list[str]] = {}
    environments: list[dict[str, str]] = []
    for task in plan.graph:
        if task.key not in store:
            continue
        result = store.result(task.key)
        kind = spent.setdefault(task.kind, {"tasks": 0, "steps": 0, "seconds": 0.0})
        kind["tasks"] += 1
        kind["steps"] += task.steps
        kind["seconds"] += result["seconds"]
        made_by = f"version {task.version} ({abbreviated(result['sources'])})"
        if made_by not in code.setdefault(task.kind, []):
            code[task.kind].append(made_by)
        environment = {name: _text(value) for name, value in result["environment"].items()}
        if environment not in environments:
            environments.append(environment)
    total = {name: sum(kind[name] for kind in spent.values()) for name in ("tasks", "steps", "seconds")}
    return {"spent": spent, "code": code, "total": total, "environments": environments, "planned": len(plan.graph)}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _template(name: str) -> str:
    return (resources.files("minimaxopt_study.report") / "templates" / name).read_text(encoding="utf-8")
