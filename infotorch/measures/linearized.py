"""The least-squares problem that a network is near its weights: kernel, residual, and the way back to outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from infotorch.blocks import ntk
from infotorch.blocks.layout import layer_of
from infotorch.errors import CaptureError
from infotorch.measures.cross_entropy import cross_entropy_ggn
from infotorch.measures.measure import Progress
from infotorch.task import Task, select

__all__ = ["Linearized", "last_layer", "linearize", "linearize_cross_entropy"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Linearized:
    """Ridge regression with the network's tangent kernel, in float64."""

    kernel: Tensor
    """[N V, N V], or [N, N] where all outputs share one kernel."""
    residual: Tensor
    """What is regressed on, [N, V]."""
    test_kernel: Tensor | None
    """Rows of test samples, [M V, N V] or [M, N]."""
    shared: bool
    """Whether the outputs share one kernel."""
    target: Tensor
    """What the outputs should be, [N, C]."""
    outputs: Callable[[Tensor], Tensor]
    """From J_n d [N, V] to outputs comparable with ``target``, [N, C]."""
    f0: Tensor
    """The network's outputs at its weights, [N, C], float64."""
    weighted: bool
    """Whether what is regressed is R^T f of the Gauss-Newton model of cross-entropy, not f."""
    self_scores: Mapping[str, Tensor] = field(default_factory=dict)
    """Columns [N] beside unique information, by name."""


def linearize(
    task: Task,
    x: Any,
    y: Tensor,
    x_test: Any,
    *,
    shared: bool,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Linearized:
    """The squared-error problem around the model's weights: the residual is target - f0, whatever the task's loss.

    Args:
        task: Model, and the parameters that train.
        x: Training inputs, [N, ...].
        y: Class labels [N], or targets [N, C].
        x_test: Test inputs [M, ...], or None.
        shared: Average the kernel over outputs, so that all share it; exact where they do (the last layer).
        memory_limit: Bytes for captured pairs and work space of the kernel.
        progress: Called with stage, steps done, steps in all.
    """
    form: Literal["full", "trace"] = "trace" if shared else "full"
    gram = ntk(task, x, outputs=form, memory_limit=memory_limit, progress=progress)
    test = None if x_test is None else ntk(task, x_test, x, outputs=form, memory_limit=memory_limit, progress=progress)
    f0 = gram.outputs
    target = task.residual_targets(y, f0.shape[1])  # [N, C]
    return Linearized(
        kernel=gram.matrix,
        residual=target - f0,
        test_kernel=None if test is None else test.matrix,
        shared=shared,
        target=target,
        outputs=lambda prediction: f0 + prediction,
        f0=f0,
        weighted=False,
    )


def linearize_cross_entropy(
    task: Task, x: Any, y: Tensor, x_test: Any, *, memory_limit: int | None = None, progress: Progress | None = None
) -> Linearized:
    """The Gauss-Newton model of cross-entropy around the model's weights, as a problem with C - 1 outputs."""
    gram = ntk(task, x, memory_limit=memory_limit, progress=progress)
    test = None if x_test is None else ntk(task, x_test, x, memory_limit=memory_limit, progress=progress)
    logits = gram.outputs
    ggn = cross_entropy_ggn(
        gram.matrix,
        logits,
        y,
        None if test is None else test.matrix,
        None if test is None else test.outputs,
    )
    return Linearized(
        kernel=ggn.kernel,
        residual=ggn.residual,
        test_kernel=ggn.test_kernel,
        shared=False,
        target=task.residual_targets(y, logits.shape[1]),
        outputs=lambda prediction: (logits + ggn.logits(prediction)).softmax(1),
        f0=logits,
        weighted=True,
    )


def last_layer(task: Task, x: Any) -> Task:
    """The task restricted to its final Linear, whose outputs are the model's: there the outputs share one kernel.

    Raises:
        CaptureError: There is no such layer; checked by the kernel of the first samples, not by names.
    """
    selected = task.parameters()
    owners = [
        path
        for path, module in task.model.named_modules()
        if isinstance(module, nn.Linear) and any(layer_of(name) == path for name in selected)
    ]
    few = select(x, slice(0, 2))
    for owner in reversed(owners):
        restricted = replace(task, params=[name for name in selected if layer_of(name) == owner])
        full, shared = ntk(restricted, few), ntk(restricted, few, outputs="trace")
        eye = torch.eye(full.C, dtype=torch.float64, device=full.values.device)
        if torch.allclose(full.values, shared.values[:, None, :, None] * eye[:, None], rtol=1e-6, atol=0):
            return restricted
    raise CaptureError(
        "UniqueInformation: layers='last' needs a final Linear whose output is the model's; got "
        f"{', '.join(map(repr, owners)) + ', which is not' if owners else 'no Linear with selected parameters'}. "
        "Give layers=[...] with names or globs of parameters."
    )
