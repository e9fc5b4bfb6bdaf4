"""Which layers hold on to samples, and how much a single one moves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.factors import squared_norms
from infotorch.blocks.layout import layer_of
from infotorch.blocks.loading import is_loader, of_batch
from infotorch.blocks.parts import parts
from infotorch.blocks.weights import check_task
from infotorch.capture import LayerPair
from infotorch.capture.run import Fallback
from infotorch.edit.passes import parts_of
from infotorch.errors import ConfigError, check_number
from infotorch.table import Kind
from infotorch.task import Task

__all__ = ["Sensitivity", "sensitivity"]

Found = tuple[str, Tensor, Tensor | None]
"""Layer; squared norms [N] or [N, K] of its gradients; those of the gradients at its outputs, where it is a matrix."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sensitivity:
    """By layer, which is the path of a module. Norms are not squared; everything is float64 on the CPU."""

    trace: dict[str, float]
    """Trace of the layer's exact Fisher matrix, summed over samples."""
    norms: dict[str, Tensor]
    """Norm of each sample's gradient in the layer's parameters, [N]."""
    output_norms: dict[str, Tensor]
    """Norm of each sample's gradient at the outputs of layers with a matrix of weights, [N]."""
    thresholds: dict[str, Tensor]
    """Quantiles of ``norms``, [Q]: clipping there leaves that share of the samples as they are."""
    norm: Tensor
    """Norm of each sample's whole gradient, [N]."""
    threshold: Tensor
    """Quantiles of ``norm``, [Q]."""
    quantiles: tuple[float, ...]

    @property
    def kind(self) -> Kind:
        """``diagnostic``: it says what samples do to gradients at these weights."""
        return "diagnostic"

    def __repr__(self) -> str:
        at = ", ".join(f"{100 * q:g} %" for q in self.quantiles)
        whole = _listed(self.threshold)
        lines = [f"sensitivity over N = {len(self.norm)} ({self.kind}): norms of gradients at {at}, trace of F"]
        lines += [f"  {path or '(model)'}: {_listed(self.thresholds[path])}; {t:.4g}" for path, t in self.trace.items()]
        return "\n".join([*lines, f"  all: {whole}; {sum(self.trace.values()):.4g}"])


@torch.no_grad()
def sensitivity(
    task: Task, data: Any, *, quantiles: Sequence[float] = (0.5, 0.9, 0.99), fallback: Fallback | None = None
) -> Sensitivity:
    """Trace of the Fisher matrix, norms of per-sample gradients and thresholds to clip them at, layer by layer.

    Everything comes from the norms of per-sample gradients; none is formed. The trace of a layer is what a change of
    its weights does to the predictions; the norms are at the data's labels, and bound what one sample's step does.
    Abadi et al., "Deep learning with differential privacy" (arXiv:1607.00133), section 5, take the median to clip at.

    Args:
        task: Model, loss and parameters.
        data: (x, y), a dict, or a loader.
        quantiles: Of the norms, in [0, 1].
        fallback: As for :func:`infotorch.fisher`.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer.
        ConfigError: A quantile is out of range.
        DataError: A batch is empty or not finite.
        NotSupported: The loss is a function, whose output Hessian nobody knows.

    Example:
        >>> task = Task(torch.nn.Linear(1, 1, bias=False).eval(), loss="mse")
        >>> sensitivity(task, (torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1))).trace
        {'': 10.0}
    """
    check_task("sensitivity", task)
    if not isinstance(quantiles, (list, tuple)):
        raise ConfigError(
            f"sensitivity: quantiles must be a list of numbers; got {type(quantiles).__name__}. Pass such as "
            "[0.5, 0.9]."
        )
    todo = "Pass shares of samples."
    quantiles = [check_number("sensitivity", "every quantile", q, todo) for q in quantiles]
    if not quantiles or not all(0 <= q <= 1 for q in quantiles):
        raise ConfigError(f"sensitivity: quantiles must be in [0, 1]; got {quantiles}. {todo}")
    squares: dict[str, list[Tensor]] = {}
    outputs: dict[str, list[Tensor]] = {}
    trace: dict[str, float] = {}
    if not is_loader(data):
        task.split(data)  # what is wrong with a sample is told with its place in the whole
    layers = dict.fromkeys(layer_of(name) for name in task.shapes)
    for number, batch in enumerate(parts_of("sensitivity", task, data)):
        with of_batch(number, is_loader(data)):
            _, y = task.split(batch)
            (part,) = parts("sensitivity", task, batch, fallback=fallback, each=_norms)
            (curved,) = parts("sensitivity", task, batch, seeds="fisher", fallback=fallback, each=_norms)
        for layer in layers:
            mine = [found for found in part.found if found[0] == layer]
            zero = torch.zeros(len(y), dtype=torch.float64)
            squares.setdefault(layer, []).append(sum((found[1] for found in mine), zero))
            if any(found[2] is not None for found in mine):
                outputs.setdefault(layer, []).append(sum((f[2] for f in mine if f[2] is not None), zero))
            more = sum(float(found[1].sum()) for found in curved.found if found[0] == layer)
            trace[layer] = trace.get(layer, 0.0) + more
    squared = {layer: torch.cat(pieces) for layer, pieces in squares.items()}
    norms = {layer: values.sqrt() for layer, values in squared.items()}
    norm = torch.stack(list(squared.values())).sum(0).sqrt()
    at = torch.tensor(list(quantiles), dtype=torch.float64)
    return Sensitivity(
        trace=trace,
        norms=norms,
        output_norms={layer: torch.cat(pieces).sqrt() for layer, pieces in outputs.items()},
        thresholds={layer: values.quantile(at) for layer, values in norms.items()},
        norm=norm,
        threshold=norm.quantile(at),
        quantiles=tuple(quantiles),
    )


def _listed(values: Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.tolist())


def _norms(pair: LayerPair) -> Found:
    weight = next(iter(pair.shapes))
    at_outputs = None
    if pair.b.dim() == 3 and len(pair.shapes[weight]) > 1:
        at_outputs = pair.b.double().square().sum((1, 2)).view(pair.N, -1).sum(1).cpu()
    return layer_of(weight), squared_norms(pair).double().cpu(), at_outputs
