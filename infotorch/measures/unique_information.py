"""Unique information of every sample of a task: the measure that a user configures."""

import dataclasses
import fnmatch
import math
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError, unknown
from infotorch.measures.budget import DEFAULT_MEMORY_LIMIT, exact_bytes, room_beside_kernel
from infotorch.measures.columns import Regression, columns
from infotorch.measures.digest import digest, digest_of_model
from infotorch.measures.from_kernel import (
    UniqueInformationResult,
    unique_information_from_kernel,
    unique_information_from_shared_kernel,
)
from infotorch.measures.information import Members, members
from infotorch.measures.linearized import Linearized, last_layer, linearize, linearize_cross_entropy
from infotorch.measures.measure import Progress
from infotorch.measures.options import asked_beside, check_options, contradiction, is_several, several
from infotorch.measures.primal.form import DEFAULT_DIM, Form, check_features_fit, check_moments_fit
from infotorch.measures.primal.sketched import Sketching
from infotorch.measures.primal.stream import Stream
from infotorch.measures.schedule import schedule
from infotorch.measures.self_scores import check_classes_of, from_kernel, log_odds
from infotorch.table import Scores
from infotorch.task import Task, num_samples, select

__all__ = ["UniqueInformation"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A data set and its networks, checked."""

    who: Members
    x_test: Tensor | None
    tasks: list[Task]
    """One a network, restricted to the parameters that train."""
    num_outputs: int
    """C."""


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
    from one inverse where training converges. In the dual form memory is that of a few matrices [N C, N C]. In the
    primal form it does not grow with N where the run is kept on disk: every Jacobian row becomes ``dim`` numbers, which
    are written there, and the scores are exact for the kernel of these numbers. Its relative error is about
    1 / sqrt(dim); what matters is dim against the number of directions that training uses.

    Columns: ``unique_information_weights`` and ``unique_information_functions`` in nats; ``own_residual``, the distance
    of a sample's target from its prediction by the network trained without it; ``suggested_label``, that prediction's
    class, for class labels; ``reliable``, whether the solve's estimated relative error is at most 1e-6, the rounding of
    the network's own dtype not counted. With several times, names end in ``_steps_300`` or ``_time_2.5``. With
    ``models``, values are means over the models and ``..._stderr`` their standard errors; the mean bounds the score of
    the mixture from above, by convexity.

    With ``also``, two scores at the weights as they are, in nats: ``self_influence``,
    :math:`g^\top (H + N l_2 I)^{-1} g` of the loss's gradient g and Gauss-Newton matrix H, summed over samples (Koh and
    Liang, arXiv 1703.04730, whose H is the mean); ``trak_self``, TRAK's score of a sample for its own label (Park et
    al., arXiv 2303.14186).

    Raises:
        ConfigError: An option is out of range or contradicts another.
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
    """How to compute it: dual is exact, by the kernel of all samples; primal sketches their gradients, for any number
    of samples; auto is dual where that fits the memory, and says so where it does not."""
    sketch: Literal["sjlt", "kron"] = "sjlt"
    """Sketch of the primal form; kron is quicker, and less exact at equal size."""
    dim: int | None = None
    """Size of the sketch of the primal form, 1024 if not given; from the number of parameters on there is none."""
    seed: int = 0
    """Of the sketch."""
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
    also: str | Sequence[str] | None = None
    """Self-scores from the same kernel or features: self_influence, trak_self, or both; they need l2, whatever the
    time."""
    test_data: Any = None
    """Inputs [M, ...] on which functions are compared, or (x, y), or an object with .x."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def per_group(self) -> bool:
        """Whether a row of the scores is a group, not a sample."""
        return self.groups is not None

    def config(self) -> dict[str, Any]:
        """Every option, as JSON; tensors and models by their SHA-256."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["layers"] = self.layers if isinstance(self.layers, str) else list(self.layers)
        plain["also"] = asked_beside(self.also)
        for option, number in (("steps", int), ("time", float)):
            if is_several(plain[option]):
                plain[option] = [number(value) for value in several(plain[option])]
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
        ready = self.prepared(task, x, y)
        who, x_test = ready.who, ready.x_test
        form = self.chosen(ready, memory_limit)
        for text in form.told(self.form):
            warnings.warn(f"UniqueInformation: {text}", stacklevel=2)
        if form.name == "primal":
            streams = [self.stream(one, who, form.room) for one in ready.tasks]
            found = [stream.whole(x, y, x_test, who, progress) for stream in streams]
            for text in streams[0].warnings(found[0][0]):
                warnings.warn(f"UniqueInformation: {text}", stacklevel=2)
            each: list[Any] = [result for _, result in found]
        else:
            removed = None if self.removed is None else ~who.kept
            options = self._training(who) | {"groups": who.groups, "removed": removed}
            each = [self._member(one, x, y, x_test, options, form.room, progress) for one in ready.tasks]
        return self.table(each, task, y, np.arange(who.num_groups or len(y)))

    def prepared(self, task: Task, x: Tensor, y: Tensor) -> Prepared:
        """Options and every network, checked, before anything is computed; raises as :meth:`scores` does.

        ``y`` is of all samples, ``x`` may be of the first alone.
        """
        N = len(y)
        if N < 2:
            raise ConfigError(
                f"UniqueInformation: needs at least two samples; got {N}. A sample's information compares training "
                "with it and without it."
            )
        who = members(N, self.groups, self.removed)
        x_test = None if self.space == "weights" else _inputs(self.test_data)
        tasks = [self._restricted(task, model, x) for model in self.models or [task.model]]
        with torch.no_grad():
            first = [one.outputs(select(x, slice(0, 1))) for one in tasks]
        widths = [outputs[0].numel() for outputs in first]
        C = widths[0]
        if len(set(widths)) > 1:
            raise contradiction("models must have one number of outputs", widths, "Score them one at a time")
        task.residual_targets(y, C)
        if "trak_self" in asked_beside(self.also):
            check_classes_of(task, y, first[0])
        return Prepared(who=who, x_test=x_test, tasks=tasks, num_outputs=C)

    def table(
        self, members: Sequence[tuple[Regression, UniqueInformationResult]], task: Task, y: Tensor, index: np.ndarray
    ) -> Scores:
        """Scores of rows ``index`` from what every model's problem came to."""
        binary = task.loss == "binary_cross_entropy" and y.numel() == len(y)  # [N] or [N, 1]
        classes = binary or (y.dim() == 1 and not y.is_floating_point())
        return Scores(index=index, columns=columns(members, self._suffixes(), self.space, classes=classes))

    def chosen(self, ready: Prepared, memory_limit: int | None, *, on_disk: bool = False) -> Form:
        """Dual or primal, and the memory for captured pairs.

        Raises:
            ConfigError: The form that was asked for needs more than ``memory_limit``.
        """
        limit = DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit
        N, M, C = len(ready.who.kept), 0 if ready.x_test is None else num_samples(ready.x_test), ready.num_outputs
        why = ""
        if self.form != "primal":
            try:
                return Form(name="dual", room=self._room_beside_kernel(N, M, C, limit))
            except ConfigError as error:
                if self.form == "dual" or self.outputs == "trace":
                    raise
                why = str(error).partition("; got")[0].partition(": ")[2]
        sketching = self.sketching(ready.tasks[0])
        width, b = sketching.width, 1 if sketching.shared else C
        more = 0
        if "trak_self" in asked_beside(self.also):
            more = width * (C if sketching.shared else 1)
        if on_disk:
            check_moments_fit(width, b, limit, more)
        room = limit if on_disk else check_features_fit(N * b, width, min(M * b, width), limit, more)
        return Form(name="primal", room=room, why=why, width=width, is_exact=sketching.is_exact)

    def sketching(self, task: Task) -> Sketching:
        """How samples become features, of a task that is restricted to the parameters that train."""
        return Sketching(
            task=task, loss=self.loss, kind=self.sketch, seed=self.seed, shared=self.layers == "last",
            dim=DEFAULT_DIM if self.dim is None else self.dim,
        )  # fmt: skip

    def stream(self, task: Task, who: Members, room: int | None) -> Stream:
        """One model's two passes in the primal form; ``room`` is what captured pairs may take."""
        options: dict[str, Any] = dict.fromkeys(("time", "time_without", "lr", "lr_without", "steps"))
        plan = schedule(**options | self._training(who), num_groups=who.num_groups)
        return Stream(
            sketching=self.sketching(task), plan=plan, sigma=self.sigma, memory_limit=room, also=asked_beside(self.also)
        )

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

    def exact_bytes(self, N: int, M: int, C: int) -> int:
        """Of N samples and M test samples in the dual form, at once: kernels, or the matrices that solve them."""
        return max(exact_bytes(**self._exact_size(N, M, C)))

    def _exact_size(self, N: int, M: int, C: int) -> dict[str, Any]:
        captured = 1 if self._shared else C
        return {
            "num_captured": (N * captured, M * captured),
            "num_solved": (N * (C - 1), M * (C - 1)) if self.loss == "cross_entropy_ggn" else None,
            "converges": not self.also
            and self.groups is None
            and self.lr is None
            and all(math.isinf(t) for t in several(self.time)),
        }

    def _room_beside_kernel(self, N: int, M: int, C: int, memory_limit: int | None) -> int:
        """Bytes for captured pairs while the kernel is built; refuses a problem over ``memory_limit``."""
        limit = DEFAULT_MEMORY_LIMIT if memory_limit is None else memory_limit
        return room_beside_kernel(**self._exact_size(N, M, C), memory_limit=limit)

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
        if self.also:  # before the kernel's memory is taken
            problem = self._with_self_scores(problem, task, y, options)
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

    def _with_self_scores(self, problem: Linearized, task: Task, y: Tensor, options: dict[str, Any]) -> Linearized:
        also, removed = asked_beside(self.also), options["removed"]
        found = from_kernel(
            problem.kernel,
            problem.residual,
            log_odds(task, problem, y) if "trak_self" in also else None,
            torch.ones(len(y), dtype=torch.bool) if removed is None else ~removed,
            ridge=options["ridge"],
            influence="self_influence" in also,
        )
        return dataclasses.replace(problem, self_scores=found)

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
            return options | {"lr": self.lr / N, "lr_without": self.lr / counted, "steps": several(self.steps)}
        times = torch.tensor(several(self.time) or [math.inf], dtype=torch.float64)
        without = times[:, None] / counted  # [times, 1 or G]
        return options | {"time": times / N, "time_without": without[:, 0] if who.groups is None else without}

    def _suffixes(self) -> list[str]:
        """What the columns of each time are marked with: nothing where there is one time."""
        for option, values in (("steps", self.steps), ("time", self.time)):
            if is_several(values):
                return [f"_{option}_{str(value).removesuffix('.0')}" for value in several(values)]
        return [""]


def _inputs(test_data: Any) -> Tensor:
    """The inputs of test data: a tensor, (x, y), or an object with .x."""
    x = test_data[0] if isinstance(test_data, (tuple, list)) else getattr(test_data, "x", test_data)
    if not isinstance(x, Tensor):
        raise ConfigError(
            f"UniqueInformation: test_data must be inputs [M, ...], (x, y) or samples with .x; got {type(x).__name__}. "
            "Pass a tensor."
        )
    return x
