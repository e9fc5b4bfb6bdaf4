"""Several processes that train together: sums over them, and which of their samples count."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

__all__ = [
    "gathered",
    "rank",
    "real_rows",
    "set_epoch",
    "share_buffers",
    "total",
    "unsynced",
    "unwrapped",
    "world_size",
]


def world_size() -> int:
    """How many processes train together; 1 where no process group was made."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def total(values: Sequence[float], device: torch.device) -> list[float]:
    """The values' sums over all ranks, in float64."""
    if world_size() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return list(sums.tolist())


def gathered(value: Any) -> list[Any]:
    """Every rank's ``value``, in the order of ranks."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside of DistributedDataParallel."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def share_buffers(network: nn.Module) -> None:
    """Gives every rank the first one's buffers, as DistributedDataParallel does before each step."""
    if world_size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


@contextlib.contextmanager
def unsynced(networks: Iterable[nn.Module], active: bool) -> Iterator[None]:
    """Where ``active``, gradients stay on their rank: parts of a step add up before they are exchanged."""
    with contextlib.ExitStack() as stack:
        for network in networks:
            if active and isinstance(network, DistributedDataParallel):
                stack.enter_context(network.no_sync())
        yield


def _distributed(loader: Iterable[Any]) -> DistributedSampler[Any] | None:
    sampler = getattr(loader, "sampler", None)
    return sampler if isinstance(sampler, DistributedSampler) else None


def dealt_out(loader: Iterable[Any]) -> bool:
    """Whether the loader's samples are shared out among the ranks."""
    return _distributed(loader) is not None


def real_rows(loader: Iterable[Any]) -> int | None:
    """How many of this rank's samples aren't repeats that even out the ranks; ``None`` where none are.

    A distributed sampler deals its list out in turn, and the repeats stand at its end.
    """
    sampler = _distributed(loader)
    if sampler is None or sampler.drop_last:
        return None
    return len(range(sampler.rank, len(sampler.dataset), sampler.num_replicas))  # type: ignore[arg-type]  # map-style


def set_epoch(loader: Iterable[Any], epoch: int) -> None:
    """Tells a distributed sampler which epoch to shuffle for."""
    sampler = _distributed(loader)
    if sampler is not None:
        sampler.set_epoch(epoch)
