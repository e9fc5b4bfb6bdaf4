import pytest
import torch
from torch import nn

from infotorch.blocks import Kfac, Kronecker, fisher
from infotorch.capture import capture
from infotorch.errors import ShapeError
from infotorch.task import Task
from tests.blocks.block_laws import block_laws
from tests.blocks.cases import case


def kronecker_products(made, block):
    """The dense matrix from factors of the pairs, by a sum over every entry."""
    F = torch.zeros(block.P, block.P, dtype=torch.float64)
    with capture(made.task, made.x, seeds="fisher") as cap:
        places = cap.slices
        for pair in cap.pairs.values():
            weight, *bias = pair.shapes
            if weight in block.diagonal:
                continue
            a = pair.rows()
            if bias:
                a = torch.nn.functional.pad(a, (0, 1), value=1.0)
            I, O = pair.I, pair.O
            for g in range(pair.groups):
                A = torch.einsum("nti,ntj->ij", a[g :: pair.groups], a[g :: pair.groups]) / (pair.N * pair.T)
                B = torch.einsum("nkto,nktp->op", pair.b[g :: pair.groups], pair.b[g :: pair.groups])
                index = torch.empty(O, A.shape[0], dtype=torch.int64)
                rows = torch.arange(O) + g * O
                flat = rows[:, None] * I + torch.arange(I)
                if pair.transposed:
                    flat = torch.arange(I) * (pair.groups * O) + rows[:, None]
                index[:, :I] = places[weight].start + flat
                if bias:
                    index[:, I] = places[bias[0]].start + rows
                index = index.flatten()
                F[index[:, None], index[None]] = torch.einsum("op,ij->oipj", B, A).reshape(len(index), len(index))
    truth = made.J.square().sum((0, 1))
    for name in block.diagonal:
        place = torch.arange(block.P)[places[name]]
        F[place, place] = truth[place]
    return F


@pytest.mark.parametrize("name", ["mlp", "groups", "partly", "wide positions", "ids"])
def test_laws(name):
    made = case(name)
    block = fisher(made.task, made.batch, structure="kfac")
    block_laws(block, kronecker_products(made, block))


def test_one_sample_at_one_position_is_exact():
    made = case("mlp")
    one = made.x[:1]
    block = fisher(made.task, one, structure="kfac").dense()
    F = torch.einsum("cp,cq->pq", made.J[0], made.J[0])
    layers = [slice(0, 48), slice(48, 75)]
    for layer in layers:
        torch.testing.assert_close(block[layer, layer], F[layer, layer], rtol=1e-12, atol=1e-12)
    assert not block[layers[0], layers[1]].any()


def test_parameters_without_factors_keep_their_diagonal():
    made = case("sequence")
    block = fisher(made.task, made.batch, structure="kfac")
    assert "norm.weight" in block.diagonal and "fc.weight" not in block.diagonal
    place = {}
    start = 0
    for name, shape in block.shapes.items():
        place[name] = slice(start, start + shape.numel())
        start += shape.numel()
    truth = made.J.square().sum((0, 1))
    for name, own in block.diagonal.items():
        torch.testing.assert_close(own.flatten(), truth[place[name]], rtol=1e-12, atol=1e-14)


def test_transposed_weights():
    torch.manual_seed(0)
    A, B = (torch.randn(1, n, 2 * n, dtype=torch.float64) for n in (4, 2))
    A, B = A @ A.mT, B @ B.mT
    shapes = {"w": torch.Size([3, 2]), "b": torch.Size([2])}
    layer = Kronecker(weight="w", bias="b", A_held=A, B_held=B, positions=5, transposed=True, summed_in=torch.float64)
    block = Kfac(shapes=shapes, factors=(layer,), diagonal={})
    F = torch.einsum("op,ij->oipj", B[0], A[0] / 5)  # [O, I + 1, O, I + 1]
    order = [(o, i) for i in range(3) for o in range(2)] + [(o, 3) for o in range(2)]
    truth = torch.stack([torch.stack([F[o, i, p, j] for p, j in order]) for o, i in order])
    block_laws(block, truth)


def test_every_parameter_has_a_part():
    with pytest.raises(ShapeError, match=r"every parameter must have a part; got \[\]"):
        Kfac(shapes={"w": torch.Size([3])}, factors=(), diagonal={})


def test_rounding_of_float32_sums_is_not_a_negative_eigenvalue():
    """Fewer samples than in-features: A is singular, and its zero eigenvalues come out as some 1e-8 of the largest."""
    torch.manual_seed(0)
    task = Task(torch.nn.Linear(60, 40).eval(), loss="mse")
    batches = [(torch.randn(5, 60), torch.randn(5, 40)) for _ in range(2)]
    for data in (batches[0], iter(batches)):
        block = fisher(task, data, structure="kfac")
        A = block.factors[0].A[0].double()
        assert torch.linalg.eigvalsh(A)[0] < 0, "else nothing is tested"
        assert block.eigenvalues()[0] == 0
        v = torch.ones(block.P)
        F = block.dense() + torch.eye(block.P).double()
        assert (F @ block.solve(v.double(), damping=1.0) - v).norm() < 1e-4 * v.norm()


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.mha = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.mha(x, x, x)[0].mean(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


class Placed(nn.Module):
    """A parameter that is a matrix and no layer's."""

    def __init__(self):
        super().__init__()
        self.place, self.fc = nn.Parameter(torch.ones(5, 4)), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x + self.place).tanh().mean(1)


class Tied(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.emb, self.fc, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7)
        self.head.weight, self.outputs = self.emb.weight, outputs

    def forward(self, x):
        return self.head(self.fc(self.emb(x[..., 0].abs().long() % 7)).tanh()).mean(1)[:, : self.outputs]


FACTORED = {
    "attention": (Attending, {"mha.in_proj_weight", "mha.in_proj_bias", "mha.out_proj.weight", "mha.out_proj.bias"}),
    "recurrent": (Recurrent, {f"lstm.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")}),
    "placed": (Placed, {"fc.weight", "fc.bias"}),
    "tied": (lambda: Tied(3), {"fc.weight", "fc.bias"}),
    "tied, one output": (lambda: Tied(1), {"fc.weight", "fc.bias"}),
}


@pytest.mark.parametrize("name", FACTORED)
def test_every_dense_matrix_has_factors_and_nothing_else(name):
    """Whatever its name; and for a loss, one seed or several, so that batches in parts add up."""
    make, names = FACTORED[name]
    torch.manual_seed(0)
    model = make().double().eval()
    x = 3 * torch.randn(6, 5, 4, dtype=torch.float64)
    y = torch.zeros(model(x).shape).double()
    fallback = "func" if name == "placed" else None
    for labels, seeds in (("empirical", None), ("exact", "fisher")):
        with capture(Task(model, loss="mse"), (x, y), seeds=seeds, fallback=fallback) as cap:
            block = fisher(cap, structure="kfac", labels=labels)
        assert set(block.shapes) - set(block.diagonal) == names
        assert {n for layer in block.factors for n in (layer.weight, layer.bias) if n} == names
    traces = []
    for c in (1.0, 3.0):
        task = Task(model, loss=lambda f, y, c=c: c * (f - y).square().sum(1))
        with capture(task, (x, y), fallback=fallback) as cap:
            traces.append(fisher(cap, structure="kfac", labels="empirical").trace())
    assert traces[1] == pytest.approx(9 * traces[0], rel=1e-12)
