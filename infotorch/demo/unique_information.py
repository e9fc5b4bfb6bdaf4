"""The main job on handwritten digits: which samples taught the network something, and which labels are wrong."""

import copy
import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from infotorch import store
from infotorch.data import Samples
from infotorch.demo.digits import split
from infotorch.demo.folder import free_folder
from infotorch.errors import require
from infotorch.measures import Progress, UniqueInformation
from infotorch.pipeline import score
from infotorch.report import build
from infotorch.table import Estimate, Scores
from infotorch.task import Task

__all__ = ["DemoResult", "run"]

NUM_TRAIN, NUM_TEST, NUM_RETRAINED = 320, 200, 10
FLIPPED = 0.1
HIDDEN = 128
LR, STEPS, L2 = 0.05, 300, 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo found, and where it wrote it."""

    auroc: float
    """Chance that a flipped label has a larger leave-one-out residual than a right one."""
    auroc_information: float
    """The same for the unique information in function space."""
    precision: float
    """Share of flipped labels among as many samples as were flipped, by leave-one-out residual."""
    num_flipped: int
    accuracy: float
    """Of the trained network on test digits."""
    pearson: float
    """Of exact scores of the linearized network with those of networks really retrained without the sample."""
    spearman: float
    suspicious: list[dict[str, Any]]
    """The ten samples to look at first: id, given, suggested, true label, residual, unique information."""
    run: pathlib.Path
    report: pathlib.Path


def digits(seed: int) -> tuple[Samples, Samples, Tensor]:
    """Training digits with a tenth of their labels flipped, test digits, and the true labels of the training ones."""
    rng = torch.Generator().manual_seed(seed)
    train, test = split(NUM_TRAIN, NUM_TEST, rng)
    return flipped(train, rng), test, train.y


def flipped(samples: Samples, rng: torch.Generator) -> Samples:
    """With a tenth of the labels moved to another digit, and told which."""
    N = len(samples)
    chosen = torch.zeros(N, dtype=torch.bool)
    chosen[torch.randperm(N, generator=rng)[: round(FLIPPED * N)]] = True
    shift = torch.randint(1, 10, (N,), generator=rng)
    given = torch.where(chosen, (samples.y + shift) % 10, samples.y)
    return dataclasses.replace(samples, y=given, metadata={"flipped": chosen.numpy()})


def network(seed: int) -> nn.Module:
    """64-128-10, tanh, at its initial weights."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10)).eval()


def train(model: nn.Module, x: Tensor, y: Tensor, kept: Tensor, progress: Progress | None = None) -> Tensor:
    """Weights [K, P] after full-batch gradient descent from ``model``'s on the mean squared error of the kept samples.

    Args:
        model: The network, float64; it is left as it is.
        x: Inputs, [N, I].
        y: Labels, [N].
        kept: Which samples each of the K trainings sees, bool [K, N].
        progress: Called after each step.
    """
    start = {name: p.detach() for name, p in model.named_parameters()}
    target = nn.functional.one_hot(y, 10).to(x.dtype)
    weight = kept.to(x.dtype) / kept.sum(1, keepdim=True)  # [K, N]

    def loss(params: dict[str, Tensor], weight: Tensor) -> Tensor:
        error = (functional_call(model, params, (x,)) - target).square().sum(1)  # [N]
        decay = sum((params[name] - start[name]).square().sum() for name in start)
        return 0.5 * (weight @ error) + 0.5 * L2 * decay

    step = vmap(grad(loss))
    params = {name: p.expand(len(kept), *p.shape).clone() for name, p in start.items()}
    for done in range(STEPS):
        slope = step(params, weight)
        params = {name: p - LR * slope[name] for name, p in params.items()}
        if progress:
            progress("retraining", done + 1, STEPS)
    return torch.cat([p.flatten(1) for p in params.values()], 1)


def retraining(
    model: nn.Module, samples: Samples, test: Samples, scores: Scores, progress: Progress | None = None
) -> dict[str, Any]:
    """What leaving samples out for real does, beside their scores; and how well the network does with all of them."""
    information = scores["unique_information_weights"].values
    chosen = np.argsort(information)[np.linspace(0, len(scores) - 1, NUM_RETRAINED).round().astype(int)]
    kept = torch.ones(NUM_RETRAINED + 1, len(scores), dtype=torch.bool)
    kept[torch.arange(NUM_RETRAINED), torch.as_tensor(chosen)] = False  # the last row keeps all
    double = copy.deepcopy(model).double()
    weights = train(double, samples.all_inputs("demo").double(), samples.y, kept, progress)  # [K + 1, P]
    change = weights[:-1] - weights[-1]
    nn.utils.vector_to_parameters(weights[-1], double.parameters())
    with torch.no_grad():
        accuracy = (double(test.all_inputs("demo").double()).argmax(1) == test.y).double().mean()
    linearized, retrained = information[chosen], (change.square().sum(1) / 2).numpy()
    stats = require("demo", "scipy.stats", "demo")
    return {
        "kind": "retraining",
        "what": f"{NUM_RETRAINED} samples left out one at a time, the network itself trained again without each",
        "column": "unique_information_weights",
        "index": scores.index[chosen].tolist(),
        "linearized": linearized.tolist(),
        "retrained": retrained.tolist(),
        "pearson": float(stats.pearsonr(linearized, retrained).statistic),
        "spearman": float(stats.spearmanr(linearized, retrained).statistic),
        "accuracy": float(accuracy),
    }


def detected(scores: Scores, samples: Samples, truth: Tensor) -> dict[str, Any]:
    """How well the scores tell flipped labels from right ones, and the ten samples to look at first."""
    metrics = require("demo", "sklearn.metrics", "demo")
    flips = samples.metadata["flipped"]
    residual, functions = scores["own_residual"].values, scores["unique_information_functions"].values
    suggested, given = scores["suggested_label"].values, samples.y.numpy()
    num_flipped = int(flips.sum())
    order = np.argsort(-residual)
    return {
        "auroc": float(metrics.roc_auc_score(flips, residual)),
        "auroc_information": float(metrics.roc_auc_score(flips, functions)),
        "precision": float(flips[order[:num_flipped]].mean()),
        "num_flipped": num_flipped,
        "suspicious": [
            {
                "id": samples.ids[i],
                "given": int(given[i]),
                "suggested": int(suggested[i]),
                "true": int(truth[i]),
                "flipped": bool(flips[i]),
                "own_residual": float(residual[i]),
                "unique_information_functions": float(functions[i]),
            }
            for i in order[:10]
        ],
    }


def disagreement(scores: Scores, samples: Samples) -> dict[str, str]:
    """The note "finding"."""
    flips = samples.metadata["flipped"]
    wrong = scores["suggested_label"].values != samples.y.numpy()
    return {
        "text": f"{int(wrong.sum())} labels disagree with what the network says without them; of the "
        f"{int(flips.sum())} flipped on purpose {int((wrong & flips).sum())} are among them."
    }


def figures(found: dict[str, Any], *others: Estimate) -> list[dict[str, Any]]:
    """The note "figures"."""
    estimate = functools.partial(Estimate, kind="diagnostic", source="labels flipped on purpose")
    first = f"share of flipped labels among the first {found['num_flipped']}"
    own = [
        estimate(name="AUROC of the leave-one-out residual for flipped labels", value=found["auroc"]),
        estimate(name="AUROC of the unique information in function space", value=found["auroc_information"]),
        estimate(name=first, value=found["precision"]),
    ]
    return [dataclasses.asdict(figure) for figure in (*own, *others)]


def findings(scores: Scores, samples: Samples, truth: Tensor, retrained: dict[str, Any]) -> dict[str, Any]:
    """The notes of the run: what the report says besides the scores."""
    found = detected(scores, samples, truth)
    agreement = Estimate(
        name="Pearson correlation with true retraining",
        value=retrained["pearson"],
        kind="diagnostic",
        source=retrained["what"],
    )
    return {
        "title": {
            "sentence": f"Exact unique information of {len(scores)} handwritten digits for a 64-128-10 tanh network "
            f"after {STEPS} steps of gradient descent, linearized at its initial weights"
        },
        "finding": disagreement(scores, samples),
        "figures": figures(found, agreement),
        "retraining": retrained,
        "demo": {**found, **{name: retrained[name] for name in ("accuracy", "pearson", "spearman")}},
    }


def run(out: str | pathlib.Path = "infotorch-demo", *, seed: int = 0, progress: Progress | None = None) -> DemoResult:
    """Scores 320 digits, a tenth of them mislabelled on purpose, and writes a run and its report under ``out``.

    A 64-128-10 tanh network is linearized at its initial weights and trained by gradient descent; every sample's
    unique information (arXiv 2101.06640, eqs. 5 and 8) is exact for that training. Ten samples, spread over
    the scores, are also left out for real, by retraining the network itself.

    Args:
        out: Folder for the run and the report; the same command on the same folder resumes it.
        seed: Of the split, the flips and the initial weights.
        progress: Called with stage, steps done, steps in all.

    Raises:
        MissingExtraError: scikit-learn or what the report needs is not installed.
        StoreError: ``out`` is a run, or holds the run of another command, or can't be written.
    """
    out = free_folder(out)
    samples, test, truth = digits(seed)
    model = network(seed)
    measure = UniqueInformation(space="both", lr=LR, steps=STEPS, l2=L2, test_data=test.x)

    def notes(scores: Scores) -> dict[str, Any]:
        return findings(scores, samples, truth, retraining(model, samples, test, scores, progress))

    score(Task(model, loss="cross_entropy"), samples, [measure], out=out / "run", progress=progress, notes=notes,
          command={"command": "demo", "seed": seed, "argv": f"infotorch demo --seed {seed}"})  # fmt: skip
    found = store.open(out / "run").notes()["demo"]
    return DemoResult(**found, run=out / "run", report=build(out / "run", out / "report.html"))
