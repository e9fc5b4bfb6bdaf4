"""Products with the Fisher information's root, against the Jacobians of the goldens and of autograd."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch.blocks import fisher
from infotorch.blocks.fisher_root import FisherRoot
from infotorch.blocks.layout import flattened, split
from infotorch.errors import ConfigError, DataError, NotSupported
from infotorch.task import Task
from tests.blocks.cases import Sequence
from tests.capture.test_seeds import NETS, golden


def dense(root):
    """G [M, P], a column a product."""
    shapes = root.task.shapes
    P = sum(shape.numel() for shape in shapes.values())
    return torch.stack([root.times(split(e, shapes)) for e in torch.eye(P, dtype=torch.float64)], 1)


def transposed(root, u):
    return flattened(root.transposed(u), root.task.shapes)


@pytest.mark.parametrize("name", NETS)
def test_goldens(name, rng):
    """G^T G v is the golden Fisher's product, G^T u the transpose of G, and of M rows."""
    task, x, _, arrays = golden(name)
    root = FisherRoot("test", task, (x, arrays["y"]))
    C = arrays["outputs"].shape[1]
    assert root.num_rows == len(x) * (C - 1 if task.loss == "cross_entropy" else C)
    for _ in range(3):
        v = torch.randn(len(arrays["fisher"]), generator=rng).double()
        u = torch.randn(root.num_rows, generator=rng).double()
        moved = root.times(split(v, task.shapes))
        assert len(moved) == root.num_rows
        torch.testing.assert_close(transposed(root, moved), arrays["fisher"] @ v, rtol=1e-10, atol=1e-11)
        assert float(u @ moved) == pytest.approx(float(transposed(root, u) @ v), rel=1e-10)


def test_a_loader_is_one_batch():
    """Parts of 5, 5 and 2 samples."""
    task, x, _, arrays = golden("linear_ce")
    whole = FisherRoot("test", task, (x, arrays["y"]))
    loader = FisherRoot("test", task, DataLoader(TensorDataset(x, arrays["y"]), batch_size=5))
    torch.testing.assert_close(dense(loader), dense(whole), rtol=1e-12, atol=1e-14)
    u = torch.arange(whole.num_rows).double()
    torch.testing.assert_close(transposed(loader, u), transposed(whole, u), rtol=1e-12, atol=1e-12)


def test_float32_models_sum_in_float64():
    task, x, _, arrays = golden("mlp_tanh_ce")
    small = Task(copy.deepcopy(task.model).float(), loss=task.loss)
    root = FisherRoot("test", small, (x.float(), arrays["y"]))
    G = dense(root)
    assert G.dtype == transposed(root, torch.ones(len(G)).double()).dtype == torch.float64
    torch.testing.assert_close(G.mT @ G, arrays["fisher"], rtol=2e-4, atol=1e-5)


def test_the_parameters_that_are_selected_alone_count():
    task, x, _, arrays = golden("mlp_relu_mse")
    last = Task(task.model, loss=task.loss, params=["2.*"])
    G = dense(FisherRoot("test", last, (x, arrays["y"])))
    torch.testing.assert_close(G.mT @ G, arrays["fisher"][-G.shape[1] :, -G.shape[1] :], rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_tied_parameters_and_padding(rng):
    """A padding row has a gradient through the head that shares it, and none through the table."""
    task = Task(Sequence().double().eval(), loss="cross_entropy")
    ids = torch.randint(0, 7, (5, 4), generator=rng)
    y = torch.randint(0, 7, (5,), generator=rng)
    root, F = FisherRoot("test", task, (ids, y)), fisher(task, (ids, y)).dense()
    v, u = torch.randn(len(F), generator=rng).double(), torch.randn(root.num_rows, generator=rng).double()
    moved = root.times(split(v, task.shapes))
    torch.testing.assert_close(transposed(root, moved), F @ v, rtol=1e-10, atol=1e-11)
    assert float(u @ moved) == pytest.approx(float(transposed(root, u) @ v), rel=1e-10)


def test_positions_and_ignored_labels(rng):
    """Outputs [N, T, C]; what has no label has no curvature."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    x, y = torch.randn(4, 2, 3, generator=rng).double(), torch.randint(0, 3, (4, 2), generator=rng)
    y[1, 0] = y[2, 1] = -100
    G = dense(FisherRoot("test", Task(model), (x, y)))
    assert len(G) == 4 * 2 * 2 and not G.view(4, 2, 2, -1)[1, 0].any()
    torch.testing.assert_close(G.mT @ G, fisher(Task(model), (x, y)).dense(), rtol=1e-10, atol=1e-12)


def test_layers_without_a_rule_and_inputs_without_labels(rng):
    """Whatever autograd can do; squared error needs no target for its curvature."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.randn(3, 2).double())
            self.unused = nn.Parameter(torch.ones(2).double())

        def forward(self, x):
            return (x @ self.scale.exp()).sin()

    task, x = Task(Odd().eval(), loss="mse"), torch.randn(4, 3, generator=rng).double()
    G = dense(FisherRoot("test", task, x))
    J = torch.func.jacrev(lambda s: (x @ s.exp()).sin())(task.model.scale.detach())
    torch.testing.assert_close(G[:, :6], J.reshape(8, 6), rtol=1e-10, atol=1e-12)
    assert not G[:, 6:].any() and not transposed(FisherRoot("test", task, x), torch.ones(8).double())[6:].any()


def test_the_model_is_left_as_it_was():
    task, x, _, arrays = golden("mlp_tanh_ce")
    root = FisherRoot("test", task, (x, arrays["y"]))
    root.transposed(root.times({name: torch.ones_like(p) for name, p in task.parameters().items()}))
    assert all(p.grad is None and p.requires_grad for p in task.model.parameters())


class Shuffled:
    """Batches of the same size, in another order in every pass."""

    def __init__(self, x, y, drop=False):
        self.x, self.y, self.drop, self.passes = x, y, drop, 0

    def __iter__(self):
        self.passes += 1
        rows = torch.arange(len(self.x)).roll(0 if self.drop else self.passes)
        parts = rows.split(4)[: -1 if self.drop and self.passes > 2 else None]
        return iter([(self.x[part], self.y[part]) for part in parts])


def test_misuse():
    task, x, _, arrays = golden("mlp_tanh_ce")
    y = arrays["y"]
    with pytest.raises(ConfigError, match=r"^here: data must be readable in several passes; got a generator\. Pass \("):
        FisherRoot("here", task, (batch for batch in [(x, y)]))
    for drop, got in ((False, "a batch with other outputs"), (True, "another number of batches")):
        root = FisherRoot("here", task, Shuffled(x, y, drop))
        u = root.times({name: torch.ones_like(p) for name, p in task.parameters().items()})
        with pytest.raises(DataError, match=f"^here: the loader must give the same batches in every pass; got {got} "):
            root.transposed(u)
    with pytest.raises(NotSupported, match="output Hessian must be known"):
        FisherRoot("here", Task(task.model, loss=lambda f, y: f[:, 0]), (x, y))
    with pytest.raises(DataError, match="x must be finite"):
        FisherRoot("here", task, (x * math.nan, y))
