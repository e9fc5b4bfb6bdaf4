"""From a task, training and test data to what every training sample does to every test output."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.data import inputs_of, samples_of
from infotorch.errors import ConfigError, check_limit, mebibytes
from infotorch.measures import UniqueInformation
from infotorch.measures.budget import DEFAULT_MEMORY_LIMIT, FIXED
from infotorch.measures.measure import Progress
from infotorch.measures.options import is_several
from infotorch.measures.primal.attribution import WHERE, Kind, attribution_bytes, change_of_tests, check_kind
from infotorch.measures.primal.feature_input import feature_input
from infotorch.measures.primal.form import BATCH
from infotorch.task import Task

__all__ = ["attribution"]


@torch.no_grad()
def attribution(
    task: Task,
    train: Any,
    test: Any,
    *,
    kind: Kind = "leave_one_out",
    l2: float = 0.0,
    lr: float | None = None,
    steps: int | None = None,
    time: float | None = None,
    convention: Literal["mean", "sum", "reference"] = "mean",
    dim: int | None = None,
    sketch: Literal["sjlt", "kron"] = "sjlt",
    seed: int = 0,
    layers: str | Sequence[str] = "all",
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    r"""How every test output moves when a training sample leaves and training runs again: :math:`f_{without} - f`.

    The training is that of :class:`UniqueInformation`: of the network linearized at the weights that the task's model
    has, on half the squared error between outputs and targets whatever loss the task has, by gradient descent (``lr``
    with ``steps``), by gradient flow (``time``) or to convergence. No network is trained again. What is done to the
    features is exact (:func:`infotorch.measures.attribution_from_features`); their sketch is not, its error is that of
    :func:`infotorch.sketch`.

    ``"leave_one_out"`` is the change itself. ``"influence"`` is its first order in the sample's weight, without the
    factor :math:`(I - H_i)^{-1}` of the sample's leverage: too small for samples that the network fits because they are
    there. This is the form of TRAK (Park et al., arXiv 2303.14186, section 3), whose score is its negative: high where
    the sample helps. TRAK takes the loss's derivative in one margin, and averages over networks; here it is the squared
    error, for every output, and one network.

    Args:
        task: Model at the weights where training starts, and the parameters that train; the model is left as it is.
        train: Whatever ``infotorch.data.samples_of`` takes: (x, y), a map-style Dataset, a DataLoader that doesn't
            shuffle, or Samples. N samples.
        test: Inputs as a tensor, or whatever ``infotorch.data.samples_of`` takes, of which labels don't matter. M
            samples.
        kind: ``"leave_one_out"`` or ``"influence"``.
        l2: Weight decay toward the initial weights, on the mean loss.
        lr: Learning rate of full-batch gradient descent on the mean loss; goes with steps.
        steps: Number of steps of gradient descent.
        time: Of gradient flow on the mean loss (learning rate times steps); default: to convergence.
        convention: What stays fixed without a sample: the mean loss, the summed loss, or the published code's mixture
            of both. TRAK's is the summed loss.
        dim: Size of the sketch, 1024 if not given; from the number of parameters on there is none.
        sketch: ``"sjlt"`` or ``"kron"``, quicker and less exact at equal size.
        seed: Of the sketch.
        layers: Which parameters train: all, last (the final Linear, never sketched), or names and globs.
        memory_limit: Bytes that the computation may take, 4 GiB if not given.
        progress: Called with stage, steps done and steps in all.

    Returns:
        [N, M, C] in the outputs' unit, float64: 8 N M C bytes.

    Raises:
        ConfigError: An option is out of range, there are several times, or the result needs more memory than
            ``memory_limit``.
        DataError: Data without fixed order, without samples, or with one that is not finite.
        CaptureError: A parameter can't be captured, or ``layers="last"`` finds no final Linear.
        NumericsError: The training diverges, has no unique end without a sample, or loses its digits.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).eval(), loss="mse")
        >>> attribution(task, (torch.ones(4, 3), torch.zeros(4, 2)), torch.ones(5, 3), l2=0.1).shape
        torch.Size([4, 5, 2])
    """
    check_kind(kind)
    check_limit(WHERE, memory_limit)
    for name, value in (("time", time), ("steps", steps)):
        if is_several(value):
            raise ConfigError(f"{WHERE}: {name} must be one number; got {value}. Call once for each.")
    samples, x_test = samples_of(train), inputs_of(test)
    measure = UniqueInformation(
        form="primal", space="functions", test_data=x_test, l2=l2, lr=lr, steps=steps, time=time,
        convention=convention, dim=dim, sketch=sketch, seed=seed, layers=layers,
    )  # fmt: skip
    x = samples.all_inputs("attribution")
    task.split((x, samples.y))
    ready = measure.prepared(task, x, samples.y)
    (one,) = ready.tasks
    sketching = measure.sketching(one)
    b = 1 if sketching.shared else ready.num_outputs
    size = max(4, next(iter(one.parameters().values())).element_size())  # 16 bits are captured in 32
    room = _room(len(samples), len(x_test), ready.num_outputs, sketching.width, b, size, memory_limit)
    stream = measure.stream(one, ready.who, room)
    rows = sketching.rows(stream.batched(x, BATCH, progress), samples.y)
    tests = stream.batched(x_test, BATCH, progress)
    data = feature_input(WHERE, rows.features, rows.residual, tests.rows, each_test=True)
    if progress:
        progress("attribution", 0, 1)
    change = change_of_tests(data, stream.plan, kind=kind)
    if progress:
        progress("attribution", 1, 1)
    return change


def _room(N: int, M: int, C: int, k: int, b: int, size: int, memory_limit: int | None) -> int:
    """Bytes for captured pairs beside the features, [N b, k] and [M b, k] of ``size`` bytes a number.

    Raises:
        ConfigError: Features or results need more than ``memory_limit``.
    """
    limit = DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit
    kept = size * k * b * (N + M)
    working = max(FIXED, attribution_bytes(N, M, C, k, b) + 8 * M * b * k)  # test features again, in eigenvectors
    needed = kept + working + 4 * 8 * k * k
    if needed > limit:
        raise ConfigError(
            f"{WHERE}: needs {mebibytes(needed)} of memory, of which {mebibytes(8 * N * M * C)} are the result, {N:,} "
            f"training by {M:,} test samples by {C:,} outputs; got a limit of {mebibytes(limit)}. "
            "Call it on blocks of test samples, give fewer, lower dim, or raise memory_limit."
        )
    return limit - kept
