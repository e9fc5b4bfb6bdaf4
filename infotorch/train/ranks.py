"""Several processes that train together: sums over them, and which of their samples count."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

__all__ = ["gathered", "real_rows", "set_epoch", "total", "unwrapped", "world_size"]


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def total(values: Sequence[float], device: torch.device) -> list[float]:
    """The values' sums over all ranks, in float64."""
    if world_size() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


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


def _distributed(loader: Iterable[Any]) -> DistributedSampler[Any] | None:
    sampler = getattr(loader, "sampler", None)
    return sampler if isinstance(sampler, DistributedSampler) else None


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
