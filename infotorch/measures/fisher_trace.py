"""The trace of the Fisher information: of all parameters, by layer and by sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.factors import squared_norms
from infotorch.blocks.fisher import Labels, fisher_parts
from infotorch.blocks.layout import layer_of
from infotorch.blocks.parts import check_task
from infotorch.capture import Capture, LayerPair
from infotorch.capture.run import Fallback
from infotorch.errors import NumericsError, check_limit
from infotorch.measures.measure import Progress
from infotorch.table import Kind
from infotorch.task import Task

__all__ = ["FisherTraceResult", "fisher_trace"]

WHERE = "fisher_trace"


@dataclass(frozen=True, kw_only=True, repr=False)
class FisherTraceResult:
    """Traces in squared units of the loss over squared units of the parameters, summed over samples."""

    total: float
    """tr F of all selected parameters."""
    per_layer: Mapping[str, float] | None
    """Those of each module's own parameters, by its path, which add up to the total; None where not asked for."""
    per_sample: Tensor
    """Those of each sample's Fisher information, float64 [N], in the data's order, which add up to the total."""
    labels: Labels
    """What labels the gradients are of."""

    @property
    def kind(self) -> Kind:
        """``diagnostic``: it falls where outputs saturate, whatever was learnt."""
        return "diagnostic"

    def __repr__(self) -> str:
        N = len(self.per_sample)
        lines = [f"trace of the Fisher information: {self.total:.6g} over N = {N}, labels {self.labels} ({self.kind})"]
        return "\n".join(lines + [f"  {path or '(model)'} {part:.6g}" for path, part in (self.per_layer or {}).items()])


@torch.no_grad()
def fisher_trace(
    task: Task | Capture,
    data: Any = None,
    *,
    labels: Labels = "exact",
    per_layer: bool = True,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
    progress: Progress | None = None,
) -> FisherTraceResult:
    r"""Trace of the Fisher information, :math:`\operatorname{tr} F = \sum_n E_{y \sim p_n} \|\nabla_w \ell_n(y)\|^2`.

    Summed over samples, not averaged. By norms of gradients that are not stored, one backward a column of the loss's
    output Hessian: C - 1 for cross-entropy. Sums in float64. It falls where the network's outputs saturate, whatever it
    has learnt: a small trace late in training is no sign of little information unless the loss is read beside it.

    Args:
        task: Model, loss and parameters; or a :class:`Capture` in place of task and data, whose seeds are the labels.
        data: (x, y) or a dict; or a DataLoader of them, in one pass, whose batches are moved to the model's device.
        labels: ``"exact"``, the model's own distribution; ``("mc", draws, seed)``, labels drawn from it;
            ``"empirical"``, the data's labels, which is another quantity.
        per_layer: Also keep those of every module.
        memory_limit: Bytes of pairs: a batch that would leave more is taken some samples, then some seeds, at a time.
            Default: 2 GiB, but no limit for ``"empirical"``.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.
        progress: Called with ("batches", done, total) after each batch of a loader; total is 0 where it has no length.

    Returns:
        ``.total``, ``.per_layer`` and ``.per_sample``.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: An option is unknown, the model is in train mode, or one sample exceeds ``memory_limit``.
        DataError: A batch is empty, not finite, or of the wrong dtype or device; or the loader fails.
        NotSupported: The loss is a function, whose output Hessian nobody knows.
        NumericsError: A sample's gradient is not finite.

    Example:
        >>> task = Task(torch.nn.Linear(2, 1, bias=False).eval(), loss="mse")
        >>> fisher_trace(task, (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))).total
        5.0
    """
    check_task(WHERE, task)
    check_limit(WHERE, memory_limit)
    layers: dict[str, float] = {}
    samples: list[Tensor] = []
    options: dict[str, Any] = {"memory_limit": memory_limit, "fallback": fallback, "progress": progress}
    for part in fisher_parts(WHERE, task, data, labels, each=_squares, **options):
        if part.samples.start == part.seeds.start == 0:  # the first of a batch
            samples.append(part.cap.outputs.new_zeros(part.N, dtype=torch.float64))
        for name in part.cap.shapes:
            layers.setdefault(layer_of(name), 0.0)
        for path, squares in part.found:
            samples[-1][part.samples] += squares
            layers[path] += float(squares.sum())
    per_sample = torch.cat(samples)
    if not bool(per_sample.isfinite().all()):
        n = int((~per_sample.isfinite()).nonzero()[0])
        raise NumericsError(
            f"{WHERE}: gradients must be finite; got {float(per_sample[n])} for sample {n}. Look at the model's "
            "weights and at that sample."
        )
    return FisherTraceResult(
        total=float(per_sample.sum()), per_layer=layers if per_layer else None, per_sample=per_sample, labels=labels
    )


def _squares(pair: LayerPair) -> tuple[str, Tensor]:
    """The module that a pair's parameters belong to, and its squared norms, float64 [N], summed over seeds."""
    squares = squared_norms(pair).double()
    return layer_of(next(iter(pair.shapes))), squares if squares.dim() == 1 else squares.sum(1)
