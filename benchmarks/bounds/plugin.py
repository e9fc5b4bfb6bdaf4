"""Plug-in information against NumPy and plain Python, on one thread. Run: python -m benchmarks.bounds.plugin.

States are uniform, so that nearly every run of a sample brings a new one, but where they are called mostly alike. NumPy
counts by bincount, over the whole grid and over blocks of samples whose table stays in cache, or by sorting; the
fastest counts. Plain Python, which counts in a table and then visits all of its cells, as the published code of arXiv
2110.01584 does, is timed on some samples, and scaled to all.
"""

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.record import append
from infotorch.bounds.theory.information import plugin_mi

RESULTS = "bounds-plugin.jsonl"
Array = NDArray[np.generic]
Form = Callable[[Array, Array, int], Array]
# n, K, n_states, and how often a run shows a sample's usual state
CASES = [(20000, 40, 4, 0.0), (20000, 40, 100, 0.0), (20000, 40, 100, 0.9), (20000, 40, 2**16, 0.0),
         (20000, 40, 2**20, 0.0), (2000, 1000, 100, 0.0)]  # fmt: skip
CELLS, CELLS_IN_CACHE = 2**27, 2**15  # beyond so many, a whole table isn't tried; in a block's table
TURNS = 7
PYTHON_SAMPLES, PYTHON_CELLS = 200, 2**22  # at most; two samples at least


def v_log_v(K: int) -> Array:
    v = np.arange(K + 1)
    return v * np.log(np.maximum(v, 1))


def by_bincount(states: Array, bits: Array, n_states: int) -> Array:
    """From the counts of all cells."""
    K, n = states.shape
    g = v_log_v(K)
    keys = (np.arange(n) * 2 + bits) * n_states + states
    cells = np.bincount(keys.ravel(), minlength=n * 2 * n_states).reshape(n, 2, n_states)
    ones = bits.sum(0, dtype=np.int64)
    total = g[cells].sum((1, 2)) - g[cells[:, 0] + cells[:, 1]].sum(1) - g[ones] - g[K - ones] + g[K]
    return np.maximum(total / K, 0)


def by_run(states: Array, bits: Array, n_states: int) -> Array:
    """From the counts of the cells that the runs are in: sum over cells of c ln c is sum over runs of ln c."""
    K, n = states.shape
    log = np.log(np.maximum(np.arange(K + 1), 1))
    ones = bits.sum(0, dtype=np.int64)
    keys = np.arange(n) * n_states + states
    cells = np.bincount((2 * keys + bits).ravel(), minlength=2 * n * n_states)
    of_states = cells[::2] + cells[1::2]
    total = (log[cells[2 * keys + bits]] - log[of_states[keys]]).sum(0)
    return np.maximum((total - ones * log[ones] - (K - ones) * log[K - ones]) / K + log[K], 0)


def in_blocks(form: Form) -> Form:
    def blocks(states: Array, bits: Array, n_states: int) -> Array:
        size = max(1, CELLS_IN_CACHE // (2 * n_states))
        n = states.shape[1]
        return np.concatenate(
            [form(states[:, k : k + size], bits[:, k : k + size], n_states) for k in range(0, n, size)]
        )

    return blocks


def by_sorting(states: Array, bits: Array, n_states: int) -> Array:
    """From the lengths of equal stretches."""
    K, n = states.shape
    g = v_log_v(K)
    keys = np.sort((states.astype(np.int64) * 2 + bits).T, axis=1)  # [n, K]

    def sums(ranked: Array) -> Array:
        starts = np.ones(ranked.shape, bool)
        starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
        at = np.flatnonzero(starts)
        return np.bincount(at // K, g[np.diff(at, append=n * K)], minlength=n)

    ones = bits.sum(0, dtype=np.int64)
    return np.maximum((sums(keys) - sums(keys >> 1) - g[ones] - g[K - ones] + g[K]) / K, 0)


def plain_python(states: Array, bits: Array, n_states: int) -> list[float]:
    found = []
    for s, b in zip(states.T.tolist(), bits.T.tolist(), strict=True):
        K = len(s)
        cells = [[0] * n_states, [0] * n_states]
        for state, bit in zip(s, b, strict=True):
            cells[bit][state] += 1
        rows = [sum(row) for row in cells]
        columns = [x + y for x, y in zip(*cells, strict=True)]
        nats = 0.0
        for bit in range(2):
            for state in range(n_states):
                c = cells[bit][state]
                if c:
                    nats += c / K * math.log(c * K / (rows[bit] * columns[state]))
        found.append(nats)
    return found


def race(n: int, K: int, n_states: int, alike: float) -> None:
    rng = np.random.default_rng(0)
    states = rng.integers(0, n_states, (K, n), np.int32)
    states = np.where(rng.random((K, n)) < alike, states[0], states)
    bits = rng.integers(0, 2, (K, n), np.uint8)
    forms: dict[str, Form] = {"ours": plugin_mi, "sort": by_sorting}
    if 2 * n * n_states <= CELLS:
        forms |= {"bincount": by_bincount, "bincount, by run": by_run}
    if 2 * n_states <= CELLS_IN_CACHE:
        forms |= {"bincount in blocks": in_blocks(by_bincount), "bincount in blocks, by run": in_blocks(by_run)}
    truth = plugin_mi(states, bits, n_states)
    for form in forms.values():  # which is the warm-up
        np.testing.assert_allclose(form(states, bits, n_states), truth, rtol=0, atol=1e-12)
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(TURNS):
        for name, form in forms.items():
            start = time.perf_counter()
            form(states, bits, n_states)
            times[name].append(time.perf_counter() - start)
    few = max(2, min(PYTHON_SAMPLES, PYTHON_CELLS // (2 * n_states)))
    some = states[:, :few], bits[:, :few]
    start = time.perf_counter()
    found = plain_python(*some, n_states)
    scaled = (time.perf_counter() - start) * n / few
    np.testing.assert_allclose(found, truth[:few], rtol=0, atol=1e-12)
    median = {name: statistics.median(each) for name, each in times.items()}
    best = min((name for name in median if name != "ours"), key=lambda name: median[name])
    ours = median["ours"]
    case = {"n": n, "K": K, "n_states": n_states, "mostly_alike": alike}
    whole = f"x{median['bincount'] / ours:.1f} of bincount, " if "bincount" in median else ""
    print(
        f"{case}: {1e3 * ours:.1f} ms; {whole}x{median[best] / ours:.1f} of {best} ({1e3 * median[best]:.0f} ms), "
        f"x{scaled / ours:.0f} of plain Python ({scaled:.1f} s, SCALED from {few} samples)",
        flush=True,
    )
    measured = {
        "seconds": times, "median": median, "best_numpy": best, "speedup": median[best] / ours,
        "python_seconds_scaled": scaled, "scaled_from_samples": few, "speedup_python": scaled / ours,
    }  # fmt: skip
    append(RESULTS, "plug-in information", case, measured)


def main() -> None:
    torch.set_num_threads(1)
    for case in CASES:
        race(*case)


if __name__ == "__main__":
    main()
