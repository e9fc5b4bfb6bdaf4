"""Wrappers that share a module's work among devices: for a capture they are the module itself."""

from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from infotorch.capture.layers.rule import Record, Rule

__all__ = ["Wrapper"]


class Wrapper(Rule):
    """DataParallel and DistributedDataParallel: no batch is split, and no reducer hears of it."""

    def watches(self, module: nn.Module, selected: Collection[int]) -> bool:
        return True

    def forward(self, module: nn.Module, record: Record) -> Callable[..., Any]:
        inner: Any = module.module
        return lambda *inputs, **kwargs: inner(*inputs, **kwargs)
