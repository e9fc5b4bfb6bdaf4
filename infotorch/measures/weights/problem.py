"""What information in the weights is asked about: task, data and curvature, checked once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from infotorch.blocks.block import Block
from infotorch.blocks.fisher import Labels as FisherLabels
from infotorch.blocks.fisher import Structure, fisher
from infotorch.blocks.loading import batches, is_loader, seeds_of_batch
from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.capture.run import Fallback
from infotorch.capture.seeds import Seeds, cotangents
from infotorch.errors import ConfigError
from infotorch.task import Task, select

__all__ = ["FORWARD_SIZE", "Labels", "Problem", "joined"]

WHERE = "weights_information"
FORWARD_SIZE = 512
"""Samples of a forward without gradients."""

Labels = Literal["exact", "sketch", "sampled", "empirical"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The options that every estimator needs."""

    task: Task
    data: Any
    """(x, y), a dict, or a loader that can be read several times."""
    labels: Labels
    passes: int
    seed: int
    relative: Tensor
    """The prior's variance of each weight in units of its scale, [P]."""
    per_layer: bool
    memory_limit: int | None
    fallback: Fallback | None
    probes: int = 16
    steps: int | Literal["auto"] = 40
    largest: float | None = None
    """The prior's variance over beta, where it is given."""

    def __post_init__(self) -> None:
        if is_loader(self.data) and iter(self.data) is self.data:
            raise ConfigError(
                f"{WHERE}: data must be readable several times; got a {type(self.data).__name__}, which gives its "
                "batches once. Pass a DataLoader, or (x, y)."
            )

    @property
    def drawn(self) -> FisherLabels:
        """The labels as ``fisher`` takes them."""
        kinds = {"sketch": "sketch", "sampled": "mc"}
        return (kinds[self.labels], self.passes, self.seed) if self.labels in kinds else self.labels  # type: ignore[return-value]  # the two words that fisher knows are left

    @property
    def options(self) -> dict[str, Any]:
        """Those that ``fisher`` and ``ntk`` share."""
        return {"memory_limit": self.memory_limit, "fallback": self.fallback}

    def fisher(self, structure: Structure) -> Block:
        return fisher(self.task, self.data, structure=structure, labels=self.drawn, **self.options)

    def batches(self) -> Iterator[tuple[Any, Tensor]]:
        """(x, y), checked, at most ``FORWARD_SIZE`` samples at a time."""
        for batch in batches(WHERE, self.task, self.data) if is_loader(self.data) else (self.data,):
            x, y = self.task.split(batch)
            for start in range(0, len(y), FORWARD_SIZE):
                part = slice(start, start + FORWARD_SIZE)
                yield select(x, part), y[part]

    @cached_property
    def whole(self) -> tuple[Any, Tensor]:
        """All samples in one batch."""
        found = list(self.batches())
        return joined([x for x, _ in found]), torch.cat([y for _, y in found])

    def root(self) -> Tensor:
        """R [N, C, K] of the outputs' curvature, R R^T its matrix for each sample, in the outputs' dtype."""
        x, y = self.whole
        slices = [slice(start, start + FORWARD_SIZE) for start in range(0, len(y), FORWARD_SIZE)]
        return torch.cat([self._root(select(x, n), y[n], number) for number, n in enumerate(slices)])

    def _root(self, x: Any, y: Tensor, number: int) -> Tensor:
        with torch.no_grad():
            outputs = self.task.outputs(x)
        if self.labels == "empirical":
            with torch.enable_grad():
                leaf = outputs.detach().requires_grad_()
                columns = [torch.autograd.grad(self.task.losses(leaf, y).sum(), leaf)[0]]
        else:
            found = cotangents(self.task, seeds_of_batch(self._seeds, number), outputs, y)
            columns = [column for column in found if column is not None]
        return torch.stack([column.flatten(1) for column in columns], 2)

    @property
    def _seeds(self) -> Seeds:
        return "fisher" if self.labels == "exact" else self.drawn  # type: ignore[return-value]  # a tuple

    @property
    def limit(self) -> int:
        """Bytes that may be held."""
        return MEMORY_LIMIT if self.memory_limit is None else self.memory_limit

    def gram_bytes(self, N: int) -> int:
        """Of the kernel of all outputs of N samples, of what is added to it, and of the rows' kernel."""
        return 8 * (2 * (N * self.outputs_per_sample) ** 2 + (N * self.rows_per_sample) ** 2)

    @cached_property
    def outputs_per_sample(self) -> int:
        """C, at all positions."""
        x, _ = next(self.batches())
        with torch.no_grad():
            return self.task.outputs(select(x, slice(0, 1)))[0].numel()

    @cached_property
    def rows_per_sample(self) -> int:
        """Columns of a sample's root."""
        if self.labels == "empirical":
            return 1
        if self.labels != "exact":
            return self.passes
        x, y = next(self.batches())
        one = slice(0, 1)
        with torch.no_grad():
            return len(cotangents(self.task, "fisher", self.task.outputs(select(x, one)), y[one]))


def joined(parts: list[Any]) -> Any:
    """Nests of tensors, one behind the other."""
    first = parts[0]
    if isinstance(first, Tensor):
        return first if len(parts) == 1 else torch.cat(parts)
    if isinstance(first, Mapping):
        return {key: joined([part[key] for part in parts]) for key in first}
    if not isinstance(first, (tuple, list)):
        return first
    entries = [joined(list(entry)) for entry in zip(*parts, strict=True)]
    return type(first)(*entries) if hasattr(first, "_fields") else type(first)(entries)
