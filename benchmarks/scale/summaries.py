"""How well networks do that are trained on a summary of the digits: how much is kept, in how many rounds, wrong labels.

``python -m benchmarks.scale.summaries`` measures, prints the table of docs/summarize.md and appends its lines. Even or
odd, of scikit-learn's digits: 1,000 to summarize, 200 whose inputs the measure compares functions on, 597 to test on.
Network 64-256-1, 300 full-batch steps of Adam at 1e-3 on squared error, as in docs/scale-results.md.
"""

import statistics
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.record import append, read
from infotorch import Samples, Task, UniqueInformation, retrain_accuracy, summarize
from infotorch.pipeline.limit_training import select

N, STEP, L2 = 1000, 50, 1e-3
SHARES = (0.5, 0.3, 0.2, 0.1)
RATES = (0.0, 0.1)
SEEDS, DRAWS = range(3), 3
FILE = "summaries.jsonl"
COLUMNS = ["iterative", "once", "random"]


def start() -> Task:
    return Task(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1)).eval(), loss="mse")


def split(seed: int) -> tuple[Samples, Tensor, Samples]:
    """Samples to summarize, inputs to compare functions on, samples to test on."""
    digits = load_digits()
    x, y = torch.from_numpy(digits.data).float() / 16, torch.from_numpy(digits.target) % 2
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).split([N, 200, 597])
    train, validation, test = (
        Samples(x=x[rows], y=y[rows], ids=tuple(str(int(row)) for row in rows)) for rows in order
    )
    return train, validation.x, test


def chosen(train: Samples, validation: Tensor, seed: int) -> Iterator[tuple[str, float, np.ndarray]]:
    """The name of a choice, the share that it keeps, and the places kept."""
    torch.manual_seed(seed)
    measure = UniqueInformation(space="functions", test_data=validation, l2=L2, form="dual")
    task, least = start(), round(min(SHARES) * N)
    for name, rounds in (("iterative", (N - least) // STEP), ("once", 1)):
        removed = summarize(task, train, keep=least, measure=measure, rounds=rounds).removed
        for share in SHARES:  # what was kept on the way
            yield name, share, np.setdiff1d(np.arange(N), removed[: N - round(share * N)])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(DRAWS):
        order = torch.randperm(N, generator=generator).numpy()
        yield from (("random", share, np.sort(order[: round(share * N)])) for share in SHARES)
    yield "all", 1.0, np.arange(N)


def measured(rate: float) -> dict[str, dict[str, list[float]]]:
    """Accuracy by choice and share, a number a seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in SEEDS:
        train, validation, test = split(seed)
        wrong = torch.randperm(N, generator=torch.Generator().manual_seed(seed))[: round(rate * N)]
        train.y[wrong] = 1 - train.y[wrong]
        each: dict[tuple[str, float], list[float]] = {}
        for name, share, places in chosen(train, validation, seed):
            part = select(train, torch.from_numpy(places))
            each.setdefault((name, share), []).append(retrain_accuracy(start, part, test, epochs=300, seed=seed))
        for (name, share), values in each.items():
            found.setdefault(name, {}).setdefault(f"{share:g}", []).append(statistics.mean(values))
        print(
            seed, {name: {share: round(v[-1], 3) for share, v in of.items()} for name, of in found.items()}, flush=True
        )
    return found


def cell(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def table() -> str:
    """The last lines, as docs/summarize.md shows them."""
    last = {line["case"]["rate"]: line["each"] for line in read(FILE)}
    rows = [f"| wrong labels | kept | {' | '.join(COLUMNS)} |", "| --- | --- |" + " --- |" * len(COLUMNS)]
    for rate, each in last.items():
        rows.append(f"| {100 * rate:g} % | 100 % | {cell(each['all']['1'])} | | |")
        for share in map("{:g}".format, SHARES):
            cells = " | ".join(cell(each[name][share]) for name in COLUMNS)
            rows.append(f"| | {100 * float(share):g} % | {cells} |")
    return "\n".join(rows)


def main() -> None:
    """Measure, append the lines, print the table."""
    torch.set_num_threads(1)
    for rate in RATES:
        case = {"data": "digits, even or odd", "N": N, "rate": rate, "step": STEP, "l2": L2, "seeds": len(SEEDS),
                "draws": DRAWS}  # fmt: skip
        append(FILE, "accuracy of summaries", case, {"each": measured(rate)})
    print(table())


if __name__ == "__main__":
    main()
