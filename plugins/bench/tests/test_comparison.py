"""The comparison as a whole: pages, pictures and numbers, continuation after an interrupt, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from minimaxopt.errors import ArgumentError, StoreError
from minimaxopt.plugins import ResultStore, markdown_table
from minimaxopt_bench import QUICK, Settings, bench, cells, comparison
from minimaxopt_bench.cells import cached_cell, is_stored
from minimaxopt_bench.command import bench as command
from minimaxopt_bench.markdown import escape_markdown

GAMES = ["saddle", "bilinear-10", "unbounded-leader"]
SOLVERS = ["extragradient", "follow-the-ridge", "sensitivity"]
LARGEST = 80_000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    bench(folder, games=GAMES, solvers=SOLVERS, settings=QUICK, command="minimaxopt bench --quick", progress=False)
    return folder


def test_pages_and_pictures_are_written(written: Path) -> None:
    index = (written / "index.md").read_text()
    assert "`minimaxopt bench --quick`" in index
    assert all(f"| `{solver}` |" in index for solver in SOLVERS)
    for page in ("index.md", "portraits.md"):
        links = [part.partition(")")[0] for part in (written / page).read_text().split("](")[1:]]
        assert links
        assert all((written / link).exists() for link in links)
    assert "(kbeam.md)" not in index
    pictures = [written / "summary.png", *(written / "portraits" / f"{game}.png" for game in GAMES)]
    for picture in pictures:
        assert picture.stat().st_size < LARGEST
        with Image.open(picture) as image:
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(maxcolors=1 << 20) or []) > 20


def test_the_numbers_are_whole_and_plain_json(written: Path) -> None:
    results = json.loads((written / "results.json").read_text(), parse_constant=pytest.fail)
    assert {(c["solver"], c["game"]) for c in results["cells"]} == {(s, g) for s in SOLVERS for g in GAMES}
    assert results["settings"]["steps"] == QUICK.steps
    assert results["environment"]["threads"] == 1
    assert {s["solver"] for s in results["standings"]} == set(SOLVERS)
    (cell,) = (c for c in results["cells"] if (c["solver"], c["game"]) == ("sensitivity", "unbounded-leader"))
    place = results["columns of runs"].index("ending")
    assert "minimax" not in {run[place] for run in cell["runs"]}


def test_tables_hold_the_evaluations_of_the_best(written: Path) -> None:
    assert is_stored(written, "extragradient", "saddle", QUICK)
    cell = cached_cell(written, "extragradient", "saddle", QUICK)
    assert cell.share == (2, 2)
    section = (written / "index.md").read_text().partition("## Games: Nash")[2].partition("\n## ")[0]
    (row,) = (line for line in section.splitlines() if line.startswith("| `extragradient`"))
    assert f"{cell.evaluations:.0f}" in row


def test_processes_find_what_one_finds(written: Path, tmp_path: Path) -> None:
    games, solvers = GAMES[:1], SOLVERS[:2]
    parallel = bench(tmp_path, games=games, solvers=solvers, settings=QUICK, workers=2, portraits=False, progress=False)
    for (solver, game), cell in parallel.items():
        assert is_stored(written, solver, game, QUICK)
        assert cell == cached_cell(written, solver, game, QUICK)


def test_after_an_interrupt_it_goes_on_with_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[str, str]] = []
    compute = cells.compute

    def interrupted(solver: str, game: str, settings: Settings) -> Any:
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append((solver, game))
        return compute(solver, game, settings)

    options: dict[str, Any] = {"games": ["saddle"], "solvers": SOLVERS, "portraits": False, "progress": False}
    with monkeypatch.context() as patched:
        patched.setattr(cells, "compute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench(tmp_path, settings=QUICK, **options)
    assert not (tmp_path / "index.md").exists()
    again: list[str] = []
    monkeypatch.setattr(cells, "compute", lambda s, g, settings: (again.append(s), compute(s, g, settings))[1])
    bench(tmp_path, settings=QUICK, **options)
    assert again == SOLVERS[2:]
    bench(tmp_path, settings=QUICK, **options)
    assert again == SOLVERS[2:]
    bench(tmp_path, settings=Settings(**{**vars(QUICK), "steps": 50}), **options)
    assert again == SOLVERS[2:] + SOLVERS


def test_what_cannot_be_done_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="workers: it is 0; give an integer >= 1"):
        bench(tmp_path, workers=0)
    with pytest.raises(ArgumentError, match="workers: it is 0; give an integer >= 1"):
        comparison.kbeam(tmp_path, workers=0)
    assert not any(tmp_path.iterdir())


def test_a_second_benchmark_in_the_folder_is_refused(tmp_path: Path) -> None:
    saddle: dict[str, Any] = {"games": ["saddle"], "solvers": SOLVERS[:1], "settings": QUICK, "portraits": False}
    with ResultStore(tmp_path).lock():
        for start in (lambda: bench(tmp_path, **saddle), lambda: comparison.kbeam(tmp_path)):
            with pytest.raises(StoreError, match=r"^out: a benchmark is already running in .*; wait for it or choose"):
                start()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    bench(tmp_path, **saddle)
    assert not (tmp_path / "lock").exists()


def test_progress_is_shown_where_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for progress in (True, False):
        bench(tmp_path, games=["saddle"], solvers=SOLVERS[:1], settings=QUICK, portraits=False, progress=progress)
        assert ("solvers on games" in capsys.readouterr().err) == progress


def test_markdown_shows_formulas_as_they_are() -> None:
    formula = escape_markdown("|v| <= 1, x_i * y")
    assert formula == r"|v| &lt;= 1, x\_i \* y"
    assert markdown_table(["f"], [[formula]]).splitlines()[2] == r"| \|v\| &lt;= 1, x\_i \* y |"


# -- the command -------------------------------------------------------------------------------------------------------


def invoke(*arguments: str) -> Any:
    application = typer.Typer()
    application.command()(command)
    return CliRunner().invoke(application, list(arguments))


def test_the_command_writes_the_bench(tmp_path: Path) -> None:
    line = f"--out {tmp_path} --quick --games saddle,bilinear --solvers optimistic --starts 1 --seed 3 --workers 1"
    result = invoke(*line.split(), "--no-portraits")
    assert (result.exit_code, result.exception) == (0, None)
    assert "index.md" in result.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["settings"]["starts"], results["settings"]["seed"]) == (1, 3)
    assert not (tmp_path / "portraits").exists()


def test_the_command_repeats_the_published_table(tmp_path: Path) -> None:
    result = invoke(
        "--out", str(tmp_path), "--kbeam", "--quick", "--starts", "1", "--steps", "2", "--workers", "1", "--quiet"
    )
    assert (result.exit_code, result.stdout) == (0, "")
    results = json.loads((tmp_path / "kbeam.json").read_text())
    assert (results["protocol"]["trials"], results["protocol"]["steps"]) == (1, 2)


def test_an_interrupt_is_told_with_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "bench", interrupted)
    result = invoke("--out", str(tmp_path))
    assert result.exit_code == 130
    assert "the same command continues" in result.output


def test_names_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    result = invoke("--out", str(tmp_path), "--games", "sadle")
    assert "did you mean 'saddle'" in str(result.exception)
