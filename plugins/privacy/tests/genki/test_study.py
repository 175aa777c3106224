"""The GENKI comparison on drawn faces: the study's own are not ours to ship."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from minimaxopt.cli import app as cli
from minimaxopt.errors import ArgumentError
from minimaxopt_privacy.genki import published, report, study
from minimaxopt_privacy.genki.outcome import Choice, Outcome, read
from minimaxopt_privacy.genki.picture import plot
from minimaxopt_privacy.genki.protocol import Protocol
from minimaxopt_privacy.genki.study import run

TINY = {"dimensions": (2,), "rhos": (1.0, 10.0), "seeds": (0,), "folds": 2, "max_iter": 3,
    "families": ("logistic",), "selecting": ("logistic",),
}  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Faces whose first pixel smiles and whose second has a gender; the rest is noise."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 80), ("test", 60)):
        X = random.normal(size=(256, count))
        arrays[f"X{split}"] = X
        for label, pixel in (("y1", 0), ("y2", 1)):
            arrays[f"{label}_{split}"] = (np.argsort(np.argsort(X[pixel])) * 2 // count + 1)[None].astype(np.uint8)
    path = tmp_path_factory.mktemp("faces") / "genki.mat"
    scipy.io.savemat(path, arrays)
    return path


def test_choices_come_from_training_faces_and_test_faces_are_scored_once(faces, tmp_path, monkeypatch):
    sizes: list[tuple[int | None, int]] = []
    judge = study.evaluate_filter

    def watch(filter_, X, y, s, X_test, y_test, s_test, **options):
        sizes.append((len(X), len(X_test)))
        return judge(filter_, X, y, s, X_test, y_test, s_test, **options)

    monkeypatch.setattr(study, "evaluate_filter", watch)
    protocol = Protocol(methods=("pca", "lda"), **TINY)
    outcome = run(faces, tmp_path, protocol)
    folds, finals = sizes[:-2], sizes[-2:]
    assert folds == [(40, 40)] * 2 * len(protocol.candidates("lda"))
    assert finals == [(80, 60)] * 2
    assert outcome.choices.keys() == {("lda", 2)}  # of PCA there is nothing to choose
    assert all(count == 1 for count in outcome.looks.values())
    run(faces, tmp_path, protocol)
    assert len(sizes) == len(folds) + 2


def test_the_choice_tells_least_among_those_that_keep_the_target():
    job = study.Job("lda", 2, {}, 0, None, 0, 1, ("logistic",))
    scores = [(0.95, 0.8), (0.9, 0.55), (0.89, 0.6), (0.7, 0.5)]
    groups = [[replace(job, settings={"strength": float(i)})] for i in range(4)]
    cells = [[{"useful": useful, "leakage": leakage}] for useful, leakage in scores]
    assert study._choose(cells, groups, 0.88).settings == {"strength": 1.0}
    assert study._choose(cells, groups, 0.99).settings == {"strength": 0.0}


def test_another_choice_that_meets_the_test_faces_is_told(faces, tmp_path):
    first = run(faces, tmp_path, Protocol(methods=("linear@10",), **TINY))
    again = run(faces, tmp_path, Protocol(methods=("linear@10",), **{**TINY, "max_iter": 4}))
    assert first.looks == {("linear@10", 2): 1}
    assert again.looks == {("linear@10", 2): 2}
    assert "(test faces scored with 2 settings)" in report.markdown(again)


def test_noise_is_added_to_what_was_chosen_without_it(faces):
    protocol = Protocol(methods=("linear", "linear+laplace"), **TINY)
    outcome = run(faces, None, protocol)
    plain, noisy = (study._final_job(m, 2, 0, outcome.choices, protocol) for m in protocol.methods)
    assert plain.settings == noisy.settings
    assert (plain.epsilon, noisy.epsilon) == (None, 10.0)
    assert set(outcome.scores) == {("linear", 2), ("linear+laplace", 2)}
    without, with_noise = report.rows(outcome)
    assert without["validated"] is not None
    assert with_noise["validated"] is None  # what was validated was another filter
    assert with_noise["settings"] == without["settings"]
    assert "Noise of ε = 10;" in report.markdown(outcome)
    assert "Noise of" not in report.markdown(run(faces, None, Protocol(methods=("linear",), **TINY)))


def drawn_outcome(useful, leakage, seeds=3):
    cell = {"useful": useful, "leakage": leakage, "private": [{"scores": [{"family": "mlp", "value": leakage}]}]}
    tried = [{"settings": {"rho": rho}, "useful": 0.8 + rho / 100, "leakage": 0.6} for rho in (1.0, 10.0)]
    protocol = Protocol(dimensions=(10,), methods=("mlp",), seeds=tuple(range(seeds)))
    choice = Choice({"rho": 10.0}, 0.9, 0.6, tried)
    return Outcome(protocol, {("mlp", 10): choice}, {("mlp", 10): [cell] * seeds}, "f", {("mlp", 10): 1})


def test_the_table_sets_ours_beside_the_published_with_intervals(tmp_path):
    outcome = drawn_outcome(0.9, 0.55)
    (row,) = report.rows(outcome)
    assert row["published"]["README"] == published.README["mlp"]
    assert row["published"]["file (minimax, last)"] == (0.91, 0.79)
    assert row["leakage_interval"][0] < 0.55 < row["leakage_interval"][1]
    assert "| mlp | 10 | 0.900 [0.85, 0.93] | 0.000 | 0.550 [0.48, 0.62]" in report.markdown(outcome)
    plot(outcome, tmp_path / "genki.png")
    assert (tmp_path / "genki.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((0.9, 0.5), "reached, and below"),
        ((0.9, 0.55), "do not tell apart"),
        ((0.9, 0.75), "missed, the gender by 0.150"),
        ((0.75, 0.5), "missed, the smile by 0.130"),
    ],
)
def test_verdicts_go_by_intervals(scores, verdict):
    (sentence,) = report.verdicts(report.rows(drawn_outcome(*scores)))
    assert verdict in sentence


def test_published_numbers_have_a_value_for_each_dimension():
    for smile, gender in published.STORED.values():
        assert len(smile) == len(gender) == len(published.DIMENSIONS)
        assert all(0.4 < share < 1 for share in (*smile, *gender))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("forest",)}, "methods: it is 'forest'"),
        ({"dimensions": (257,)}, "dimensions: 257 of 256"),
        ({"seeds": ()}, "seeds: there is none"),
        ({"folds": 1}, "folds: it is 1"),
    ],
)
def test_protocols_that_cannot_be_played_are_refused(change, message):
    with pytest.raises(ArgumentError, match=message):
        Protocol(**change)


def test_the_command_writes_everything(faces, tmp_path):
    arguments = [
        "privacy", "genki", "--data", faces, "--out", tmp_path, "--dimensions", "2", "--methods", "pca,linear@10",
        "--seeds", "0,1", "--folds", 2, "--steps", 2, "--families", "logistic",
    ]  # fmt: skip
    done = CliRunner().invoke(cli.application(), [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "genki.json").read_text())
    assert [row["method"] for row in document["rows"]] == ["pca", "linear@10"]
    assert document["rows"][0]["seeds"] == 2
    assert {"fingerprint", "protocol", "environment"} <= document.keys()
    assert report.markdown(read(tmp_path)) == (tmp_path / "genki.md").read_text()
    assert "fold 1 of 2" in done.output
    for name in ("genki.md", "genki.png", "choices.json"):
        assert (tmp_path / name).stat().st_size > 0
