"""Runs that never were on disk: what the report reads of a run, and simple scores of scikit-learn's digits."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from infotorch.table import Column, Scores

SOURCE = "arXiv 2101.06640, eq. 5"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoubleRun:
    """A run in memory, with the interface of a stored one."""

    table: Scores
    rows: pa.Table
    noted: dict[str, Any] = dataclasses.field(default_factory=dict)
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)

    def scores(self):
        return self.table

    def samples(self):
        return self.rows

    def notes(self):
        return self.noted


def image_columns(images):
    """Columns image, height, width, channels of uint8 [N, H, W] or [N, H, W, 3]."""
    N, H, W = images.shape[:3]
    channels = images.shape[3] if images.ndim == 4 else 1
    return {
        "image": pa.array([image.tobytes() for image in images], pa.binary()),
        "height": pa.array([H] * N),
        "width": pa.array([W] * N),
        "channels": pa.array([channels] * N),
    }


def ridge_scores(x, y, *, ridge=1.0):
    """Exact leave-one-out scores of ridge regression on one-hot labels."""
    N, P = x.shape
    x = np.concatenate([x, np.ones((N, 1))], 1)
    target = np.eye(y.max() + 1)[y]  # [N, C]
    inverse = np.linalg.inv(x.T @ x + ridge * np.eye(P + 1))
    error = target - x @ (inverse @ (x.T @ target))  # [N, C]
    hat = ((x @ inverse) * x).sum(1)  # [N]
    left_out = error / (1 - hat)[:, None]
    square = (left_out**2).sum(1)  # [N]
    weights = 0.5 * ((x @ inverse) ** 2).sum(1) * square
    functions = 0.5 * ((x @ inverse @ x.T) ** 2).mean(0) * square
    return weights, functions, np.sqrt(square), (target - left_out).argmax(1)


def limit_note(C=10, epochs=5, seed=0):
    """The note of a LIMIT training, beside plain cross-entropy."""
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 4, (C, C)) + 30 * np.eye(C, dtype=int)

    def entry(epoch, test):
        share = (epoch + 1) / epochs
        return {"epoch": epoch, "acc_train": 0.6 * share, "val_acc": 0.5 * share, "val_stderr": 0.02,
                "test_acc": test * share, "nats": 100.0 * share, "nats_of": "passed on", "warm_up": False}  # fmt: skip

    return {
        "settings": {"q": "laplace", "beta": 10.0},
        "noise": "uniform:0.4",
        "num_train": int(confusion.sum()),
        "num_val": 40,
        "num_test": 100,
        "history": [entry(epoch, 0.9) for epoch in range(epochs)],
        "acc_noisy_labels": 0.55,
        "fano": {"min_error": 0.4, "info_lower": 0.0123},
        "estimates": [{"name": "label information memorised by the auxiliary network", "value": 57.0}],
        "memorised": {"count": 12, "mislabelled": 200, "recovered": 170},
        "detection": {"auroc": 0.987, "precision": 0.95, "num_wrong": 200},
        "confusion": confusion.tolist(),
        "compared": {
            "name": "cross-entropy",
            "history": [entry(epoch, 0.6) for epoch in range(epochs)],
            "memorised": {"count": 190, "mislabelled": 200, "recovered": 5},
            "acc_noisy_labels": 0.99,
            "detection": {"auroc": 0.6, "precision": 0.5, "num_wrong": 200},
        },
    }


def digits_run(N=400, seed=0):
    """Handwritten digits, a tenth of the labels flipped, with everything that a run may carry."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(bunch.target))[:N]
    true = bunch.target[rows]
    flipped = np.zeros(len(rows), bool)
    flipped[rng.permutation(len(rows))[: len(rows) // 10]] = True
    y = np.where(flipped, (true + rng.integers(1, 10, len(rows))) % 10, true)
    weights, functions, residual, suggested = ridge_scores(bunch.data[rows] / 16, y, ridge=3.0)
    images = np.round(255 - bunch.images[rows] * 255 / 16).astype(np.uint8)
    reliable = np.ones(len(rows), bool)
    reliable[7] = False
    columns = {
        "unique_information_weights": Column(values=weights, unit="nats", source=SOURCE),
        "unique_information_functions": Column(values=functions, unit="nats", source="arXiv 2101.06640, eq. 8"),
        "own_residual": Column(values=residual, unit="1", source="leave one out", kind="diagnostic"),
        "reliable": Column(values=reliable, unit="1", source="condition number", kind="diagnostic"),
        "suggested_label": Column(values=suggested.astype(np.int64), unit="1", source="argmax", kind="heuristic"),
    }
    samples = {
        "index": np.arange(len(rows)),
        "id": [f"digit-{row:04d}" for row in rows],
        "label": y,
        "label_name": [str(label) for label in y],
        **image_columns(images),
        "source": np.where(rows < 900, "first writers", "later writers"),
        "ink": (255 - images.astype(float)).mean((1, 2)),
        "flipped": flipped,
    }
    index = np.argsort(weights)[np.linspace(0, len(rows) - 1, 16).astype(int)]
    retrained = weights[index] * np.exp(rng.normal(0, 0.15, 16))
    wrong = suggested != y
    notes = {
        "title": {"sentence": f"Exact unique information of {len(rows)} handwritten digits for a 64-128-10 tanh "
                              "network, after 300 steps"},
        "finding": {"text": f"{int(wrong.sum())} labels look wrong; of the {int(flipped.sum())} flipped on purpose "
                            f"{int((wrong & flipped).sum())} are among them."},
        "figures": [
            {"name": "AUROC of the own residual for flipped labels", "value": 0.9876, "unit": "1",
             "kind": "diagnostic"},
            {"name": "share of flipped labels among the first 40", "value": 0.925, "stderr": 0.02, "unit": "1",
             "kind": "diagnostic"},
            {"name": "median unique information in weights", "value": float(np.median(weights)), "unit": "nats",
             "kind": "estimate"},
            {"name": "Pearson correlation with true retraining", "value": 0.991, "unit": "1", "kind": "diagnostic"},
        ],
        "retraining": {
            "kind": "retraining",
            "what": "16 samples left out one at a time, the network itself trained again without each",
            "column": "unique_information_weights", "index": index.tolist(), "linearized": weights[index].tolist(),
            "retrained": retrained.tolist(), "pearson": 0.991, "spearman": 0.985,
        },
        "warnings": ["1 sample is marked not reliable."],
    }  # fmt: skip
    manifest = {
        "schema_version": 1,
        "run": "5f0e2c1e-6f0e-5c52-9c2c-6d3c6d6f1b55",
        "command": {"command": "demo", "seed": seed, "argv": f"infotorch demo --seed {seed}", "steps": 300, "lr": 0.05},
        "rows": len(rows),
        "provenance": {"infotorch": "0.1.0", "torch": "2.13.0", "parameters_sha256": "9f" * 32},
    }
    scores = Scores(index=np.arange(len(rows)), columns=columns, main="unique_information_functions")
    return DoubleRun(table=scores, rows=pa.table(samples), noted=notes, manifest=manifest)


def noise_run(N, *, side=0, channels=3, classes=10, seed=0):
    """``N`` samples of random scores, with random pictures of ``side`` pixels where it isn't 0."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, N)
    score = np.exp(rng.normal(0, 1.5, N) + 0.1 * label)
    columns = {
        "unique_information_weights": Column(values=score, unit="nats", source=SOURCE),
        "unique_information_functions": Column(
            values=score * np.exp(rng.normal(0, 0.6, N)), unit="nats", source=SOURCE
        ),
        "own_residual": Column(values=rng.gamma(2, 0.3, N), unit="1", source="leave one out", kind="diagnostic"),
        "suggested_label": Column(
            values=np.where(rng.random(N) < 0.1, (label + 1) % classes, label),
            unit="1",
            source="argmax",
            kind="heuristic",
        ),
    }
    samples = {"index": np.arange(N), "id": [f"row-{i}" for i in range(N)], "label": label,
               "source": np.where(rng.random(N) < 0.3, "web", "camera")}  # fmt: skip
    if side:
        shape = (N, side, side, channels) if channels > 1 else (N, side, side)
        samples |= image_columns(rng.integers(0, 256, shape, dtype=np.uint8))
    scores = Scores(index=np.arange(N), columns=columns)
    return DoubleRun(
        table=scores, rows=pa.table(samples), manifest={"command": {"argv": ["infotorch", "score", "a b"]}}
    )
