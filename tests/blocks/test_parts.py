"""What all functions over (task, batch) share: where their pairs come from."""

import pytest
import torch
from torch import nn

from infotorch.blocks import fisher, grad_gram, jvp, per_sample_grad_norms, per_sample_grads, sketch, vjp
from infotorch.capture import capture
from infotorch.errors import CaptureError, ConfigError
from infotorch.task import Task


class Bare(nn.Module):
    """A layer, and a scale that belongs to none."""

    def __init__(self):
        super().__init__()
        self.fc, self.scale = nn.Linear(4, 3), nn.Parameter(torch.tensor([0.5, 2.0, -1.0]))

    def forward(self, x):
        return self.fc(x).tanh() * self.scale


P = 4 * 3 + 3 + 3
FUNCTIONS = {
    "per_sample_grads": lambda *args, **options: per_sample_grads(*args, **options)["scale"],
    "per_sample_grad_norms": per_sample_grad_norms,
    "grad_gram": grad_gram,
    "jvp": lambda *args, **options: jvp(*args, torch.arange(P) / 10.0, **options),
    "vjp": lambda *args, **options: vjp(*args, torch.arange(6) / 10.0, **options)["scale"],
    "sketch": lambda *args, **options: sketch(*args, dim=8, seed=0, **options),
    "fisher": lambda *args, **options: fisher(*args, labels="empirical", **options).dense(),
}


@pytest.fixture
def made(rng):
    task = Task(Bare().eval(), loss="mse")
    return task, (torch.randn(6, 4, generator=rng), torch.randn(6, 3, generator=rng))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_no_rule_covers_is_refused_and_falls_back_on_request(made, name):
    function = FUNCTIONS[name]
    with pytest.raises(CaptureError, match='scale  parameter of Bare  used 1 time outside .*\n.*fallback="func"'):
        function(*made)
    got = function(*made, fallback="func")
    with capture(*made, fallback="func") as cap:
        assert torch.equal(got, function(cap))
    parts = function(*made, fallback="func", memory_limit=2**14)
    torch.testing.assert_close(parts, got, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_fallback_is_chosen_with_the_capture(made, name):
    with capture(*made, fallback="func") as cap, pytest.raises(ConfigError, match="a Capture must come alone"):
        FUNCTIONS[name](cap, fallback="func")
    with pytest.raises(ConfigError, match="fallback must be one of 'func'; got 'vmap'"):
        FUNCTIONS[name](*made, fallback="vmap")
