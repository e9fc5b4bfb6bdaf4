"""The places of the tiles that a symmetric result has."""

import pytest
import torch

from tests.emulate.driver import Call
from tests.emulate.programs import driver


@pytest.mark.parametrize("size", [1, 2, 3, 100, 4097, 65535])
def test_tiles_on_and_above_the_diagonal_come_row_after_row(size):
    """The first and the last of every row, of as many rows as a grid's 2^31 blocks allow."""
    row = torch.arange(size)
    first = row * size - row * (row - 1) // 2
    tiles, column = torch.cat([first, first + size - 1 - row]), torch.cat([row, torch.full_like(row, size - 1)])
    (places,) = driver("plain")(Call(op="tiles", device="cpu", tensors={"b": tiles}, options={"size": size}))
    expected = torch.stack([row.repeat(2), column], 1)
    assert torch.equal(torch.frombuffer(bytearray(places), dtype=torch.int64).view(-1, 2), expected)
