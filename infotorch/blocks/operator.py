"""Matrices as SciPy's iterative solvers take them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infotorch.errors import require

__all__ = ["linear_operator"]


def linear_operator(
    where: str,
    shape: tuple[int, int],
    product: Callable[[Tensor], Tensor],
    device: torch.device,
    transposed: Callable[[Tensor], Tensor] | None = None,
) -> Any:
    """A ``scipy.sparse.linalg.LinearOperator`` of float64.

    Args:
        where: Who asks, for the refusal.
        shape: Rows and columns.
        product: The matrix times float64 [columns, J].
        device: Where it multiplies.
        transposed: Its transpose times float64 [rows, J]; the product itself, where the matrix is symmetric.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    scipy = require(where, "scipy.sparse.linalg", "sklearn")

    def run(multiply: Callable[[Tensor], Tensor], v: np.ndarray) -> np.ndarray:
        columns = torch.as_tensor(np.ascontiguousarray(v, dtype=np.float64)).to(device)
        result = multiply(columns.view(len(v), -1)).cpu().numpy()
        return result if v.ndim == 2 else result[:, 0]

    back = product if transposed is None else transposed
    return scipy.LinearOperator(
        shape=shape,
        dtype=np.float64,
        matvec=lambda v: run(product, v),
        matmat=lambda v: run(product, v),
        rmatvec=lambda v: run(back, v),
        rmatmat=lambda v: run(back, v),
    )
