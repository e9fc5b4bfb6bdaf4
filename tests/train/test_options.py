"""Which settings, networks and optimizers are refused, and in what words."""

import copy
import json
import math

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from infotorch.errors import ConfigError, NotSupported
from infotorch.measures.label_info import LabelInfoMeter
from infotorch.train.options import LimitOptions, default_optimizer
from infotorch.train.trainer import LimitTrainer
from tests.train.problems import mlp, networks, samples


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"q": "gaus"}, "q must be one of 'gaussian', 'laplace', 'ce'; got 'gaus'. Did you mean 'gaussian'"),
        ({"reduction": "none"}, "reduction must be one of 'mean', 'sum', 'reference'; got 'none'"),
        ({"amp": "float16"}, "amp must be one of"),
        ({"scores": "mean"}, "scores must be one of"),
        ({"select": "best"}, "select must be one of"),
        ({"check_finite": True}, "check_finite must be one of"),
        ({"beta": -1.0}, "beta must be finite and at least 0; got -1.0"),
        ({"beta": math.nan}, "beta must be finite and at least 0; got nan"),
        ({"lam": 0.0}, "lam must be finite and above 0; got 0.0"),
        ({"lam": 1.0, "q": "ce"}, "lam goes with gaussian or laplace; got q='ce'"),
        ({"clip_norm": -1.0}, "clip_norm must be finite and above 0; got -1.0. Pass None"),
        ({"warm_up": -1}, "warm_up must be a whole number of at least 0; got -1"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1; got 1.5"),
        ({"grad_accum": 0}, "grad_accum must be a whole number of at least 1; got 0"),
        ({"patience": 0}, "patience must be a whole number of at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"seed": 2**63}, r"seed must be below 2\^63; got"),
        ({"lr": 0.0}, "lr must be finite and above 0; got 0.0"),
    ],
)
def test_refusals_of_settings(options, text):
    with pytest.raises(ConfigError, match=f"^LimitTrainer: {text}"):
        LimitTrainer(*networks(), **options)


def test_settings_are_json():
    options = LimitOptions(q="laplace", lam=2.0)
    assert LimitOptions(**json.loads(json.dumps(options.config()))) == options


def test_a_shared_parameter_is_named():
    body = nn.Linear(6, 8)
    classifier, aux = nn.Sequential(body, nn.Linear(8, 4)), nn.Sequential(nn.Identity(), body, nn.Linear(8, 4))
    with pytest.raises(
        ConfigError, match=r"share no parameter; got classifier\.0\.weight = aux\.1\.weight\. Through it"
    ):
        LimitTrainer(classifier, aux)
    LimitTrainer(classifier, copy.deepcopy(aux))
    with pytest.raises(ConfigError, match=r"share no parameter; got classifier\.0\.weight = aux\.0\.weight"):
        LimitTrainer(classifier, classifier)


def test_networks_that_can_not_learn():
    for frozen, nets in (("aux", (mlp(), mlp().requires_grad_(False))), ("classifier", (nn.Identity(), mlp()))):
        with pytest.raises(ConfigError, match=f"{frozen} must have a trainable parameter; got none"):
            LimitTrainer(*nets)


def test_networks_on_two_devices():
    with pytest.raises(ConfigError, match=r"must be on one device; got cpu and meta\. Move one with \.to\(device\)"):
        LimitTrainer(mlp(), mlp(1).to("meta"))


def test_a_sharded_network():
    class Sharded(FSDPModule, nn.Linear):
        def __new__(cls, *_):
            return nn.Linear.__new__(cls)

    with pytest.raises(
        NotSupported, match=r"classifier must be whole on every rank; got Sharded. Wrap it in Distributed"
    ):
        LimitTrainer(Sharded(6, 4), mlp())


def test_an_optimizer_of_the_other_network():
    classifier, aux = networks()
    both = torch.optim.SGD([*classifier.parameters(), *aux.parameters()], 0.1)
    with pytest.raises(ConfigError, match=r"optimizer must hold parameters of classifier alone; got aux\.0\.weight"):
        LimitTrainer(classifier, aux, optimizer=both)
    with pytest.raises(ConfigError, match=r"aux_optimizer must hold .* of aux alone; got classifier\.0\.weight"):
        LimitTrainer(classifier, aux, aux_optimizer=both)
    stranger = torch.optim.SGD(mlp(2).parameters(), 0.1)
    with pytest.raises(ConfigError, match=r"got one of neither network, \[8, 6\]\. Make it after"):
        LimitTrainer(classifier, aux, optimizer=stranger)
    part = torch.optim.SGD(classifier[3].parameters(), 0.1)
    assert LimitTrainer(classifier, aux, optimizer=part).optimizer is part


def test_default_optimizers_leave_frozen_parameters_out():
    classifier, aux = networks()
    aux[0].requires_grad_(False)
    trainer = LimitTrainer(classifier, aux, lr=0.01)
    assert [len(o.param_groups[0]["params"]) for o in (trainer.optimizer, trainer.aux_optimizer)] == [4, 2]
    assert {type(o) for o in (trainer.optimizer, trainer.aux_optimizer)} == {torch.optim.Adam}
    for optimizer in (trainer.optimizer, trainer.aux_optimizer):
        assert optimizer.defaults["lr"] == 0.01 and optimizer.defaults["fused"]


def test_default_optimizers_take_complex_parameters():
    """Torch's fused form doesn't."""
    network = mlp()
    network.register_parameter("phase", torch.nn.Parameter(torch.ones(2, dtype=torch.complex128)))
    optimizer = default_optimizer(network, 0.01)
    network.phase.grad = torch.ones(2, dtype=torch.complex128)
    optimizer.step()
    assert (network.phase != 1).all()


@pytest.mark.parametrize("predictor", ["frozen", "zero", "uniform"])
def test_a_meter_that_would_call_the_sum_a_bound(predictor):
    meter = LabelInfoMeter(4, 24, lam=5.0, predictor=predictor)
    with pytest.raises(
        ConfigError, match=f"predictor='trained', as aux is; got '{predictor}', whose sum is called a b"
    ):
        LimitTrainer(*networks(), lam=5.0, meter=meter)


def test_a_scheduler_that_needs_a_metric():
    nets = networks()
    optimizer = torch.optim.Adam(nets[0].parameters())
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(ConfigError, match="schedulers must follow from the epoch alone; got ReduceLROnPlateau"):
        LimitTrainer(*nets, optimizer=optimizer, schedulers=[plateau])


def test_a_classifier_that_the_auxiliary_hides(rng):
    """Sharing that no list of parameters shows, with and without a way around it."""
    x, y, ids = samples(rng)
    classifier, _ = networks()

    class Hiding(torch.nn.Module):
        def __init__(self, detach):
            super().__init__()
            self.head = torch.nn.Linear(8, 4).double()
            self.body = lambda x: classifier[:2](x).detach() if detach else classifier[:2](x)

        def forward(self, x):
            return self.head(self.body(x))

    with pytest.raises(ConfigError, match=r"must not use the classifier's parameters; got classifier\.0\.\w+"):
        LimitTrainer(classifier, Hiding(False)).step((x, y, ids))
    LimitTrainer(classifier, Hiding(True)).step((x, y, ids))


def test_parameters_that_lie_in_one_place():
    """Two objects, one memory: what loading with assign=True, or setting p.data, leaves."""
    classifier, aux = networks()
    aux.load_state_dict(classifier.state_dict(), assign=True)
    with pytest.raises(ConfigError, match=r"must share no parameter; got classifier\.0\.weight = aux\.0\.weight"):
        LimitTrainer(classifier, aux)
