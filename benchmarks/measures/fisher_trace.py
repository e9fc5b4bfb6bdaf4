"""The trace of the Fisher information along trainings on digits: after a deficit of the data, and by batch size.

Run with ``python -m benchmarks.measures.fisher_trace``; three minutes on one core. For the first epochs a small
convolutional network sees images whose blocks of 4 x 4 pixels are averaged, then the images themselves for as long in
every case (after Achille, Rovere and Soatto, arXiv 1711.08856, on CIFAR-10). Batch sizes: the same network on the
images as they are, for as many epochs. The learning rate is constant. tr F is that of 200 training images, unblurred.
Test accuracy on the 1,497 digits that no network has seen; means over seeds with the standard error.
"""

import math
import statistics

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.record import append, read
from infotorch import Task
from infotorch.train import FisherTrace

N, TRACED, BATCH, LR, EVERY = 300, 200, 50, 0.02, 4
CLEAN = 60
DEFICITS = (0, 5, 10, 20, 40)
BATCHES = (10, 30, 100)
SEEDS, BATCH_SEEDS = range(8), range(4)
FILE = "fisher-trace.jsonl"


def data() -> tuple[Tensor, Tensor]:
    """Images [1797, 1, 8, 8] in [0, 1] and classes, in an order of their own."""
    x, y = (torch.as_tensor(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order].float().view(-1, 1, 8, 8) / 16, y[order]


def blurred(x: Tensor) -> Tensor:
    """Blocks of 4 x 4 pixels by their mean."""
    return F.interpolate(F.avg_pool2d(x, 4), scale_factor=4.0)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip


def trained(seed: int, *, deficit: int, batch: int) -> tuple[float, list[dict]]:
    """Test accuracy, and the records by epoch."""
    x, y = data()
    torch.manual_seed(seed)
    model = network()
    trace = FisherTrace(Task(model), (x[:TRACED], y[:TRACED]), every=EVERY)
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=0.9)
    seen = blurred(x[:N])
    trace(0)
    for epoch in range(deficit + CLEAN):
        images = seen if epoch < deficit else x[:N]
        for rows in torch.randperm(N).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(model(images[rows]), y[rows]).backward()
            optimizer.step()
        trace(epoch + 1)
    model.eval()
    with torch.no_grad():
        return float((model(x[N:]).argmax(1) == y[N:]).double().mean()), trace.rows


def mean(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "stderr": statistics.stdev(values) / math.sqrt(len(values))}


def curve(runs: list[list[dict]], key: str) -> dict[int, float]:
    """The mean over seeds of a record's entry, by epoch."""
    return {rows[0]["step"]: statistics.mean(row[key] for row in rows) for rows in zip(*runs, strict=True)}


def main() -> None:
    """Train, and append a line for each length of the deficit and each batch size."""
    for deficit in DEFICITS:
        runs = [trained(seed, deficit=deficit, batch=BATCH) for seed in SEEDS]
        _measured("deficit", {"epochs of deficit": deficit, "epochs after": CLEAN, "batch": BATCH}, runs)
    for batch in BATCHES:
        runs = [trained(seed, deficit=0, batch=batch) for seed in BATCH_SEEDS]
        _measured("batch size", {"epochs of deficit": 0, "epochs after": CLEAN, "batch": batch}, runs)


def _measured(benchmark: str, case: dict, runs: list[tuple[float, list[dict]]]) -> None:
    rows = [rows for _, rows in runs]
    keys = ("fisher_trace", "unit_fisher_trace", "loss")
    curves = {key: curve(rows, key) for key in keys}
    peaks = [max(row["fisher_trace"] for row in each) for each in rows]
    peak_at = [float(max(each, key=lambda row: row["fisher_trace"])["step"]) for each in rows]
    last = {key: mean([each[-1][key] for each in rows]) for key in keys}
    measured = {
        "test_accuracy": mean([a for a, _ in runs]),
        "peak": mean(peaks),
        "peak_epoch": mean(peak_at),
        "end": last,
    }
    print(case, measured)
    append(FILE, benchmark, case | {"seeds": len(runs), "samples": N, "traced": TRACED}, measured | {"curves": curves})


def table(benchmark: str, by: str) -> str:
    """The last lines' means, as docs/fisher-trace.md shows them."""
    last = {line["case"][by]: line for line in read(FILE) if line["benchmark"] == benchmark}
    head = [by, "test accuracy, %", "largest tr F", "at epoch", "tr F at the end", "of unit outputs", "loss at the end"]
    rows = ["| " + " | ".join(head) + " |", "| --- |" + " --- |" * (len(head) - 1)]
    for value, line in last.items():
        end = line["end"]
        cells = [
            f"{100 * line['test_accuracy']['mean']:.2f} ± {100 * line['test_accuracy']['stderr']:.2f}",
            f"{line['peak']['mean']:,.0f} ± {line['peak']['stderr']:,.0f}",
            f"{line['peak_epoch']['mean']:.0f}",
            f"{end['fisher_trace']['mean']:,.0f} ± {end['fisher_trace']['stderr']:,.0f}",
            f"{end['unit_fisher_trace']['mean']:,.0f} ± {end['unit_fisher_trace']['stderr']:,.0f}",
            f"{end['loss']['mean']:.2f}",
        ]
        rows.append(f"| {value} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def tables() -> list[str]:
    return [table("deficit", "epochs of deficit"), table("batch size", "batch")]


if __name__ == "__main__":
    main()
