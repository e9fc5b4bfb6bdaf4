"""The tangent kernel as a sum over layers, each in the prior's units."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from infotorch.blocks.kernel import layer_kernels, ntk
from infotorch.blocks.layout import layer_of, split
from infotorch.capture import LayerPair
from infotorch.errors import NotSupported
from infotorch.measures.weights.problem import Problem

__all__ = ["LayerKernels"]


@dataclass(frozen=True, kw_only=True)
class LayerKernels:
    """J_l Lambda_l J_l^T of every layer l, [N*C, N*C]; or their sum alone, under the path of the whole model."""

    problem: Problem
    x: Any
    rows: int
    """N*C."""
    apart: bool
    """Layers one by one."""

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """(module path, kernel): held from one pass where all fit ``memory_limit``, else computed again each time."""
        task, options = self.problem.task, self.problem.options
        if not self.apart:
            yield "", ntk(task, self.x, **options).matrix
        elif 8 * self.rows**2 * (len(self._variances) + 1) <= self.problem.limit:
            yield from self._held.items()
        else:
            for path, variance in self._variances.items():
                own = replace(task, params=[name for name in task.shapes if layer_of(name) == path])
                yield path, ntk(own, self.x, **options).matrix.mul_(variance)

    @cached_property
    def _held(self) -> dict[str, Tensor]:
        kernels, _ = layer_kernels(self.problem.task, self.x, self._key, **self.problem.options)
        return {path: K.view(self.rows, self.rows).mul_(self._variances[path]) for path, K in kernels.items()}

    def _key(self, pair: LayerPair) -> str:
        paths = [layer_of(name) for name in pair.shapes]
        variances = {self._variances[path] for path in paths}
        if len(variances) > 1:
            raise NotSupported(
                f"weights_information: parameters of one layer must share a prior variance; got {sorted(variances)} "
                f'for {list(pair.shapes)}. Give their layers one, or pass estimator="dense".'
            )
        return paths[0]

    @property
    def _variances(self) -> dict[str, float]:
        """By module path, in parameter order."""
        parts = split(self.problem.relative, self.problem.task.shapes)
        return {layer_of(name): float(part.flatten()[0]) for name, part in parts.items() if part.numel()}
