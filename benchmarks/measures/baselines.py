"""How well baseline scores and unique information find flipped labels: 2,000 digits of MNIST, a tenth of them wrong.

Run with ``python -m benchmarks.measures.baselines``; INFOTORCH_DATA names the folder of mnist.npz. A small network is
trained on the given labels; after some epochs every measure scores it in one run. ``cross-validated`` are the scores of
label_quality from the probabilities of five networks, each trained as long on the other four fifths. Unique information
is that of the last layer, trained on from the same weights. AUROC against the flips: 0.5 is chance.
"""

import os
import pathlib
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import append, read
from infotorch import Task, UniqueInformation, score
from infotorch.measures import LabelQuality, detection
from infotorch.table import LOW_FIRST, Scores
from infotorch.train.noise import flip_labels, transition_matrix

N, C, RATE, BATCH, FOLDS = 2000, 10, 0.1, 50, 5
EPOCHS = (1, 3, 10, 30)
SEEDS = range(3)
BASELINES = ["loss", "gradient_norm", "el2n", "margin", "label_quality"]
UNIQUE = UniqueInformation(layers="last", l2=1e-3)
FILE = "baselines-cpu.jsonl"


def trained(x: Tensor, y: Tensor, seed: int) -> dict[int, nn.Module]:
    """The network after each of EPOCHS."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, C))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    kept = {}
    for epoch in range(1, max(EPOCHS) + 1):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        if epoch in EPOCHS:
            copy = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, C))
            copy.load_state_dict(model.state_dict())
            kept[epoch] = copy.eval()
    return kept


def held_out(x: Tensor, y: Tensor, seed: int) -> dict[int, Tensor]:
    """Probabilities [N, C] of networks that have not seen the sample, after each of EPOCHS."""
    found = {epoch: torch.empty(len(x), C) for epoch in EPOCHS}
    folds = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).chunk(FOLDS)
    for fold in range(FOLDS):
        rest = torch.cat([rows for other, rows in enumerate(folds) if other != fold])
        for epoch, model in trained(x[rest], y[rest], seed).items():
            with torch.no_grad():
                found[epoch][folds[fold]] = model(x[folds[fold]]).softmax(1)
    return found


def aurocs(scores: Scores, wrong: Tensor, columns: list[str]) -> dict[str, float]:
    """AUROC of each column, and the share of flips among the issues and of issues among the flips."""
    found = {}
    for name in columns:
        values = scores[name].values
        if name == "is_label_issue":
            found["issues: precision"] = float(wrong.numpy()[values].mean()) if values.any() else 0.0
            found["issues: recall"] = float(values[wrong.numpy()].mean())
        elif name not in ("reliable", "suggested_label", "predicted_label"):
            auroc = detection(-values if name in LOW_FIRST else values, wrong).auroc
            assert auroc is not None
            found[name] = auroc
    return found


def table() -> str:
    """The last lines' means, as docs/baselines.md shows them."""
    means = {line["case"]["epochs"]: line["mean"] for line in read(FILE)}
    rows = ["| epochs | " + " | ".join(map(str, EPOCHS)) + " |", "| --- |" + " --- |" * len(EPOCHS)]
    for name in means[EPOCHS[0]]:
        rows.append(f"| {name} | " + " | ".join(f"{means[epoch][name]:.3f}" for epoch in EPOCHS) + " |")
    return "\n".join(rows)


def main() -> None:
    """Train, score, print, and append a line for each number of epochs."""
    with np.load(pathlib.Path(os.environ["INFOTORCH_DATA"]) / "mnist.npz") as file:
        x = torch.from_numpy(file["x_train"][:N]).float().reshape(N, -1) / 255
        true = torch.from_numpy(file["y_train"][:N])
    found: dict[int, dict[str, list[float]]] = {epoch: {} for epoch in EPOCHS}
    for seed in SEEDS:
        y, wrong = flip_labels(true, transition_matrix("uniform", C, RATE), seed=seed)
        probabilities = held_out(x, y, seed)
        for epoch, model in trained(x, y, seed).items():
            task = Task(model)
            scores = score(task, (x, y), [UNIQUE, *BASELINES])
            crossed = score(task, (x, y), LabelQuality(pred_probs=probabilities[epoch]))
            share = float((task.outputs(x).argmax(1) == y)[wrong].double().mean())
            numbers = {"wrong labels predicted": share} | aurocs(scores, wrong, list(scores.columns))
            numbers |= {f"cross-validated {k}": v for k, v in aurocs(crossed, wrong, list(crossed.columns)).items()}
            for name, value in numbers.items():
                found[epoch].setdefault(name, []).append(value)
    case = {"case": f"mlp 784-128-10, MNIST, N={N}, {RATE:.0%} flipped", "seeds": len(SEEDS)}
    for epoch, numbers in found.items():
        means = {name: statistics.mean(values) for name, values in numbers.items()}
        append(FILE, "finding flipped labels", case | {"epochs": epoch}, {"mean": means, "each": numbers})
    print(table())


if __name__ == "__main__":
    main()
