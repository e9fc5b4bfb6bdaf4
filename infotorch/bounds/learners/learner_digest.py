"""A name for what a learner does: equal for the same one in any process, so that others are told from it."""

import functools
import hashlib
import sys
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from infotorch.bounds.ensembles.ensemble import NetworkEnsemble
from infotorch.bounds.learners.huggingface_learner import QUIET, HuggingFaceLearner
from infotorch.bounds.learners.sklearn_learner import SklearnLearner
from infotorch.bounds.learners.torch_learner import TorchLearner
from infotorch.measures.digest import digest_of_code

__all__ = ["digest_of_learner"]

READY = (TorchLearner, SklearnLearner, HuggingFaceLearner, NetworkEnsemble)
POOL = {"x", "y", "labels", "classes", "dataset"}
"""Fields of the ready ones that hold the pool, in whatever form."""
OF_A_RUN = {*QUIET, "output_dir", "logging_dir", "run_name", "seed", "data_seed"}
"""Arguments of transformers' that don't count: each run has its own, and some hold the hour."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic, torch.dtype, torch.device)
INSTALLED = {"site-packages", "dist-packages"}
DIGITS = 6


def digest_of_learner(learner: Any) -> str:
    """Six hexadecimal digits of a learner's code and options.

    Functions count with their code and the options that they close over, objects with their class's code and their
    attributes; what is installed counts by name. Arrays and tensors don't count, nor do lists and dicts of a user's
    own: they are the data, or what a learner notes down from run to run.
    """
    return hashlib.sha256(_Walk().text(learner).encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


class _Walk:
    """Writes a learner as text; each of its parts once, since they may lead back to themselves."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}

    def text(self, thing: Any) -> str:
        if isinstance(thing, PLAIN):
            return f"{type(thing).__name__} {thing!r}"
        if isinstance(thing, tuple):
            return f"({', '.join(map(self.text, thing))})"
        if id(thing) in self.seen:
            return f"seen {list(self.seen).index(id(thing))}"
        self.seen[id(thing)] = thing  # held, so that no other gets its id
        if isinstance(thing, READY):
            named = {field.name: getattr(thing, field.name) for field in fields(thing) if field.name not in POOL}
            if isinstance(thing, HuggingFaceLearner):
                named["options"] = {name: value for name, value in thing.options.items() if name not in OF_A_RUN}
            return f"{type(thing).__qualname__} {self.option(named)}"
        if isinstance(thing, types.FunctionType):
            return self.function(thing)
        if isinstance(thing, types.MethodType):
            return f"{self.text(thing.__func__)} of {self.text(thing.__self__)}"
        if isinstance(thing, functools.partial):
            return f"{self.text(thing.func)} with {self.text(thing.args)} {self.attributes(thing.keywords)}"
        if isinstance(thing, nn.Module):
            return digest_of_code(thing, state=False)
        if isinstance(thing, type):
            return _class(thing)
        if callable(getattr(thing, "get_params", None)):  # an estimator of scikit-learn
            return f"{_class(type(thing))} {self.option(thing.get_params(deep=False))}"
        if callable(thing):
            name = getattr(thing, "__qualname__", "")  # of a built-in function
            return f"{_class(type(thing))} {name} {self.attributes(getattr(thing, '__dict__', {}))}"
        return type(thing).__qualname__

    def function(self, function: types.FunctionType) -> str:
        cells, empty = function.__closure__ or (), types.CellType()  # empty: of a name that is bound later
        held = [self.text(cell.cell_contents) for cell in cells if cell != empty]
        # Its code is taken without what it closes over, which may be the whole data.
        bare = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            tuple(types.CellType() for _ in cells),
        )
        bare.__kwdefaults__, bare.__module__ = function.__kwdefaults__, function.__module__
        return f"{digest_of_code(bare)} {held}"

    def attributes(self, named: Mapping[str, Any]) -> str:
        return f"{[(name, self.text(value)) for name, value in sorted(named.items())]}"

    def option(self, value: Any) -> str:
        """Lists and dicts count here: the steps of a pipeline, the Trainer's arguments."""
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self.option, value))}]"
        if isinstance(value, Mapping):
            return f"{[(str(name), self.option(each)) for name, each in sorted(value.items(), key=str)]}"
        return self.text(value)


def _class(cls: type) -> str:
    file = Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or "")
    return f"{cls.__module__}.{cls.__qualname__}" if INSTALLED & set(file.parts) else digest_of_code(cls)
