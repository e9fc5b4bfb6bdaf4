"""The adapters to other libraries' training loops, each imported when it is asked for."""

import importlib
from typing import Any

__all__ = ["ADAPTERS", "__getattr__"]

ADAPTERS = {
    "DistillCallback": "distillation.lightning",
    "DistillHFTrainer": "distillation.huggingface",
    "LimitCallback": "lightning",
    "LimitHFTrainer": "huggingface",
}
"""Which module has which class. Neither is imported with infotorch: their libraries are extras, and slow to import."""


def __getattr__(name: str) -> Any:
    """An adapter, for ``infotorch.train``.

    Raises:
        MissingExtraError: Its library is not installed.
        AttributeError: There is no such name.
    """
    if name not in ADAPTERS:
        raise AttributeError(f"module 'infotorch.train' has no attribute {name!r}")
    return getattr(importlib.import_module(f"infotorch.train.{ADAPTERS[name]}"), name)
