"""Weights and activations weighed, and kept as a run."""

import json

import pytest
import torch
from torch import nn

from infotorch import Task, activations_information, fisher_trace, pipeline, store, weights_information
from infotorch.errors import ConfigError, NotSupported, StoreError
from infotorch.pipeline.weighing import BETAS

ACTIVATIONS = {"layers": ["0", "2"], "tau": 0.1, "rows": 4}


@pytest.fixture(scope="module")
def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()
    return Task(model), (torch.randn(20, 6, dtype=torch.float64), torch.randint(0, 3, (20,)))


def test_the_notes_hold_what_the_measures_say(problem):
    task, data = problem
    found = pipeline.weighed(task, data, beta=0.3, activations=ACTIVATIONS)
    note, seen = found.notes["weights"], found.notes["activations"]
    want = weights_information(task, data, beta=0.3)
    assert note["nats"] == want.nats and note["measured_rise"] == want.measured_rise and note["draws"] == 8
    assert note["curve"]["nats"] == pytest.approx(want.curve(BETAS).nats.tolist())
    assert note["trace"]["total"] == pytest.approx(fisher_trace(task, data).total)
    assert note["per_layer_of"] == "d_eff" and sum(note["per_layer"].values()) == pytest.approx(want.d_eff)
    torch.testing.assert_close(torch.from_numpy(found.scores["leverage"].values), want.leverage)
    assert found.scores["fisher_trace"].values.sum() == pytest.approx(note["trace"]["total"])
    layers = activations_information(task, data, posterior=want, layers=["0", "2"], tau=0.1, rows={"0": 4})
    assert [layer["mean"] for layer in seen["layers"]] == [float(one.I_tau.mean()) for one in layers.values()]
    assert json.loads(json.dumps(found.notes))["weights"]["estimator"] == "gram"


def test_other_estimators_have_no_leverage(problem):
    found = pipeline.weighed(*problem, estimator="kfac")
    assert list(found.scores.columns) == ["fisher_trace"] and found.notes["weights"]["per_layer_of"] == "nats"
    assert "activations" not in found.notes
    for labels in ("sketch", "sampled", "empirical"):
        assert pipeline.weighed(*problem, estimator="diag", labels=labels).notes["weights"]["trace"]["total"] > 0
    sampled = pipeline.weighed(*problem, estimator="slq", probes=2, steps=4)
    note = sampled.notes["weights"]
    assert note["per_layer_of"] == "trace" and note["per_layer"] == note["trace"]["per_layer"] and note["stderr"] > 0


def test_a_finished_run_is_read_and_another_is_refused(problem, tmp_path):
    steps = []
    run = pipeline.weigh(*problem, out=tmp_path / "run", progress=lambda *step: steps.append(step))
    assert steps[-1] == ("information in the weights", 2, 2)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    again = pipeline.weigh(*problem, out=tmp_path / "run", progress=lambda *step: pytest.fail("computed again"))
    assert again.notes() == run.notes()
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="beta"):
        pipeline.weigh(*problem, out=tmp_path / "run", beta=2.0)
    assert store.verify(tmp_path / "run")


def test_a_refusal_leaves_no_run(problem, tmp_path):
    with pytest.raises(ConfigError, match=r"beta must be > 0"):
        pipeline.weigh(*problem, out=tmp_path / "run", beta=-1.0)
    run = pipeline.weigh(*problem, out=tmp_path / "run", prior_mean=torch.ones(83, dtype=torch.float64))
    assert run.notes()["weights"]["dist2"] != pipeline.weighed(*problem).notes["weights"]["dist2"]


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("infotorch.pipeline.weighing.weighed", lambda *_, **__: pytest.fail("it was weighed"))
    task = Task(nn.Linear(3, 2).eval())
    with pytest.raises(StoreError, match=r"must be written; got 'not a directory' from the system"):
        pipeline.weigh(task, (torch.ones(4, 3), torch.tensor([0, 1, 0, 1])), out=tmp_path / "file" / "out")


def test_activations_without_a_posterior_are_refused_first(monkeypatch):
    monkeypatch.setattr(
        "infotorch.pipeline.weighing.weights_information", lambda *_, **__: pytest.fail("it was weighed")
    )
    task, data = Task(nn.Linear(3, 2).eval()), (torch.ones(4, 3), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(NotSupported, match='activations must have a posterior of the weights; got estimator "slq"'):
        pipeline.weighed(task, data, estimator="slq", activations={"layers": [""], "tau": 0.1})
