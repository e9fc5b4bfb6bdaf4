import pytest
import torch

from infotorch.blocks import Diagonal, fisher
from infotorch.errors import ShapeError
from tests.blocks.block_laws import block_laws
from tests.blocks.cases import case


@pytest.mark.parametrize("name", ["mlp", "groups", "sequence", "partly"])
def test_laws(name):
    made = case(name)
    block_laws(fisher(made.task, made.batch, structure="diagonal"), made.J.square().sum((0, 1)).diag())


def test_values_are_checked():
    with pytest.raises(ShapeError, match=r"values must be {'w': \[3\]}; got {'w': \[2\]}"):
        Diagonal(shapes={"w": torch.Size([3])}, values={"w": torch.ones(2)})
