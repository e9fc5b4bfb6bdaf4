"""How many samples are held at once, decided before anything runs."""

from collections.abc import Callable
from dataclasses import dataclass

from infotorch.capture.refusals import mebibytes
from infotorch.errors import ConfigError

__all__ = ["MEMORY_LIMIT", "Plan", "plan_panels"]

MEMORY_LIMIT = 2 * 2**30
"""Bytes of pairs and work space where the caller states none. A constant: free memory would change results."""


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
