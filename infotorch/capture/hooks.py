"""One forward with hooks on the layers in question; whatever happens, the hooks are gone afterwards."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from infotorch.capture.layers.rule import Product, Rule, Use
from infotorch.capture.layers.table import KINDS, rule_of
from infotorch.errors import CaptureError

__all__ = ["Call", "Expansion", "Layer", "Recording", "layers_of", "recording", "rewritten"]

Expansion = Callable[[Tensor, int], Tensor]
"""Gives an input that is the same for all samples an axis of N of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A module with a rule and at least one selected parameter, or a wrapper around others."""

    path: str
    module: nn.Module
    rule: Rule
    names: Mapping[str, str]
    """Name within the module -> full name, of the selected parameters."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Call:
    """One product of a layer, as recorded; equal to itself alone."""

    layer: Layer
    product: Product
    weight: str | None
    """The selected weight's name, None where it is frozen or not asked for."""
    bias: str | None
    input: Tensor
    version: int
    """Of the input, when the layer saw it."""
    edge: GradientEdge
    """Where the gradient at the output arrives; in another shape where the output is a view."""
    output: torch.Size
    """The output's shape."""
    dtype: torch.dtype
    """The output's."""
    axis: int = 0
    """Where samples lie in input and output."""

    @property
    def names(self) -> list[str]:
        """The selected parameters in it."""
        return [name for name in (self.weight, self.bias) if name]

    @property
    def changed(self) -> bool:
        """The input was overwritten since."""
        return self.input._version != self.version

    def carries(self, N: int) -> bool:
        """Input and output have one entry a sample on their axis of samples, and the input has its full rank."""
        d = self.axis
        same = len(self.output) > d < self.input.dim() and self.input.shape[d] == self.output[d] == N
        return same and self.product.batched(self.layer.module, self.input)

    def rows(self, dtype: torch.dtype) -> Tensor:
        """The input with samples first, as its product saw it: under autocast it may still have the wider type."""
        x = self.input.movedim(self.axis, 0) if self.axis else self.input
        return x.to(dtype) if x.is_floating_point() else x

    def ready(self) -> "Call":
        """For several passes over its input."""
        if self.axis:
            return self
        product, x = self.product.ready(self.layer.module, self.input)
        return replace(self, product=product, input=x, version=x._version)

    def placed(self, grad: Tensor) -> Tensor:
        """A gradient at the output, samples first, with an axis of one seed on the product's place."""
        grad = grad.reshape(self.output)
        grad = grad.movedim(self.axis, 0) if self.axis else grad
        return grad.unsqueeze(self.product.seed_dim)

    def zeros(self, num_seeds: int) -> Tensor:
        """Gradients at the output where nothing flows back to it, samples first, with K on the product's place."""
        sizes = list(self.output)
        sizes.insert(0, sizes.pop(self.axis))
        sizes.insert(self.product.seed_dim % (len(sizes) + 1), num_seeds)
        return torch.zeros(sizes, dtype=self.dtype, device=self.input.device)

    def nbytes(self, num_seeds: int) -> int:
        """Bytes of the input and of the gradients at the output."""
        size = self.input.element_size() if self.input.is_floating_point() else 4
        return self.input.numel() * self.input.element_size() + num_seeds * self.output.numel() * size


@dataclass(kw_only=True)
class Recording:
    """What was seen of one forward."""

    calls: list[Call] = field(default_factory=list)
    checkpointed: bool = False
    """Some layer ran within a checkpoint that will run again in the backward."""
    thread: int = field(default_factory=get_ident)
    """Forwards of other threads are not meant."""


def layers_of(modules: Mapping[str, nn.Module], selected: Mapping[str, nn.Parameter]) -> list[Layer]:
    """The layers that own selected parameters and can be captured, and wrappers, of a model's modules by path.

    Raises:
        CaptureError: A layer has an option under which a sample has no gradient of its own.
    """
    names = {id(p): name for name, p in selected.items()}
    layers, refused = [], []
    for path, module in modules.items():
        rule = rule_of(module)
        if rule is None or not rule.applies(module):
            continue
        own = {key: names[id(p)] for key, p in module._parameters.items() if p is not None and id(p) in names}
        if not own and not rule.watches(module, names.keys()):
            continue
        reason = rule.refusal(module)
        if reason:
            refused.append(f"{path or type(module).__name__!r}: {reason}")
        layers.append(Layer(path=path, module=module, rule=rule, names=own))
    if refused:
        raise CaptureError(
            f"capture: every sample must have a gradient of its own; got {'; '.join(refused)}. "
            "Replace the option, freeze the layer, or leave it out with params=[...]."
        )
    return layers


@contextmanager
def recording(
    layers: Iterable[Layer], expansions: Mapping[str, Expansion] | None = None, N: int = 0, *, silent: bool = False
) -> Iterator[Recording]:
    """Products of the layers while the context is open, in order.

    The edge is taken inside the hook: an in-place activation that follows would otherwise move the gradient past
    itself. Calls after the forward are not seen, the hooks being gone; what a checkpoint repeats in the backward must
    compute as it did, so that is run under a silent recording of the same layers.
    What the caller compiled runs eagerly meanwhile: code compiled before knows nothing of the hooks.

    Args:
        layers: From :func:`layers_of`.
        expansions: What gives the inputs of layers by path an axis of samples before they see them.
        N: Samples.
        silent: Nothing is recorded; the layers only compute as they would be.
    """
    seen = Recording()
    handles: list[Any] = []
    replaced: list[nn.Module] = []
    try:
        for layer in layers:
            recorder = _Recorder(layer, seen)
            forward = layer.rule.forward(layer.module, _ignore if silent else recorder.record)
            if forward is not None:
                replaced.append(layer.module)
                layer.module.forward = forward
                continue
            if expansions and layer.path in expansions:
                expand = partial(_expanded, expansions[layer.path], N)
                handles.append(layer.module.register_forward_pre_hook(expand, with_kwargs=True))
            if silent:
                continue
            # First of all hooks, so that the output is the layer's own and not what a caller's hook makes of it.
            handles.append(layer.module.register_forward_hook(recorder, prepend=True, with_kwargs=True))
        with _eager():
            yield seen
    finally:
        for handle in handles:
            handle.remove()
        for module in replaced:
            vars(module).pop("forward", None)  # may not have come to it


@contextmanager
def rewritten(model: nn.Module) -> Iterator[None]:
    """The model with the forwards that :func:`recording` would run, nothing being recorded."""
    rules = [(module, rule_of(module)) for module in model.modules()]
    layers = [Layer(path="", module=module, rule=rule, names={}) for module, rule in rules if rule is not None]
    with recording(layers, silent=True):
        yield


def _ignore(use: Use) -> None:
    return None


def _eager() -> AbstractContextManager[None]:
    """Compiled code stands aside; importing the compiler takes seconds, and nothing is compiled where it is absent."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _expanded(expand: Expansion, N: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if args:
        return (expand(args[0], N), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, {**kwargs, name: expand(kwargs[name], N)}


class _Recorder:
    """The hook of one layer."""

    def __init__(self, layer: Layer, seen: Recording) -> None:
        self.layer, self.seen = layer, seen

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        for use in self.layer.rule.uses(module, _bound(module, args, kwargs) if kwargs else args, output):
            self.record(use)

    def record(self, use: Use) -> None:
        if not use.output.requires_grad:
            return
        names = [self.layer.names.get(name) for name in use.params]
        seen, x = self.seen, use.a
        if not any(names) or get_ident() != seen.thread:
            return
        seen.checkpointed = seen.checkpointed or _in_checkpoint()
        seen.calls.append(
            Call(
                layer=self.layer,
                product=use.kind if isinstance(use.kind, Product) else KINDS[use.kind],
                weight=names[0],
                bias=names[1] if len(names) > 1 else None,
                input=x.detach(),
                version=x._version,
                edge=_product_edge(use.output),
                output=use.output.shape,
                dtype=use.output.dtype,
            )
        )


def _product_edge(output: Tensor) -> GradientEdge:
    """Where the output's gradient arrives, before the views by which it got its shape.

    An in-place operation on the output would replace them in the graph.
    """
    edge = get_gradient_edge(output)
    while edge.node.name() == "ViewBackward0":
        node, place = edge.node.next_functions[0]
        assert node is not None  # what is viewed has a gradient, since the view has one
        edge = GradientEdge(node, place)
    return edge


def _bound(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All that the forward takes, in its order."""
    bound = signature(type(module).forward).bind(module, *args, **kwargs)
    bound.apply_defaults()
    return tuple(bound.arguments.values())[1:]


def _in_checkpoint() -> bool:
    """Whether a checkpoint that is not reentrant keeps the tensors that autograd saves."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks is not None and "checkpoint" in getattr(hooks[0], "__qualname__", "")
