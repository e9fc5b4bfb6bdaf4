"""A network's kernel by its products with vectors: nothing of the kernel's size, or the Jacobian's, is formed."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks import jvp, ntk, per_sample_grad_norms
from infotorch.blocks.linearize import add_pulled_back
from infotorch.capture import capture
from infotorch.measures.supervision.brackets import Product
from infotorch.task import Task, num_samples, select

__all__ = ["BATCH_SIZE", "batches", "diagonal", "product_of_task"]

BATCH_SIZE = 128
"""Samples of a forward."""
LARGEST_MEAN = 4096
"""Samples up to which the mean kernel is formed as a preconditioner: 128 MiB, and as much for its factor."""


def batches(x: Any) -> Iterator[tuple[slice, Any]]:
    """Consecutive samples, and where they stand."""
    N = num_samples(x)
    for start in range(0, N, BATCH_SIZE):
        rows = slice(start, min(start + BATCH_SIZE, N))
        yield rows, select(x, rows)


def product_of_task(task: Task, x: Any, factor: Tensor | None, diag: Tensor) -> Product:
    r"""The product :math:`J (J^\top v)`, one pass over the samples for each factor.

    Args:
        task: Model and parameters.
        x: Samples.
        factor: Derivative of what the kernel is of by the outputs, symmetric, float64 [N, C, C]; None for the outputs.
        diag: The kernel's diagonal, [N, C].
    """
    dtype = next(iter(task.parameters().values())).dtype

    def matvec(v: Tensor) -> Tensor:
        V = v.view(diag.shape)
        V = V if factor is None else (factor @ V[..., None])[..., 0]
        total: dict[str, Tensor] = {}
        for rows, few in batches(x):
            with torch.enable_grad():
                outputs = task.outputs(few)
            add_pulled_back(total, task, outputs, V[rows].to(outputs.dtype).view_as(outputs))
        u = {name: part.to(dtype) for name, part in total.items()}
        out = torch.cat([jvp(task, few, u, seeds="logits").double() for _, few in batches(x)])
        return (out if factor is None else (factor @ out[..., None])[..., 0]).flatten()

    small = factor is None and dtype == torch.float64 and len(diag) <= LARGEST_MEAN
    mean = ntk(task, x, outputs="trace").matrix if small else None
    return Product(matvec=matvec, trace=float(diag.sum()), frobenius=None, eps=torch.finfo(dtype).eps, mean=mean)


def diagonal(task: Task, x: Any, factor: Tensor | None) -> Tensor:
    """The kernel's diagonal from the norms of the samples' gradients, float64 [N, C]: one backward an output."""
    found = []
    for rows, few in batches(x):
        seeds: Any = "logits"
        if factor is not None:
            dtype = next(iter(task.parameters().values())).dtype
            seeds = factor[rows].movedim(-1, 0).to(dtype)  # cotangent c is column c, [C, n, C]
        with capture(task, (few, None), seeds=seeds, check=False) as cap:
            found.append(per_sample_grad_norms(cap, squared=True).double())
    return torch.cat(found)
