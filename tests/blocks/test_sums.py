import copy
import importlib

import pytest
import torch
from torch import nn

from infotorch.blocks import fisher, sums
from infotorch.capture import capture
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.blocks.cases import MODELS, Gated, case
from tests.laws import assert_same


@pytest.mark.parametrize("step", [1, 2000])
def test_pieces_of_rows_do_not_change_the_full_matrix(step, monkeypatch):
    made = case("groups")
    monkeypatch.setattr(sums, "ROWS_BYTES", step)
    monkeypatch.setattr(sums, "STRIP", 7)
    assert_same(fisher(made.task, made.batch).dense(), torch.einsum("ncp,ncq->pq", made.J, made.J))


@pytest.mark.parametrize("labels", ["exact", ("mc", 3, 0)])
@pytest.mark.parametrize("name", MODELS)
def test_a_diagonal_taken_seed_by_seed_is_that_of_all_at_once(name, labels, monkeypatch):
    made = case(name)
    whole = fisher(made.task, made.batch, structure="diagonal", labels=labels)
    taken = []
    add = sums.DiagonalSum.each
    monkeypatch.setattr(sums.DiagonalSum, "each", lambda total, pair: (taken.append(pair.b.shape), add(total, pair)))
    monkeypatch.setattr(importlib.import_module("infotorch.capture.run"), "HELD_BYTES", -1)
    split = fisher(made.task, made.batch, structure="diagonal", labels=labels)
    assert_same(split.diag(), whole.diag())
    assert taken and all(shape[1] == 1 for shape in taken)


def test_a_diagonal_needs_room_for_one_seed_alone(monkeypatch):
    """Three would not fit, as they must where pairs are held."""
    monkeypatch.setattr(importlib.import_module("infotorch.capture.run"), "HELD_BYTES", -1)
    task = Task(nn.Sequential(nn.Linear(4, 100), nn.Tanh(), nn.Linear(100, 10)).double().eval())
    x = torch.randn(1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    limit = 8 * (4 + 100 + 100 + 10) + 100
    truth = fisher(task, x, structure="diagonal").diag()
    monkeypatch.setattr(importlib.import_module("infotorch.blocks.fisher"), "MEMORY_LIMIT", limit)
    assert_same(fisher(task, x, structure="diagonal").diag(), truth)


@pytest.mark.parametrize("structure", ["full", "diagonal", "low_rank", "kfac"])
def test_layers_that_some_batches_do_not_use(structure):
    torch.manual_seed(0)
    task = Task(Gated().double().eval(), loss="mse")
    x = torch.tensor([[1.0, 2.0, 3.0], [-1.0, -1.0, 0.0]]).double()
    y = torch.zeros(2, 2).double()
    batches = [(x[n : n + 1], y[n : n + 1]) for n in range(2)]
    alone = [fisher(task, batch, structure=structure).dense() for batch in batches]
    if structure == "kfac":  # its sums are of factors, not of products
        alone = [fisher(task, batches[0], structure=structure).dense()[8:, 8:], None]
    for order in (batches, batches[::-1]):
        total = fisher(task, iter(order), structure=structure).dense()
        if structure == "kfac":
            assert_same(total[8:, 8:], alone[0])
        else:
            assert_same(total, alone[0] + alone[1])


def test_a_layer_that_is_a_matrix_in_some_batches_alone_is_refused():
    class Shared(nn.Module):
        """Its bias is used once more, without its weight, by positive samples."""

        def __init__(self):
            super().__init__()
            self.fc, self.other = nn.Linear(2, 2), nn.Linear(2, 2)
            self.other.bias = self.fc.bias

        def forward(self, x):
            h = self.fc(x)
            return self.other(h) if x.sum() > 0 else h

    task = Task(Shared().double().eval(), loss="mse")
    x, y = torch.tensor([[1.0, 2.0], [-1.0, -1.0]]).double(), torch.zeros(2, 2).double()
    with pytest.raises(CaptureError, match=r"every batch must use the same layers; got 'fc.bias' as a matrix in some"):
        fisher(task, iter([(x[:1], y[:1]), (x[1:], y[1:])]), structure="kfac")


def test_a_parameter_may_have_any_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
            self.fc = nn.Linear(3, 2).double()

        def forward(self, x):
            return self.fc(x * self.rows)

    torch.manual_seed(0)
    task = Task(Named().eval(), loss="mse")
    x = torch.randn(4, 3, dtype=torch.float64)
    with capture(task, x, seeds="fisher", fallback="func") as cap:
        truth = fisher(cap, structure="low_rank").dense()
        assert_same(fisher(cap).dense(), truth)


def test_zeros_of_unused_parameters_are_wide():
    made = case("partly")
    task = Task(copy.deepcopy(made.task.model).bfloat16(), loss="mse")
    batch = made.x.bfloat16(), made.y.bfloat16()
    block = fisher(task, batch, structure="diagonal")
    assert {part.dtype for part in block.values.values()} == {torch.float32}
    block = fisher(task, batch, structure="low_rank")
    assert {part.dtype for part in block.rows.values()} == {torch.float32}
