"""How near the scores of a sketch come to the exact ones, measured on some of the user's own samples."""

import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from infotorch.data import Samples
from infotorch.errors import ConfigError, DataError, NumericsError
from infotorch.measures import UniqueInformation
from infotorch.measures.agreement import Agreement, agreement
from infotorch.measures.measure import Progress
from infotorch.measures.primal.sketched import too_narrow
from infotorch.table import Scores, last_times
from infotorch.task import Task

__all__ = ["DEFAULT_SUBSET", "FEWEST", "Fidelity", "Subset", "compared", "fidelity", "main_columns", "subset_of"]

DEFAULT_SUBSET = 256
MOST_ROWS = 3000
"""Of the exact kernel: its eigendecomposition takes some seconds."""
FEWEST = 20
"""Samples of which correlations say something."""
LOW = 0.9
"""A rank correlation that is told as a warning."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Sketched against exact scores of a training on some samples alone, with the options of the run."""

    columns: dict[str, Agreement]
    """By column, of the last time where there are several."""
    num_samples: int
    """In the subset."""
    dim: int
    """k."""
    effective_dimension: float | None
    """d: directions that the training on all samples uses, as the sketch sees them; at most k."""
    why_not: str | None = None
    """What stood against comparing; then there are no columns."""

    @property
    def warnings(self) -> list[str]:
        """In plain words, what a reader must know before using the scores."""
        d = self.effective_dimension
        narrow = None if d is None else too_narrow(self.dim, d)
        found = [] if narrow is None else [narrow]
        if self.why_not:
            found.append(f"The sketch was not compared with exact scores: {self.why_not}")
        for name, with_exact in self.columns.items():
            if with_exact.spearman is not None and with_exact.spearman < LOW:
                found.append(
                    f"{name} by the sketch of {self.dim:,} numbers has a rank correlation of {with_exact.spearman:.2f} "
                    f"with the exact score on {self.num_samples} samples. Raise dim."
                )
        return found

    def note(self) -> dict[str, Any]:
        """For a run and its report, as JSON."""
        return {
            "columns": {name: asdict(found) for name, found in self.columns.items()},
            "num_samples": self.num_samples,
            "dim": self.dim,
            "effective_dimension": self.effective_dimension,
            "why_not": self.why_not,
        }


def fidelity(
    measure: UniqueInformation,
    task: Task,
    samples: Samples,
    *,
    width: int,
    num_outputs: int,
    x_test: torch.Tensor | None,
    effective_dimension: float | None,
    memory_limit: int,
    num_samples: int = DEFAULT_SUBSET,
    progress: Progress | None = None,
) -> Fidelity:
    """Both forms on samples that are spread evenly over the data set.

    The subset's training uses fewer directions than that of all samples, so that agreement there is the best that can
    be hoped for; the effective dimension beside k tells of the whole.

    Args:
        measure: In its primal form.
        task: Model and parameters.
        samples: The data set.
        width: k.
        num_outputs: C; the subset has at most 3,000 / C samples.
        x_test: Test inputs, of which at most 3,000 / C are used; None where functions are not compared.
        effective_dimension: Of the training on all samples, where it is known.
        memory_limit: Bytes that it may take.
        num_samples: Of the subset.
        progress: Called with stage, steps done, steps in all.
    """
    subset = subset_of(measure, samples, x_test, num_outputs=num_outputs, num_samples=num_samples)
    about: dict[str, Any] = {
        "num_samples": len(subset.index),
        "dim": width,
        "effective_dimension": effective_dimension,
    }
    if len(subset.index) < FEWEST and len(subset.index) < num_samples:
        why = f"only {len(subset.index)} samples of {num_outputs:,} outputs can be compared in reasonable time"
        return Fidelity(columns={}, why_not=why, **about)
    if progress:
        progress("fidelity", 0, 1)
    try:
        exact = subset.scores(task, memory_limit, form="dual", dim=None)
        sketched = subset.scores(task, memory_limit, form="primal")
    except (ConfigError, DataError, NumericsError) as error:  # what all samples bear, some may not
        return Fidelity(columns={}, why_not=str(error), **about)
    if progress:
        progress("fidelity", 1, 1)
    return Fidelity(columns=compared(sketched, exact), **about)


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some samples of a data set, trained alone."""

    index: torch.Tensor
    """Their places, int64 [n]."""
    x: torch.Tensor
    """[n, ...]"""
    y: torch.Tensor
    """[n] or [n, C]"""
    measure: UniqueInformation
    """Of them alone, under the first network."""

    def scores(self, task: Task, memory_limit: int | None, **options: Any) -> Scores:
        """By the measure with other ``options``."""
        with warnings.catch_warnings():  # what the training on all samples uses is told once
            warnings.filterwarnings("ignore", message="UniqueInformation: The sketch has")
            return replace(self.measure, **options).scores(task, self.x, self.y, memory_limit=memory_limit)


def subset_of(
    measure: UniqueInformation,
    samples: Samples,
    x_test: torch.Tensor | None,
    *,
    num_outputs: int,
    num_samples: int,
) -> Subset:
    """So many samples, spread evenly, or as many as can be scored exactly in reasonable time; arguments as above."""
    most = max(2, MOST_ROWS // num_outputs)
    chosen = _spread(len(samples), min(num_samples, most))
    options: dict[str, Any] = {"also": None}
    if x_test is not None:
        options["test_data"] = x_test[_spread(len(x_test), most)]
    if measure.removed is not None:
        options["removed"] = torch.as_tensor(np.asarray(measure.removed))[chosen]
    if measure.models is not None:
        options["models"] = list(measure.models[:1])
    own = replace(measure, **options)
    return Subset(index=chosen, x=samples.x[chosen], y=samples.y[chosen], measure=own)


def main_columns(scores: Scores) -> dict[str, str]:
    """Columns of information by name, of the last time where there are several."""
    return {stem: name for stem, name in last_times(scores.columns).items() if stem.startswith("unique_information")}


def compared(sketched: Scores, exact: Scores) -> dict[str, Agreement]:
    """Column by column."""
    return {stem: agreement(sketched[name].values, exact[name].values) for stem, name in main_columns(exact).items()}


def _spread(total: int, few: int) -> torch.Tensor:
    """So many places from the first to the last of ``total``, or all."""
    return torch.from_numpy(np.unique(np.linspace(0, total - 1, min(few, total)).round().astype(np.int64)))
