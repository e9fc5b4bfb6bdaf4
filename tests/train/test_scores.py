"""Goldens, laws and refusals of label-noise scores."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

from infotorch.errors import ConfigError, DataError
from infotorch.train.scores import label_scores, limit_scores
from tests.laws import assert_same, assert_same_bits
from tests.train.golden import load


class Stored(nn.Module):
    """Returns the rows of a table of logits that its inputs name, and something else in training mode."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.dropout = logits, nn.Dropout(0.0)

    def forward(self, rows):
        return self.logits[rows] * (3.0 if self.training else 1.0)


def batches(y, size=8, order=None):
    order = torch.arange(len(y)) if order is None else order
    return [(rows, y[rows], rows) for rows in order.split(size)]


@pytest.fixture
def case():
    return load("detect")


@pytest.mark.parametrize("kind", ["distance", "l1", "xent", "margin"])
def test_golden_scores_and_auroc(kind, case):
    scores = limit_scores(Stored(case["v"]), batches(case["y"]), kind=kind)
    assert scores.main == f"limit_{kind}" and np.array_equal(scores.ids, np.arange(50))
    assert np.abs(scores.values - case[kind].numpy()).max() <= 1e-10 * (1 + np.abs(scores.values).max())
    auroc = roc_auc_score(case["flipped"].numpy(), scores.values)
    assert auroc == pytest.approx(float(case[f"auroc_{kind}"]), abs=1e-12)


def test_the_table_is_sorted_by_id_and_heuristic(case, rng):
    order = torch.randperm(50, generator=rng)
    table = limit_scores(Stored(case["v"]), batches(case["y"], order=order))
    assert list(table.columns) == ["limit_distance", "limit_xent", "limit_margin"]
    assert np.array_equal(table.values, limit_scores(Stored(case["v"]), batches(case["y"])).values)
    assert {column.kind for column in table.columns.values()} == {"heuristic"}
    assert {name: column.unit for name, column in table.columns.items()}["limit_xent"] == "nats"


def test_dicts_and_any_ids_do(case):
    rows = torch.arange(5)
    item = {"inputs": rows, "labels": case["y"][:5], "ids": torch.tensor([90, 7, 1 << 40, 3, 0])}
    table = limit_scores(Stored(case["v"]), [item])
    assert table.ids.tolist() == [0, 3, 7, 90, 1 << 40]
    assert table.values.tolist() == limit_scores(Stored(case["v"]), batches(case["y"])).values[[4, 3, 1, 0, 2]].tolist()


def test_the_mode_of_every_module_is_restored(case):
    aux = Stored(case["v"]).train()
    aux.dropout.eval()
    limit_scores(aux, batches(case["y"]))
    assert aux.training and not aux.dropout.training and torch.is_grad_enabled()


@pytest.mark.parametrize("lam", [0.5, 50.0])
def test_nll_is_minus_the_log_of_the_density(lam, case):
    v, y = case["v"], case["y"]
    d = v.softmax(1) - F.one_hot(y, 5)
    gaussian = torch.distributions.Normal(torch.zeros(()).double(), math.sqrt(1 / (2 * lam)))
    laplace = torch.distributions.Laplace(torch.zeros(()).double(), 1 / lam)
    for q, law in (("gaussian", gaussian), ("laplace", laplace)):
        values = limit_scores(Stored(v), batches(y), kind="nll", q=q, lam=lam)["limit_nll"].values
        assert_same(torch.as_tensor(values), -law.log_prob(d).sum(1))


def test_probabilities_and_single_logits_equal_labels(case):
    v, y = case["v"], case["y"]
    hard = label_scores(v, y, kind="l1")
    soft = label_scores(v, F.one_hot(y, 5).double(), kind="l1")
    for name in ("distance", "l1", "xent"):
        assert_same(soft[name], hard[name])
    two = torch.stack([torch.zeros(50), v[:, 0]], 1).double()
    positive = (y > 2).long()
    for single in (
        label_scores(v[:, 0], positive),
        label_scores(v[:, :1], positive),
        label_scores(v[:, 0], positive.double()),
    ):
        for name in single:
            assert_same(single[name], label_scores(two, positive)[name])


def test_a_certain_label_keeps_its_digits():
    v = torch.tensor([[60.0, 0.0]], dtype=torch.float64)
    found = label_scores(v, torch.tensor([0]), kind="l1")
    assert found["l1"].item() == pytest.approx(2 * math.exp(-60), rel=1e-12)
    assert found["distance"].item() == pytest.approx(math.sqrt(2) * math.exp(-60), rel=1e-12)


def test_a_sample_of_several_labels_has_their_mean_and_their_largest(case):
    v, y = case["v"].view(10, 5, 5), case["y"].view(10, 5).clone()
    y[0, 1:], y[1, :] = -100, -100
    table = limit_scores(Stored(v.clone()).eval(), [(rows, y[rows], rows) for rows in torch.arange(10).split(3)])
    each = label_scores(v, y)["distance"]
    assert table.ids.tolist() == [0, *range(2, 10)]
    want = torch.stack([each[0, 0], *each[2:].mean(1)])
    assert_same(torch.as_tensor(table["limit_distance"].values), want)
    largest = torch.stack([each[0, 0], *each[2:].amax(1)])
    assert_same_bits(torch.as_tensor(table["limit_distance_max"].values), largest)


def test_the_exponential_mean_over_epochs(case):
    networks = [Stored(scale * case["v"]) for scale in (0.1, 1.0, 5.0)]
    tables = [limit_scores(aux, batches(case["y"])).values for aux in networks]
    table = limit_scores(networks, batches(case["y"]), average="ema")
    want = 0.8 * (0.8 * tables[0] + 0.2 * tables[1]) + 0.2 * tables[2]
    assert table.main == "limit_ema" and np.abs(table.values - want).max() < 1e-15
    assert np.array_equal(table["limit_distance"].values, tables[2])
    assert np.array_equal(limit_scores(networks, batches(case["y"])).values, tables[2])


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"kind": "dist"}, ConfigError, "kind must be one of .* Did you mean 'distance'"),
        ({"average": "mean"}, ConfigError, "average must be one of 'last', 'ema'"),
        ({"q": "ce"}, ConfigError, "q must be one of 'gaussian', 'laplace'"),
        ({"kind": "nll"}, ConfigError, "goes with kind='nll'; got kind='nll', lam=None"),
        ({"lam": 1.0}, ConfigError, "got kind='distance', lam=1.0"),
        ({"kind": "nll", "lam": -1.0}, ConfigError, "finite and above 0"),
        ({"average": "ema"}, ConfigError, "several epochs; got 1. Pass them as a list"),
        ({"aux": []}, ConfigError, "got 0"),
        ({"loader": []}, DataError, "a loader to score must hold labels; got none"),
        ({"loader": [(torch.arange(2), torch.zeros(2).long())]}, DataError, "need the samples' ids; got batches with"),
        ({"loader": [(torch.arange(2), torch.zeros(2).long(), torch.tensor([4, 4]))]}, DataError, "got 4 twice"),
        ({"loader": [(torch.arange(2), torch.zeros(2).long(), torch.tensor([-1, 4]))]}, DataError, "least 0; got -1"),
        (
            {"loader": [(torch.arange(2), torch.zeros(2).long(), torch.zeros(2))]},
            DataError,
            r"int64 \[2\]; got torch.f",
        ),
        ({"loader": [(torch.arange(2), torch.zeros(3).long())]}, DataError, "must agree on N; got 2 and 3"),
        ({"loader": [(torch.arange(2), [0, 1])]}, DataError, r"labels must be a tensor \[N, ...\]; got list"),
        ({"loader": [torch.zeros(2)]}, DataError, "a batch must be .* got Tensor"),
        ({"loader": [(1, 2, 3, 4)]}, DataError, "got 4 entries"),
        ({"loader": [{"x": 1}]}, DataError, r"got keys \['x'\]"),
        ({"kind": "margin", "loader": [(torch.arange(2), torch.ones(2, 5) / 5, torch.arange(2))]}, DataError, "margin"),
    ],
)
def test_refusals(change, error, text, case):
    given = {"aux": Stored(case["v"]), "loader": batches(case["y"]), **change}
    with pytest.raises(error, match=text):
        limit_scores(given.pop("aux"), given.pop("loader"), **given)
