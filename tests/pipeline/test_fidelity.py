"""Sketched scores against the exact ones of the same subset, told where the run is kept."""

import json
import warnings

import numpy as np
import pytest
import torch

import infotorch
from infotorch import UniqueInformation, ntk, store
from infotorch.blocks.features import features
from infotorch.cli.app import main
from infotorch.cli.score import fidelity_facts
from infotorch.errors import ConfigError
from infotorch.measures.agreement import agreement
from infotorch.measures.primal.moments import moments_of
from infotorch.measures.training import Training
from infotorch.pipeline.fidelity import main_columns
from infotorch.pipeline.trajectory import Trajectory
from infotorch.task import Task
from tests.pipeline.test_streaming import N, made, measure, score


def test_the_note_is_what_both_forms_give_on_the_subset(tmp_path):
    task, (x, y) = made()
    with pytest.warns(UserWarning):
        score(tmp_path / "run", measure(dim=8), fidelity=20)
    (note,) = store.open(tmp_path / "run").notes()["fidelity"]
    chosen = np.linspace(0, N - 1, 20).round().astype(int)
    options = {"space": "both", "test_data": measure().test_data, "time": 5.0}
    exact = UniqueInformation(form="dual", **options).scores(task, x[chosen], y[chosen])
    sketched = UniqueInformation(form="primal", dim=8, **options).scores(task, x[chosen], y[chosen])
    for name, found in note["columns"].items():
        want = agreement(sketched[name].values, exact[name].values)
        assert found["spearman"] == pytest.approx(want.spearman, abs=1e-12)
        assert found["pearson"] == pytest.approx(want.pearson, abs=1e-6)
    assert set(note["columns"]) == {"unique_information_weights", "unique_information_functions"}
    assert note["num_samples"] == 20 and note["dim"] == 8 and 0 < note["effective_dimension"] <= 8


def test_the_effective_dimension_is_that_of_the_kernel(tmp_path):
    """Without a sketch: the trace of K (K + ridge I)^-1."""
    task, (x, _) = made()
    rows = features(task, x).rows.flatten(0, 1)
    moments = moments_of(rows, torch.zeros(len(rows), 1, dtype=torch.float64), N)
    K = ntk(task, x).matrix
    want = torch.trace(torch.linalg.solve(K + 0.3 * torch.eye(len(K)), K))
    assert moments.effective_dimension(Training(ridge=0.3, duration=float("inf"))) == pytest.approx(
        float(want), rel=1e-4
    )


def test_columns_to_compare_are_no_errors_and_no_changes():
    task, data = made()
    times = UniqueInformation(space="both", test_data=measure().test_data, time=[1.0, 2.0], l2=0.1)
    scores = times.scores(task, *data)
    stems = ("unique_information_weights", "unique_information_functions")
    want = {stem: f"{stem}_time_2" for stem in stems}
    assert main_columns(scores) == want
    means = Trajectory(names=("early", "late"), tables=(scores, scores)).to_scores()
    assert main_columns(means) == want


@pytest.mark.parametrize("options", [{}, {"fidelity": 0}], ids=["compared", "not compared"])
def test_too_few_numbers_are_warned_of_in_plain_words(options, tmp_path):
    with pytest.warns(UserWarning, match=r"training uses at least 2 directions.* Raise dim") as told:
        score(tmp_path / "run", measure(dim=2, time=500.0), **options)
    assert sum("The sketch has" in str(one.message) for one in told) == 1
    assert "Raise dim" in store.open(tmp_path / "run").notes()["warnings"][0]


def test_too_few_numbers_are_warned_of_in_memory_once():
    with pytest.warns(UserWarning, match=r"training uses at least 2 directions.* Raise dim") as told:
        infotorch.score(*made(), measure(dim=2, time=500.0, models=[made(seed)[0].model for seed in range(2)]))
    assert sum("The sketch has" in str(one.message) for one in told) == 1


@pytest.mark.parametrize(
    "options",
    [{"fidelity": 0, "chosen": measure(time=1e-3)}, {"chosen": measure(dim=10**6)}],
    ids=["not asked", "no sketch"],
)
def test_there_is_no_note_where_nothing_is_compared(options, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score(tmp_path / "run", **options)
    assert "fidelity" not in store.open(tmp_path / "run").notes()


def test_what_stands_against_comparing_is_told(tmp_path):
    """All samples span the features, and those of the subset don't."""
    task, (x, y) = made()
    task = Task(task.model.double())
    limit = measure(dim=12, time=None, space="weights", test_data=None)
    score(tmp_path / "run", limit, task, (x.double(), y), fidelity=3)
    (note,) = store.open(tmp_path / "run").notes()["fidelity"]
    assert note["columns"] == {} and "span all directions" in note["why_not"]
    assert dict(fidelity_facts(str(tmp_path / "run")))["fidelity"].startswith("not measured: unique_information: with")
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "not compared: unique_information: with ridge 0" in (tmp_path / "run.html").read_text()


def test_a_single_sample_is_no_comparison(tmp_path):
    with pytest.raises(ConfigError, match="fidelity must be 0 or at least 2; got 1"):
        score(tmp_path / "run", fidelity=1)


def test_the_terminal_and_the_report_tell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom infotorch import Task\nfrom tests.pipeline.test_streaming import made\n"
        "def task():\n    task, data = made()\n    return task, data\n"
    )
    assert main(["score", "mine.py:task", "--form", "primal", "--dim", "4", "--time", "5", "--out", "run"]) == 0
    told = capsys.readouterr()
    assert "fidelity  Spearman 0." in told.out and "sketch    4 numbers, for " in told.out
    assert told.err.count("warning: UniqueInformation: ") >= 1 and "UserWarning" not in told.err
    assert main(["report", "run"]) == 0
    page = (tmp_path / "run.html").read_text()
    assert "Sketched against exact unique information weights" in page and "Raise dim" in page
    argv = json.loads((tmp_path / "run" / "manifest.json").read_text())["command"]["argv"]
    assert "--dim 4" in argv
