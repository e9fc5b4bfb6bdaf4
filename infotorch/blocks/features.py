"""Rows of the outputs' Jacobian for every sample, whole or sketched: what the primal forms stand on."""

from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from infotorch.blocks.parts import Part, gathered, parts
from infotorch.blocks.per_sample import per_sample_grads
from infotorch.blocks.sketching import Kind, sketch
from infotorch.capture.run import Fallback
from infotorch.task import Task

__all__ = ["Features", "features"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Samples as a linearized network sees them; inner products of rows are those of the tangent kernel."""

    rows: Tensor
    """[N, C, k], of the forward's dtype."""
    outputs: Tensor
    """f0, [N, C]."""


@torch.no_grad()
def features(
    task: Task,
    x: Any,
    *,
    dim: int | None = None,
    seed: SupportsIndex = 0,
    kind: Kind = "sjlt",
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
) -> Features:
    """Gradients of every output of every sample in one forward and C backward passes.

    Args:
        task: Model, and the parameters of which the Jacobian is.
        x: Inputs, [N, ...].
        dim: Size of the sketch, as :func:`infotorch.sketch` takes it; at or above the number P of selected parameters,
            and by default, there is none: the rows are the Jacobian's, in parameter order.
        seed: Of the sketch.
        kind: Of the sketch.
        memory_limit: Bytes of pairs, as for :func:`infotorch.sketch`.
        fallback: As for :func:`infotorch.capture`.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer, or samples are coupled.
        ConfigError: ``dim`` or ``seed`` is out of range, the model is in train mode, or one sample exceeds
            ``memory_limit``.
        DataError: A batch is empty, not finite, or of the wrong dtype or device.
    """
    whole = dim is None or dim >= sum(p.numel() for p in task.parameters().values())
    outputs: dict[int, Tensor] = {}

    def rows(part: Part) -> Tensor:
        outputs[part.samples.start] = part.cap.outputs.flatten(1)
        if whole:
            return torch.cat([g.flatten(2) for g in per_sample_grads(part.cap).values()], 2)
        assert dim is not None
        return sketch(part.cap, dim=dim, seed=seed, kind=kind)

    found = parts("features", task, x, seeds="logits", memory_limit=memory_limit, fallback=fallback)
    values = gathered(found, rows)
    return Features(rows=values, outputs=torch.cat([outputs[n] for n in sorted(outputs)]))
