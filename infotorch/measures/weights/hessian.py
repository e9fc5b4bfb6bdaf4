"""The Hessian of the summed loss, by plain double backward."""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from infotorch.errors import ConfigError, mebibytes
from infotorch.measures.weights.problem import Problem

__all__ = ["hessian"]


def hessian(problem: Problem) -> Tensor:
    """The Hessian in the selected parameters, float64 [P, P], symmetric; one backward a parameter and batch.

    Not by torch.func, whose second derivatives of layer_norm in its weights are wrong.

    Raises:
        ConfigError: The matrix exceeds ``memory_limit``.
    """
    params = list(problem.task.parameters().values())
    P = sum(p.numel() for p in params)
    if 8 * P**2 > problem.limit:
        raise ConfigError(
            f"weights_information: memory_limit must hold the Hessian, P = {P} (needs {mebibytes(8 * P**2)}); got "
            f'{mebibytes(problem.limit)}. Raise memory_limit, restrict params, or pass curvature="fisher".'
        )
    H = torch.zeros(P, P, dtype=torch.float64, device=params[0].device)
    for x, y in problem.batches():
        # Fused attention has no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            total = problem.task.losses(problem.task.outputs(x), y).sum()
            grads = torch.autograd.grad(total, params, create_graph=True, allow_unused=True, materialize_grads=True)
            flat = torch.cat([g.flatten() for g in grads])
            if not flat.requires_grad:  # a loss that is linear in the weights
                continue
            for i in range(P):
                second = torch.autograd.grad(
                    flat[i], params, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                H[i] += torch.cat([g.flatten() for g in second])
    return (H + H.mT) / 2
