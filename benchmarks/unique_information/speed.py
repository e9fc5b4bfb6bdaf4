"""All scores against one eigendecomposition, and against the published per-sample procedure.

Every second is measured but one kind: the published procedure's for all samples, which is that of three samples times
N / 3. The large case is timed without a turn of warm-up of its own, after the small one: 3 turns of about a minute.

python -m benchmarks.unique_information.speed [--threads 2]
"""

import argparse
import functools
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.record import append
from benchmarks.unique_information import RESULTS, published
from infotorch.measures.from_kernel import unique_information_from_kernel

TIME = 3.0
STEPS = 2000


def problem(N: int, C: int, M: int) -> tuple[Tensor, Tensor, Tensor]:
    """Kernel, residual and test kernel of a random Jacobian with twice as many parameters as rows."""
    rng = torch.Generator().manual_seed(0)
    m = N * C
    J, J_test = (torch.randn(rows, 2 * m, dtype=torch.float64, generator=rng) / m**0.5 for rows in (m, M * C))
    return J @ J.mT, torch.randn(N, C, dtype=torch.float64, generator=rng), J_test @ J.mT


def interleaved(calls: dict[str, Callable[[], object]], repeats: int, warm_ups: int = 1) -> dict[str, list[float]]:
    """Seconds of every call, in turns, so that all see the same neighbours; after some turns of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_ups + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= warm_ups:
                times[name].append(time.perf_counter() - start)
    return times


def against_eigh(N: int, C: int, M: int, *, repeats: int = 5, warm_ups: int = 1, only_one_time: bool = False) -> None:
    K, r, K_test = problem(N, C, M)
    calls = {
        "eigh": lambda: torch.linalg.eigh(K),
        "weights, one time": lambda: unique_information_from_kernel(K, r, time=TIME),
        "weights and functions, one time": lambda: unique_information_from_kernel(K, r, K_test, time=TIME),
        "weights, four times": lambda: unique_information_from_kernel(K, r, time=[0.3, TIME, 30.0, math.inf]),
        "weights, infinite time": lambda: unique_information_from_kernel(K, r),
    }
    if only_one_time:
        calls = {name: call for name, call in calls.items() if name in ("eigh", "weights and functions, one time")}
    times = interleaved(calls, repeats, warm_ups)
    medians = {name: statistics.median(each) for name, each in times.items()}
    print(
        f"N={N} C={C} M={M}: one eigh of [{N * C}, {N * C}] takes {medians['eigh']:.3f} s "
        f"(medians of {repeats} in turns, none scaled)"
    )
    for name, seconds in medians.items():
        if name != "eigh":
            print(f"  {name + ':':34s} {seconds:7.3f} s = {seconds / medians['eigh']:.2f} eigh", flush=True)
    append(RESULTS, "against one eigh", {"N": N, "C": C, "M": M, "time": TIME}, {"seconds": times, "median": medians})


def against_published(N: int, C: int) -> None:
    K, r, _ = problem(N, C, 1)
    lr = 0.9 / float(torch.linalg.eigvalsh(K)[-1])
    for name, solution, theirs, ours in (
        ("flow", published.flow_solution, {"time": TIME}, {"time": TIME}),
        ("descent", published.descent_solution, {"lr": lr, "steps": STEPS}, {"lr": lr, "steps": STEPS}),
    ):
        samples = [0, N // 2, N - 1]
        one = published.prepared(K, r.flatten(), C, solution, theirs)
        got = unique_information_from_kernel(K, r, **ours).weights[0, samples]
        torch.testing.assert_close(got, torch.stack([one(sample) for sample in samples]), rtol=1e-6, atol=0)
        per_sample = []
        for sample in samples:
            start = time.perf_counter()
            one(sample)
            per_sample.append(time.perf_counter() - start)
        call = functools.partial(unique_information_from_kernel, K, r, **ours)
        all_ours = interleaved({"ours": call}, 3)["ours"]
        seconds = statistics.median(all_ours)
        scaled = statistics.median(per_sample) * N
        print(
            f"N={N} C={C} {name}: published {statistics.median(per_sample):.2f} s a sample, {scaled:.0f} s for all "
            f"(SCALED from {len(samples)} timed samples, not run); ours {seconds:.3f} s for all (run): "
            f"{scaled / seconds:.0f} times",
            flush=True,
        )
        append(
            RESULTS,
            f"against the published procedure, {name}",
            {"N": N, "C": C, **theirs},
            {
                "published_seconds_per_sample": per_sample,
                "published_seconds_scaled": scaled,
                "scaled_from_samples": len(samples),
                "seconds": all_ours,
                "speedup": scaled / seconds,
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    start = time.perf_counter()
    against_eigh(1000, 1, 100)
    against_published(1000, 1)
    against_eigh(400, 10, 10, repeats=3, warm_ups=0, only_one_time=True)
    print(f"the whole benchmark took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
