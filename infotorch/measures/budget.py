"""How much memory an exact score takes, said before any work."""

from infotorch.errors import ConfigError

__all__ = ["DEFAULT_MEMORY_LIMIT", "bytes_needed", "refuse_over_budget"]

DEFAULT_MEMORY_LIMIT = 4 << 30
FIXED = 256 << 20  # tiles of the kernel and of the samples left out
# Matrices [m, m] of float64 alive at once: kernel, eigenvectors in its place, and LAPACK's work space of two more; or
# kernel, inverse, and a factor in passing.
MATRICES_BY_EIGEN, MATRICES_BY_INVERSE = 4, 3


def bytes_needed(num_rows: int, num_test_rows: int, *, converges: bool) -> int:
    """Peak memory of the exact form, for kernels [m, m] and [t, m]; the test kernel is also held in eigenvectors."""
    matrices = MATRICES_BY_INVERSE if converges else MATRICES_BY_EIGEN
    return 8 * num_rows * (matrices * num_rows + (1 if converges else 2) * num_test_rows) + FIXED


def refuse_over_budget(num_rows: int, num_test_rows: int, *, converges: bool, memory_limit: int) -> None:
    """Raises ConfigError where the exact form needs more than ``memory_limit`` bytes; names the ways out."""
    needed = bytes_needed(num_rows, num_test_rows, converges=converges)
    if needed > memory_limit:
        raise ConfigError(
            f"UniqueInformation: the exact form needs {needed / 2**20:,.0f} MiB of memory for {num_rows:,} rows; "
            f"got a limit of {memory_limit / 2**20:,.0f} MiB. Give layers='last' (the last layer alone), "
            "outputs='trace' (the kernel averaged over outputs) or fewer samples; or raise memory_limit."
        )
