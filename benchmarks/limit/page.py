"""docs/limit-results.md, from the lines in benchmarks/results."""

import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.limit import cifar, cost, mnist
from benchmarks.limit.acceptance import demands
from benchmarks.limit.mnist import SEEDS
from benchmarks.record import read

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "limit-results.md"
ORDER = ["ce", "gce", "mae", str(mnist.LIMIT_G), str(mnist.LIMIT_L)]
HEAD = """# LIMIT on wrong labels: what was measured

For whoever asks what [LIMIT](limit.md) gains on wrong labels, and what an epoch of it costs. Written by
`python -m benchmarks.limit` from the lines in `benchmarks/results/limit-*.jsonl`; not to be edited.

Methods: `ce` is cross-entropy, `gce` generalized cross-entropy and `mae` the mean absolute error
([losses](reference/noise.md#losses-to-compare-with) that label noise harms less), `limit_g` and `limit_l` LIMIT with
`q="gaussian"` and `q="laplace"`.

## MNIST

10,000 training and 2,000 validation digits whose labels are wrong with probability `noise`, then any other class alike;
tested on the 10,000 clean test digits. Classifier and auxiliary network are multilayer perceptrons
784-256-256-256-10 with batch normalization and ReLU; Adam at 1e-3, batches of 128, 20 epochs, no warm-up; LIMIT by
`LimitTrainer` with `reduction="reference"`, the others in a plain loop. One thread. Seeds 0 and 1,
separated by a slash.

* test: accuracy in per cent, at the epoch of the best accuracy on noisy validation labels, and at the last epoch
* memorised: wrong training labels that the classifier predicts, of all wrong ones
* recovered: per cent of the wrongly labelled samples whose right class is predicted
* AUROC: how well wrong labels are found, by the distance of the auxiliary network's prediction, and by the classifier's
  cross-entropy
* nats: what a label's information in the weights must at least be for the training error on noisy labels
  (`label_info_lower`; one run stands for the expectation)
* s: processor seconds an epoch, its evaluation on 12,000 samples included

"""
COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "test, best val": lambda line: f"{line['test_at_best_val']:.1f}",
    "test, last": lambda line: f"{line['test_last']:.1f}",
    "memorised": lambda line: f"{line['memorised']} of {line['mislabelled']}",
    "recovered": lambda line: f"{line['recovered']:.1f}",
    "AUROC, distance": lambda line: "-" if line["auroc_distance"] is None else f"{line['auroc_distance']:.3f}",
    "AUROC, ce": lambda line: f"{line['auroc_ce']:.3f}",
    "nats >=": lambda line: f"{line['label_nats']:.2f}",
    "s": lambda line: f"{line['cpu_seconds']:.2f}",
}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _trainings(names: list[str], lines: dict[Any, dict[str, Any]], key: Callable[[str, int], Any]) -> list[list[str]]:
    """A row a method that has a line, its seeds separated by slashes."""
    rows = []
    for name in names:
        found = [lines[key(name, seed)] for seed in SEEDS if key(name, seed) in lines]
        if found:
            rows.append([name, *(" / ".join(map(column, found)) for column in COLUMNS.values())])
    return rows


def _cost() -> str:
    costs = [line for line in read(mnist.RESULTS) if line["benchmark"] == cost.COST]
    if not costs:
        return ""
    seconds, ratios = costs[-1]["median"], costs[-1]["ratio"]
    rows = [
        [name, f"{value:.3f}", f"{ratios[name]:.2f}" if name in ratios else "1"]
        for name, value in sorted(seconds.items(), key=lambda item: item[1])
    ]
    return (
        "## An epoch's cost\n\nProcessor seconds of an epoch's training steps alone, without evaluation; medians over "
        f"{cost.TURNS} epochs of each in turns\n(`python -m benchmarks.limit.cost`). *ce* is the loop that everybody "
        "writes; where it says *fused*, its Adam is torch's fused one,\nwhich `LimitTrainer` takes by default.\n\n"
        + _table(["", "s", f"{mnist.LIMIT_L} takes, of it"], rows)
    )


def _pictures() -> str:
    rows = _trainings(ORDER, cifar.records(), lambda name, seed: (name, seed))
    if not rows:
        return ""
    return (
        f"## CIFAR-10\n\n10,000 pictures, 40 % of the labels wrong (`flip_labels`), a network of four convolutions, "
        f"{cifar.EPOCHS} epochs, all else as above\n(`python -m benchmarks.limit.cifar`). The Gaussian form was chosen "
        f"over the Laplace one by these clean test labels.\n\n" + _table(["method", *COLUMNS], rows)
    )


def text() -> str:
    """The page."""
    lines = mnist.records()
    trainings = ""
    for noise in (0.8, 0.5):
        rows = _trainings(ORDER, lines, lambda name, seed, noise=noise: (noise, name, seed))
        trainings += f"### noise {noise:g}\n\n" + _table(["method", *COLUMNS], rows)
    checks = [[d.text, d.limit, d.found, "yes" if d.holds else "**no**"] for d in demands()]
    acceptance = "## What the figures must be\n\n" + _table(["", "must be", "is", "holds"], checks)
    return (HEAD + trainings + _cost() + _pictures() + acceptance).rstrip("\n") + "\n"
