"""Which weights of a model are the probe: those of the layers asked for, without head, norms and biases."""

import difflib
import fnmatch
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError
from infotorch.task import Task, select

__all__ = ["by_output", "log_variances", "probe_weights", "requiring_grad"]

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
LOG_VARIANCE = "logvar"
"""What the names of a variational layer's log-variances end with."""


def probe_weights(task: Task, x: Any, probe_layers: str | Sequence[str]) -> dict[str, nn.Parameter]:
    """Weights by layer, in the model's order: of two axes or more, each once.

    Args:
        task: Whose model has the layers.
        x: Inputs, the first of which tells which layer is the head: the last one that runs.
        probe_layers: Paths of layers, of what contains them, or globs.

    Raises:
        ConfigError: An entry matches nothing, or nothing that is a probe's weight.
    """
    owners = {path: weights for path, module in task.model.named_modules() if (weights := _weights(module))}
    patterns = _patterns(probe_layers)
    found = _matching(patterns, owners)
    if not found <= set(patterns):
        found -= {_head(task, x, owners)} - set(patterns)
    if not found:
        raise ConfigError(
            f"task_embedding: probe_layers must match a layer beside the head; got {list(patterns)!r}, which matches "
            "the head alone. Name it in full if it is meant."
        )
    once: dict[int, tuple[str, nn.Parameter]] = {}
    for path, own in owners.items():
        for name, weight in own.items():
            if path in found:
                once.setdefault(id(weight), (_label(path, name), weight))
    return dict(once.values())


def log_variances(model: nn.Module, probe_layers: str | Sequence[str]) -> dict[str, Tensor]:
    """Log-variances of the probe's weights by layer, [O, ...]: parameters ``logvar`` or ``weight_logvar`` of a layer.

    A model that only wraps another, its one child, has the paths of the other.

    Raises:
        ConfigError: There are none, or an entry matches nothing.
    """
    children = [name for name, _ in model.named_children()]
    wrapper = f"{children[0]}." if len(children) == 1 else ""
    found: dict[str, dict[str, Tensor]] = {}
    for path, module in model.named_modules():
        own = _weights(module)
        for name, p in module._parameters.items():
            weight = name.removesuffix(LOG_VARIANCE).rstrip("_.") or "weight"
            if p is not None and name.endswith(LOG_VARIANCE) and (weight in own or name == LOG_VARIANCE):
                found.setdefault(path.removeprefix(wrapper), {})[weight] = by_output(p.detach(), module)
    if not found:
        raise ConfigError(
            f'task_embedding: method="variational" must have a model whose weights have parameters ...{LOG_VARIANCE}; '
            f"got {type(model).__name__} without. Train one by infotorch.train.variational, or pass variances to "
            "Embedding.from_variances."
        )
    layers = _matching(_patterns(probe_layers), found)
    return {
        _label(path, name): variance
        for path, each in found.items()
        if path in layers
        for name, variance in each.items()
    }


def by_output(values: Tensor, module: nn.Module) -> Tensor:
    """Entries of a layer's weight with the output channels first, [O, ...]; one number a channel is as it is.

    Those of a transposed convolution come as [I, O / G, ...] for G groups.
    """
    if not isinstance(module, nn.modules.conv._ConvTransposeNd) or values.dim() < 3:
        return values
    grouped = values.unflatten(0, (module.groups, -1))  # [G, I / G, O / G, ...]
    return grouped.transpose(1, 2).flatten(0, 1)


@contextmanager
def requiring_grad(weights: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """A frozen probe has gradients meanwhile."""
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def _weights(module: nn.Module) -> dict[str, nn.Parameter]:
    if isinstance(module, NORMS):
        return {}
    return {
        name: p
        for name, p in module._parameters.items()
        if p is not None and p.dim() > 1 and p.is_floating_point() and "bias" not in name
    }


def _patterns(probe_layers: str | Sequence[str]) -> tuple[str, ...]:
    patterns = tuple(probe_layers) if isinstance(probe_layers, (list, tuple)) else (probe_layers,)
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(
            f"task_embedding: probe_layers must be paths of layers or globs; got {probe_layers!r}. "
            'Pass ["conv1", "layer2.*"], names that model.named_modules() gives.'
        )
    return patterns


def _matching(patterns: Sequence[str], owners: Collection[str]) -> set[str]:
    """Paths of owners that a pattern names, contains or matches."""
    found: set[str] = set()
    for pattern in patterns:
        hits = {
            path
            for path in owners
            if path == pattern or path.startswith(f"{pattern}.") or fnmatch.fnmatchcase(path, pattern)
        }
        if not hits:
            near = [path for path in owners if path and pattern.startswith(f"{path}.")]
            near = near or difflib.get_close_matches(pattern, owners, n=1, cutoff=0.5)
            todo = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(map(repr, owners))}."
            raise ConfigError(
                "task_embedding: every entry of probe_layers must match a layer with a matrix of weights; got "
                f"{pattern!r}, which matches none. {todo}"
            )
        found |= hits
    return found


def _label(path: str, name: str) -> str:
    """A layer is called by its path, and by its parameter too where that is not ``weight``."""
    return path if path and name == "weight" else f"{path}.{name}".lstrip(".")


def _head(task: Task, x: Any, owners: Collection[str]) -> str:
    """The layer that runs last."""
    ran: list[str] = []
    hooks = [
        task.model.get_submodule(path).register_forward_hook(lambda *_, path=path: ran.append(path)) for path in owners
    ]
    try:
        with torch.no_grad():
            task.outputs(select(x, slice(0, 1)))
    finally:
        for hook in hooks:
            hook.remove()
    return ran[-1] if ran else ""
