"""Sketches of several sizes against exact scores: the numbers, the note, and runs that can't be compared."""

import dataclasses
import json
import statistics

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import UniqueInformation, pipeline, store
from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.measures.agreement import agreement
from infotorch.pipeline import fidelity_curve, keep_fidelity_curve
from infotorch.task import Task
from tests.pipeline.test_streaming import C, N, made, measure

P = 5 * 8 + 8 + 8 * C + C
SMALL = {"dims": [4, 16], "num_samples": 20, "seeds": 2}


@pytest.fixture(scope="module")
def curve():
    return fidelity_curve(measure(seed=5), *made(), **SMALL)


def test_points_are_what_both_forms_give_on_the_subset(curve):
    """By hand: every seed and size, scored by the measure itself."""
    task, (x, y) = made()
    chosen = np.linspace(0, N - 1, 20).round().astype(int)
    options = {"space": "both", "test_data": measure().test_data, "time": 5.0}
    exact = UniqueInformation(form="dual", **options).scores(task, x[chosen], y[chosen])
    points = curve.note()["points"]
    assert [point["dim"] for point in points] == [4, 16] and curve.seeds == [5, 6]
    for point in points:
        sketched = [
            UniqueInformation(form="primal", dim=point["dim"], seed=seed, **options).scores(task, x[chosen], y[chosen])
            for seed in (5, 6)
        ]
        assert set(point["columns"]) == {"unique_information_weights", "unique_information_functions"}
        for name, found in point["columns"].items():
            want = [dataclasses.asdict(agreement(one[name].values, exact[name].values)) for one in sketched]
            for what in ("spearman", "pearson", "top_decile"):
                values = [one[what] for one in want]
                assert found[what]["mean"] == pytest.approx(statistics.mean(values), abs=1e-6)
                assert found[what]["stderr"] == pytest.approx(abs(values[0] - values[1]) / 2, abs=1e-6)
    assert curve.pairs.dim == 16 and curve.pairs.index == chosen.tolist()
    np.testing.assert_allclose(curve.pairs.exact, exact["unique_information_weights"].values, rtol=1e-9)


def test_directions_are_those_of_the_subsets_kernel():
    """With nearly as many numbers as parameters, in float64."""
    task, (x, y) = made()
    task = Task(task.model.double())
    own = UniqueInformation(time=5.0, dim=P - 1)
    found = fidelity_curve(own, task, (x.double(), y), dims=[P - 1], num_samples=20, seeds=1)
    rows = torch.linspace(0, N - 1, 20).round().long()
    values = torch.linalg.eigvalsh(kernel(task, x.double()[rows]))
    want = float((1 - torch.exp(-values.clamp(min=0) * 5.0 / 20)).sum())
    assert found.subset_dimension == pytest.approx(want, rel=0.2)


def kernel(task, x):
    """By torch.func."""
    params = dict(task.model.named_parameters())
    J = torch.func.vmap(
        torch.func.jacrev(lambda p, one: torch.func.functional_call(task.model, p, (one[None],))[0]), in_dims=(None, 0)
    )(params, x)
    rows = torch.cat([j.flatten(2) for j in J.values()], 2).flatten(0, 1).detach()
    return rows @ rows.mT


def test_default_sizes_are_around_the_own_one_and_below_the_parameters():
    for dim, sizes in ((16, [4, 8, 16, 32]), (48, [12, 24, 48])):
        found = fidelity_curve(measure(dim=dim), *made(), num_samples=20, seeds=1)
        assert [point.dim for point in found.points] == sizes and found.dim == dim
        assert all(one["stderr"] is None for point in found.points for one in point.summary()[column()].values())


def column():
    return "unique_information_weights"


def test_a_larger_sketch_is_nearer():
    found = fidelity_curve(measure(), *made(), dims=[4, 60], num_samples=40)
    first, last = (point.summary()[column()]["spearman"]["mean"] for point in found.points)
    assert first + 0.1 < last


@pytest.mark.parametrize(
    ("options", "asked", "error", "words"),
    [
        ({"dim": 10**6}, {}, ConfigError, r"gradients must be sketched; got 75 parameters with dim=1000000"),
        ({"layers": "last"}, {}, ConfigError, r"gradients must be sketched; got the last layer's inputs"),
        ({}, {"dims": [16, 75]}, ConfigError, r"dims must be 1 to 74, below the number of parameters; got 75"),
        ({"sketch": "kron"}, {"dims": [3]}, ConfigError, r"dims must be 4 to 74"),
        ({}, {"dims": []}, ConfigError, r"there must be dims to compare; got none"),
        ({}, {"seeds": 0}, ConfigError, r"seeds must be at least 1; got 0"),
        ({}, {"num_samples": 19}, ConfigError, r"samples must be at least 20; got 19"),
        ({"groups": torch.eye(N, dtype=torch.bool)}, {}, ConfigError, r"scores must be of samples; got groups"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, asked, error, words):
    with pytest.raises(error, match=rf"fidelity: {words}"):
        fidelity_curve(measure(**options), *made(), **asked)


def test_too_few_samples_are_refused():
    task, (x, y) = made()
    with pytest.raises(DataError, match="at least 20 samples must be comparable in reasonable time; got 9"):
        fidelity_curve(measure(), task, (x[:9], y[:9]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curve") / "run"
    pipeline.score(*made(), measure(), out=folder, fidelity=20)
    return folder


def kept(folder, task=None, data=None, tests=None):
    default = made()
    tests = measure().test_data if tests is None else tests
    return keep_fidelity_curve(folder, task or default[0], data or default[1], tests, **SMALL)


@pytest.mark.filterwarnings("ignore:UniqueInformation")
def test_the_curve_is_kept_in_the_run(finished):
    curve = kept(finished)
    run = store.open(finished)
    note = run.notes()["fidelity_curve"]
    assert note == json.loads(json.dumps(curve.note())) and note["dim"] == 16
    assert note["effective_dimension"] == run.notes()["fidelity"][0]["effective_dimension"]
    assert run.finished
    store.verify(finished)
    again = pipeline.score(*made(), measure(), out=finished, fidelity=20)  # still that command's run
    assert len(again) == N and "fidelity_curve" in store.open(finished).notes()


@pytest.mark.filterwarnings("ignore:UniqueInformation")
def test_another_network_data_or_test_data_is_refused_by_name(finished):
    task, (x, y) = made()
    before = store.open(finished).notes().get("fidelity_curve")
    cases = [
        ({"task": made(1)[0]}, r"got provenance\.parameters"),
        ({"data": (x, (y + 1) % C)}, r"got data\.digest"),
        ({"tests": measure().test_data + 1}, r"got measure\.test_data"),
        (
            {"task": Task(nn.Sequential(task.model[0], nn.ReLU(), task.model[2]).eval())},
            r"got task\.model\.layers\[2\]",
        ),
    ]
    for changed, words in cases:
        with pytest.raises(StoreError, match=rf"fidelity: .* must be a run of this task and data; {words}"):
            kept(finished, **changed)
    assert store.open(finished).notes().get("fidelity_curve") == before


def test_runs_without_sketched_scores_are_refused(tmp_path):
    task, data = made()
    pipeline.score(task, data, ["loss"], out=tmp_path / "loss")
    with pytest.raises(ConfigError, match="must hold unique information; got loss"):
        kept(tmp_path / "loss")
    pipeline.score(task, data, UniqueInformation(form="dual", time=5.0), out=tmp_path / "exact")
    with pytest.raises(ConfigError, match="must hold sketched scores; got exact ones"):
        kept(tmp_path / "exact")
    with pytest.raises(StoreError, match="must be a run"):
        kept(tmp_path / "nothing")


@pytest.mark.filterwarnings("ignore:UniqueInformation")
def test_an_infinite_time_comes_back_from_the_manifest(tmp_path):
    task, data = made()
    own = UniqueInformation(form="primal", dim=16, l2=0.1, time=[2.0, float("inf")])
    pipeline.score(task, data, own, out=tmp_path / "run", fidelity=0)
    curve = keep_fidelity_curve(tmp_path / "run", task, data, **SMALL)
    assert curve.pairs.column == "unique_information_weights_time_inf" and curve.effective_dimension is None


@pytest.mark.filterwarnings("ignore:UniqueInformation")
def test_options_that_a_run_keeps_the_hash_of_are_refused(tmp_path):
    task, data = made()
    own = measure(removed=torch.arange(N) < 3)
    pipeline.score(task, data, own, out=tmp_path / "run", fidelity=0)
    with pytest.raises(ConfigError, match="the run must be without removed, of which it keeps the hash alone"):
        kept(tmp_path / "run")
    assert fidelity_curve(own, task, data, **SMALL).num_samples == 20
