"""Unique information of every sample of a task: the measure that a user configures."""

import dataclasses
import fnmatch
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError, NotSupported, unknown
from infotorch.measures.budget import DEFAULT_MEMORY_LIMIT, room_beside_kernel
from infotorch.measures.digest import digest, digest_of_model
from infotorch.measures.from_kernel import (
    UniqueInformationResult,
    unique_information_from_kernel,
    unique_information_from_shared_kernel,
)
from infotorch.measures.information import Members, members
from infotorch.measures.linearized import Linearized, last_layer, linearize, linearize_cross_entropy
from infotorch.measures.measure import Progress
from infotorch.table import Column, Scores
from infotorch.task import Task, num_samples, select

__all__ = ["UniqueInformation"]

SOURCE = {
    "unique_information_weights": "arXiv 2101.06640, eq. 5",
    "unique_information_functions": "arXiv 2101.06640, eqs. 7 and 8",
    "own_residual": "leave-one-out prediction of the linearized network",
}
CHOICES = {
    "space": ("weights", "functions", "both"),
    "loss": ("mse", "cross_entropy_ggn"),
    "convention": ("mean", "sum", "reference"),
    "form": ("auto", "dual", "primal"),
    "sketch": ("sjlt", "kron"),
    "outputs": ("full", "trace"),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class UniqueInformation:
    r"""How much the trained network changes when a sample is not there, in nats; exact for the linearized network.

    The network is linearized at the weights that the task's model has: those where training starts. It is trained on
    the mean of half the squared error between outputs and targets (one-hot for class labels, whatever loss the task
    has), with weight decay toward the start, by gradient descent (``lr`` with ``steps``), by gradient flow (``time``)
    or to convergence. Let :math:`\delta` be the change of the final weights when a sample is left out and training
    is run again from the same start. Then the information is

    * in the weights, :math:`\|\delta\|^2 / (2 \sigma^2)` (Harutyunyan et al., arXiv 2101.06640, eq. 5);
    * in the functions, :math:`\|f - f_{without}\|^2 / (2 \sigma^2)`, summed over outputs and averaged over the test
      samples (eqs. 7 and 8).

    No network is trained again: all samples and times come from one eigendecomposition of the tangent kernel, or
    from one inverse where training converges. Memory is that of a few matrices [N C, N C].

    Columns: ``unique_information_weights`` and ``unique_information_functions`` in nats; ``own_residual``, the distance
    of a sample's target from its prediction by the network trained without it; ``suggested_label``, that prediction's
    class, for class labels; ``reliable``, whether the solve's estimated relative error is at most 1e-6, the rounding of
    the network's own dtype not counted. With several times, names end in ``_steps_300`` or ``_time_2.5``. With
    ``models``, values are means over the models and ``..._stderr`` their standard errors; the mean bounds the score of
    the mixture from above, by convexity.

    Raises:
        ConfigError: An option is out of range or contradicts another.
        NotSupported: ``form="primal"``.
    """

    name: ClassVar[str] = "unique_information"

    space: Literal["weights", "functions", "both"] = "weights"
    """Where the change is measured: in the weights, in the outputs on test data, or both."""
    loss: Literal["mse", "cross_entropy_ggn"] = "mse"
    """Squared error, or one Gauss-Newton step of cross-entropy, the ridge centered at the given weights."""
    l2: float = 0.0
    """Weight decay toward the initial weights, on the mean loss."""
    lr: float | None = None
    """Learning rate of full-batch gradient descent on the mean loss; goes with steps."""
    steps: int | Sequence[int] | None = None
    """Number of steps of gradient descent, or several."""
    time: float | Sequence[float] | None = None
    """Time of gradient flow on the mean loss (learning rate times steps), or several; default: to convergence."""
    sigma: float = 1.0
    """Standard deviation of the smoothing noise; scales scores by 1/sigma^2 and changes no ranking."""
    convention: Literal["mean", "sum", "reference"] = "mean"
    """What stays fixed without a sample: the mean loss, the summed loss, or the published code's mixture of both."""
    form: Literal["auto", "dual", "primal"] = "auto"
    """How to compute it: dual is exact, by the kernel of all samples."""
    sketch: Literal["sjlt", "kron"] = "sjlt"
    """Sketch of the primal form."""
    dim: int | None = None
    """Size of the sketch of the primal form."""
    layers: str | Sequence[str] = "all"
    """Which parameters train: all, last (the final Linear, at 1/C^2 of the memory), or names and globs."""
    outputs: Literal["full", "trace"] = "full"
    """The whole kernel, or its average over outputs: an approximation at 1/C^2 of the memory."""
    groups: Any = None
    """Sets of samples to leave out together, bool [G, N]: then there is one row a group."""
    removed: Any = None
    """Samples already gone from every training, bool [N]: they score 0, and their prediction is that of all others."""
    models: Sequence[nn.Module] | None = None
    """An ensemble over initializations or checkpoints, in place of the task's model."""
    test_data: Any = None
    """Inputs [M, ...] on which functions are compared, or (x, y), or an object with .x."""

    def __post_init__(self) -> None:
        for option, valid in CHOICES.items():
            if getattr(self, option) not in valid:
                raise unknown("UniqueInformation", option, getattr(self, option), valid)
        if self.form == "primal":
            raise NotSupported(
                "UniqueInformation: form must be 'auto' or 'dual'; got 'primal', the sketched form, which this version "
                "lacks. Give layers='last', outputs='trace' or fewer samples if the kernel is too large."
            )
        if self.dim is not None:
            raise _contradiction(
                "dim belongs to form='primal'", f"dim={self.dim} with form={self.form!r}", "Leave it out"
            )
        if self.space != "weights" and self.test_data is None:
            raise _contradiction(f"space={self.space!r} needs test_data", "none", "Give test_data, inputs [M, ...]")
        if not (math.isfinite(self.l2) and self.l2 >= 0):
            raise _contradiction("l2 must be a finite number, at least 0", self.l2, "Correct l2")
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise _contradiction("sigma must be a finite number above 0", self.sigma, "Correct sigma")
        if self.models is not None and not len(self.models):
            raise _contradiction("models must name at least one network", "none", "Leave it out for the task's own")
        self._check_times()
        if self.loss == "cross_entropy_ggn":
            if self.lr is not None or self.time is not None:
                raise _contradiction(
                    "one Newton step has no time", "lr or time with loss='cross_entropy_ggn'", "Leave it out"
                )
            if not self.l2 > 0:
                raise _contradiction(
                    "l2 must be above 0 for loss='cross_entropy_ggn'", self.l2, "Give the l2 of training"
                )
            if self.outputs == "trace" or self.layers == "last":
                raise _contradiction(
                    "loss='cross_entropy_ggn' needs the whole kernel", "outputs='trace' or layers='last'",
                    "Name the last layer's parameters in layers=[...]",
                )  # fmt: skip

    def _check_times(self) -> None:
        if (self.lr is None) != (self.steps is None):
            got = "lr without steps" if self.steps is None else "steps without lr"
            raise _contradiction("lr and steps go together", got, "Give both, or time alone")
        if self.lr is not None and self.time is not None:
            raise _contradiction(
                "either time or lr with steps must be given", "both", "Time is of flow, steps of descent"
            )
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise _contradiction("lr must be a finite number above 0", self.lr, "Correct lr")
        for option in ("steps", "time"):
            if getattr(self, option) is not None and not _several(getattr(self, option)):
                raise _contradiction(
                    f"{option} must hold a number", "none", f"Leave {option} out to train to convergence"
                )
            if len(set(_several(getattr(self, option)))) < len(_several(getattr(self, option))):
                raise _contradiction(f"{option} must differ", _several(getattr(self, option)), "Name each once")
        for value in _several(self.steps):
            if not (0 <= value < math.inf and value == int(value)):
                raise _contradiction("steps must be whole numbers, at least 0", value, "Correct steps")
        for value in _several(self.time):
            if not value >= 0:
                raise _contradiction("time must be numbers, at least 0", value, "Correct time; inf is to convergence")

    @property
    def per_group(self) -> bool:
        """Whether a row of the scores is a group, not a sample."""
        return self.groups is not None

    def config(self) -> dict[str, Any]:
        """Every option, as JSON; tensors and models by their SHA-256."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["layers"] = self.layers if isinstance(self.layers, str) else list(self.layers)
        for option, number in (("steps", int), ("time", float)):
            if _is_several(plain[option]):
                plain[option] = [number(value) for value in _several(plain[option])]
        for option in ("groups", "removed"):
            if plain[option] is not None:
                plain[option] = digest([torch.as_tensor(np.asarray(plain[option]))])
        if self.models is not None:
            plain["models"] = [digest_of_model(model) for model in self.models]
        if self.test_data is not None:
            plain["test_data"] = digest([_inputs(self.test_data)])
        return plain

    def scores(
        self, task: Task, x: Tensor, y: Tensor, *, memory_limit: int | None = None, progress: Progress | None = None
    ) -> Scores:
        """Scores of x [N, ...] with labels or targets y: one row a sample, or a group.

        Args:
            task: Model at the weights where training starts, and the parameters that train.
            x: Inputs, [N, ...].
            y: Class labels int64 [N], or targets [N, C].
            memory_limit: Bytes that the computation may take, 4 GiB if not given.
            progress: Called with stage, steps done, steps in all.

        Raises:
            ConfigError: There are fewer than two samples, or the kernel needs more memory than ``memory_limit``.
            CaptureError: A parameter can't be captured, or ``layers="last"`` finds no final Linear.
            NumericsError: The training diverges, or has no unique end without a sample.
        """
        task.split((x, y))
        N = num_samples(x)
        if N < 2:
            raise ConfigError(
                f"UniqueInformation: needs at least two samples; got {N}. A sample's information compares training "
                "with it and without it."
            )
        who = members(N, self.groups, self.removed)
        x_test = None if self.space == "weights" else _inputs(self.test_data)
        tasks = [self._restricted(task, model, x) for model in self.models or [task.model]]
        with torch.no_grad():
            widths = [one.outputs(select(x, slice(0, 1)))[0].numel() for one in tasks]
        C = widths[0]
        if len(set(widths)) > 1:
            raise _contradiction("models must have one number of outputs", widths, "Score them one at a time")
        task.residual_targets(y, C)
        room = self._room_beside_kernel(N, 0 if x_test is None else num_samples(x_test), C, memory_limit)
        options = self._training(who) | {"groups": who.groups, "removed": None if self.removed is None else ~who.kept}
        each = [self._member(one, x, y, x_test, options, room, progress) for one in tasks]
        return Scores(index=np.arange(who.num_groups or N), columns=self._columns(each, task, y))

    def _restricted(self, task: Task, model: nn.Module, x: Tensor) -> Task:
        task = dataclasses.replace(task, model=model)
        if self.layers == "all":
            return task
        if self.layers == "last":
            return last_layer(task, x)
        selected = task.parameters()
        chosen = []
        for pattern in [self.layers] if isinstance(self.layers, str) else self.layers:
            hits = fnmatch.filter(selected, pattern)
            if not hits:
                raise unknown("UniqueInformation", "every entry of layers", pattern, ["all", "last", *selected])
            chosen += hits
        return dataclasses.replace(task, params=chosen)

    @property
    def _shared(self) -> bool:
        return self.layers == "last" or self.outputs == "trace"

    def _room_beside_kernel(self, N: int, M: int, C: int, memory_limit: int | None) -> int:
        """Bytes for captured pairs while the kernel is built; refuses a problem over ``memory_limit``."""
        ggn = self.loss == "cross_entropy_ggn"
        captured = 1 if self._shared else C
        return room_beside_kernel(
            num_captured=(N * captured, M * captured),
            num_solved=(N * (C - 1), M * (C - 1)) if ggn else None,
            converges=self.groups is None and self.lr is None and all(math.isinf(t) for t in _several(self.time)),
            memory_limit=DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit,
        )

    def _member(
        self,
        task: Task,
        x: Tensor,
        y: Tensor,
        x_test: Tensor | None,
        options: dict[str, Any],
        room: int,
        progress: Progress | None,
    ) -> tuple[Linearized, UniqueInformationResult]:
        """One model's problem, and its result with the options of the array-level functions."""
        limits: dict[str, Any] = {"memory_limit": room, "progress": progress}
        if self.loss == "cross_entropy_ggn":
            problem = linearize_cross_entropy(task, x, y, x_test, **limits)
        else:
            problem = linearize(task, x, y, x_test, shared=self._shared, **limits)
        solve = unique_information_from_shared_kernel if problem.shared else unique_information_from_kernel
        if progress:
            progress("scores", 0, 1)
        result = solve(
            problem.kernel,
            problem.residual,
            problem.test_kernel,
            sigma=self.sigma,
            on_unreliable="flag",
            overwrite=True,
            **options,
        )
        if progress:
            progress("scores", 1, 1)
        return problem, result

    def _training(self, who: Members) -> dict[str, Any]:
        """Ridge, times and learning rates of the summed loss, with everybody who is there and without some."""
        N = int(who.kept.sum())
        gone = torch.ones(1) if who.groups is None else (who.groups & who.kept).sum(1)
        left = N - gone.double()  # [1] or [G]
        everybody = torch.full_like(left, N)
        options: dict[str, Any] = {
            "ridge": N * self.l2,
            "ridge_without": (left if self.convention == "mean" else everybody) * self.l2,
        }
        if self.loss == "cross_entropy_ggn":
            return options
        counted = everybody if self.convention == "sum" else left
        if self.lr is not None:
            return options | {"lr": self.lr / N, "lr_without": self.lr / counted, "steps": _several(self.steps)}
        times = torch.tensor(_several(self.time) or [math.inf], dtype=torch.float64)
        without = times[:, None] / counted  # [times, 1 or G]
        return options | {"time": times / N, "time_without": without[:, 0] if who.groups is None else without}

    def _columns(
        self, members: list[tuple[Linearized, UniqueInformationResult]], task: Task, y: Tensor
    ) -> dict[str, Column]:
        columns: dict[str, Column] = {}

        def add(name: str, suffix: str, each: list[Tensor], unit: str, kind: Literal["estimate", "diagnostic"]) -> None:
            values = torch.stack(each)  # [models, rows]
            columns[name + suffix] = Column(
                values=values.mean(0).numpy(force=True), unit=unit, source=SOURCE[name], kind=kind
            )
            if len(each) > 1:
                stderr = (values.std(0) / math.sqrt(len(each))).numpy(force=True)
                columns[f"{name}{suffix}_stderr"] = Column(values=stderr, unit=unit, source=SOURCE[name], kind=kind)

        for time, suffix in enumerate(self._suffixes()):
            if self.space != "functions":
                each = [result.weights[time] for _, result in members]
                add("unique_information_weights", suffix, each, "nats", "estimate")
            if self.space != "weights":
                each = [result.functions[time] for _, result in members if result.functions is not None]
                add("unique_information_functions", suffix, each, "nats", "estimate")
            predictions = [
                problem.outputs(result.own_prediction[time])
                for problem, result in members
                if result.own_prediction is not None
            ]
            if not predictions:
                continue
            target = members[0][0].target
            add("own_residual", suffix, [(target - p).norm(dim=1) for p in predictions], "1", "diagnostic")
            if y.dim() == 1 and (not y.is_floating_point() or task.loss == "binary_cross_entropy"):
                mean = torch.stack(predictions).mean(0)  # [N, C]
                label = mean.argmax(1) if mean.shape[1] > 1 else (mean[:, 0] > 0.5).long()
                source = "largest output of the network trained without the sample"
                columns["suggested_label" + suffix] = Column(
                    values=label.numpy(force=True), unit="1", source=source, kind="heuristic"
                )
        reliable = torch.stack([result.reliable for _, result in members]).all(0)
        columns["reliable"] = Column(
            values=reliable.numpy(force=True),
            unit="1",
            source="estimated relative error of the float64 solve <= 1e-6",
            kind="diagnostic",
        )
        return columns

    def _suffixes(self) -> list[str]:
        """What the columns of each time are marked with: nothing where there is one time."""
        for option, values in (("steps", self.steps), ("time", self.time)):
            if _is_several(values):
                return [f"_{option}_{str(value).removesuffix('.0')}" for value in _several(values)]
        return [""]


def _contradiction(must: str, got: object, todo: str) -> ConfigError:
    return ConfigError(f"UniqueInformation: {must}; got {got}. {todo}.")


def _is_several(value: Any) -> bool:
    return value is not None and torch.as_tensor(value).dim() > 0


def _several(value: Any) -> list[float]:
    """The numbers of an option that takes one, several or none."""
    return [] if value is None else torch.as_tensor(value, dtype=torch.float64).reshape(-1).tolist()


def _inputs(test_data: Any) -> Tensor:
    """The inputs of test data: a tensor, (x, y), or an object with .x."""
    x = test_data[0] if isinstance(test_data, (tuple, list)) else getattr(test_data, "x", test_data)
    if not isinstance(x, Tensor):
        raise ConfigError(
            f"UniqueInformation: test_data must be inputs [M, ...], (x, y) or samples with .x; got {type(x).__name__}. "
            "Pass a tensor."
        )
    return x
