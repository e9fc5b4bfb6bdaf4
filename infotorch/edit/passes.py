"""Passes over data: gradients, curvature products and losses, some samples at a time, added in float64."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks import jvp
from infotorch.blocks.layout import flattened
from infotorch.blocks.linearize import add_pulled_back
from infotorch.blocks.loading import batches, is_loader, of_batch
from infotorch.errors import ConfigError, DataError
from infotorch.task import Task, num_samples, select
from infotorch.task.nest import tensors_of

__all__ = ["check_disjoint", "check_one_batch", "curvature_product", "digests", "gradient", "parts_of", "pulled_back"]

BATCH_SIZE = 512
"""Samples of a forward, of data that is one batch."""


def parts_of(where: str, task: Task, data: Any) -> Iterator[Any]:
    """The batches of a loader, or pieces of one batch; the same samples at every call."""
    if is_loader(data):
        yield from batches(where, task, data)
        return
    N = num_samples(task.inputs(data))
    for start in range(0, N, BATCH_SIZE):
        yield select(data, slice(start, start + BATCH_SIZE))


def check_one_batch(where: str, what: str, data: Any) -> None:
    """Refuse a loader where all samples are looked at together."""
    if is_loader(data):
        raise ConfigError(
            f'{where}: with method="ntk" {what} must be one batch, (x, y) or a dict, for the kernel is of all samples '
            f"together; got {type(data).__name__}. Concatenate its batches."
        )


def digests(where: str, what: str, task: Task, data: Any, why: str) -> set[bytes]:
    """One hash a sample, of input and label together.

    Raises:
        DataError: There is no sample; ``why`` says what that would mean.
    """
    if not is_loader(data) and any(t.dim() and not len(t) for t in tensors_of(data)):
        raise DataError(f"{where}: {what} must hold a sample; got none. {why}")
    if not is_loader(data):
        task.split(data)  # what is wrong with a sample is told with its place in the whole
    found: set[bytes] = set()
    for number, batch in enumerate(parts_of(where, task, data)):
        with of_batch(number, is_loader(data)):
            x, y = task.split(batch)
        rows = [t.detach().cpu().contiguous().flatten(1) if t.dim() > 1 else t.detach().cpu()[:, None]
                for t in (*tensors_of(x), y)]  # fmt: skip
        for n in range(len(y)):
            sha = hashlib.blake2b(digest_size=16)
            for row in rows:
                sha.update(row[n].contiguous().view(torch.uint8).numpy().tobytes())
            found.add(sha.digest())
    return found


def check_disjoint(where: str, task: Task, retain: Any, forget: Any) -> None:
    """Refuse an empty or a whole set, and a sample that is to be kept and forgotten."""
    kept = digests(where, "retain", task, retain, "To forget all there is, train anew.")
    if forget is None:
        return
    gone = digests(where, "forget", task, forget, "There is nothing to forget.")
    if both := len(kept & gone):
        raise DataError(
            f"{where}: retain and forget must share no sample; got {both} with the same input and label in both. "
            "Take them, and their duplicates, out of one of the two."
        )


def gradient(task: Task, data: Any, where: str = "scrub") -> Tensor:
    """Of the summed loss, float64 [P]."""
    total: dict[str, Tensor] = {}
    for batch in parts_of(where, task, data):
        x, y = task.split(batch)
        with torch.enable_grad():
            loss = task.losses(task.outputs(x), y).sum()
        add_pulled_back(total, task, loss)
    return flattened(total, task.shapes)


def pulled_back(task: Task, x: Any, u: Tensor) -> Tensor:
    """J^T u of the outputs' Jacobian for u [N, C], float64 [P]."""
    total: dict[str, Tensor] = {}
    for start in range(0, len(u), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        with torch.enable_grad():
            outputs = task.outputs(select(x, part))
        add_pulled_back(total, task, outputs, u[part].to(outputs.dtype).view_as(outputs))
    return flattened(total, task.shapes)


def curvature_product(task: Task, data: Any, v: Tensor) -> Tensor:
    """F v of the exact Fisher matrix for v [P], float64, by a forward-mode and a backward pass; no matrix is formed.

    Nothing is kept of a batch, and the next product may come in other batches.
    """
    total: dict[str, Tensor] = {}
    for batch in parts_of("scrub", task, data):
        x, y = task.split(batch)
        along = jvp(task, batch, v, seeds="logits")  # [N, C]
        with torch.enable_grad():
            outputs = task.outputs(x)
        with torch.no_grad():
            S = task.criterion.hessian_sqrt(outputs, y).double()  # [N, *T, C, R]
            u = torch.einsum("...cr,...dr,...d->...c", S, S, along.double().view(outputs.shape))
        add_pulled_back(total, task, outputs, u.to(outputs.dtype))
    return flattened(total, task.shapes)
