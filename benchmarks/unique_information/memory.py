"""Peak memory of the whole process while all samples are scored, the caller's kernel and the interpreter included.

python -m benchmarks.unique_information.memory [--samples 1000 --outputs 10 --test 10 --time 3.0 --overwrite]
"""

import argparse
import math
import pathlib
import time

import torch

from benchmarks.record import append
from benchmarks.unique_information import RESULTS
from infotorch.measures.from_kernel import unique_information_from_kernel


def resident(field: str) -> int:
    """Bytes of this process that are resident now (VmRSS), or were at most so far (VmHWM)."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=10)
    parser.add_argument("--test", type=int, default=10)
    parser.add_argument("--time", type=float, default=3.0)
    parser.add_argument("--overwrite", action="store_true", help="let the eigenvectors take the kernel's memory")
    options = parser.parse_args()
    imports = resident("VmRSS")
    N, C, M = options.samples, options.outputs, options.test
    rng = torch.Generator().manual_seed(0)
    J = torch.randn((N + M) * C, 500, dtype=torch.float64, generator=rng)
    K, K_test = J[: N * C] @ J[: N * C].mT, J[N * C :] @ J[: N * C].mT
    K.diagonal().add_(1.0)
    del J
    r = torch.randn(N, C, dtype=torch.float64, generator=rng)
    start = time.perf_counter()
    result = unique_information_from_kernel(
        K, r, K_test, ridge=1.0 if options.time == math.inf else 0.0, time=options.time, overwrite=options.overwrite
    )
    seconds, peak = time.perf_counter() - start, resident("VmHWM")
    assert result.weights.isfinite().all()
    kernel = 8 * (N * C) ** 2
    print(
        f"N*C = {N * C}, M*C = {M * C}, time {options.time}, overwrite {options.overwrite}: peak {peak / 1e9:.2f} GB, "
        f"of which one [N*C, N*C] is {kernel / 1e9:.2f} GB and imports {imports / 1e9:.2f} GB; {seconds:.0f} s, "
        f"{torch.get_num_threads()} threads"
    )
    case = {"N": N, "C": C, "M": M, "time": str(options.time), "overwrite": options.overwrite}
    append(
        RESULTS,
        "peak memory",
        case,
        {"peak_bytes": peak, "kernel_bytes": kernel, "imports_bytes": imports, "seconds": seconds},
    )


if __name__ == "__main__":
    main()
