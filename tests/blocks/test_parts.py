"""What all functions over (task, batch) share: where their pairs come from."""

import re

import pytest
import torch
from torch import nn

from infotorch.blocks import fisher, grad_gram, jvp, ntk, per_sample_grad_norms, per_sample_grads, sketch, vjp
from infotorch.capture import capture
from infotorch.errors import CaptureError, ConfigError, DataError, NumericsError
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
    with pytest.raises(CaptureError, match=r'scale  parameter of Bare  used 1 time outside .*\n.*fallback="func"'):
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
    with pytest.raises(ConfigError, match="fallback must be one of None, 'func'; got 'vmap'"):
        FUNCTIONS[name](*made, fallback="vmap")


def test_the_kernel_falls_back_too(made):
    task, (x, _) = made
    with capture(task, x, seeds="logits", fallback="func") as cap:
        torch.testing.assert_close(ntk(task, x, fallback="func").values, ntk(cap).values, rtol=1e-6, atol=1e-6)
        with pytest.raises(ConfigError, match="a Capture must come alone; got fallback beside it"):
            ntk(cap, fallback="func")


class Mixed(nn.Module):
    """What is selected may be what no output depends on."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 18)

    def forward(self, x):
        return self.used(x)


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"per_sample_grads", "vjp", "jvp"}))
def test_what_no_output_depends_on_gives_zeros(name, rng):
    task = Task(Mixed().eval(), loss="mse", params=["idle.*"])
    batch = torch.randn(6, 4, generator=rng), torch.zeros(6, 3)
    for got in (FUNCTIONS[name](task, batch), FUNCTIONS[name](capture(task, batch))):
        assert got.shape[0] in (6, 90) and not got.any()


def test_tangents_of_what_no_output_depends_on_are_zero(rng):
    task = Task(Mixed().eval(), loss="mse", params=["idle.*"])
    batch = torch.randn(6, 4, generator=rng), torch.zeros(6, 3)
    assert torch.equal(jvp(task, batch, torch.ones(2, 90)), torch.zeros(6, 2))


def test_labels_are_taken_out_of_a_dict_only_where_they_are_needed(rng):
    task = Task(nn.Linear(4, 3).eval(), forward=lambda model, b: model(b["x"]), target=lambda batch: batch["y"])
    x = torch.randn(6, 4, generator=rng)
    V = torch.arange(15.0)
    assert jvp(task, {"x": x}, V, seeds="logits").shape == (6, 3)
    assert jvp(task, {"x": x}, V, seeds=torch.ones(1, 6, 3)).shape == (6, 1)
    assert sketch(task, {"x": x}, dim=8, seed=0, seeds="logits", memory_limit=2**12).shape == (6, 3, 8)


def test_readers_do_not_round_under_autocast(made):
    task, batch = Task(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval(), loss="mse"), made[1]
    V, u = torch.linspace(-1, 1, 43), torch.linspace(-1, 1, 6)
    with capture(task, batch) as cap:
        want = jvp(cap, V), vjp(cap, u)
        with torch.autocast("cpu", torch.bfloat16):
            got = jvp(cap, V), vjp(cap, u)
    assert torch.equal(got[0], want[0])
    assert all(torch.equal(got[1][name], want[1][name]) for name in want[1])


def test_layers_of_two_dtypes_add_in_the_wider(rng):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 2).double()

        def forward(self, x):
            return self.second(self.first(x).double())

    task = Task(Two().eval(), loss="mse")
    batch = torch.randn(6, 4, generator=rng), torch.zeros(6, 2, dtype=torch.float64)
    squares = per_sample_grad_norms(task, batch, squared=True)
    assert squares.dtype == torch.float64
    torch.testing.assert_close(squares, grad_gram(task, batch).diagonal(), rtol=1e-6, atol=0)


CALLS = FUNCTIONS | {"ntk": lambda task, batch=None, **options: ntk(task, batch, **options)}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("limit", ["1GB", 1e6, 0, -5, True])
def test_a_limit_is_a_number_of_bytes(made, name, limit):
    with pytest.raises(ConfigError, match=r"memory_limit must be a whole number of bytes above 0; got .*2\*\*30"):
        CALLS[name](*made, memory_limit=limit)


@pytest.mark.parametrize("name", CALLS)
def test_a_model_is_no_task(made, name):
    with pytest.raises(ConfigError, match=r"task must be a Task or a Capture; got Bare. Pass Task"):
        CALLS[name](made[0].model, made[1])


def test_the_kernel_takes_a_batch_as_all_do(rng):
    task, x = Task(nn.Linear(4, 3).eval(), loss="mse"), torch.randn(6, 4, generator=rng)
    assert torch.equal(ntk(task, (x, torch.zeros(6, 3))).values, ntk(task, x).values)
    with pytest.raises(ConfigError, match="ntk: batch must be one batch"):
        ntk(task, iter([x]))


@pytest.mark.parametrize("name", ["per_sample_grad_norms", "sketch", "fisher"])
def test_what_is_wrong_with_a_sample_of_a_loader_is_told_with_its_batch(name, rng):
    task, x = Task(nn.Linear(4, 3).eval(), loss="mse"), torch.randn(6, 4, generator=rng)
    x[5] = torch.nan
    loader = zip(x.split(2), torch.zeros(6, 3).split(2), strict=True)
    with pytest.raises(DataError, match=r"got nan at sample 1\. .* this is batch 2 of the loader"):
        FUNCTIONS[name](task, loader)


def test_both_sides_of_a_gram_are_in_what_it_needs(made):
    task, batch = made
    with pytest.raises(ConfigError, match=r"grad_gram: .* \(needs (\d+) bytes\); got 10 bytes") as caught:
        grad_gram(task, batch, fallback="func", memory_limit=10)
    need = int(re.search(r"needs (\d+)", str(caught.value))[1])
    grad_gram(task, batch, fallback="func", memory_limit=need)
    with pytest.raises(ConfigError, match="must hold one sample"):
        grad_gram(task, batch, fallback="func", memory_limit=need - 1)


def test_labels_are_not_drawn_from_what_is_not_finite(rng):
    model = nn.Linear(4, 3).eval()
    model.weight.data[0, 0] = torch.nan
    with pytest.raises(NumericsError, match=r"outputs must be finite where labels are drawn; got .* at sample 0"):
        fisher(Task(model), (torch.ones(6, 4), torch.zeros(6).long()), structure="diagonal", labels=("mc", 1, 0))
