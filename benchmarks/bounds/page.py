"""docs/bounds-results.md, from the lines in benchmarks/results. Run: python -m benchmarks.bounds.page."""

import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.bounds import ensembles, langevin, mnist, plugin
from benchmarks.record import read

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "bounds-results.md"
PUBLISHED = {75: (0.0892, 0.2427), 250: (0.0363, 0.1073), 1000: (0.0155, 0.0467)}
"""Gap and f-CMI bound after 200 epochs, as the notebook of arXiv 2110.01584's repository prints them (standard CNN)."""
RATIOS = (1.5, 5)
HEAD = """# Bounds from real runs: what was measured

For whoever asks how near [bounds from runs](bounds.md) come to the gap, and how long they take.
Written by `python -m benchmarks.bounds.page` from the lines in `benchmarks/results/bounds-*.jsonl`; not to be edited.
Every bound here is an estimate from runs, not a certified bound; gaps and errors are those of the same runs.

"""
MNIST = """## MNIST, fours against nines

`python -m benchmarks.bounds.mnist`. The network of arXiv 2110.01584's first experiment: four convolutions with batch
normalization, two linear layers; Adam at 1e-3, batches of 128; 5 supersamples of 30 balanced masks, drawn from the
11,791 training digits. Published: gap and bound after 200 epochs there, with other draws and independent masks.

"""
LANGEVIN = """## A Langevin training and its account

`python -m benchmarks.bounds.langevin`. The same without batch normalization, n = 4000, batches of 100, 5 × 30 runs;
rate 0.004 × 0.9^(t/100), inverse temperature min(4000, max(100, 10 e^(t/100))), 6 epochs where the paper has 40. The
account bounds the gap from the gradients' variance (of 500 samples, every 10 steps, 20 of the runs); κ = 1/2 is what
the derivation gives, 1/4 the published code's. By chance is what f-CMI shows on average where bits are permuted: these
networks are young and their noise is large, so runs differ however their masks fell, and 30 of them can't tell that
from information. The account doesn't ask for predictions, and has no such floor.

"""
SPEED = """## Speed

One thread, both sides in one run; seconds are the median.

"""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows)) + "\n"


def _last(file: str, *keys: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The last line of each case, by these entries of it."""
    return {tuple(line["case"][key] for key in keys): line for line in read(file)}


def _interval(pair: list[float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.4f} … {pair[1]:.4f}"


def mnist_rows() -> list[list[str]]:
    """One row for each n, at its last epoch."""
    rows = []
    for (n, epoch, epochs), line in sorted(_last(mnist.RESULTS, "n", "epoch", "epochs").items()):
        if epoch != epochs:
            continue
        report = line["report"]
        bound, kl = report["bounds"]["fcmi"], report["bounds"]["kl"]
        test = sum(report["test_error"]) / len(report["test_error"])
        gap, published = PUBLISHED[n]
        rows.append(
            [str(n), str(epochs), f"{report['gap']:.4f}", f"{bound['value']:.4f}", _interval(bound["interval"]),
             f"{bound['value'] / report['gap']:.2f}", f"{kl['value']:.4f}", f"{test:.4f}",
             f"{gap:.4f}, {published:.4f}"]
        )  # fmt: skip
    return rows


def langevin_rows() -> list[list[str]]:
    """One row for each checkpoint."""
    return [
        [str(epoch), f"{line['report']['gap']:.4f}", f"{line['report']['bounds']['fcmi']['value']:.4f}",
         f"{line['report']['bounds']['fcmi']['null_value']:.4f}", f"{np.mean(line['report']['test_error']):.4f}",
         f"{line['account']['derived']['value']:.4f}", f"{line['account']['reference']['value']:.4f}"]
        for (epoch,), line in sorted(_last(langevin.RESULTS, "epoch").items())
    ]  # fmt: skip


def ensemble_rows() -> list[list[str]]:
    """One row for each case and processor, of the last measurement there."""
    rows = []
    found = read(ensembles.RESULTS)
    last = {(line["case"]["case"], line["case"]["members"], line["machine"]): line for line in found}
    for (case, members, machine), line in last.items():
        median, ours = line["median"], f"{case if case == 'mlp' else 'conv'}_ensemble"
        best = min(median["loop"], median["loop, fused"])
        seconds = [f"{median[ours]:.3f}", f"{best:.3f}", f"{best / median[ours]:.2f}"]
        rows.append([case, str(members), machine.replace("(R)", ""), ours, *seconds])
    return rows


def plugin_rows() -> list[list[str]]:
    """One row for each case."""
    return [
        [f"{n:,}", f"{K:,}", f"{states:,}", f"{100 * alike:.0f} %", f"{1e3 * line['median']['ours']:.1f} ms",
         f"{line['median']['bincount'] / line['median']['ours']:.1f}" if "bincount" in line["median"] else "",
         f"{line['speedup']:.1f} ({line['best_numpy']})", f"{line['speedup_python']:,.0f}"]
        for (n, K, states, alike), line in _last(plugin.RESULTS, "n", "K", "n_states", "mostly_alike").items()
    ]  # fmt: skip


def text() -> str:
    """The page."""
    parts = [HEAD, MNIST]
    parts.append(
        _table(
            ["n", "epochs", "gap", "f-CMI", "bootstrap interval", "ratio", "kl", "test error", "published gap, bound"],
            mnist_rows(),
        )
    )
    if found := langevin_rows():
        parts += [
            LANGEVIN,
            _table(["epoch", "gap", "f-CMI", "by chance", "test error", "account, κ = 1/2", "κ = 1/4"], found),
        ]
    parts.append(SPEED)
    parts.append(
        "Networks trained at once, against the faster of two loops over ordinary modules (Adam or SGD, fused or "
    )
    parts.append("not); `python -m benchmarks.bounds.ensembles`:\n\n")
    parts.append(
        _table(["network", "members", "processor", "form", "seconds", "loop", "times as fast"], ensemble_rows())
    )
    parts.append(
        "Plug-in information, against NumPy's bincount over the whole grid, the fastest of five NumPy forms, and "
    )
    parts.append("loops in plain Python (scaled from some samples); `python -m benchmarks.bounds.plugin`:\n\n")
    head = ["samples", "runs", "states", "alike", "ours", "× bincount", "× best NumPy", "× Python"]
    parts.append(_table(head, plugin_rows()))
    return "".join(parts).rstrip() + "\n"


def misses() -> list[str]:
    """What of the MNIST experiment isn't as it must be: bound above gap, not far, falling in n."""
    rows = mnist_rows()
    found = [f"n = {row[0]}: ratio {row[5]}" for row in rows if not RATIOS[0] <= float(row[5]) <= RATIOS[1]]
    values = [float(row[3]) for row in rows]
    return found + ([] if values == sorted(values, reverse=True) else [f"f-CMI must fall in n: {values}"])


if __name__ == "__main__":
    PAGE.write_text(text())
    print("\n".join(misses()) or f"written: {PAGE.name}")
