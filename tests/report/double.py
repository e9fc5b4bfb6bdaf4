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


def fidelity_note(run, seed=0):
    """The note of sketched scores beside exact ones, for the samples of ``run``: nearer by every doubling of k."""
    rng = np.random.default_rng(seed)
    index = np.arange(0, len(run.table), 4)
    exact = run.table["unique_information_weights"].values[index]

    def columns(rank):
        pair = {"spearman": rank, "pearson": rank + 0.01, "top_decile": rank - 0.14}
        found = {what: {"mean": value, "stderr": 0.004} for what, value in pair.items()}
        return {"unique_information_weights": found, "unique_information_functions": found | {
            "spearman": {"mean": rank - 0.01, "stderr": 0.006}}}  # fmt: skip

    ranks = {256: 0.88, 512: 0.94, 1024: 0.97, 2048: 0.985}
    return {
        "points": [{"dim": k, "columns": columns(rank)} for k, rank in ranks.items()],
        "num_samples": len(index),
        "sketch": "sjlt",
        "seeds": [0, 1, 2],
        "dim": 1024,
        "effective_dimension": 212.4,
        "subset_dimension": 198.2,
        "pairs": {
            "column": "unique_information_weights", "dim": 1024, "seed": 0, "index": index.tolist(),
            "exact": exact.tolist(), "sketched": (exact * np.exp(rng.normal(0, 0.1, len(index)))).tolist(),
        },
    }  # fmt: skip


BOUNDS = {"fcmi": 1.0, "ecmi": 0.93, "ld": 0.87, "ld_flat": 0.8, "kl": 1.4, "interp": 1.7}


def bounds_report(n, checkpoint=None, *, K1=5, K2=30, ids=tuple(BOUNDS), gap=None, scale=1.0, warnings=(), seed=0):
    """What a report of bounds holds: the gap falls as 1/sqrt(n) and grows with the epochs, bounds are in proportion."""
    rng = np.random.default_rng([seed, n, checkpoint or 0])
    grown = 1.0 if checkpoint is None else 1 - np.exp(-checkpoint / 60)
    gaps = (0.75 * grown / np.sqrt(n) if gap is None else gap) * (1 + 0.15 * rng.normal(size=K1))
    train = np.full(K1, 0.3 * np.exp(-(checkpoint or 200) / 40))
    gap = float(gaps.mean())

    def interval(values):
        if len(values) < 5:
            return None
        means = values[rng.integers(len(values), size=(200, len(values)))].mean(1)
        return [float(end) for end in np.quantile(means, (0.025, 0.975))]

    def bound(id):
        risk = id in ("kl", "interp")
        per = BOUNDS.get(id, 1.1) * scale * (2.7 * np.abs(gaps) + (train if risk else 0.0))
        per = per[:1] if id == "ld_flat" else per
        value, information = float(per.mean()), float((per**2).mean() / 2)
        return {
            "value": value, "std": float(per.std()) if len(per) > 1 else None, "interval": interval(per),
            "kind": "estimate", "of": "population risk" if risk else "expected gap", "vacuous": value >= 1, "m": 1,
            "gap": gap, "per_supersample": per.tolist(), "information_mean": information,
            "null_mean": 0.4 * information, "null_value": 0.55 * value,
        }  # fmt: skip

    return {
        "n": n, "num_runs": [K2] * K1, "num_classes": 2, "masks": "balanced", "correction": "none",
        "checkpoint": checkpoint, "gap": gap, "gap_interval": interval(gaps), "train_error": train.tolist(),
        "test_error": (train + gaps).tolist(), "independence": 0.01, "made_by": [],
        "statement": f"From {K1} × {K2} runs.",
        "warnings": list(warnings), "bounds": {id: bound(id) for id in ids},
    }  # fmt: skip


def bounds_note(sizes=(75, 250, 1000, 4000), checkpoints=(None,), **options):
    """The note of bounds over n, over epochs, or both."""
    series = [
        {"name": f"n = {n}" + ("" if t is None else f", epoch {t}"), "n": n, "checkpoint": t,
         "report": bounds_report(n, t, **options)}
        for n in sizes for t in checkpoints
    ]  # fmt: skip
    return {
        "series": series,
        "warnings": ["Bounds the expected gap over training sets, not the gap of this run."],
        "statement": "This is an estimate of a bound from 5 × 30 runs. It is not a certified bound.",
        "pairs": [],
    }


def bounds_run(N=120, seed=0, **options):
    """Handwritten digits in pairs, with what the predictions of runs tell of their membership."""
    run = digits_run(N, seed)
    rng = np.random.default_rng(seed)
    tells = np.repeat(rng.beta(0.3, 3, N // 2), 2)  # of ln 2
    label = run.rows["label"].to_numpy()
    memorized = np.clip(tells + 0.1 * rng.normal(size=N), -1, 1)
    suggested = np.where(memorized > 0.5, (label + 3) % 10, label).astype(np.int64)
    columns = {
        "membership_information": Column(values=np.log(2) * tells, unit="nats", source="arXiv 2110.01584, section 4.1"),
        "memorization": Column(values=memorized, unit="1", source="arXiv 2008.03703"),
        "suggested_label": Column(values=suggested, unit="1", source="argmax", kind="heuristic"),
    }
    ids = run.rows["id"].to_pylist()

    def shares(i, share):
        return [share if c == label[i] else 1 - share if c == (label[i] + 3) % 10 else 0.0 for c in range(10)]

    def pair(i):
        return {
            "ids": ids[i : i + 2], "labels": label[i : i + 2].tolist(), "information": float(np.log(2) * tells[i]),
            "when_trained_on": [[shares(i, 1.0), shares(i + 1, 1 - tells[i])],
                                [shares(i, 1 - tells[i]), shares(i + 1, 0.95)]],
        }  # fmt: skip

    top = sorted(range(0, N, 2), key=lambda i: -tells[i])[:12]
    noted = {
        "title": {"sentence": "Bounds on the generalization gap of a 64-64-10 network, from 5 × 30 runs"},
        "finding": {"text": "The bound is 2.7 times the gap."},
        "bounds": bounds_note(**options) | {"pairs": [pair(i) for i in top]},
    }
    table = Scores(index=np.arange(N), columns=columns, main="membership_information")
    return DoubleRun(table=table, rows=run.rows, noted=noted, manifest=run.manifest)


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


def weights_note():
    """The note of the information in the weights of a network of two layers."""
    betas = [0.01, 0.1, 1.0, 10.0]
    return {
        "nats": 182.0, "stderr": 3.0, "logdet": 84.5, "d_eff": 58.7, "dist2": 232.0, "beta": 0.1, "prior_var": 0.1,
        "prior": "given", "union_cost": 0.0, "estimator": "slq", "labels": "exact", "curvature": "fisher",
        "kind": "estimate", "num_weights": 2410, "num_samples": 600, "loss": 0.43, "lagrangian": 21.6,
        "learning_capacity": 20.0, "log_evidence": -1200.0, "predicted_rise": 2.935, "measured_rise": 9.0,
        "measured_rise_stderr": 0.5, "measured_risk": 0.12, "draws": 8,
        "curve": {"beta": betas, "nats": [1240.0, 182.0, 24.0, 2.1], "logdet": [349.1, 84.5, 14.3, 1.6],
                  "d_eff": [188.1, 58.7, 12.1, 1.5]},
        "per_layer": {"0": 41.2, "2": 17.5}, "per_layer_of": "d_eff",
        "trace": {"total": 180.0, "per_layer": {"0": 60.0, "2": 120.0}},
    }  # fmt: skip


def activations_note():
    """The note of the information in the activations of two layers."""

    def layer(name, median, index):
        return {
            "name": name, "low": 0.7 * median, "q25": 0.9 * median, "median": median, "q75": 1.1 * median,
            "high": 1.3 * median, "mean": median, "trace": 900.0, "rank": 31.5, "dropped": 0.5, "noiseless": 0.0,
            "width": 128, "rows": 32,
            "tangents": {"rotation": {"index": index, "nats": 0.4}, "shift": {"index": 2 * index, "nats": 0.9}},
        }  # fmt: skip

    return {
        "tau": 0.1, "num_samples": 600, "loss": 0.05, "noisy_loss": 0.31,
        "layers": [layer("0", 41.2, 0.8), layer("2", 9.1, 0.3)],
    }  # fmt: skip
