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
    why: str = ""
    """Why the dual form was not taken where the user left it open."""
    width: int = 0
    """Features of a row in the primal form, k."""
    is_exact: bool = True
    """Whether nothing is sketched."""

    def told(self, asked: str) -> list[str]:
        """What who asked for ``"auto"`` and gets a sketch must know."""
        if asked != "auto" or self.is_exact:
            return []
        return [
            f"form='auto' takes the primal form: {self.why}. Gradients are sketched to {self.width:,} numbers: scores "
            f"are exact for the sketched kernel, whose relative error is about {self.width**-0.5:.3f}. Give "
            "form='primal' to take it without this warning."
        ]


def check_moments_fit(width: int, num_outputs: int, memory_limit: int, more: int = 0) -> None:
    """For features that are kept on disk: the moments, their eigenvectors, and a batch of samples.

    ``more`` is the width of a second moment beside the first.

    Raises:
        ConfigError: They need more than ``memory_limit``.
    """
    needed = 4 * 8 * (width**2 + more**2) + 3 * 8 * BATCH * num_outputs * width + FIXED
    if needed > memory_limit:
        raise ConfigError(
            f"UniqueInformation: form='primal' needs {needed / 2**20:,.0f} MiB of memory for {width:,} features and "
            f"{num_outputs:,} outputs; got a limit of {memory_limit / 2**20:,.0f} MiB. "
            "Lower dim, or raise memory_limit."
        )


def check_features_fit(num_rows: int, width: int, num_test_rows: int, memory_limit: int, more: int = 0) -> int:
    """Bytes of ``memory_limit`` that are free beside the features and the moments; ``more`` as above.

    Raises:
        ConfigError: They need more.
    """
    kept = 4 * width * (num_rows + num_test_rows)
    needed = kept + 4 * 8 * (width**2 + more**2) + FIXED
    if needed > memory_limit:
        raise ConfigError(
            f"UniqueInformation: form='primal' needs {needed / 2**20:,.0f} MiB of memory for {num_rows:,} rows of "
            f"{width:,} features; got a limit of {memory_limit / 2**20:,.0f} MiB. Keep the run in a folder (out), "
            "where the features go to; or lower dim, or raise memory_limit."
        )
    return memory_limit - kept
