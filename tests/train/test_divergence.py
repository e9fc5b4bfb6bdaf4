"""Which module or parameter is named."""

import math
import pickle

import pytest
import torch
from torch import nn

from infotorch.errors import DataError, DivergenceError
from infotorch.train.batch import Batch
from infotorch.train.divergence import diagnosis, first_bad_gradient, first_bad_output
from infotorch.train.trainer import LimitTrainer
from tests.laws import assert_same_bits
from tests.train.problems import mlp, samples, weights


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
    assert "inputs must be finite; got nan in sample 8 at step 3 (epoch 1)" in str(
        found(x, y.clamp(max=1), ids=torch.tensor([7, 8, 9]))
    )
    error = found(torch.zeros(2, 2), torch.tensor([0, 1]), nn.Threshold(1, -math.inf), value=math.inf)
    assert "not masked; got 0, whose logit is -inf, in row 0" in str(error)


def test_the_error_survives_pickling():
    error = DivergenceError("text", step=4, where="loss", layer="aux.0", value=math.inf)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.step, again.where, again.layer, again.value) == ("text", 4, "loss", "aux.0", math.inf)
    assert isinstance(error, ArithmeticError)


class Sick(nn.Module):
    """Linear, until told to return something else."""

    def __init__(self, value=None, at=0):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(6, 8), nn.Linear(8, 4), nn.BatchNorm1d(8)
        self.value, self.at, self.calls = value, at, 0
        self.double()

    def forward(self, x):
        h = self.norm(self.first(x)) + (x - x).sum(1, keepdim=True)
        if self.value is not None and self.calls >= self.at:
            h = h * self.value
        self.calls += self.training
        return self.second(h)


@pytest.mark.parametrize("check_finite", ["step", "sync"])
@pytest.mark.parametrize("which", ["classifier", "aux"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_names_step_and_module_and_leaves_the_networks(check_finite, which, value, rng):
    nets = {name: Sick(value if name == which else None, at=3) for name in ("classifier", "aux")}
    trainer = LimitTrainer(*nets.values(), check_finite=check_finite)
    batch = samples(rng)
    for _ in range(3):
        trainer.step(batch)
    before = [{key: entry.clone() for key, entry in net.state_dict().items()} for net in nets.values()]
    text = (
        rf"the loss must be finite; got \S+ at step 3 \(epoch 0\), first non-finite output in {which}.second. Lower lr"
    )
    with pytest.raises(DivergenceError, match=text) as caught:
        trainer.step(batch)
    error = caught.value
    assert (error.step, error.where, error.layer) == (3, "loss", f"{which}.second") and not math.isfinite(error.value)
    for net, state in zip(nets.values(), before, strict=True):
        for key, entry in net.state_dict().items():
            assert_same_bits(entry, state[key])  # statistics of BatchNorm too
        assert all(p.grad is None for p in net.parameters())
    assert trainer.steps == 3


def test_a_gradient_that_is_not_finite_names_its_parameter(rng):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.net = nn.Parameter(torch.zeros(4).double()), mlp()

        def forward(self, x):
            return self.net(x) + self.scale.sqrt()  # finite at 0, its slope isn't

    aux, classifier = mlp(1), Root()
    before = weights(classifier, aux)
    with pytest.raises(
        DivergenceError, match=r"the gradient must be finite; got .* non-finite gradient in classifier.scale"
    ):
        LimitTrainer(classifier, aux).step(samples(rng))
    for new, old in zip(weights(classifier, aux), before, strict=True):
        assert_same_bits(new, old)


def test_a_label_on_a_masked_class_is_refused(rng):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return self.net(x).masked_fill(torch.arange(4) == 2, -math.inf)

    x, y, ids = samples(rng)
    y = torch.where(y == 2, 1, y)
    trainer = LimitTrainer(Masked(), mlp(1))
    trainer.step((x, y, ids))
    y[5] = 2
    with pytest.raises(DataError, match=r"labels must be of classes that are not masked; got 2, .* sample 5 at step 1"):
        trainer.step((x, y, ids))
