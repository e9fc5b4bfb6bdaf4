import pytest
import torch

from infotorch.blocks import LowRank, fisher, low_rank
from infotorch.errors import NumericsError, ShapeError
from tests.blocks.block_laws import block_laws
from tests.blocks.cases import case


@pytest.mark.parametrize("name", ["mlp", "groups", "sequence", "partly"])
@pytest.mark.parametrize("panel", [low_rank.PANEL, 50])
def test_laws(name, panel, monkeypatch):
    monkeypatch.setattr(low_rank, "PANEL", panel)
    made = case(name)
    F = torch.einsum("ncp,ncq->pq", made.J, made.J)
    block = fisher(made.task, made.batch, structure="low_rank")
    block_laws(block, F, damping=float(F.trace()) / len(F))
    assert len(block.eigh().values) == torch.linalg.matrix_rank(F, hermitian=True)


def test_more_rows_than_parameters():
    rows = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    block = LowRank(shapes={"w": torch.Size([4])}, rows={"w": rows})
    block_laws(block, rows.mT @ rows)


def test_damping_must_be_above_zero():
    block = LowRank(shapes={"w": torch.Size([4])}, rows={"w": torch.ones(2, 4)})
    for call in (block.logdet, lambda: block.solve(torch.ones(4))):
        with pytest.raises(NumericsError, match=r"damping=0; got 2 rows for P = 4 in low-rank form. Raise damping"):
            call()


def test_rows_are_checked():
    with pytest.raises(ShapeError, match=r"rows must be \[R, size\] for each of {'w': 4}; got {'w': \[2, 3\]}"):
        LowRank(shapes={"w": torch.Size([4])}, rows={"w": torch.ones(2, 3)})
