"""How near sketched scores come to the exact ones as the sketch grows: which dim a problem needs."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from infotorch import store
from infotorch.data import Samples, samples_of
from infotorch.errors import ConfigError, DataError
from infotorch.measures import UniqueInformation
from infotorch.measures.agreement import Agreement
from infotorch.measures.measure import Progress
from infotorch.measures.primal.form import BATCH
from infotorch.measures.unique_information import Prepared
from infotorch.pipeline.fidelity import DEFAULT_SUBSET, FEWEST, Subset, compared, main_columns, subset_of
from infotorch.pipeline.keeping import near
from infotorch.pipeline.reloading import reloaded
from infotorch.pipeline.repeats import mean_of
from infotorch.task import Task

__all__ = ["NOTE", "FidelityCurve", "Pairs", "Point", "fidelity_curve", "keep_fidelity_curve"]

NOTE = "fidelity_curve"
"""Name of the run's note."""
SEEDS = 3
AROUND = (-2, -1, 0, 1)
"""Powers of two by which default sizes are away from the run's own."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Sketches of one size."""

    dim: int
    """k."""
    columns: dict[str, list[Agreement]]
    """With the exact scores, by column and seed; of the last time where there are several."""

    def summary(self) -> dict[str, dict[str, dict[str, float | None] | None]]:
        """By column and diagnostic: mean and standard error over seeds; None where one has no value."""
        whats = ("spearman", "pearson", "top_decile")
        return {
            name: {what: _mean([getattr(one, what) for one in found]) for what in whats}
            for name, found in self.columns.items()
        }


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Both scores of every sample of the subset."""

    column: str
    dim: int
    """Of the sizes compared, that nearest to the run's own."""
    seed: int
    index: list[int]
    """Places in the data set."""
    exact: list[float]
    sketched: list[float]


@dataclass(frozen=True, kw_only=True)
class FidelityCurve:
    """Sketched against exact scores of a training on some samples alone, by size of the sketch."""

    points: list[Point]
    """By dim, ascending."""
    num_samples: int
    """Of the subset."""
    sketch: str
    seeds: list[int]
    dim: int
    """The measure's own k."""
    effective_dimension: float | None
    """Directions that training on all samples uses, where it is known."""
    subset_dimension: float
    """Directions that training on the subset uses, as the widest of the sketches sees them."""
    pairs: Pairs

    def note(self) -> dict[str, Any]:
        """For a run and its report, as JSON."""
        points = [{"dim": point.dim, "columns": point.summary()} for point in self.points]
        return {**vars(self), "points": points, "pairs": asdict(self.pairs)}


def fidelity_curve(
    measure: UniqueInformation,
    task: Task,
    samples: Any,
    *,
    dims: Sequence[int] | None = None,
    num_samples: int = DEFAULT_SUBSET,
    seeds: int = SEEDS,
    effective_dimension: float | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> FidelityCurve:
    """Exact scores of some samples, and sketched ones by sketches of several sizes and seeds beside them.

    The subset is that of ``score``'s ``fidelity``: spread evenly, trained alone, with the options of the measure. A
    sketch is compared with the exact scores of that training; those of all samples are not known.

    Args:
        measure: Options of the training; its ``sketch`` and the first ``seed`` are used, its ``form`` isn't.
        task: Model and parameters.
        samples: What ``infotorch.score`` takes as data.
        dims: Sizes k, below the number of parameters P. Default: the measure's own, a quarter and a half of it, and
            twice that where P allows.
        num_samples: Of the subset, which has at most 3,000 / C.
        seeds: How many sketches of each size.
        effective_dimension: Directions that training on all samples uses, to be told beside.
        memory_limit: Bytes that one computation may take.
        progress: Called with stage, steps done, steps in all.

    Raises:
        ConfigError: Nothing would be sketched, sizes are out of range, or there are too few samples.
        DataError: Data that ``infotorch.score`` refuses.
        NumericsError: A training has no unique end, as the samples don't span a sketch's directions.

    Example:
        >>> task = Task(torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).eval())
        >>> data = torch.randn(50, 9), torch.randint(0, 2, (50,))
        >>> curve = fidelity_curve(UniqueInformation(time=5.0, dim=32), task, data, num_samples=20)
        >>> [point.dim for point in curve.points]
        [8, 16, 32, 64]
    """
    samples = near(task, samples_of(samples))
    if measure.per_group:
        raise ConfigError("fidelity: scores must be of samples; got groups. Leave groups out.")
    if seeds < 1:
        raise ConfigError(f"fidelity: seeds must be at least 1; got {seeds}. Choose a positive number.")
    ready = measure.prepared(task, samples.x[:2], samples.y)
    sizes = _sizes(measure, ready, dims)
    if num_samples < FEWEST:
        raise ConfigError(f"fidelity: samples must be at least {FEWEST}; got {num_samples}. Compare more.")
    subset = subset_of(measure, samples, ready.x_test, num_outputs=ready.num_outputs, num_samples=num_samples)
    if len(subset.index) < FEWEST:
        raise DataError(
            f"fidelity: at least {FEWEST} samples must be comparable in reasonable time; got {len(subset.index)} of "
            f"{ready.num_outputs:,} outputs. Compare a problem with more samples or fewer outputs."
        )
    total = 1 + len(sizes) * seeds
    tell = progress or (lambda stage, done, total: None)
    tell("fidelity curve", 0, total)
    exact = subset.scores(task, memory_limit, form="dual", dim=None)
    tell("fidelity curve", 1, total)
    column = next(iter(main_columns(exact).values()))
    width = measure.sketching(ready.tasks[0]).width
    nearest = min(sizes, key=lambda k: abs(math.log(k / width)))
    points: list[Point] = []
    for k in sizes:
        found: dict[str, list[Agreement]] = {}
        for more in range(seeds):
            sketched = subset.scores(task, memory_limit, form="primal", dim=k, seed=measure.seed + more)
            for name, with_exact in compared(sketched, exact).items():
                found.setdefault(name, []).append(with_exact)
            if k == nearest and not more:
                shown = sketched[column].values.tolist()
            tell("fidelity curve", 1 + len(points) * seeds + more + 1, total)
        points.append(Point(dim=k, columns=found))
    pairs = Pairs(
        column=column,
        dim=nearest,
        seed=measure.seed,
        index=subset.index.tolist(),
        exact=exact[column].values.tolist(),
        sketched=shown,
    )
    return FidelityCurve(
        points=points,
        num_samples=len(subset.index),
        sketch=measure.sketch,
        seeds=[measure.seed + more for more in range(seeds)],
        dim=width,
        effective_dimension=effective_dimension,
        subset_dimension=_directions(subset, task, sizes[-1], memory_limit),
        pairs=pairs,
    )


def keep_fidelity_curve(
    out: str | Path,
    task: Task,
    data: Any,
    test_data: Any = None,
    *,
    dims: Sequence[int] | None = None,
    num_samples: int = DEFAULT_SUBSET,
    seeds: int = SEEDS,
    progress: Progress | None = None,
) -> FidelityCurve:
    """The curve of a finished run with sketched scores, kept in it as the note "fidelity_curve" for its report.

    Args:
        out: Folder of the run.
        task: That of the run, made again.
        data: The run's, read again.
        test_data: The run's test inputs, where functions are compared.
        dims: As of :func:`fidelity_curve`.
        num_samples: As there.
        seeds: As there.
        progress: As there.

    Raises:
        StoreError: There is no finished run, or it is of another task, network or data: the text names what differs.
        ConfigError: The run has no sketched scores, or as :func:`fidelity_curve`.
    """
    samples: Samples = samples_of(data)
    with store.reopen(out) as run:
        measure, memory_limit = reloaded(run, task, samples, test_data)
        known = run.notes().get("fidelity") or [{}]
        curve = fidelity_curve(
            measure,
            task,
            samples,
            dims=dims,
            num_samples=num_samples,
            seeds=seeds,
            effective_dimension=known[0].get("effective_dimension"),
            memory_limit=memory_limit,
            progress=progress,
        )
        run.note(NOTE, curve.note())
        run.finish()
    return curve


def _sizes(measure: UniqueInformation, ready: Prepared, dims: Sequence[int] | None) -> list[int]:
    """The sizes to compare, ascending."""
    sketching = measure.sketching(ready.tasks[0])
    P = sketching.num_parameters
    if sketching.is_exact:
        what = "the last layer's inputs" if sketching.shared else f"{P:,} parameters with dim={sketching.dim}"
        raise ConfigError(f"fidelity: gradients must be sketched; got {what}. These scores are exact already.")
    least = len(sketching.task.parameters()) if measure.sketch == "kron" else 1
    if dims is None:
        found = {int(sketching.width * 2.0**power) for power in AROUND}
        return sorted(k for k in found if least <= k < P)
    for k in dims:
        if not least <= k < P:
            raise ConfigError(
                f"fidelity: dims must be {least} to {P - 1:,}, below the number of parameters; got {k}. Leave it out."
            )
    if not dims:
        raise ConfigError("fidelity: there must be dims to compare; got none. Give some, such as 256,512,1024.")
    return sorted(set(dims))


@torch.no_grad()
def _directions(subset: Subset, task: Task, k: int, memory_limit: int | None) -> float:
    """The effective dimension of the subset's training, in a sketch of k numbers."""
    measure = replace(subset.measure, form="primal", dim=k)
    ready = measure.prepared(task, subset.x, subset.y)
    stream = measure.stream(ready.tasks[0], ready.who, measure.chosen(ready, memory_limit).room)
    moments = stream.moments(stream.batched(subset.x, BATCH, None), subset.y, ready.who.kept)
    return moments.effective_dimension(stream.plan.full[-1])


def _mean(values: Sequence[float | None]) -> dict[str, float | None] | None:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    mean, stderr = mean_of(numbers)
    return {"mean": mean, "stderr": stderr}
