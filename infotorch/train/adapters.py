"""The adapters to other libraries' training loops, each imported when it is asked for."""

import importlib
import importlib.util
import sys
from typing import Any

from infotorch.errors import require

__all__ = ["ADAPTERS", "__getattr__", "lightning_callback"]

ADAPTERS = {
    "DistillCallback": "distillation.lightning",
    "DistillHFTrainer": "distillation.huggingface",
    "FisherTraceCallback": "trace_lightning",
    "FisherTraceHFCallback": "trace_huggingface",
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


def lightning_callback(where: str) -> Any:
    """The class of Lightning's callbacks.

    Its two packages have one each, and older trainers take those of their own alone: the one that the program uses
    counts.

    Raises:
        MissingExtraError: Neither is installed.
    """
    packages = {"lightning.pytorch": "lightning", "pytorch_lightning": "pytorch_lightning"}
    found = [name for name, top in packages.items() if importlib.util.find_spec(top) is not None]
    used = [name for name in found if name in sys.modules]
    return require(where, [*used, *found, "lightning.pytorch"][0], "lightning").Callback
