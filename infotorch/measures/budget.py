"""How much memory an exact score takes, said before any work."""

from infotorch.errors import ConfigError

__all__ = ["DEFAULT_MEMORY_LIMIT", "exact_bytes", "room_beside_kernel"]

DEFAULT_MEMORY_LIMIT = 4 << 30
FIXED = 256 << 20  # captured pairs, tiles, and the network itself, at least
# Matrices [m, m] of float64 alive at once: kernel, eigenvectors in its place, and LAPACK's work space of two more; or
# kernel, inverse, and a factor in passing.
MATRICES_BY_EIGEN, MATRICES_BY_INVERSE = 4, 3


def room_beside_kernel(
    num_captured: tuple[int, int],
    num_solved: tuple[int, int] | None,
    *,
    converges: bool,
    memory_limit: int,
    where: str = "UniqueInformation",
    remedy: str = "Give layers='last' (the last layer alone), outputs='trace' (the kernel averaged over outputs) or "
    "fewer samples",
) -> int:
    """Bytes of ``memory_limit`` that are free while the kernel is built.

    Args:
        num_captured: Rows of the kernel as captured, of training and of test samples.
        num_solved: Rows of the problem that is solved where that is another matrix, which then lies beside the first.
        converges: Whether one inverse will do; else eigenvectors.
        memory_limit: Bytes for all of it.
        where: Who is refused.
        remedy: What the user may do beside raising ``memory_limit``.

    Raises:
        ConfigError: Building or solving needs more; the text names the ways out.
    """
    kernels, solving = exact_bytes(num_captured, num_solved, converges=converges)
    needed = max(kernels, solving) + FIXED
    if needed > memory_limit:
        raise ConfigError(
            f"{where}: the exact form needs {needed / 2**20:,.0f} MiB of memory for "
            f"{(num_solved or num_captured)[0]:,} rows; got a limit of {memory_limit / 2**20:,.0f} MiB. {remedy}; or "
            "raise memory_limit."
        )
    return memory_limit - kernels


def exact_bytes(
    num_captured: tuple[int, int], num_solved: tuple[int, int] | None, *, converges: bool
) -> tuple[int, int]:
    """Bytes of the kernels, and of the matrices while they are solved; arguments as in :func:`room_beside_kernel`."""
    m, t = num_solved or num_captured
    kernels = sum(8 * rows * (rows + tests) for rows, tests in {num_captured, (m, t)})
    matrices = MATRICES_BY_INVERSE if converges else MATRICES_BY_EIGEN
    return kernels, 8 * m * (matrices * m + (1 if converges else 2) * t)  # the test kernel, and again in eigenvectors
