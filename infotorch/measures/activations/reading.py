"""A layer's output as the outputs of a task: what is captured then is the layer's Jacobian."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError, check_choice, unknown
from infotorch.task import Task

__all__ = ["Layer", "Reading", "input_jacobian", "layers_of", "rows_of"]

WHERE = "activations_information"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a forward of one sample shows of a layer."""

    path: str
    width: int
    """Numbers in its output z of one sample."""
    follows: bool
    """Whether z depends on some parameter that requires grad."""


class Reading:
    """The ``forward`` of a task whose outputs are one layer's, flat or some rows of it; the whole model runs."""

    def __init__(self, task: Task, path: str, rows: Tensor | None) -> None:
        self.inner, self.path, self.rows = task.forward, path, rows

    def __call__(self, model: nn.Module, x: Any) -> Tensor:
        found: list[Tensor] = []
        # Copied in the hook: the next layer may change it in place.
        hook = model.get_submodule(self.path).register_forward_hook(lambda *call: found.append(call[2].clone()))
        try:
            model(x) if self.inner is None else self.inner(model, x)
        finally:
            hook.remove()
        z = found[0].flatten(1)
        return z if self.rows is None else z[:, self.rows]

    def task(self, task: Task) -> Task:
        """The task with z as its outputs, [N, D]."""
        return replace(task, forward=self)


def layers_of(task: Task, layers: str | Sequence[str], x: Any) -> list[Layer]:
    """The layers in the order in which they run, seen on the one sample ``x``.

    Raises:
        ConfigError: A path names no module, or one that doesn't run once and return one floating tensor [N, ...].
    """
    paths: list[Any] = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    if not all(isinstance(path, str) for path in paths):
        got = ", ".join(sorted({type(path).__name__ for path in paths}))
        raise ConfigError(f'{WHERE}: layers must be paths of modules; got {got}. Pass such as ["0", "head"].')
    modules = dict(task.model.named_modules())
    if not paths or len(set(paths)) < len(paths):
        raise ConfigError(f"{WHERE}: layers must name modules, each once; got {paths}. Pass paths of named_modules().")
    for path in paths:
        if path not in modules:
            raise unknown(WHERE, "layers", path, [name for name in modules if name])
    seen: dict[str, list[Any]] = {path: [] for path in paths}
    order: list[str] = []

    def keep(path: str, module: nn.Module, args: Any, output: Any) -> None:
        seen[path].append(output)
        order.append(path)

    with ExitStack() as hooks, torch.enable_grad():
        for path in paths:
            hooks.callback(modules[path].register_forward_hook(partial(keep, path)).remove)
        task.outputs(x)
    for path, outputs in seen.items():
        if len(outputs) != 1:
            raise ConfigError(
                f"{WHERE}: layers must name modules that run once a forward; got {path!r}, which runs {len(outputs)} "
                "times. Name a module around or beside it."
            )
        z = outputs[0]
        if not isinstance(z, Tensor) or not z.is_floating_point() or z.dim() < 1 or len(z) != 1:
            got = f"{z.dtype} {list(z.shape)} for one sample" if isinstance(z, Tensor) else type(z).__name__
            raise ConfigError(
                f"{WHERE}: a layer's output must be one tensor of floats [N, ...]; got {got} from {path!r}. "
                "Name a module whose output is one."
            )
    return [Layer(path=path, width=seen[path][0].numel(), follows=seen[path][0].requires_grad) for path in order]


def rows_of(found: Sequence[Layer], rows: int | Mapping[str, int] | None, seed: int) -> dict[str, Tensor | None]:
    """Which rows of z are read, increasing [D], of every layer; None where all are.

    Raises:
        ConfigError: A count is not in 1..d_z, or is of a layer that was not asked for.
    """
    counts: Mapping[str, Any] = rows if isinstance(rows, Mapping) else {layer.path: rows for layer in found}
    for path in counts:
        check_choice(WHERE, "rows", path, [layer.path for layer in found])
    drawn: dict[str, Tensor | None] = {}
    for layer in found:
        count = counts.get(layer.path)
        if count is None:
            drawn[layer.path] = None
            continue
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= layer.width:
            raise ConfigError(
                f"{WHERE}: rows must be a whole number in 1..{layer.width}, the width of {layer.path!r}; got {count!r}."
                " Pass rows={path: count} to give each wide layer its own."
            )
        order = torch.randperm(layer.width, generator=torch.Generator().manual_seed(seed))
        drawn[layer.path] = order[:count].sort().values
    return drawn


def input_jacobian(z: Tensor, x: Tensor) -> Tensor:
    """J_x float64 [N, D, I] of z [N, D], by one backward a row; zero where z doesn't follow x."""
    N, D = z.shape
    J = torch.zeros(N, D, x[0].numel(), dtype=z.dtype, device=x.device)
    if z.grad_fn is None:
        return J.double()
    for d in range(D):
        (row,) = torch.autograd.grad(z[:, d].sum(), x, retain_graph=d < D - 1, allow_unused=True)
        if row is not None:
            J[:, d] = row.flatten(1)
    return J.double()
