"""The published procedure, one sample at a time, rebuilt from its description in float64.

For each sample: clone the kernel without the sample's rows, update the inverse, take the matrix exponential (flow) or
the matrix power (descent) of what remains, and form the change of the solution. K must be invertible; ridge 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Solution = Callable[..., Tensor]


def flow_solution(inverse: Tensor, K: Tensor, r: Tensor, time: float) -> Tensor:
    """K^-1 (I - exp(-t K)) r, [m]."""
    return inverse @ (r - torch.matrix_exp(-time * K) @ r)


def descent_solution(inverse: Tensor, K: Tensor, r: Tensor, lr: float, steps: int) -> Tensor:
    """K^-1 (I - (I - lr K)^T) r, [m]."""
    step = torch.eye(len(K), dtype=K.dtype).sub_(K, alpha=lr)
    return inverse @ (r - torch.matrix_power(step, steps) @ r)


def prepared(K: Tensor, r: Tensor, C: int, solution: Solution, training: dict) -> Callable[[int], Tensor]:
    """Squared change of the weights over 2 for one sample, as a function; what all samples share is done here."""
    inverse = torch.linalg.inv(K)
    full = solution(inverse, K, r, **training)
    return lambda sample: _score(K, r, inverse, full, sample, C, solution, training)


def _score(
    K: Tensor, r: Tensor, inverse: Tensor, full: Tensor, sample: int, C: int, solution: Solution, training: dict
) -> Tensor:
    stays = torch.ones(len(K), dtype=torch.bool)
    stays[sample * C : (sample + 1) * C] = False
    kept = K[stays][:, stays].clone()
    coupling = inverse[stays][:, ~stays]
    block = inverse[~stays][:, ~stays]
    updated = inverse[stays][:, stays] - coupling @ torch.linalg.solve(block, coupling.mT)
    change = -full
    change[stays] += solution(updated, kept, r[stays], **training)
    return change @ (K @ change) / 2
