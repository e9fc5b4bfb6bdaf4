import re

import pytest
import torch

from infotorch.blocks import Gram
from infotorch.errors import ShapeError


def test_matrix_is_a_sample_major_view():
    values = torch.arange(36.0, dtype=torch.float64).view(2, 3, 2, 3)
    gram = Gram(values=values, outputs=torch.zeros(2, 3), outputs2=torch.zeros(2, 3), symmetric=False)
    assert gram.matrix[1 * 3 + 2, 0 * 3 + 1] == values[1, 2, 0, 1]
    assert gram.matrix.data_ptr() == values.data_ptr() and (gram.N, gram.M, gram.C) == (2, 2, 3)


@pytest.mark.parametrize(
    "values", [torch.zeros(2, 3, 2, 3), torch.zeros(2, 3, 4, 3).double(), torch.zeros(3, 4).double()]
)
def test_shapes_and_dtype_are_checked(values):
    with pytest.raises(ShapeError, match=re.escape(f"got {values.dtype} {list(values.shape)}")):
        Gram(values=values, outputs=torch.zeros(2, 3), outputs2=torch.zeros(2, 3), symmetric=False)
