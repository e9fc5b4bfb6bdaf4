import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch.blocks import fisher
from infotorch.capture import capture
from infotorch.errors import ConfigError, DataError, NotSupported
from infotorch.task import Task
from tests.blocks.cases import case
from tests.capture.test_seeds import GOLDEN, NETS, golden
from tests.laws import assert_same, assert_same_bits

STRUCTURES = ["full", "diagonal", "kfac", "low_rank"]
FLOATS = {torch.float64: 1e-10, torch.float32: 2e-4}


@pytest.fixture(params=NETS)
def net(request):
    """(task, (x, y), arrays) of a golden."""
    task, x, _, arrays = golden(request.param)
    return task, (x, arrays["y"]), arrays


def in_dtype(net, dtype):
    task, (x, y), arrays = net
    cast = {torch.float32: lambda t: t.float() if t.is_floating_point() else t, torch.float64: lambda t: t}[dtype]
    return Task(copy.deepcopy(task.model).to(dtype), loss=task.loss), (cast(x), cast(y)), arrays


def assert_near(got, truth, dtype):
    torch.testing.assert_close(got, truth, rtol=FLOATS[dtype], atol=FLOATS[dtype] * float(truth.abs().max()) * 1e-2)


def per_tensor(block, arrays):
    return torch.stack([block.diag()[start:stop].sum() for start, stop in arrays["param_offsets"].tolist()])


@pytest.mark.parametrize("dtype", FLOATS, ids=["f64", "f32"])
def test_goldens(net, dtype):
    task, batch, arrays = in_dtype(net, dtype)
    exact = {structure: fisher(task, batch, structure=structure) for structure in STRUCTURES}
    assert_near(exact["full"].dense(), arrays["fisher"], dtype)
    assert_near(exact["low_rank"].dense(), arrays["fisher"], dtype)
    assert_near(exact["diagonal"].diag(), arrays["fisher_diag"], dtype)
    for structure in ("full", "low_rank", "diagonal"):
        assert exact[structure].trace() == pytest.approx(float(arrays["fisher_trace"]), rel=FLOATS[dtype])
        assert_near(per_tensor(exact[structure], arrays), arrays["layer_trace"], dtype)
    for structure in ("full", "low_rank"):
        empirical = fisher(task, batch, structure=structure, labels="empirical")
        assert_near(empirical.dense(), arrays["empirical_fisher"], dtype)


@pytest.mark.parametrize("name", NETS)
def test_kronecker_factors_are_the_goldens(name):
    task, x, _, arrays = golden(name)
    block = fisher(task, (x, arrays["y"]), structure="kfac")
    with np.load(GOLDEN / f"curvature_{name}.npz") as own:
        theirs = dict(zip(task.parameters(), own["param_names"].tolist(), strict=True))
        left = {key for key in own.files if key.startswith("kfac.") and key.endswith(".A")}
    for layer in block.factors:
        path = theirs[layer.weight].removesuffix(".weight")
        for g, (A, B) in enumerate(zip(layer.A, layer.B, strict=True)):
            key = f"kfac.{path}.g{g}" if len(layer.A) > 1 else f"kfac.{path}"
            assert_near(A, arrays[f"{key}.A"], torch.float64)
            assert_near(B, arrays[f"{key}.B"], torch.float64)
            assert layer.positions == math.prod(arrays[f"{key}.NT"].int().tolist())
            left.remove(f"{key}.A")
    assert not left
    assert set(block.diagonal) == {n for n in task.parameters() if n.startswith(("emb.", "norm."))}
    sizes = [p.numel() for p in task.parameters().values()]
    truth = dict(zip(task.parameters(), arrays["fisher_diag"].split(sizes), strict=True))
    for name, own in block.diagonal.items():
        assert_near(own.flatten(), truth[name], torch.float64)


def test_determinants_are_the_goldens(net):
    """Log det(I + s F) with s = lambda^2 / beta is that of F + I / s, plus P log s."""
    task, batch, arrays = net
    blocks = {structure: fisher(task, batch, structure=structure) for structure in STRUCTURES}
    columns = {"full": 2, "low_rank": 2, "diagonal": 5, "kfac": 11}
    if blocks["kfac"].diagonal:
        del columns["kfac"]  # the golden leaves out what has no factors
    for row in arrays["iw"]:
        s = float(row[1] / row[0])
        for structure, column in columns.items():
            block = blocks[structure]
            assert block.logdet(damping=1 / s) + block.P * math.log(s) == pytest.approx(float(row[column]), rel=1e-9)
        values = blocks["full"].eigenvalues()
        assert float((s * values / (1 + s * values)).sum()) == pytest.approx(float(row[3]), rel=1e-9)


@pytest.mark.parametrize("structure", ["full", "low_rank"])
def test_leverage_is_the_goldens(net, structure):
    task, batch, arrays = net
    block = fisher(task, batch, structure=structure)
    with capture(task, batch, seeds="fisher") as cap:
        G = rows_of(cap)  # [N, K, P]
    solved = block.solve(G.flatten(0, 1).mT, damping=1.0).mT.view_as(G)
    assert_near((G * solved).sum((1, 2)), arrays["leverage"], torch.float64)


def rows_of(cap):
    parts = {}
    for pair in cap.pairs.values():
        parts |= pair.split(torch.stack([pair.grad(n) for n in range(cap.N)]))
    return torch.cat([parts[name].flatten(2) for name in cap.names], 2)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", ["groups", "sequence", "partly"])
def test_loaders_parts_and_captures_agree(structure, name):
    made = case(name)
    whole = fisher(made.task, made.batch, structure=structure)
    loader = DataLoader(TensorDataset(made.x, made.y), batch_size=3)
    steps = []
    streamed = fisher(made.task, loader, structure=structure, progress=lambda *step: steps.append(step))
    assert_same(streamed.dense(), whole.dense())
    assert steps == [("batches", n, 3) for n in (1, 2, 3)]
    with capture(made.task, made.x[:1], seeds=torch.ones(3, 1, *made.y.shape[1:]).double()) as one:
        limits = [one.nbytes, 2 * one.nbytes]  # three seeds, and some samples
    if structure in ("diagonal", "kfac"):
        for limit in limits:
            assert_same(fisher(made.task, made.batch, structure=structure, memory_limit=limit).dense(), whole.dense())
    cap = capture(made.task, made.x, seeds="fisher")
    assert_same_bits(fisher(cap, structure=structure).dense(), whole.dense())


def test_empirical_is_the_gram_of_the_gradients():
    made = case("conv")
    truth = made.G.mT @ made.G
    assert_same(fisher(made.task, made.batch, labels="empirical").dense(), truth)
    assert_same(fisher(made.task, made.batch, labels="empirical", structure="diagonal").diag(), truth.diagonal())
    cap = capture(made.task, made.batch)
    assert_same(fisher(cap, labels="empirical").dense(), truth)


def test_drawn_labels_are_those_of_their_seed_whatever_the_memory():
    task, x, _, arrays = golden("mlp_tanh_ce")
    batch = x, arrays["y"]
    one, again, other = (fisher(task, batch, structure="diagonal", labels=("mc", 3, s)).diag() for s in (1, 1, 2))
    assert_same_bits(one, again)
    assert not torch.equal(one, other)
    with capture(task, (x[:1], arrays["y"][:1])) as few:
        limit = 2 * few.nbytes
    assert_same(fisher(task, batch, structure="diagonal", labels=("mc", 3, 1), memory_limit=limit).diag(), one)
    assert_same_bits(fisher(task, iter([batch]), structure="diagonal", labels=("mc", 3, 1)).diag(), one)
    twice = fisher(task, iter([batch, batch]), structure="diagonal", labels=("mc", 3, 1)).diag()
    assert not torch.allclose(twice, 2 * one), "batches have draws of their own"


def test_many_draws_come_near_the_exact_matrix():
    task, x, _, arrays = golden("linear_ce")
    F = fisher(task, (x, arrays["y"]), labels=("mc", 200, 0)).dense()
    assert (F - arrays["fisher"]).norm() < 0.15 * arrays["fisher"].norm()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_same_call_gives_same_bits_under_deterministic_algorithms(structure):
    made = case("groups")
    first = fisher(made.task, made.batch, structure=structure).dense()
    torch.use_deterministic_algorithms(True)
    try:
        assert_same_bits(fisher(made.task, made.batch, structure=structure).dense(), first)
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_does_not_fit_is_refused():
    task = Task(nn.Linear(100, 30).eval(), loss="mse")
    batch = torch.ones(3, 100), torch.ones(3, 30)
    with pytest.raises(ConfigError) as caught:
        fisher(task, batch, memory_limit=2**20)
    assert str(caught.value) == (
        "fisher: memory_limit must hold the full matrix, P = 3030 (needs 71 MiB); got 1 MiB. Raise memory_limit, "
        'restrict params, or pass structure="low_rank".'
    )
    with pytest.raises(ConfigError, match=r"must hold the rows, P = 3030 numbers each \(needs at least 2 MiB\)"):
        fisher(task, batch, structure="low_rank", memory_limit=2**20)


def test_options_are_checked():
    made = case("mlp")
    with pytest.raises(
        ConfigError, match=r"structure must be one of 'full', .*; got 'lowrank'. Did you mean 'low_rank'"
    ):
        fisher(made.task, made.batch, structure="lowrank")
    with pytest.raises(ConfigError, match="labels must be one of 'exact', 'empirical'; got 'fisher'"):
        fisher(made.task, made.batch, labels="fisher")
    with pytest.raises(ConfigError, match=r"labels must be what the Capture holds; got 'exact' for seeds=None"):
        fisher(capture(made.task, made.batch))
    with pytest.raises(ConfigError, match=r"got 'empirical' for seeds='fisher'"):
        fisher(capture(made.task, made.x, seeds="fisher"), labels="empirical")
    with pytest.raises(DataError, match="must give at least one batch"):
        fisher(made.task, iter([]))
    with pytest.raises(NotSupported):
        fisher(Task(made.task.model, loss=lambda f, y: f.sum(1)), made.batch)


def test_a_capture_of_other_seeds_is_refused():
    """As many seeds as the answer has are not yet the answer's."""
    made = case("mlp")
    drawn = ("mc", 3, 0)
    asked = {"exact": "fisher", "empirical": None, drawn: drawn}
    C = made.J.shape[1]
    outputs = torch.ones(C, *made.y.shape).double()
    for seeds in (None, "logits", "fisher", drawn, ("mc", 3, 1), outputs):
        cap = capture(made.task, made.batch if seeds is None else made.x, seeds=seeds)
        for labels, wanted in asked.items():
            if seeds is wanted:
                assert fisher(cap, labels=labels, structure="diagonal").trace() > 0
                continue
            with pytest.raises(
                ConfigError, match=r"labels must be what the Capture holds; got .* for seeds="
            ) as caught:
                fisher(cap, labels=labels, structure="diagonal")
            assert f"Pass capture(task, data, seeds={wanted!r})." in str(caught.value)
    with pytest.raises(ConfigError, match=r"labels must be one of 'exact', 'empirical'; got 'exct'. Did you mean"):
        fisher(capture(made.task, made.batch), labels="exct")
