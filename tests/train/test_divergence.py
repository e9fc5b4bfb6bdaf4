"""Which module or parameter is named."""

import math
import pickle

import pytest
import torch
from torch import nn

from infotorch.errors import DataError, DivergenceError
from infotorch.train.batch import Batch
from infotorch.train.divergence import diagnosis, first_bad_gradient, first_bad_output


class Branches(nn.Module):
    """Returns a nest, of which one entry is bad at ``value``."""

    def __init__(self, value):
        super().__init__()
        self.good, self.bad, self.last = nn.Linear(2, 2), nn.Identity(), nn.Identity()
        self.value = value

    def forward(self, x):
        good = self.good(x)
        bad = self.bad({"logits": (good * self.value, "text")})
        return self.last(bad["logits"][0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_module_is_named_through_nests(value):
    network = Branches(value)
    assert first_bad_output("aux", network, lambda net: net(torch.ones(1, 2))) == "aux.bad"
    assert not network.good._forward_hooks and not network._forward_hooks
    assert first_bad_output("aux", Branches(1.0), lambda net: net(torch.ones(1, 2))) is None


def test_nan_comes_before_a_mask():
    class Masked(nn.Module):
        def forward(self, x):
            return x.masked_fill(torch.tensor([True, False]), -math.inf)

    class Later(nn.Module):
        def forward(self, x):
            return x.exp() * math.nan

    assert first_bad_output("f", nn.Sequential(Masked(), Later()), lambda net: net(torch.ones(1, 2))) == "f.1"
    assert first_bad_output("f", nn.Sequential(Masked(), nn.ReLU()), lambda net: net(torch.ones(1, 2))) == "f.0"


def test_hooks_go_even_if_the_network_raises():
    network = nn.Linear(3, 2)
    with pytest.raises(RuntimeError):
        first_bad_output("f", network, lambda net: net(torch.ones(1, 2)))
    assert not network._forward_hooks


def test_the_first_gradient():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert first_bad_gradient({"aux": network}) is None
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    network[1].weight.grad[0, 1] = -math.inf
    assert first_bad_gradient({"classifier": nn.Linear(1, 1), "aux": network}) == ("aux.1.weight", -math.inf)


def found(x, y, network=None, value=math.nan, **options):
    networks = {"classifier": network or nn.Identity(), "aux": nn.Identity()}
    return diagnosis(
        Batch(inputs=x, labels=y, ids=options.pop("ids", None)), networks, lambda net: net(x), value=value, step=3,
        epoch=1, saved=None, **options,
    )  # fmt: skip


def test_faults_of_the_batch():
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 2])
    error = found(x, y)
    assert isinstance(error, DataError) and "labels must lie in 0..1 or equal ignore_index=-100; got 2 in row 2" in str(
        error
    )
    error = found(x, y.clamp(max=1), ids=torch.tensor([7, 8, 9]))
    assert isinstance(error, DivergenceError) and "though all outputs and gradients are finite" in str(error)
    x[1, 0] = math.nan
    assert "inputs must be finite; got a number that isn't in sample 8 at step 3 (epoch 1)" in str(
        found(x, y.clamp(max=1), ids=torch.tensor([7, 8, 9]))
    )
    error = found(torch.zeros(2, 2), torch.tensor([0, 1]), nn.Threshold(1, -math.inf), value=math.inf)
    assert "not masked; got 0, whose logit is -inf, in row 0" in str(error)


def test_the_error_survives_pickling():
    error = DivergenceError("text", step=4, where="loss", layer="aux.0", value=math.inf)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.step, again.where, again.layer, again.value) == ("text", 4, "loss", "aux.0", math.inf)
    assert isinstance(error, ArithmeticError)
