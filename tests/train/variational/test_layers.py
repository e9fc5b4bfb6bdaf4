"""Which parameters get noise, and by what rule."""

import torch
from torch import nn

from infotorch.train import variational


def rules(q):
    return {layer.path: (layer.names, layer.granularity, layer.noise) for layer in q.layers}


def test_layers_without_a_rule_keep_noise_of_their_weights():
    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x).relu()

    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), Own(4, 4), nn.Conv1d(4, 4, 1, groups=2))
    both = ("weight", "bias")
    assert rules(variational(model, prior_var=1.0, noise="flipout", granularity="filter")) == {
        "0": (("weight",), "filter", "weight"),
        "1": (both, "filter", "flipout"),
        "2": (both, "filter", "weight"),
        "3": (both, "filter", "weight"),
        "4": (both, "filter", "flipout"),
    }
    found = rules(variational(model, prior_var=1.0, granularity="kron"))
    assert {path: rule[1] for path, rule in found.items()} == dict(
        zip("01234", ["weight", "kron", "weight", "weight", "weight"], strict=True)
    )


def test_a_tied_weight_counts_once_and_has_one_draw():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    q = variational(model, prior_var=1.0, noise="weight")
    assert q.num_weights == 20 and rules(q) == {"0": (("weight",), "weight", "weight")}
    with torch.no_grad():
        q.network[0].weight.zero_()
        q.network[0].weight_logvar.zero_()
        outputs = q(torch.tensor([0, 1]))
    assert bool((outputs.diagonal() > 0).all())  # w w^T, of one w


def test_frozen_parameters_have_no_noise_and_do_not_count():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    q = variational(model, prior_var=1.0, noise="local")
    assert rules(q) == {"1": (("weight",), "weight", "local")} and q.num_weights == 8
    assert list(q.posterior().shapes) == ["1.weight"]


def test_parameters_lie_in_the_order_of_the_network():
    model = nn.Sequential(nn.LSTM(2, 3), nn.MultiheadAttention(4, 2), nn.Bilinear(2, 3, 2))
    q = variational(model, prior_var=1.0)
    assert list(q.posterior().shapes) == [name for name, _ in model.named_parameters()]
    flat = torch.cat([p.flatten() for p in model.parameters()]).double()
    assert torch.equal(q.posterior().mean, flat)
