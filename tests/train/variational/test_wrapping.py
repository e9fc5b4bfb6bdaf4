"""The options of variational: what they mean, and what is refused."""

import math
import re

import pytest
import torch
from torch import nn

import infotorch
from infotorch import ConfigError, NotSupported, NumericsError, ShapeError, Task
from infotorch.train import variational


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


P = 26


def test_the_prior_mean_is_that_of_the_moment_a_number_flat_or_by_name():
    model = net().double()
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    named = dict(model.named_parameters())
    for mean, distance in (
        (None, 0.0),
        (flat, 0.0),
        (named, 0.0),
        (0.0, float(flat @ flat)),
        (0 * flat, float(flat @ flat)),
    ):
        q = variational(model, prior_var=0.5, prior_mean=mean)
        sigma2 = q.posterior().variance
        expected = 0.5 * (distance / 0.5 + (sigma2 / 0.5 - 1 + (0.5 / sigma2).log()).sum())
        torch.testing.assert_close(q.kl(), expected.clone().detach())


@pytest.mark.parametrize("granularity", ["weight", "filter", "kron"])
def test_all_that_is_added_is_on_the_networks_device(granularity):
    q = variational(net().to("meta"), prior_var=0.5, granularity=granularity)
    assert {name.rpartition(".")[2] for name, _ in q.named_buffers()} >= {"prior_var", "weight_prior_mean"}
    assert all(value.device.type == "meta" for value in [*q.parameters(), *q.buffers()])


def test_a_prior_variance_for_each_layer():
    q = variational(net(), prior_var={"0": 0.5, "2": 2.0})
    assert q.prior_var == {"0": 0.5, "2": 2.0}
    assert variational(net(), prior_var=torch.tensor(0.5)).prior_var == {"0": 0.5, "2": 0.5}


@pytest.mark.parametrize("granularity", ["weight", "filter"])
def test_first_variances_from_a_fisher_pass_are_the_optimum_of_a_quadratic(granularity):
    """sigma^2 = beta / (F + beta / lambda^2), F a unit's mean by filter."""
    model, x, y = net().double().eval(), torch.randn(9, 3).double(), torch.zeros(9, dtype=torch.int64)
    F = infotorch.fisher(Task(model), (x, y), structure="diagonal").diag()
    q = variational(model, prior_var=0.5, granularity=granularity, init="fisher", fisher=F, beta=0.2)
    parts = dict(zip((n for n, _ in model.named_parameters()), F.split([12, 4, 8, 2]), strict=True))
    if granularity == "filter":
        for layer, units in (("0", 4), ("2", 2)):
            weight, bias = parts[f"{layer}.weight"].view(units, -1), parts[f"{layer}.bias"]
            mean = torch.cat([weight, bias[:, None]], 1).mean(1)
            parts[f"{layer}.weight"], parts[f"{layer}.bias"] = mean[:, None].expand_as(weight).flatten(), mean
    torch.testing.assert_close(q.posterior().variance, 0.2 / (torch.cat(list(parts.values())) + 0.2 / 0.5))


REFUSED = {
    "prior_var 0": (dict(prior_var=0.0), ConfigError, "prior_var must be > 0 and finite; got 0.0. Pass the variance"),
    "prior_var inf": (dict(prior_var=math.inf), ConfigError, "prior_var must be > 0 and finite; got inf."),
    "prior_var nan": (dict(prior_var=math.nan), ConfigError, "prior_var must be > 0 and finite; got nan."),
    "prior_var bool": (dict(prior_var=True), ConfigError, "prior_var must be > 0 and finite; got True."),
    "prior_var of a layer": (dict(prior_var={"0": 1.0, "2": -1.0}), ConfigError, "got -1.0."),
    "prior_var word": (dict(prior_var="learnt"), ConfigError, "got 'learnt'. Did you mean 'learned'?"),
    "layer unknown": (dict(prior_var={"0": 1.0, "22": 1.0}), ConfigError, "one of '0', '2'; got '22'."),
    "layer missing": (dict(prior_var={"0": 1.0}), ConfigError, "must name every layer; got none for '2'. Add it."),
    "granularity": (dict(granularity="filters"), ConfigError, "got 'filters'. Did you mean 'filter'?"),
    "noise": (dict(noise="flipuot"), ConfigError, "got 'flipuot'. Did you mean 'flipout'?"),
    "init": (dict(init="fischer"), ConfigError, "got 'fischer'. Did you mean 'fisher'?"),
    "kron flipout": (dict(granularity="kron", noise="flipout"), NotSupported, 'got granularity="kron". Use'),
    "mean shape": (dict(prior_mean=torch.zeros(3)), ShapeError, "prior_mean must be flat, [26], one entry for each"),
    "mean names": (dict(prior_mean={"0.wieght": torch.zeros(4, 3)}), ConfigError, "Did you mean '0.weight'?"),
    "mean missing": (dict(prior_mean={"0.weight": torch.zeros(4, 3)}), ShapeError, "of '0.bias' must be [4]; got"),
    "mean nan": (dict(prior_mean=torch.full((P,), math.nan)), ConfigError, "prior_mean must be finite;"),
    "no fisher": (dict(init="fisher"), ConfigError, 'fisher must come with init="fisher", and the other'),
    "fisher alone": (dict(fisher=torch.zeros(P)), ConfigError, "got init='rule'."),
    "fisher learned": (dict(init="fisher", fisher=torch.zeros(P), prior_var="learned"), ConfigError, 'got "learned".'),
    "fisher negative": (dict(init="fisher", fisher=-torch.ones(P)), ConfigError, "fisher must be >= 0; got less in"),
    "fisher beta": (dict(init="fisher", fisher=torch.ones(P), beta=0), ConfigError, "beta must be > 0 and finite; got"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    options, kind, message = REFUSED[case]
    with pytest.raises(kind, match="variational: .*" + re.escape(message)):
        variational(net(), **({"prior_var": 1.0} | options))


MODELS = {
    "no parameters": (nn.Sequential(nn.ReLU()), {}, "model must have parameters that require grad; got Seq"),
    "frozen": (nn.Linear(3, 2).requires_grad_(False), {}, "got Linear with none. Call requires_grad_"),
    "norms alone": (nn.LayerNorm(3), {"noise": "local"}, 'got parameters of LayerNorm alone. Use noise="weight".'),
    "no factors": (nn.Embedding(3, 2), {"granularity": "kron"}, "got parameters of Embedding alone. Use granularity="),
    "lazy": (nn.LazyLinear(3), {}, "weights must be there; got the lazy 'weight'. Run the network once before."),
    "complex": (nn.Linear(3, 2, dtype=torch.complex64), {}, "weights must be real; got torch.complex64 at 'weight'."),
    "no module": (torch.zeros(3), {}, "model must be an nn.Module; got Tensor."),
    "wrapped": (variational(net(), prior_var=1.0), {}, "model must be a plain network; got one that is variational."),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_networks_without_weights_to_draw_are_refused(case):
    model, options, message = MODELS[case]
    with pytest.raises((ConfigError, NotSupported), match=re.escape(message)):
        variational(model, prior_var=1.0, **options)


def test_local_noise_of_convolutions_is_said():
    with pytest.warns(UserWarning, match=r"apart, and '0' share their weights .* Use noise=\"flipout\"."):
        variational(nn.Sequential(nn.Conv2d(1, 2, 3)), prior_var=1.0, noise="local")


@pytest.mark.parametrize("frozen", [False, True])
def test_a_network_whose_weights_are_not_finite_is_refused(frozen):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[1].requires_grad_(not frozen)
    model[1].bias.data[1] = math.inf
    with pytest.raises(NumericsError, match=r"^variational: weights must be finite; got inf in '1.bias'\. Look at the"):
        variational(model, prior_var=1.0)
