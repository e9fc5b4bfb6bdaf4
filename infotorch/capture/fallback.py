"""Gradients of parameters that no rule covers, a sample at a time under one vmap."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.capture.assemble import formed_pair
from infotorch.capture.hooks import rewritten
from infotorch.capture.pair import LayerPair
from infotorch.capture.probe import kept_attributes
from infotorch.errors import CaptureError, ConfigError, mebibytes
from infotorch.task import Task, mapped, num_samples

__all__ = ["FALLBACK_BYTES", "dense_pairs"]

FALLBACK_BYTES = 2**28
"""Of gradients that one vmap forms at the most."""


def dense_pairs(
    task: Task,
    x: Any,
    names: Sequence[str],
    cotangents: Sequence[Tensor],
    memory_limit: int | None,
    *,
    seeds: bool,
) -> dict[str, LayerPair]:
    """The gradients themselves as pairs, [N, K, 1, size] beside a single one.

    Args:
        task: Whose outputs are differentiated.
        x: Samples [N, ...].
        names: Parameters in question.
        cotangents: K cotangents [N, ...] of the outputs, the loss's gradient at them being one.
        memory_limit: Bytes of gradients.
        seeds: Pairs keep the axis of K.

    Raises:
        CaptureError: torch.func cannot follow the model's forward.
        ConfigError: One sample's gradients exceed ``memory_limit``.
    """
    params = {name: task.parameters()[name].detach() for name in names}
    N, K = num_samples(x), len(cotangents)
    sent = torch.stack([*cotangents], 1)  # [N, K, ...]
    # What vmap holds of a sample beside its gradients is of their size for small nets and less for others.
    each = 2 * K * sum(p.numel() * p.element_size() for p in params.values())
    limit = FALLBACK_BYTES if memory_limit is None else memory_limit
    if memory_limit is not None and each > limit:
        raise ConfigError(
            f"capture: memory_limit must hold the gradients of one sample (needs {mebibytes(each)}); got "
            f"{mebibytes(limit)}. Raise memory_limit or restrict params."
        )
    model = _Outputs(task)

    def rows(x_n: Any, sent_n: Tensor) -> dict[str, Tensor]:
        def outputs(params: Mapping[str, Tensor]) -> Tensor:
            one = mapped(lambda tensor: tensor[None], x_n)
            full = {f"model.{name}": p for name, p in params.items()}
            result = torch.func.functional_call(model, full, (one,))
            assert isinstance(result, Tensor)
            return result[0]

        _, vjp, *_ = torch.func.vjp(outputs, params)
        formed: dict[str, Tensor] = torch.func.vmap(vjp)(sent_n)[0]
        return formed

    chunk = max(1, min(N, min(limit, FALLBACK_BYTES) // max(each, 1)))
    with kept_attributes(task.model), rewritten(task.model), torch.enable_grad():
        try:
            formed = torch.func.vmap(rows, chunk_size=chunk)(x, sent)
        except (RuntimeError, ValueError, TypeError) as error:
            raise CaptureError(
                f"capture: fallback must follow the forward under torch.func; got: {str(error).splitlines()[0]}. "
                f"Freeze {', '.join(map(repr, names))}, or pass params=[...] without them."
            ) from error
    return {name: formed_pair(name, G.detach(), seeds) for name, G in formed.items()}


class _Outputs(nn.Module):
    """The task's outputs as a module, so that torch.func swaps parameters whatever the task's forward does."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model, self.task = task.model, task

    def forward(self, x: Any) -> Tensor:
        return self.task.outputs(x)
