"""The rows G = R^T J of a Gauss-Newton matrix G^T G as an operator: never held, captured batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.directional import jvp, vjp
from infotorch.blocks.kernel import BATCH_SIZE
from infotorch.blocks.layout import flattened, split
from infotorch.blocks.products import route_of
from infotorch.blocks.weights import weights_at
from infotorch.capture import Capture, LayerPair, capture
from infotorch.capture.run import Fallback
from infotorch.task import Task, select

__all__ = ["Rows"]

KEPT_BYTES = 128 * 2**20
"""Of the data's factors that are kept from one product to the next."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """G [N*K, P] at fixed weights."""

    task: Task
    x: Any
    root: Tensor
    """R, [N, C, K]."""
    w: Tensor
    """The weights of the Jacobian, [P]: the model may have others by now."""
    fallback: Fallback | None
    _kept: list[tuple[slice, dict[str, LayerPair]]] = field(default_factory=list, repr=False, compare=False)

    def times(self, V: Tensor) -> Tensor:
        """G V, float64 [N*K, J], for V [P, J]."""
        with torch.no_grad(), weights_at(self.task, self.w):
            return torch.cat([jvp(cap, V.mT).double().flatten(0, 1) for _, cap in self._captures()])

    def back(self, U: Tensor) -> Tensor:
        """G^T U, float64 [P, J], for U [N*K, J]."""
        N, _, K = self.root.shape
        u = U.mT.reshape(-1, N, K)
        total = U.new_zeros(len(u), len(self.w))
        with torch.no_grad(), weights_at(self.task, self.w):
            for batch, cap in self._captures():
                total += flattened(vjp(cap, u[:, batch]), self.task.shapes)
        return total.mT

    def alike(self, cap: Capture) -> bool:
        """Whether each layer of the capture has the parameters and positions that the outputs see of it.

        Not so where a module, or a tied weight, is used again above the layer whose output was captured.
        """
        _, columns = next(self._columns())
        owners: dict[str, list[str]] = {}
        for name, pair in columns.items():
            for parameter in pair.shapes:
                owners.setdefault(parameter, []).append(name)
        return all(
            owners.get(parameter, [name]) == [name]
            and (name not in columns or (columns[name].T, {*columns[name].shapes}) == (pair.T, {*pair.shapes}))
            for name, pair in cap.pairs.items()
            for parameter in pair.shapes
        )

    def across(self, cap: Capture, variances: Tensor) -> Tensor:
        """J diag(variances) G^T, float64 [n*K, N*K'], for the Jacobian J of a capture of n samples and K unit seeds.

        By products of layers' factors, as the tangent kernel is: neither side's rows are formed where that is dearer.

        Args:
            cap: ``alike``, at weights that differ by rounding at most.
            variances: [P], one number a layer.
        """
        N, C, _ = self.root.shape
        scales = split(variances, self.task.shapes)
        values = self.root.new_zeros(cap.N, cap.K, N, C, dtype=torch.float64)
        with torch.no_grad():
            for batch, columns in self._columns():
                for name in (name for name in cap.pairs if name in columns):
                    pair, other = (replace(side[name], unit=False) for side in (cap.pairs, columns))
                    part = values.new_zeros(cap.N, cap.K, other.N, C)
                    route_of(pair, cap.N * cap.K, other.N * C).add(part, [pair], [other], False)
                    scale = float(scales[next(iter(pair.shapes))].flatten()[0])
                    values[:, :, batch].add_(part, alpha=scale)
        return torch.einsum("nkmc,mcr->nkmr", values, self.root.double()).reshape(cap.N * cap.K, -1)

    def _columns(self) -> Iterator[tuple[slice, dict[str, LayerPair]]]:
        """Layers' factors of the outputs, batch by batch: kept where all of them fit, else captured again."""
        if self._kept:
            yield from self._kept
            return
        found, nbytes = [], 0
        for start in range(0, len(self.root), BATCH_SIZE):
            batch = slice(start, min(start + BATCH_SIZE, len(self.root)))
            with weights_at(self.task, self.w):
                few = select(self.x, batch), None
                with capture(self.task, few, seeds="logits", fallback=self.fallback, check=False) as cap:
                    pairs = dict(cap.pairs)
            nbytes += sum(pair.nbytes() for pair in pairs.values())
            if nbytes <= KEPT_BYTES:
                found.append((batch, pairs))
            else:
                found.clear()
            yield batch, pairs
        if nbytes <= KEPT_BYTES:
            self._kept.extend(found)

    def _captures(self) -> Iterator[tuple[slice, Capture]]:
        for start in range(0, len(self.root), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            few = select(self.x, batch)
            seeds = self.root[batch].permute(2, 0, 1)  # [K, n, C]
            shape = self.task.outputs(few).shape
            with capture(self.task, (few, None), seeds=seeds.reshape(-1, *shape), fallback=self.fallback) as cap:
                yield batch, cap
