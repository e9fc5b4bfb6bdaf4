"""UniqueInformation in its primal form: without a sketch the dual's scores, with one those of the sketched kernel."""

import numpy as np
import pytest

from infotorch import Task, UniqueInformation, sketch, unique_information_from_features
from infotorch.errors import ConfigError
from tests.measures.test_unique_information import C, N, make


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "steps": [5, 300], "l2": 1e-3},
        {"time": 5.0},
        {"l2": 0.1},
        {"l2": 0.1, "loss": "cross_entropy_ggn"},
        {"time": 5.0, "layers": "last"},
        {"l2": 0.1, "removed": [True] + [False] * (N - 1)},
        {"time": 5.0, "groups": [[True] * 3 + [False] * (N - 3)]},
    ],
    ids=lambda options: " ".join(options),
)
def test_primal_form_without_a_sketch_equals_the_dual(options, rng):
    model, x, y, x_test = make(rng)
    task, options = Task(model.double()), options | {"space": "both", "test_data": x_test.double()}
    dual = UniqueInformation(form="dual", **options).scores(task, x.double(), y)
    primal = UniqueInformation(form="primal", dim=10**6, **options).scores(task, x.double(), y)
    assert list(dual.columns) == list(primal.columns)
    for name, column in dual.columns.items():
        np.testing.assert_allclose(primal[name].values, column.values, rtol=1e-9, atol=1e-12)


def test_primal_scores_are_those_of_the_sketched_kernel(rng):
    model, x, y, _ = make(rng)
    task = Task(model.double())
    phi = sketch(task, x.double(), dim=12, seed=3, seeds="logits")
    residual = task.residual_targets(y, C) - model(x.double())
    want = unique_information_from_features(phi, residual, ridge=0.1 * N, ridge_without=0.1 * (N - 1))
    got = UniqueInformation(form="primal", dim=12, seed=3, l2=0.1).scores(task, x.double(), y)
    np.testing.assert_allclose(got["unique_information_weights"].values, want.weights[0].numpy(), rtol=1e-9)


def test_auto_says_that_it_takes_a_sketch(rng):
    model, x, y, _ = make(rng, num_samples=3000)
    limit = 8 * 9000**2
    with pytest.warns(
        UserWarning, match=r"takes the primal form: the exact form needs .* for 9,000 rows.*to 8 numbers"
    ):
        scores = UniqueInformation(l2=0.1, dim=8).scores(Task(model), x, y, memory_limit=limit)
    assert scores["reliable"].values.all()
    with pytest.raises(ConfigError, match="the exact form needs"):
        UniqueInformation(l2=0.1, form="dual").scores(Task(model), x, y, memory_limit=limit)
