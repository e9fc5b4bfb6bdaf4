import pytest
import torch
from torch import nn

from infotorch import ops
from infotorch.blocks import sketch, sketching
from infotorch.capture import capture
from infotorch.errors import ConfigError
from infotorch.task import Task
from tests.blocks.cases import MODELS, case
from tests.laws import assert_same, assert_same_bits


@pytest.fixture(params=MODELS)
def made(request):
    return case(request.param)


def of_elements(g, name, dim, seed):
    """Every element of gradients [N, ...] in the bucket of its place in the parameter."""
    flat = g.flatten(1)
    return ops.project(flat.new_ones(len(flat), 1, 1), flat[:, None], k=dim, seed=seed, name=name)


@pytest.mark.parametrize("dim", [1, 7, 64])
def test_sketches_are_sums_over_parameters(made, dim):
    truth = 0
    for name, g in made.g.items():
        table = type(made.task.model[0]) is nn.Embedding if isinstance(made.task.model, nn.Sequential) else False
        truth = truth + of_elements(g.mT if table and name == "0.weight" else g, name, dim, 3)
    assert_same(sketch(made.task, made.batch, dim=dim, seed=3), truth)
    with capture(made.task, made.batch) as cap:
        assert_same_bits(sketch(cap, dim=dim, seed=3), sketch(made.task, made.batch, dim=dim, seed=3))


# One seed alone of a tied matrix has other factors than several have, and so another sketch of kind kron.
@pytest.mark.parametrize(
    ("name", "kind", "K"),
    [
        (name, kind, K)
        for name in MODELS
        for kind in ("sjlt", "kron")
        for K in (1, 2)
        if (name, kind, K) != ("sequence", "kron", 1)
    ],
)
def test_seeds_are_rows(name, kind, K):
    """The sketch is linear: those of weighted sums of outputs are the weighted sums of sketches."""
    made = case(name)
    options = {"dim": 60, "seed": 5, "kind": kind}
    C = made.J.shape[1]
    rows = sketch(made.task, made.x, seeds="logits", **options)
    assert rows.shape == (len(made.x), C, 60)
    shape = made.task.outputs(made.x).shape
    weights = torch.arange(1.0, K * C + 1).double().view(K, C)
    mixed = sketch(made.task, made.x, seeds=weights.view(K, 1, *shape[1:]).expand(K, *shape), **options)
    assert_same(mixed, torch.einsum("nck,mc->nmk", rows, weights))


@pytest.mark.parametrize("kind", ["sjlt", "kron"])
def test_inner_products_are_kept_on_average(kind):
    made = case("conv")
    truth = made.G @ made.G.mT
    with capture(made.task, made.batch) as cap:
        draws = [sketch(cap, dim=64, seed=seed, kind=kind) for seed in range(200)]
    K = torch.stack([p @ p.mT for p in draws])
    error = (K.mean(0) - truth) / (K.std(0) / len(K) ** 0.5)
    assert error.abs().max() < 4.5


@pytest.mark.parametrize("kind", ["sjlt", "kron"])
def test_a_sketch_does_not_depend_on_the_batch(made, kind):
    """Bit for bit where the gradients are: captured once, sketched in parts."""
    with capture(made.task, made.batch) as cap:
        whole = sketch(cap, dim=40, seed=1, kind=kind)
    with capture(made.task, (made.x[:1], made.y[:1])) as one:
        limit = 2 * one.nbytes
    assert_same(sketch(made.task, made.batch, dim=40, seed=1, kind=kind, memory_limit=limit), whole)
    assert_same(sketch(made.task, [made.batch].__iter__(), dim=40, seed=1, kind=kind), whole)


def test_other_parameters_do_not_matter():
    """A parameter's sketch is the same with all, with some, and alone."""
    made = case("mlp")
    alone = [sketch(Task(made.task.model, loss="mse", params=[name]), made.batch, dim=50, seed=2) for name in made.g]
    assert_same(sum(alone), sketch(made.task, made.batch, dim=50, seed=2))
    weights = sketch(Task(made.task.model, loss="mse", params=["*.weight"]), made.batch, dim=50, seed=2)
    assert_same(alone[0] + alone[2], weights)


def test_gradients_formed_in_pieces_give_the_same_sketch(monkeypatch):
    made = case("conv")
    whole = {kind: sketch(made.task, made.batch, dim=30, seed=1, kind=kind) for kind in ("sjlt", "kron")}
    monkeypatch.setattr(sketching, "FORMED_BYTES", 1)
    for kind, truth in whole.items():
        assert_same(sketch(made.task, made.batch, dim=30, seed=1, kind=kind), truth)


def test_kron_shares_are_equal_and_near_to_square():
    made = case("mlp")
    p = sketch(made.task, made.batch, dim=41, seed=1, kind="kron")
    assert p.shape == (7, 41)
    # 8 x 5 and 3 x 8 weights, 20 numbers each: 4 x 5 columns, then 3 x 6 and two zeros; one is left over.
    assert p[:, :20].all() and p[:, 20:38].all() and not p[:, 38:].any()
    assert sketching._columns(1365, 512, 512) == 36 * 37
    assert sketching._columns(1365, 10, 512) == 10 * 136
    assert sketching._columns(100, 7, 1) == 7


def test_options_are_checked():
    made = case("mlp")
    with pytest.raises(ConfigError, match="kind must be one of 'sjlt', 'kron'; got 'gauss'"):
        sketch(made.task, made.batch, dim=8, seed=0, kind="gauss")
    with pytest.raises(ConfigError, match="sketch: dim must be 1 to 2\\^31; got 0"):
        sketch(made.task, made.batch, dim=0, seed=0)
    with pytest.raises(ConfigError, match=r"least the number of parameters, 4; got 3. Raise dim, or use kind='sjlt'"):
        sketch(made.task, made.batch, dim=3, seed=0, kind="kron")
    with pytest.raises(ConfigError, match="seed must be 0 to 2\\^64 - 1; got -1"):
        sketch(made.task, made.batch, dim=8, seed=-1)


def test_layers_that_a_batch_does_not_use_keep_their_shares():
    """Whatever a batch uses, its sketch is that of its gradients laid over all parameters."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2)

        def forward(self, x):
            return self.last(self.norm(self.first(x)) if x.sum() > 0 else x)

    torch.manual_seed(0)
    task = Task(Gated().double().eval(), loss="mse")
    y = torch.zeros(2, 2).double()
    last = Task(task.model, loss="mse", params=["last.*"])
    negative = (-torch.rand(2, 3).double(), y)
    p = sketch(task, negative, dim=60, seed=1, kind="kron")
    assert not p[:, :40].any()
    assert_same(p[:, 40:], sketch(last, negative, dim=20, seed=1, kind="kron"))
    both = sketch(task, iter([(torch.rand(2, 3).double(), y), negative]), dim=60, seed=1, kind="kron")
    assert both[0, :40].any() and torch.equal(both[2:], p)


def test_draws_of_one_batch_do_not_depend_on_those_of_another():
    made = case("mlp")
    p = sketch(made.task, iter([made.batch, made.batch]), dim=40, seed=1, seeds=("mc", 2, 0))
    first, second = p.split(len(made.x))
    assert_same_bits(first, sketch(made.task, made.batch, dim=40, seed=1, seeds=("mc", 2, 0)))
    assert (first - second).norm() > 0.1 * first.norm()
