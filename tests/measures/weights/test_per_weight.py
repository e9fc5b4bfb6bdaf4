"""Output units, and one variance for each."""

import pytest
import torch
from torch import nn

from infotorch import Task, weights_information
from infotorch.measures.weights.per_weight import output_units
from tests.measures.weights.truths import fisher_rows, net


def units_of(model, **options):
    return output_units(Task(model.eval(), **options)).tolist()


def test_a_bias_belongs_to_its_unit():
    assert units_of(nn.Linear(2, 3)) == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    assert units_of(nn.Conv1d(2, 2, 1)) == [0, 0, 1, 1, 0, 1]
    assert units_of(nn.LayerNorm(2)) == [0, 1, 0, 1]
    assert units_of(nn.Linear(2, 3), params=["bias"]) == [0, 1, 2]
    assert units_of(nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))) == [0, 1, 0, 1, 2, 2, 2]


def test_layers_of_other_kinds():
    assert units_of(nn.Embedding(2, 3)) == [0, 0, 0, 1, 1, 1]
    recurrent = units_of(nn.RNN(1, 2))  # weight_ih, weight_hh, bias_ih, bias_hh
    assert recurrent == [0, 1, 2, 2, 3, 3, 0, 1, 2, 3]
    # [I, O / groups, 1] of a transposed convolution: input i of group g feeds outputs 2 g and 2 g + 1
    assert units_of(nn.ConvTranspose1d(4, 4, 1, groups=2)) == [0, 1, 0, 1, 2, 3, 2, 3, 0, 1, 2, 3]


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor, self.table = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(2, 2))


def test_parameters_that_stand_alone():
    assert units_of(Scale()) == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_unit_s_variance_is_from_the_mean_of_its_diagonal(loss, rng):
    task, (x, y) = net(rng, loss=loss)
    got = weights_information(task, (x, y), beta=0.3, prior_var=0.7, estimator="filter", draws=0)
    diagonal = fisher_rows(task, x).square().sum(0)
    units = torch.tensor([o for o in range(5) for _ in range(4)] + list(range(5)))
    units = torch.cat([units, torch.tensor([5 + o for o in range(3) for _ in range(5)] + [5, 6, 7])])
    variance = torch.empty(43, dtype=torch.float64)
    for unit in range(8):
        own = units == unit
        variance[own] = 0.3 / (diagonal[own].mean() + 0.3 / 0.7)
    torch.testing.assert_close(got.posterior().covariance(), variance.diag())
    t = 0.7 / variance - 1
    assert got.logdet == pytest.approx(float(t.log1p().sum()), rel=1e-10)
    assert got.d_eff == pytest.approx(float((t / (1 + t)).sum()), rel=1e-10)


def test_units_of_one_weight_are_the_diagonal(rng):
    model = nn.Linear(1, 3, bias=False).double().eval()
    data = torch.randn(5, 1, dtype=torch.float64, generator=rng), torch.tensor([0, 1, 2, 0, 1])
    filters, weights = (
        weights_information(Task(model), data, estimator=estimator, draws=0) for estimator in ("filter", "diag")
    )
    assert filters.nats == weights.nats and filters.per_layer == weights.per_layer
