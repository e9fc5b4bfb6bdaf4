"""Where pairs come from: a Capture as it is, or a batch in parts that fit the memory that they may take."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.plan import plan_parts
from infotorch.capture import Capture, LayerPair, capture
from infotorch.capture.seeds import Seeds, cotangents
from infotorch.errors import ConfigError
from infotorch.task import Task, select

__all__ = ["Part", "gathered", "parts"]

Work = Callable[[LayerPair], int]
"""Bytes beside a pair of one sample that a sample takes."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The pairs of some samples and seeds of a batch."""

    cap: Capture
    samples: slice
    seeds: slice
    N: int
    """Samples of the whole batch."""
    K: int | None
    """Seeds of the whole; None for a loss."""

    @property
    def whole(self) -> bool:
        return self.cap.N == self.N and (self.K is None or self.cap.K == self.K)


def parts(
    where: str,
    task: Task | Capture,
    batch: Any,
    *,
    seeds: Seeds | None = None,
    memory_limit: int | None = None,
    work: Work | None = None,
) -> Iterator[Part]:
    """Every sample and seed of the batch once, in order; one part where no limit is given.

    Args:
        where: Who asks, for refusals.
        task: Model, loss and parameters; or a Capture in place of it and the batch.
        batch: (x, y) or a dict; with seeds, x alone will do.
        seeds: As :func:`infotorch.capture` takes them.
        memory_limit: Bytes of pairs and of ``work``.
        work: What else a sample takes; nothing if not given.
    """
    if isinstance(task, Capture):
        for option, given in (("batch", batch), ("seeds", seeds), ("memory_limit", memory_limit)):
            if given is not None:
                raise ConfigError(
                    f"{where}: a Capture must come alone; got {option} beside it. Leave {option} out, or pass the task."
                )
        if not task.pairs:
            raise ConfigError(
                f"{where}: the Capture must hold its pairs; got one that was closed. Call it inside of the with block."
            )
        yield _whole(task)
        return
    if batch is None:
        raise ConfigError(f"{where}: task must come with a batch; got none. Pass (x, y), or a Capture alone.")
    if memory_limit is None:
        yield _whole(capture(task, batch, seeds=seeds))
        return
    yield from _planned(where, task, batch, seeds, memory_limit, work)


def _whole(cap: Capture) -> Part:
    return Part(cap=cap, samples=slice(0, cap.N), seeds=slice(0, cap.K), N=cap.N, K=cap.seeds)


def _planned(
    where: str, task: Task, batch: Any, seeds: Seeds | None, memory_limit: int, work: Work | None
) -> Iterator[Part]:
    """A sample's bytes are those that one sample leaves; what is drawn is drawn for the whole batch, then divided."""
    x, y = task.split(batch) if seeds is None else _inputs(task, batch)
    N = task.check_inputs(x)
    sent = None
    if seeds is not None:
        batch = x if y is None else batch
        with torch.no_grad():
            sent = cotangents(task, seeds, task.outputs(x), y)
    one, first = slice(0, 1), None if sent is None else _chosen(sent, slice(0, 1), slice(0, 1))
    with capture(task, select(batch, one), seeds=first) as probe:
        cotangent_bytes = sum(map(_cotangent_bytes, probe.pairs.values()))
        shared = sum(pair.nbytes() for pair in probe.pairs.values()) - cotangent_bytes
        beside = max(map(work, probe.pairs.values()), default=0) if work else 0
    K = None if sent is None else len(sent)
    plan = plan_parts(
        where,
        N,
        K or 1,
        bytes_per_sample=shared,
        bytes_per_seed=cotangent_bytes + beside,
        memory_limit=memory_limit,
    )
    for n in _ranges(N, plan.samples):
        for k in _ranges(K or 1, plan.seeds):
            own: Any = None
            if sent is not None:  # unit vectors by name, which keep the last layer's out of the products
                own = (
                    "logits"
                    if isinstance(seeds, str) and seeds == "logits" and K == plan.seeds
                    else _chosen(sent, k, n)
                )
            yield Part(cap=capture(task, select(batch, n), seeds=own, check=False), samples=n, seeds=k, N=N, K=K)


def _inputs(task: Task, batch: Any) -> tuple[Any, Tensor | None]:
    """x, and the labels where the batch has some: with seeds they are asked for no loss."""
    if isinstance(batch, dict):
        return batch, task.target(batch) if task.target else batch.get("labels")
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    return batch, None


def _ranges(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _chosen(sent: Any, seeds: slice, samples: slice) -> Tensor:
    return torch.stack([sent[k][samples] for k in range(seeds.start, seeds.stop)])


def _cotangent_bytes(pair: LayerPair) -> int:
    return pair.b.numel() * pair.b.element_size()


def gathered(found: Iterator[Part], rows: Callable[[Capture], Tensor]) -> Tensor:
    """[N, ...] or [N, K, ...] of ``rows`` of every part."""
    result = None
    for part in found:
        piece = rows(part.cap)
        if part.whole:
            return piece
        if result is None:
            leading = (part.N,) if part.K is None else (part.N, part.K)
            result = piece.new_empty(*leading, *piece.shape[len(leading) :])
        result[(part.samples,) if part.K is None else (part.samples, part.seeds)] = piece
    assert result is not None
    return result
