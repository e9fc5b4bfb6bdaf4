"""Where a number that is not finite came from."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.errors import DataError, DivergenceError
from infotorch.task.classes import is_single, labelled
from infotorch.task.nest import tensors_of
from infotorch.train.batch import Batch
from infotorch.train.ranks import unwrapped

__all__ = ["diagnosis", "first_bad_gradient", "first_bad_output"]

WHERE = "LimitTrainer.step"


def first_bad_output(name: str, network: nn.Module, run: Callable[[nn.Module], Any]) -> str | None:
    """The module that first returns a number that is not finite, as ``name.path``; ``None`` where all are finite.

    NaN and +inf come before -inf, which a layer that masks classes returns on purpose.
    """
    found: dict[bool, str] = {}

    def watch(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            for tensor in _tensors(output):
                if not tensor.isfinite().all():
                    masked = not (tensor.isnan() | tensor.isposinf()).any()
                    found.setdefault(masked, path)

        return hook

    network = unwrapped(network)
    handles = [
        module.register_forward_hook(watch(f"{name}.{path}" if path else name))
        for path, module in network.named_modules()
    ]
    try:
        with torch.no_grad():
            run(network)
    finally:
        for handle in handles:
            handle.remove()
    return found.get(False, found.get(True))


def first_bad_gradient(networks: Mapping[str, nn.Module]) -> tuple[str, float] | None:
    """The first parameter whose gradient is not finite, as ``name.path``, and its first such entry."""
    for name, network in networks.items():
        for path, p in unwrapped(network).named_parameters():
            if p.grad is not None and not p.grad.isfinite().all():
                return f"{name}.{path}", float(p.grad[~p.grad.isfinite()][0])
    return None


def diagnosis(
    batch: Batch,
    networks: Mapping[str, nn.Module],
    run: Callable[[nn.Module], Tensor],
    *,
    value: float,
    step: int,
    epoch: int,
    saved: int | None,
    elsewhere: bool = False,
) -> DataError | DivergenceError:
    """The error to raise for a step whose loss is ``value``, or whose gradients are not finite where it is finite.

    Args:
        batch: The samples of the step.
        networks: The two networks, by name.
        run: A network's logits of the batch, got as the step did.
        value: The step's loss.
        step: The step, from 0.
        epoch: The epoch, from 0.
        saved: The step of the last checkpoint.
        elsewhere: The loss of this process's own samples is finite, and another process's isn't.
    """
    when = f"at step {step} (epoch {epoch})"
    for tensor in tensors_of(batch.inputs):
        wrong = tensor.isnan() | tensor.isposinf()  # -inf may be a mask
        if wrong.any():
            row = int(wrong.nonzero()[0, 0])
            return DataError(
                f"{WHERE}: inputs must be finite; got {tensor[wrong][0].item()} in {_name(batch, row)} {when}. "
                "Repair this sample, or leave it out."
            )
    if (fault := _label_fault(batch, run(unwrapped(networks["classifier"])), when)) is not None:
        return fault
    layer = next((bad for name, net in networks.items() if (bad := first_bad_output(name, net, run))), None)
    what = "loss" if not math.isfinite(value) else "gradient"
    if elsewhere and layer is None:
        text = "in another process, which names the layer"
    elif layer is not None:
        text = f"first non-finite output in {layer}"
    elif (gradient := first_bad_gradient(networks)) is not None:
        layer, text = gradient[0], f"first non-finite gradient in {gradient[0]}"
        value = gradient[1] if what == "gradient" else value
    else:
        text = "though all outputs and gradients are finite"
    remedy = "Lower lr, raise beta" + (f", or resume from step {saved}" if saved is not None else ", or clip gradients")
    return DivergenceError(
        f"{WHERE}: the {what} must be finite; got {value:g} {when}, {text}. {remedy}.",
        step=step,
        where=what,
        layer=layer,
        value=value,
    )


def _name(batch: Batch, row: int) -> str:
    return f"row {row}" if batch.ids is None else f"sample {int(batch.ids[row])}"


def _label_fault(batch: Batch, logits: Tensor, when: str) -> DataError | None:
    """The error of a label that is out of range, or of a class that the network masks."""
    y = batch.labels
    if y.is_floating_point():
        return None
    C = 2 if is_single(logits, y) else logits.shape[-1]
    there = labelled(logits, y)
    outside = there & ((y < 0) | (y >= C))
    if outside.any():
        return DataError(
            f"{WHERE}: labels must lie in 0..{C - 1} or equal ignore_index=-100; got {int(y[outside][0])} in "
            f"{_name(batch, int(outside.nonzero()[0, 0]))} {when}. Check the label map."
        )
    if is_single(logits, y):
        return None
    own = logits.gather(-1, torch.where(there, y, 0)[..., None])[..., 0]
    masked = there & own.isneginf() & ~logits.isnan().any(-1)
    if masked.any():
        return DataError(
            f"{WHERE}: labels must be of classes that are not masked; got {int(y[masked][0])}, whose logit is -inf, in "
            f"{_name(batch, int(masked.nonzero()[0, 0]))} {when}. Correct the label, or the mask."
        )
    return None


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for entry in output.values():
            yield from _tensors(entry)
    elif isinstance(output, (tuple, list)):
        for entry in output:
            yield from _tensors(entry)
