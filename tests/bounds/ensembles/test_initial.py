"""Networks as seeds draw them."""

import pytest
import torch
from torch import nn

from infotorch.bounds.ensembles.ensemble import initial_seed
from infotorch.bounds.ensembles.initial import initial_network, stacked_state
from infotorch.errors import ConfigError, NotSupported


def small():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))


def test_a_seed_draws_what_torch_draws_and_leaves_its_generator_alone():
    before = torch.get_rng_state()
    drawn = initial_network("", small, 7)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(initial_seed(7))
        want = small()
    for a, b in zip(drawn.parameters(), want.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_module_is_drawn_anew_and_itself_untouched():
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    a, again, b = (initial_network("", network, seed) for seed in (1, 1, 2))
    assert torch.equal(a[3].weight, again[3].weight) and not torch.equal(a[3].weight, b[3].weight)
    assert not torch.equal(a[3].weight, before["3.weight"])
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))


def test_refusals():
    with pytest.raises(NotSupported, match=r"fn: .* got '0.scale' in Scale, without reset_parameters\. Pass a func"):
        initial_network("fn", nn.Sequential(Scale()), 0)
    with pytest.raises(ConfigError, match=r"fn: network\(\) must return a torch module; got dict"):
        initial_network("fn", dict, 0)


def test_stacks_keep_frozen_parameters_with_the_buffers():
    def frozen():
        network = small()
        network[0].weight.requires_grad_(False)
        return network

    parameters, buffers = stacked_state("", frozen, (1, 2), torch.zeros(0, dtype=torch.float64))
    assert set(parameters) == {"0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}
    assert set(buffers) == {"0.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert torch.equal(parameters["3.weight"][1], initial_network("", frozen, 2)[3].weight.double())
    assert buffers["1.num_batches_tracked"].dtype == torch.int64
