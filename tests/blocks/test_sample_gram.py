import pytest
import torch
from torch import nn

from infotorch.blocks import grad_gram, ntk, per_sample_grads
from infotorch.capture import capture
from infotorch.errors import CaptureError, ConfigError, ShapeError
from infotorch.task import Task
from tests.blocks.cases import MODELS, Gated, case
from tests.laws import assert_same, assert_same_bits


@pytest.fixture(params=MODELS)
def made(request):
    return case(request.param)


def halves(made):
    return (made.x[:4], made.y[:4]), (made.x[2:], made.y[2:])


def test_gram_is_that_of_formed_gradients(made):
    K = grad_gram(made.task, made.batch)
    assert_same(K, made.G @ made.G.mT)
    assert_same_bits(K, K.mT.contiguous())


def test_two_sets(made):
    assert_same(grad_gram(made.task, *halves(made)), made.G[:4] @ made.G[2:].mT)


def test_captures_stand_for_batches(made):
    first, second = (capture(made.task, half) for half in halves(made))
    assert_same(grad_gram(first), made.G[:4] @ made.G[:4].mT)
    assert_same(grad_gram(first, second), made.G[:4] @ made.G[2:].mT)


def test_seeds_give_the_tangent_kernel(made):
    cap, few = capture(made.task, made.x, seeds="logits"), capture(made.task, made.x[2:], seeds="logits")
    K = grad_gram(cap)
    assert_same(K, ntk(made.task, made.x).values)
    matrix = K.view(K.shape[0] * K.shape[1], -1)
    assert_same_bits(matrix, matrix.mT.contiguous())
    assert_same(grad_gram(cap, few), ntk(made.task, made.x, made.x[2:]).values)


def test_centring_takes_the_mean_of_each_set_away(made):
    G = made.G
    K = grad_gram(made.task, made.batch, center=True)
    assert_same(K, (G - G.mean(0)) @ (G - G.mean(0)).mT)
    assert_same_bits(K, K.mT.contiguous())
    first, second = G[:4] - G[:4].mean(0), G[2:] - G[2:].mean(0)
    assert_same(grad_gram(made.task, *halves(made), center=True), first @ second.mT)


@pytest.mark.parametrize("samples", [1, 3])
def test_memory_limit_divides_both_sets(made, samples):
    with capture(made.task, (made.x[:1], made.y[:1])) as one:
        limit = 2 * samples * one.nbytes
    K = grad_gram(made.task, made.batch, memory_limit=limit)
    assert_same(K, made.G @ made.G.mT)
    assert_same_bits(K, K.mT.contiguous())
    assert_same(grad_gram(made.task, *halves(made), memory_limit=limit), made.G[:4] @ made.G[2:].mT)


def test_a_layer_that_one_set_does_not_use_adds_nothing():
    task = Task(Gated().double().eval(), loss="mse")
    y = torch.zeros(2, 2).double()
    one, two = (torch.full((2, 3), value).double() for value in (1.0, -1.0))

    def flat(x):
        return torch.cat([g.flatten(1) for g in per_sample_grads(task, (x, y)).values()], 1)

    assert_same(grad_gram(task, (one, y), (two, y)), flat(one) @ flat(two).mT)
    assert_same(grad_gram(task, (two, y), (one, y)), flat(two) @ flat(one).mT)


def test_what_does_not_fit_together_is_refused():
    made = case("mlp")
    cap, seeds = capture(made.task, made.batch), capture(made.task, made.x, seeds="logits")
    with pytest.raises(ShapeError, match="must have the same number of seeds; got None and 3"):
        grad_gram(cap, seeds)
    with pytest.raises(ConfigError, match="a Capture must come alone or with a second one"):
        grad_gram(cap, made.batch)
    with pytest.raises(ConfigError, match="center must be False for seeds; got True"):
        grad_gram(seeds, center=True)
    other = capture(Task(made.task.model, loss="mse", params=["*.weight"]), made.batch)
    with pytest.raises(CaptureError, match="both sets must use '0' alike"):
        grad_gram(cap, other)


def test_sets_of_other_parameters_are_refused_either_way():
    """Also where the pairs of both sets have different keys, so that none would be compared."""
    made = case("mlp")
    first, last = (capture(Task(made.task.model, loss="mse", params=[p]), made.batch) for p in ("0.*", "2.*"))
    whole = capture(made.task, made.batch)
    for one, two, got in ((whole, last, "second"), (last, whole, "first"), (first, last, "second")):
        with pytest.raises(CaptureError, match=f"both sets must use '0' alike; got nothing of it in the {got}. Leave"):
            grad_gram(one, two)


def test_sets_without_a_common_layer_have_zero_products_of_seeds_too():
    class Either(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.one(x) if x.sum() > 0 else self.two(x)

    task = Task(Either().eval(), loss="mse")
    one, two = (capture(task, x, seeds="logits") for x in (torch.ones(4, 3), -torch.ones(5, 3)))
    K = grad_gram(one, two)
    assert K.shape == (4, 2, 5, 2) and not K.any()


def test_closed_captures_are_refused():
    made = case("mlp")
    cap, closed = capture(made.task, made.batch), capture(made.task, made.batch)
    closed.close()
    for sets in ((closed,), (cap, closed), (closed, cap)):
        with pytest.raises(ConfigError, match="grad_gram: the Capture must hold its pairs; got one that was closed"):
            grad_gram(*sets)
