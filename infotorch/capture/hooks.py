"""One forward with hooks on the layers in question; whatever happens, the hooks are gone afterwards."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from infotorch.capture.layers.rule import Rule
from infotorch.capture.layers.table import rule_of
from infotorch.errors import CaptureError

__all__ = ["Layer", "Use", "layers_of", "recording"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A module with a rule and at least one selected parameter."""

    path: str
    module: nn.Module
    rule: Rule
    weight: str | None
    """The selected weight's name, None where it is frozen or not asked for."""
    bias: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Use:
    """One call of a layer; equal to itself alone."""

    layer: Layer
    input: Tensor
    version: int
    """Of the input, when the layer saw it."""
    edge: GradientEdge
    output: torch.Size
    """The output's shape."""
    dtype: torch.dtype
    """The output's."""

    @property
    def changed(self) -> bool:
        """The input was overwritten since."""
        return self.input._version != self.version

    def carries(self, N: int) -> bool:
        """Input and output have one entry a sample on their first axis, and the input has its full rank."""
        return self.input.shape[:1] == self.output[:1] == (N,) and self.layer.rule.batched(
            self.layer.module, self.input
        )

    def zeros(self, num_seeds: int) -> Tensor:
        """Gradients at the output where nothing flows back to it, with K on the rule's ``seed_dim``."""
        dim = self.layer.rule.seed_dim % (len(self.output) + 1)
        sizes = (*self.output[:dim], num_seeds, *self.output[dim:])
        return torch.zeros(sizes, dtype=self.dtype, device=self.input.device)

    def nbytes(self, num_seeds: int) -> int:
        """Bytes of the input and of the gradients at the output."""
        size = self.input.element_size() if self.input.is_floating_point() else 4
        return self.input.numel() * self.input.element_size() + num_seeds * self.output.numel() * size


def layers_of(model: nn.Module, selected: Mapping[str, nn.Parameter]) -> list[Layer]:
    """The layers that own selected parameters and can be captured, in module order.

    Raises:
        CaptureError: A layer has an option under which a sample has no gradient of its own.
    """
    names = {id(p): name for name, p in selected.items()}
    layers, refused = [], []
    for path, module in model.named_modules():
        own = {key: names[id(p)] for key, p in module._parameters.items() if p is not None and id(p) in names}
        rule = rule_of(module)
        if rule is None or not own.keys() & {"weight", "bias"}:
            continue
        reason = rule.refusal(module)
        if reason:
            refused.append(f"{path or type(module).__name__!r}: {reason}")
        layers.append(Layer(path=path, module=module, rule=rule, weight=own.get("weight"), bias=own.get("bias")))
    if refused:
        raise CaptureError(
            f"capture: every sample must have a gradient of its own; got {'; '.join(refused)}. "
            "Replace the option, freeze the layer, or leave it out with params=[...]."
        )
    return layers


@contextmanager
def recording(layers: list[Layer]) -> Iterator[list[Use]]:
    """Calls of the layers while the context is open, in order.

    The edge is taken inside the hook: an in-place activation that follows would otherwise move the gradient past
    itself. Calls after the forward (checkpointing repeats some in the backward) are not seen, the hooks being gone.
    What the caller compiled runs eagerly meanwhile: code compiled before knows nothing of the hooks.
    """
    uses: list[Use] = []
    handles: list[Any] = []
    try:
        for layer in layers:
            hook = _Hook(layer, uses)
            # First of all hooks, so that the output is the layer's own and not what a caller's hook makes of it.
            handles.append(layer.module.register_forward_hook(hook, prepend=True, with_kwargs=True))
        with _eager():
            yield uses
    finally:
        for handle in handles:
            handle.remove()


def _eager() -> AbstractContextManager[None]:
    """Compiled code stands aside; importing the compiler takes seconds, and nothing is compiled where it is absent."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@dataclass(frozen=True)
class _Hook:
    layer: Layer
    uses: list[Use]

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        if not output.requires_grad:
            return
        x = args[0] if args else kwargs["input"]
        self.uses.append(
            Use(
                layer=self.layer,
                input=x.detach(),
                version=x._version,
                edge=get_gradient_edge(output),
                output=output.shape,
                dtype=output.dtype,
            )
        )
