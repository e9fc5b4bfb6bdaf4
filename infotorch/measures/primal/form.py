"""Which form a problem takes, and the memory that it needs, said before any work."""

from dataclasses import dataclass
from typing import Literal

from infotorch.errors import ConfigError
from infotorch.measures.budget import FIXED

__all__ = ["BATCH", "DEFAULT_DIM", "Form", "check_features_fit"]

BATCH = 256
"""Samples of one forward pass where features are held in memory."""
DEFAULT_DIM = 1024


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the scores are computed."""

    name: Literal["dual", "primal"]
    room: int
    """Bytes for captured pairs."""
    why: str
    """In a clause, for a reader who asked for ``"auto"``."""


def check_features_fit(num_rows: int, width: int, num_test_rows: int, memory_limit: int) -> int:
    """Bytes of ``memory_limit`` that are free beside the features and the moments.

    Raises:
        ConfigError: They need more.
    """
    kept = 4 * width * (num_rows + num_test_rows)
    needed = kept + 4 * 8 * width * width + FIXED
    if needed > memory_limit:
        raise ConfigError(
            f"UniqueInformation: form='primal' needs {needed / 2**20:,.0f} MiB of memory for {num_rows:,} rows of "
            f"{width:,} features; got a limit of {memory_limit / 2**20:,.0f} MiB. Give out=, so that features are kept "
            "on disk; or lower dim, or raise memory_limit."
        )
    return memory_limit - kept
