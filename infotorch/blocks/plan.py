"""How many samples are held at once, decided before anything runs."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from infotorch.errors import ConfigError, mebibytes

__all__ = ["MEMORY_LIMIT", "Parts", "Plan", "plan_panels", "plan_parts"]

MEMORY_LIMIT = 2 * 2**30
"""Bytes of pairs and work space where the caller states none. A constant: free memory would change results."""

FEWEST_SEEDS = 3
"""That a part may be planned for, where there are as many."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Batches are captured one at a time; panels of whole batches are held and multiplied."""

    batch: int
    """Samples of a forward and of a tile; bits depend on it."""
    panel: int | None
    """Samples of either side held at once, a multiple of ``batch``; None for all of them."""
    nbytes: int
    """Of pairs and work space at the most."""


def plan_panels(
    where: str,
    num_rows: int,
    num_cols: int | None,
    *,
    batch: int,
    bytes_per_sample: int,
    work: Callable[[int, int, int], int],
    memory_limit: int,
) -> Plan:
    """The largest panels that fit; smaller batches only where not even one of each side does.

    Args:
        where: Who asks, for the refusal.
        num_rows: Samples of the first set.
        num_cols: Samples of the second set; None for one set against itself.
        batch: Samples of a forward.
        bytes_per_sample: Bytes of a sample's pairs.
        work: Bytes beside the pairs for so many row samples, column samples, and samples a batch.
        memory_limit: Bytes.

    Raises:
        ConfigError: Not even one sample of either side fits.
    """

    def need(rows: int, cols: int, batch: int) -> int:
        return (rows + cols) * bytes_per_sample + work(rows, cols, batch)

    most = max(num_rows, num_cols or 0)
    batch = min(batch, most)
    everything = need(num_rows, num_cols or 0, batch)
    if everything <= memory_limit:
        return Plan(batch=batch, panel=None, nbytes=everything)
    while need(batch, batch, batch) > memory_limit:
        if batch == 1:
            raise ConfigError(
                f"{where}: memory_limit must hold one sample of each side (needs {mebibytes(need(1, 1, 1))}); got "
                f"{mebibytes(memory_limit)}. Raise memory_limit or restrict params."
            )
        batch //= 2
    panel = batch
    while need(panel + batch, panel + batch, batch) <= memory_limit:
        panel += batch
    return Plan(batch=batch, panel=panel, nbytes=need(panel, panel, batch))


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A batch is captured some samples at a time; where not even one fits with all seeds, some seeds at a time."""

    samples: list[slice]
    seeds: list[slice]


def plan_parts(
    where: str, num_samples: int, num_seeds: int, *, bytes_per_sample: int, bytes_per_seed: int, memory_limit: int
) -> Parts:
    """The fewest parts that fit.

    Args:
        where: Who asks, for the refusal.
        num_samples: N.
        num_seeds: K, 1 for a loss.
        bytes_per_sample: Of what the seeds of a sample share.
        bytes_per_seed: Of a sample and seed beside it.
        memory_limit: Bytes.

    Raises:
        ConfigError: Not even one sample fits with three seeds.
    """
    sample = bytes_per_sample + num_seeds * bytes_per_seed
    if sample <= memory_limit:
        step = memory_limit // max(1, sample)
        samples = [slice(start, min(start + step, num_samples)) for start in range(0, num_samples, step)]
        return Parts(samples=samples, seeds=[slice(0, num_seeds)])
    # One seed alone may have other factors than several have: a table tied to a matrix does. With at least three in the
    # largest part and equal parts, none is left alone.
    least = min(FEWEST_SEEDS, num_seeds)
    most = (memory_limit - bytes_per_sample) // max(1, bytes_per_seed)
    if most < least:
        need = mebibytes(bytes_per_sample + least * bytes_per_seed)
        raise ConfigError(
            f"{where}: memory_limit must hold one sample (needs {need}); got {mebibytes(memory_limit)}. "
            "Raise memory_limit or restrict params."
        )
    count = -(-num_seeds // most)
    ends = [num_seeds * i // count for i in range(count + 1)]
    return Parts(
        samples=[slice(n, n + 1) for n in range(num_samples)],
        seeds=[slice(start, stop) for start, stop in itertools.pairwise(ends)],
    )
