import pytest
import torch

from infotorch.blocks import Full, fisher
from infotorch.errors import ShapeError
from tests.blocks.block_laws import block_laws
from tests.blocks.cases import case


@pytest.mark.parametrize("name", ["mlp", "groups"])
def test_laws(name):
    made = case(name)
    block_laws(fisher(made.task, made.batch), torch.einsum("ncp,ncq->pq", made.J, made.J))


def test_values_are_checked():
    with pytest.raises(ShapeError, match=r"values must be float64 \[3, 3\]; got torch.float32 \[3, 3\]"):
        Full(shapes={"w": torch.Size([3])}, values=torch.eye(3))
