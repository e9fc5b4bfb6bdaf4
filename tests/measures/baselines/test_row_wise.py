"""What holds of every score that follows from one sample."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import infotorch
from infotorch import Task, store
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.measures import REGISTRY
from infotorch.measures.baselines.row_wise import RowWise
from infotorch.measures.detection import detection
from infotorch.table import LOW_FIRST
from tests.measures.baselines.doubles import binary, classifier, shown, spoilt

NAMES = [name for name, measure in REGISTRY.items() if issubclass(measure, RowWise)]
COMPARED = ["el2n", "margin"]
"""Those that take class labels alone."""


def scored(name, task, x, y, **options):
    return REGISTRY[name]().scores(task, x, y, **options)


def test_these_are_in_the_registry():
    assert NAMES == ["loss", "gradient_norm", "el2n", "margin"]


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_one_float64_column_of_its_name(name, rng):
    scores = scored(name, *classifier(rng, dtype=torch.float32))
    assert list(scores.columns) == [name] == [scores.main] and scores.index.tolist() == list(range(11))
    assert scores.values.dtype == np.float64 and scores[name].kind == "diagnostic"
    assert (
        REGISTRY[name]().config() == ({"fallback": None} if name == "gradient_norm" else {})
        and REGISTRY[name]() == REGISTRY[name]()
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_score_follows_from_the_sample_alone(name, rng):
    task, x, y = classifier(rng)
    together = scored(name, task, x, y).values
    alone = np.concatenate([scored(name, task, x[n : n + 1], y[n : n + 1]).values for n in range(len(x))])
    np.testing.assert_allclose(alone, together, rtol=1e-12)
    np.testing.assert_allclose(scored(name, task, x, y, memory_limit=4000).values, together, rtol=1e-12)


def test_all_of_them_stand_beside_unique_information_in_one_run(rng, tmp_path):
    task, x, y = classifier(rng, dtype=torch.float32)
    measures = [infotorch.UniqueInformation(l2=0.1), *NAMES]
    scores = infotorch.score(task, (x, y), measures, batch_size=4, shard_size=6, out=tmp_path / "run")
    assert scores.main == "unique_information_weights" and list(scores.columns)[-4:] == NAMES
    for name in NAMES:
        np.testing.assert_allclose(scores[name].values, scored(name, task, x, y).values, rtol=1e-5)
        assert store.open(tmp_path / "run").scores()[name].unit == scores[name].unit


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_left_as_it_was(name, rng):
    task, x, y = classifier(rng)
    scored(name, task, x, y, memory_limit=4000)
    assert all(p.grad is None for p in task.model.parameters()) and not task.model.training


@pytest.mark.parametrize("name", NAMES)
def test_a_model_in_train_mode_is_refused(name, rng):
    task, x, y = classifier(rng)
    task.model.train()
    with pytest.raises(ConfigError, match=r"the model must be in eval mode; got .* Call model.eval\(\) first"):
        scored(name, task, x, y)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused_by_its_sample(name, value, rng):
    task, x, y = classifier(rng)
    with pytest.raises(
        NumericsError, match=r"must be finite; got (nan|inf|-inf) .*for sample 7\. Look at this sample's"
    ):
        scored(name, spoilt(task, x, 7, value), x, y)


@pytest.mark.parametrize("name", NAMES)
def test_the_pipeline_tells_where_a_batch_starts(name, rng):
    task, x, y = classifier(rng)
    with pytest.raises(NumericsError, match=r"for sample 1\. .* Samples count within a batch: .* starts at sample 6\."):
        infotorch.score(spoilt(task, x, 7), (x, y), name, batch_size=3)
    y[9] = 5
    with pytest.raises(
        DataError, match=r"got 5 at sample 0\. .* Samples count within a batch: .* starts at sample 9\."
    ):
        infotorch.score(task, (x, y), name, batch_size=3)
    y[9], y[1] = 0, 5
    with pytest.raises(DataError, match=r"got 5 at sample 1\. [^:]*$"):
        infotorch.score(task, (x, y), name, batch_size=3)


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_another_length_are_refused(name, rng):
    task, x, y = classifier(rng)
    with pytest.raises(DataError, match="x and y must have one length"):
        scored(name, task, x, y[:3])


@pytest.mark.parametrize("name", COMPARED)
def test_scores_of_labels_refuse_other_targets(name, rng):
    task, x, _ = classifier(rng)
    with pytest.raises(DataError, match=re.escape(f"{name}: y must be one class label a sample")):
        scored(name, task, x, torch.full((11, 3), 1 / 3, dtype=torch.float64))
    task, x = shown(torch.zeros(4, 1))
    with pytest.raises(ConfigError, match=re.escape(f"{name}: outputs must be logits [N, C] of at least two classes")):
        scored(name, task, x, torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("name", ["loss", *COMPARED])
def test_half_precision_is_widened(name, rng):
    task, x = shown(torch.randn(6, 3, generator=rng).bfloat16())
    y = torch.randint(3, (6,), generator=rng)
    truth = scored(name, *shown(x.double()), y).values
    np.testing.assert_allclose(scored(name, task, x, y).values, truth, rtol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_a_binary_task_of_one_logit_is_scored(name, rng):
    assert len(scored(name, *binary(rng))) == 11


@pytest.mark.parametrize("name", NAMES)
def test_a_nest_of_inputs_is_scored(name, rng):
    task, x, y = classifier(rng)
    nested = Task(task.model, forward=lambda model, batch: model(batch["x"]))
    got = scored(name, nested, {"x": x}, y, memory_limit=4000).values
    np.testing.assert_allclose(got, scored(name, task, x, y).values, rtol=1e-12)


def test_a_layer_of_another_library_may_be_scored_without_gradients(rng):
    """What can't be captured has an output all the same."""
    task, x, y = classifier(rng)
    scaled = nn.ParameterDict(
        {
            "scale": nn.Parameter(torch.ones(3, dtype=torch.float64)),
        }
    ).eval()
    odd = Task(scaled, forward=lambda model, x: task.model(x) * model["scale"])
    for name in ("loss", "el2n", "margin"):
        np.testing.assert_allclose(scored(name, odd, x, y).values, scored(name, task, x, y).values, rtol=1e-12)


def test_flipped_digits_are_found(data_folder):
    """A thousand digits of MNIST, a tenth with a wrong label, after five epochs of a small network."""
    with np.load(data_folder / "mnist.npz") as file:
        x = torch.from_numpy(file["x_train"][:1000]).float().flatten(1) / 255
        true = torch.from_numpy(file["y_train"][:1000])
    torch.manual_seed(0)
    wrong = torch.rand(1000) < 0.1
    y = torch.where(wrong, (true + torch.randint(1, 10, (1000,))) % 10, true)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for rows in torch.cat([torch.randperm(1000) for _ in range(5)]).split(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    scores = infotorch.score(Task(model.eval()), (x, y), NAMES)
    found = {name: detection(-c.values if name in LOW_FIRST else c.values, wrong) for name, c in scores.columns.items()}
    assert found["gradient_norm"].auroc > 0.9, found
    assert min(found[name].auroc for name in ("loss", "el2n", "margin")) > 0.95, found
