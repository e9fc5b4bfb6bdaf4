"""Which axis of every layer's input follows the batch, found on fake tensors of two batch sizes.

A position embedding that is looked up once for all samples has one gradient for all of them. Its sizes don't give it
away where there are as many positions as samples; those of two forwards do. No number is computed.
"""

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from infotorch.capture.hooks import Call, Expansion, Layer, recording
from infotorch.errors import CaptureError
from infotorch.task import Task, mapped, tensors_of

__all__ = ["Verdict", "follow", "kept_attributes", "verdict_of"]

SIZES = (2, 3)
"""Of the two batches; 1 would be squeezed away by some models."""

# What a forward may raise on tensors without numbers: branches on data, kernels that know no fake tensors. What is
# wrong with the model itself is raised again by its real forward.
_CANNOT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(kw_only=True)
class Verdict:
    """What the forwards on fake tensors said of a model, for inputs of some shapes."""

    ran: bool
    """They went through; if not, nothing is known."""
    axes: Sequence[tuple[str, int | None]] = ()
    """Of each product in order: the layer's path, and the axis of samples, None where there is none."""
    ranks: Sequence[int | None] = ()
    """How many axes the input of each had; None where that is not known."""
    expansions: Mapping[str, Expansion] = field(default_factory=dict)
    """What gives the inputs of layers by path an axis of samples."""
    proved: bool = False
    """The first real batch has confirmed it."""

    @property
    def apart(self) -> tuple[str, ...]:
        """Paths of layers that don't carry the batch and can't be made to."""
        return tuple(dict.fromkeys(path for path, axis in self.axes if axis is None))

    def withdraw(self) -> None:
        """Layers that were made to carry the batch are apart after all: the outputs were not the same."""
        ranks = zip(self.axes, self.ranks, strict=True)
        self.ranks = [None if path in self.expansions else rank for (path, _), rank in ranks]
        self.axes = [(path, None if path in self.expansions else axis) for path, axis in self.axes]
        self.expansions = {}


def verdict_of(task: Task, x: Any, layers: Sequence[Layer], *, run: bool) -> Verdict | None:
    """The model's verdict for inputs like x, run once; where it was not, and ``run`` is False, None."""
    known = _KNOWN.setdefault(task.model, {})
    key = (
        tuple((t.shape[1:], t.dtype, t.device) for t in tensors_of(x)),
        tuple(x) if isinstance(x, Mapping) else (),
        tuple((layer.path, id(type(layer.module)), *layer.names) for layer in layers),
        id(task.forward),
    )
    forward, verdict = known.get(key, (None, None))
    if verdict is not None and (task.forward if forward is None else forward()) is task.forward:
        return verdict
    if not run:
        return None
    while len(known) >= MOST_KNOWN:
        del known[next(iter(known))]
    verdict = _verdict(task, x, layers)
    known[key] = (None if task.forward is None else _reference(task.forward), verdict)
    return verdict


MOST_KNOWN = 256
"""Verdicts that are kept of one model; sequences come in many lengths."""

_Known = dict[Any, tuple[Callable[[], Any] | None, Verdict]]
_KNOWN: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()
"""Verdicts by model, and by what they depend on; they hold no tensor and no module. A forward is known by its address,
and by a reference that says whether it is still the same."""


def _reference(forward: Callable[..., Any]) -> Callable[[], Any]:
    """It may hold the model, which must not be kept alive."""
    try:
        return weakref.ref(forward)
    except TypeError:
        return lambda: None  # it can't be told from another one later


def follow(calls: Sequence[Call], verdict: Verdict) -> list[Call]:
    """The calls with the axes of samples that the verdict found.

    Raises:
        CaptureError: The forward made other calls than it did on fake tensors.
    """
    found = [(call.layer.path, call.input.dim()) for call in calls]
    expected = [(path, rank) for (path, _), rank in zip(verdict.axes, verdict.ranks, strict=True)]
    alike = zip(found, expected, strict=False)
    if len(found) != len(expected) or any(path != p or rank not in (None, r) for (p, r), (path, rank) in alike):
        raise CaptureError(
            f"capture: the forward must call the same layers whatever the batch; got {len(calls)} products where "
            f"{len(verdict.axes)} were expected, or inputs with other axes. Make it independent of the number of "
            "samples and of their values, and copy a model before you change how it computes."
        )
    return [replace(call, axis=axis) if axis else call for call, (_, axis) in zip(calls, verdict.axes, strict=True)]


def _verdict(task: Task, x: Any, layers: Sequence[Layer]) -> Verdict:
    expansions: dict[str, Expansion] = {}
    with kept_attributes(task.model), _quiet():
        try:
            before = _both(task, x, layers, expansions)
        except _CANNOT:
            return Verdict(ran=False)
        axes, outputs = _axes(before)
        ranks: list[int | None] = [call.input.dim() for call in before[0][0]]
        for path in dict.fromkeys(path for path, axis in axes if axis is None):
            for expansion in (_new_axis, _first_axis):
                try:
                    after = _both(task, x, layers, {**expansions, path: expansion})
                except _CANNOT:
                    continue
                found = _axes(after)
                if found[1] == outputs and all(axis is not None for other, axis in found[0] if other == path):
                    expansions[path], axes = expansion, found[0]
                    ranks = [call.input.dim() for call in after[0][0]]
                    break
    return Verdict(ran=True, axes=axes, ranks=ranks, expansions=expansions)


_Seen = tuple[list[Call], torch.Size]


def _both(task: Task, x: Any, layers: Sequence[Layer], expansions: Mapping[str, Expansion]) -> list[_Seen]:
    """The calls and the outputs' shape of a forward of either size."""
    seen = []
    for n in SIZES:
        with FakeTensorMode(allow_non_fake_inputs=True):
            fake = mapped(partial(_resized, n), x)
            with _own_casts(), torch.enable_grad(), recording(layers, expansions, n) as forward:
                outputs = task.outputs(fake)
            seen.append((forward.calls, outputs.shape))
    return seen


def _resized(n: int, t: Tensor) -> Tensor:
    return torch.empty(n, *t.shape[1:], dtype=t.dtype, device=t.device)


@contextmanager
def _quiet() -> Iterator[None]:
    """A trial that fails is no news to the caller, but torch logs it as an error."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def _own_casts() -> Iterator[None]:
    """Casts of weights that autocast makes here are not those of a later forward."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _axes(seen: Sequence[_Seen]) -> tuple[list[tuple[str, int | None]], list[torch.Size]]:
    (first, _), (second, _) = seen
    if len(first) != len(second):  # what depends on the number of samples follows nothing
        return [(call.layer.path, None) for call in first], [shape for _, shape in seen]
    axes = [(one.layer.path, _axis(one, other)) for one, other in zip(first, second, strict=True)]
    return axes, [shape for _, shape in seen]


def _axis(one: Call, other: Call) -> int | None:
    """The axis that has the size of either batch, in input and output, where the product can have samples on it."""
    places = range(min(one.input.dim(), len(one.output)) if one.product.any_axis else 1)
    for d in places:
        pair = zip((replace(one, axis=d), replace(other, axis=d)), SIZES, strict=True)
        if all(call.carries(n) for call, n in pair):
            return d
    return None


def _new_axis(x: Tensor, N: int) -> Tensor:
    return x.expand(N, *x.shape)


def _first_axis(x: Tensor, N: int) -> Tensor:
    return x.expand(N, *x.shape[1:])


@contextmanager
def kept_attributes(model: nn.Module) -> Iterator[None]:
    """Whatever a forward sets on modules (a cache, a buffer) is what it was before."""
    kept = [(module, dict(vars(module)), _registered(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, own, registered in kept:
            _restore(vars(module), own)
            for name, entries in registered.items():
                _restore(own[name], entries)


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    if now.keys() != before.keys() or any(now[name] is not entry for name, entry in before.items()):
        for name in now.keys() - before.keys():
            del now[name]
        now.update(before)


def _registered(module: nn.Module) -> dict[str, dict[str, Any]]:
    return {name: dict(vars(module)[name]) for name in ("_parameters", "_buffers")}
