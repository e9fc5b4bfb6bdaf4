import copy

import pytest
import torch

from infotorch.blocks import jvp, per_sample_grads, vjp
from infotorch.capture import capture
from infotorch.errors import ConfigError, ShapeError
from infotorch.task import Task
from tests.blocks.cases import MODELS, case
from tests.laws import assert_same, assert_same_bits


@pytest.fixture(params=MODELS)
def made(request):
    return case(request.param)


def as_dict(flat, made):
    """{name: [..., *shape]} of [..., P]."""
    sizes = [g[0].numel() for g in made.g.values()]
    parts = zip(made.g.items(), flat.split(sizes, -1), strict=True)
    return {name: part.reshape(*flat.shape[:-1], *g.shape[1:]) for (name, g), part in parts}


@pytest.mark.parametrize("J", [None, 1, 5])
def test_tangents_of_the_losses(made, J, rng):
    V = torch.randn(*(() if J is None else (J,)), made.G.shape[1], dtype=torch.float64, generator=rng)
    truth = made.G @ V.mT if J else made.G @ V
    assert_same(jvp(made.task, made.batch, V), truth)
    assert_same_bits(jvp(made.task, made.batch, as_dict(V, made)), jvp(made.task, made.batch, V))
    with capture(made.task, made.batch) as cap:
        assert_same_bits(jvp(cap, V), jvp(made.task, made.batch, V))


@pytest.mark.parametrize("J", [None, 5])
def test_tangents_of_the_outputs(made, J, rng):
    V = torch.randn(*(() if J is None else (J,)), made.G.shape[1], dtype=torch.float64, generator=rng)
    truth = made.J @ V.mT if J else made.J @ V
    assert_same(jvp(made.task, made.x, V, seeds="logits"), truth)
    assert_same(jvp(capture(made.task, made.x, seeds="logits"), V), truth)


def test_memory_limit_divides_samples_then_seeds(made, rng):
    V = torch.randn(2, made.G.shape[1], dtype=torch.float64, generator=rng)
    with capture(made.task, made.x[:1], seeds=torch.ones(3, 1, *made.y.shape[1:]).double()) as one:
        smallest = one.nbytes
    for limit in (smallest, 3 * smallest):
        assert_same(jvp(made.task, made.batch, V, memory_limit=limit), made.G @ V.mT)
        assert_same(jvp(made.task, made.x, V, seeds="logits", memory_limit=limit), made.J @ V.mT)


@pytest.mark.parametrize("J", [None, 1, 4])
def test_weighted_sums_of_gradients(made, J, rng):
    u = torch.randn(*(() if J is None else (J,)), len(made.x), dtype=torch.float64, generator=rng)
    truth = as_dict(u @ made.G, made)
    with capture(made.task, (made.x[:1], made.y[:1])) as one:
        limit = 2 * one.nbytes
    for sums in (
        vjp(made.task, made.batch, u),
        vjp(capture(made.task, made.batch), u),
        vjp(made.task, made.batch, u, memory_limit=limit),
    ):
        assert list(sums) == list(truth)
        for name, g in truth.items():
            assert sums[name].shape == g.shape and (sums[name] - g).norm() <= 1e-12 * g.norm()


@pytest.mark.parametrize("J", [None, 2])
def test_weighted_sums_over_seeds(made, J, rng):
    u = torch.randn(*(() if J is None else (J,)), *made.J.shape[:2], dtype=torch.float64, generator=rng)
    truth = as_dict(torch.einsum("...nc,ncp->...p", u, made.J), made)
    sums = vjp(capture(made.task, made.x, seeds="logits"), u)
    for name, g in truth.items():
        assert sums[name].shape == g.shape and (sums[name] - g).norm() <= 1e-12 * g.norm()


def test_vjp_is_the_adjoint_of_jvp(made, rng):
    u, V = (torch.randn(n, dtype=torch.float64, generator=rng) for n in (len(made.x), made.G.shape[1]))
    sums = vjp(made.task, made.batch, u)
    left = sum((sums[name] * v).sum() for name, v in as_dict(V, made).items())
    assert_same(left, u @ jvp(made.task, made.batch, V))


def test_arguments_are_checked():
    made = case("mlp")
    P = made.G.shape[1]
    with pytest.raises(ShapeError, match=rf"jvp: V must be \[P\] or \[J, P\] with P = {P}; got \[3, {P - 1}\]"):
        jvp(made.task, made.batch, torch.zeros(3, P - 1))
    good = {name: g[0] for name, g in made.g.items()}
    with pytest.raises(ShapeError, match="every selected parameter; got a difference at 'extra'"):
        jvp(made.task, made.batch, good | {"extra": torch.zeros(1)})
    with pytest.raises(ShapeError, match="every selected parameter; got a difference at 'NoneType'"):
        jvp(made.task, made.batch)
    with pytest.raises(ShapeError, match=r"V\['0.bias'\] must be \[8\]; got \[7\]. Shape every entry"):
        jvp(made.task, made.batch, good | {"0.bias": torch.zeros(7)})
    with pytest.raises(
        ShapeError, match=r"vjp: u must be \[7\] or \[J, ...\] of it; got \[6\]. Pass one weight a sample"
    ):
        vjp(made.task, made.batch, torch.zeros(6))
    with pytest.raises(ConfigError, match="vjp: u must be a tensor of weights; got NoneType"):
        vjp(made.task, made.batch)
    with pytest.raises(ConfigError, match="jvp: batch must be one batch"):
        jvp(made.task, iter([made.batch]), good)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_results_of_16_bits_are_float32(dtype):
    """Also where a forward-mode derivative or a zero is all there is."""
    made = case("partly")
    task = Task(copy.deepcopy(made.task.model).to(dtype), loss="mse")
    x, y = made.x.to(dtype), made.y.to(dtype)
    V = torch.ones(made.G.shape[1])
    assert jvp(task, x, V, seeds="logits").dtype == torch.float32
    with capture(task, (x, y)) as cap:
        assert cap.unused
        assert {g.dtype for g in vjp(cap, torch.ones(len(x))).values()} == {torch.float32}
        assert {g.dtype for g in per_sample_grads(cap).values()} == {torch.float32}
