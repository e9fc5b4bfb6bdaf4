"""Where pairs come from: a Capture as it is, or a batch in parts that fit the memory that they may take."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.plan import plan_parts
from infotorch.capture import Capture, LayerPair, capture
from infotorch.capture.refusals import TooLarge
from infotorch.capture.run import Fallback, Options, captured
from infotorch.capture.seeds import Seeds, check_seeds, cotangents, is_curvature
from infotorch.errors import CaptureError, ConfigError, check_limit
from infotorch.task import Task, select

__all__ = ["Each", "Part", "check_alike", "check_open", "check_task", "gathered", "parts", "summed", "wide"]

Each = Callable[[LayerPair], Any]
"""What is made of a pair."""


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
    found: Sequence[Any] = ()
    """What was made of each pair, in parameter order; then a Capture that was made for it has no pairs left."""

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
    fallback: Fallback | None = None,
    try_whole: bool = False,
    sides: int = 1,
    each: Each | None = None,
    by_seed: bool = False,
) -> Iterator[Part]:
    """Every sample and seed of the batch once, in order; one part where no limit is given.

    Args:
        where: Who asks, for refusals.
        task: Model, loss and parameters; or a Capture in place of it and the batch.
        batch: (x, y) or a dict; with seeds, x alone will do.
        seeds: As :func:`infotorch.capture` takes them.
        memory_limit: Bytes of pairs.
        fallback: As :func:`infotorch.capture` takes it.
        try_whole: The limit is not the caller's: a forward of the whole batch may find out whether it is kept.
        sides: How many parts are held at once, which share the limit.
        each: What to make of every pair, so that no more of them are held at once than that needs.
        by_seed: It may be called for one seed of a pair after the other: what it makes adds up.
    """
    check_task(where, task)
    check_limit(where, memory_limit)
    if isinstance(task, Capture):
        options = {"batch": batch, "seeds": seeds, "memory_limit": memory_limit, "fallback": fallback}
        for option, given in options.items():
            if given is not None:
                raise ConfigError(
                    f"{where}: a Capture must come alone; got {option} beside it. Leave {option} out, or pass the task."
                )
        check_open(where, task)
        found = [each(pair) for pair in task.pairs.values()] if each else ()
        yield _whole(task, found)
        return
    if batch is None:
        raise ConfigError(f"{where}: task must come with a batch; got none. Pass (x, y), or a Capture alone.")
    if memory_limit is None:
        yield _whole(*captured(task, batch, Options(seeds=seeds, fallback=fallback, by_seed=by_seed), each))
        return
    if try_whole and (part := _at_once(task, batch, seeds, memory_limit, fallback, each, by_seed)):
        yield part
        return
    yield from _planned(where, task, batch, seeds, memory_limit, fallback, sides, each, by_seed)


def _at_once(
    task: Task,
    batch: Any,
    seeds: Seeds | None,
    memory_limit: int,
    fallback: Fallback | None,
    each: Each | None,
    by_seed: bool,
) -> Part | None:
    """The whole batch where it fits, which its forward tells; a plan costs passes of one sample besides."""
    options = Options(seeds=seeds, memory_limit=memory_limit, fallback=fallback, by_seed=by_seed)
    try:
        return _whole(*captured(task, batch, options, each))
    except TooLarge:
        return None


def _whole(cap: Capture, found: Sequence[Any]) -> Part:
    return Part(cap=cap, samples=slice(0, cap.N), seeds=slice(0, cap.K), N=cap.N, K=cap.seeds, found=found)


def check_task(where: str, task: object) -> None:
    if not isinstance(task, (Task, Capture)):
        raise ConfigError(
            f"{where}: task must be a Task or a Capture; got {type(task).__name__}. Pass Task(model, loss=...)."
        )


def check_open(where: str, cap: Capture) -> None:
    """Refuse a Capture that has let go of its pairs; one that uses no parameter has none."""
    if not cap.pairs and len(cap.unused) < len(cap.shapes):
        raise ConfigError(
            f"{where}: the Capture must hold its pairs; got one that was closed. Call it inside of the with block."
        )


def check_alike(where: str, cap: Capture, cap2: Capture, *, unused: bool) -> None:
    """Refuse two sets whose pairs are not factors of the same matrices.

    Args:
        where: Who asks, for refusals.
        cap: The first set.
        cap2: The second set.
        unused: A layer may be in one set alone if the other knows its parameters as unused: their gradient is zero.
    """
    for name in dict.fromkeys((*cap.pairs, *cap2.pairs)):
        one, two = cap.pairs.get(name), cap2.pairs.get(name)
        if one is not None and two is not None:
            alike, got = one.shapes == two.shapes and one.transposed == two.transposed, "other parameters beside it"
        else:
            names = (one or two).shapes  # type: ignore[union-attr]  # one of them has it
            known = cap2.unused if two is None else cap.unused
            alike, got = unused and set(names) <= set(known), "nothing of it"
        if not alike:
            raise CaptureError(
                f"{where}: both sets must use {name!r} alike; got {got} in the "
                f"{'first' if one is None else 'second'}. Leave it out with params=[...]."
            )


def _planned(
    where: str,
    task: Task,
    batch: Any,
    seeds: Seeds | None,
    memory_limit: int,
    fallback: Fallback | None,
    sides: int,
    each: Each | None,
    by_seed: bool,
) -> Iterator[Part]:
    """A sample's bytes are those that one sample leaves; what is drawn is drawn for the whole batch, then divided."""
    y = task.labels(batch) if is_curvature(seeds) else None
    if seeds is None or y is not None:
        x, y = task.split(batch)
        N = len(y)
    else:
        x = task.inputs(batch)
        batch = x, None
        N = task.check_inputs(x)
    K = None
    one = select(batch, slice(0, 1))
    first = None
    if seeds is not None:
        check_seeds(seeds)
        few = seeds[:, :1] if isinstance(seeds, Tensor) else seeds
        sent = _cotangents(task, few, select(x, slice(0, 1)), None if y is None else y[:1])
        K = len(sent)
        first = torch.stack([sent[k] for k in range(min(K, 2))])
    with capture(task, one, seeds=first, fallback=fallback) as probe:
        cotangent_bytes = sum(pair.b.numel() * pair.b.element_size() for pair in probe.pairs.values())
        shared = sum(pair.nbytes() for pair in probe.pairs.values()) - cotangent_bytes
        cotangent_bytes //= probe.K
    plan = plan_parts(
        where,
        N,
        K or 1,
        bytes_per_sample=sides * shared,
        bytes_per_seed=sides * cotangent_bytes,
        memory_limit=memory_limit,
    )
    whole = len(plan.samples) == len(plan.seeds) == 1
    sent = [] if seeds is None or whole else _cotangents(task, seeds, x, y)
    for n in plan.samples:
        for k in plan.seeds:
            own = torch.stack([sent[i][n] for i in range(k.start, k.stop)]) if sent else seeds
            options = Options(seeds=own, fallback=fallback, check=whole, by_seed=by_seed)
            cap, found = captured(task, batch if whole else select(batch, n), options, each)
            yield Part(cap=cap, samples=n, seeds=k, N=N, K=K, found=found)


def _cotangents(task: Task, seeds: Seeds, x: Any, y: Tensor | None) -> Any:
    """K cotangents [N, ...] of the outputs."""
    with torch.no_grad():
        return cotangents(task, seeds, task.outputs(x), y)


def wide(x: Tensor) -> Tensor:
    """float32 of 16 bits, as pairs are; other floats as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def summed(part: Part, *sizes: int) -> Tensor:
    """The sum of what was found of every pair, [N, (K,) *sizes], in float64 and parameter order."""
    cap = part.cap
    total = cap.outputs.new_zeros(cap.N, *(() if cap.seeds is None else (cap.K,)), *sizes, dtype=torch.float64)
    dtype = torch.float32
    for piece in part.found:
        total += piece
        dtype = torch.promote_types(dtype, piece.dtype)
    return total.to(dtype if part.found else wide(cap.outputs).dtype)


def gathered(found: Iterator[Part], rows: Callable[[Part], Tensor]) -> Tensor:
    """[N, ...] or [N, K, ...] of ``rows`` of every part."""
    result = None
    for part in found:
        piece = rows(part)
        if part.whole:
            return piece
        if result is None:
            leading = (part.N,) if part.K is None else (part.N, part.K)
            result = piece.new_empty(*leading, *piece.shape[len(leading) :])
        result[(part.samples,) if part.K is None else (part.samples, part.seeds)] = piece
    assert result is not None
    return result
