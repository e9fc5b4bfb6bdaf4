"""Networks in eval mode: what they say of a loader's samples, and how often that is the given label."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.errors import DataError
from infotorch.task.classes import is_single, missed, out_of_range
from infotorch.task.targets import IGNORED_LABEL
from infotorch.train.batch import Batch, batch_of
from infotorch.train.ranks import dealt_out, real_rows, share_buffers, total, unwrapped, world_size

__all__ = ["Accuracy", "accuracy", "device_of", "evaluating", "modes_kept", "outputs"]

Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of labels that are predicted."""

    value: float
    """In [0, 1]."""
    num_labels: int
    """Labels it was counted on."""

    @property
    def stderr(self) -> float:
        """Standard error for labels drawn independently."""
        return math.sqrt(self.value * (1 - self.value) / self.num_labels)


@contextlib.contextmanager
def modes_kept(*networks: nn.Module) -> Iterator[None]:
    """Every module is in the mode it was in afterwards."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module's own mode is restored."""
    with modes_kept(*networks), torch.no_grad():
        for network in networks:
            network.eval()
        yield


def device_of(network: nn.Module) -> torch.device:
    """Where the network's first parameter or buffer lies; the CPU where it has none."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def outputs(
    where: str, loader: Iterable[Any], *networks: nn.Module, autocast: Autocast = contextlib.nullcontext
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Batches of the loader on the networks' device, each with the networks' logits; within ``evaluating``.

    Networks are used without their distributed wrapper, as ranks may have different numbers of batches. Rows that a
    distributed sampler repeats to even out its ranks are left off.
    """
    device, left = device_of(networks[0]), real_rows(loader)
    for network in networks:
        share_buffers(network)
    for item in loader:
        batch = batch_of(where, item).to(device)
        with autocast():
            logits = [unwrapped(network)(batch.inputs) for network in networks]
        _check(where, batch, logits[0])
        if left is not None and left < len(batch):
            yield batch.rows(slice(left)), [each[:left] for each in logits]
        else:
            yield batch, logits
        left = None if left is None else max(0, left - len(batch))


def _check(where: str, batch: Batch, logits: Tensor) -> None:
    """Raises where nothing can be measured: a label out of range, or logits of nan."""
    wrong = out_of_range(logits, batch.labels)
    if wrong.any():
        row = int(wrong.reshape(len(batch), -1).any(1).int().argmax())
        C = 2 if is_single(logits, batch.labels) else logits.shape[-1]
        raise DataError(
            f"{where}: labels must lie in 0..{C - 1} or equal {IGNORED_LABEL}; got "
            f"{int(batch.labels[wrong][0])} at row {row} of a batch to measure on. Check the label map."
        )
    if logits.isnan().any():
        row = int(logits.isnan().reshape(len(batch), -1).any(1).int().argmax())
        raise DataError(
            f"{where}: outputs must be numbers; got nan at row {row} of a batch to measure on. Look at its inputs."
        )


def accuracy(
    where: str, network: nn.Module, loader: Iterable[Any], *, autocast: Autocast = contextlib.nullcontext
) -> Accuracy:
    """Share of the loader's labels that the network predicts, over all ranks.

    With several processes the loader has a distributed sampler, or each rank has all of it.

    Raises:
        DataError: The loader has no label.
    """
    right, count = 0, 0
    with evaluating(network):
        for batch, (logits,) in outputs(where, loader, network, autocast=autocast):
            wrong = missed(logits, batch.labels)
            right += int((~wrong).sum())
            count += len(wrong)
    shares = 1 if dealt_out(loader) else world_size()
    right, count = (round(sum_ / shares) for sum_ in total([float(right), float(count)], device_of(network)))
    if not count:
        raise DataError(f"{where}: a loader to measure accuracy on must hold labels; got none. Check its split.")
    return Accuracy(value=right / count, num_labels=count)
