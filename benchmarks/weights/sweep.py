"""Information in the weights against beta, by the share of random labels: 200 digits, 64-32-10 tanh.

Run with ``python -m benchmarks.weights.sweep [DIR]``; DIR keeps the cells, and the same command goes on with them. It
appends a line a cell, and refuses where the published effect is not there (Achille and Soatto, arXiv 1706.01350,
figure 2): random labels are given up before beta = 1, true ones later, and a network that memorises holds more nats a
sample the more labels are random.
"""

import itertools
import sys
import tempfile

import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.record import append, read
from infotorch import Sweep, Task, sweep_beta
from infotorch.pipeline.sweep_cells import SweepRow

FILE = "weights-sweep.jsonl"
BETAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
CORRUPTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS, N, N_TEST, C = 3, 200, 1000, 10
OPTIONS = {"noise": "local", "prior_var": "learned", "steps": 1200, "lr": 1e-2}


def swept(out: str) -> Sweep:
    """All cells, those in ``out`` as they are."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))[: N + N_TEST]
    x, y = torch.tensor(bunch.data / 16, dtype=torch.float32)[order], torch.tensor(bunch.target)[order]
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, C))
    return sweep_beta(
        Task(model), (x[:N], y[:N]), test_data=(x[N:], y[N:]), betas=BETAS, corruptions=CORRUPTIONS, seeds=SEEDS,
        out=out, progress=lambda stage, done, total, note: print(f"{done}/{total} {note}", flush=True), **OPTIONS,
    )  # fmt: skip


def misses(sweep: Sweep) -> list[str]:
    """What of the effect is not there."""
    kl = [row["kl"] for row in sweep.means() if row["beta"] == min(BETAS)]
    true, random = (sweep.collapse(level) for level in (0.0, 1.0))
    found = []
    if not all(a < b for a, b in itertools.pairwise(kl)):
        found.append(f"KL/N at the smallest beta doesn't rise with the share of random labels: {kl}")
    if random is None or random >= 1:
        found.append(f"random labels are not given up before beta = 1 but at {random}")
    if true is not None and random is not None and true <= random:
        found.append(f"true labels are not held longer: they are given up at {true}")
    return found


def last() -> Sweep:
    """That of the last run's lines."""
    lines = read(FILE)[-len(BETAS) * len(CORRUPTIONS) * SEEDS :]
    return Sweep(rows=tuple(SweepRow(**line["case"], **line["row"]) for line in lines), num_samples=N, num_classes=C)


def table() -> str:
    """The last lines' means, as docs/variational.md shows them: training accuracy, KL/N."""
    means = {(row["corruption"], row["beta"]): row for row in last().means()}
    rows = ["| random labels | " + " | ".join(f"beta {beta:g}" for beta in BETAS) + " |", "| --- |" * (1 + len(BETAS))]
    rows[1] = rows[1].replace("||", "|")
    for level in CORRUPTIONS:
        cells = [f"{means[level, beta]['train_acc']:.2f}, {means[level, beta]['kl']:.2f}" for beta in BETAS]
        rows.append(f"| {100 * level:g} % | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        sweep = swept(sys.argv[1] if len(sys.argv) > 1 else folder)
    for row in sweep.rows:
        measured = row.as_dict()
        case = {name: measured.pop(name) for name in ("corruption", "beta", "seed")}
        append(FILE, "weights-sweep", case, {"row": measured, "N": N, **OPTIONS})
    print(table())
    for text in (found := misses(sweep)):
        print(f"weights-sweep: {text}", file=sys.stderr)
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main())
