"""Names for things that JSON can't hold: the same content has the same digest, on any device and in any process."""

import functools
import hashlib
import re
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["digest", "digest_of_code", "digest_of_model", "plain_repr"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, torch.Size)
_OF_MODULE = set(vars(nn.Module())) - {"training"}
"""What every module has: its parameters, buffers and children, which are visited by name, and hooks."""
_LIBRARIES = (
    Path(sysconfig.get_path("stdlib")),
    *(Path(str(package.__file__)).parent for package in (torch, np)),
    Path(__file__).parents[1],
)
"""Code that a version names; everything else is known by its bytecode."""
_INSTALLED = ("site-packages", "dist-packages")


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of dtypes, shapes and bytes, in order."""
    total = hashlib.sha256()
    for tensor in tensors:
        dense = tensor.detach().cpu().contiguous()
        total.update(f"{dense.dtype}{list(dense.shape)}".encode())
        total.update(dense.reshape(-1).view(torch.uint8).numpy().data if dense.numel() else b"")
    return total.hexdigest()


def digest_of_model(model: nn.Module) -> str:
    """What the model is, its code and its numbers: ``digest_of_code`` with all parameters and buffers by name."""
    return digest_of_code(model)


def digest_of_code(thing: Any, *, state: bool = True) -> str:
    """SHA-256 of what a function, a model or any other callable does.

    Functions count with bytecode, constants, defaults, the values they close over, and those functions, classes and
    constants among their globals that an edit of the user's files changes; objects with their class's code and their
    attributes; modules with those of all their children. Libraries (Python's own, torch, NumPy, infotorch) count by
    name. Where a function stands, line numbers and addresses don't count.

    Args:
        thing: The callable, or the model.
        state: Whether the parameters and buffers of ``thing`` count, those that are never saved included.

    Returns:
        64 hexadecimal digits, after the name of the Python whose bytecode they are of, where there is any:
        "cpython-311:9f86...".
    """
    walk = _Walk(inside=not state)
    sha256 = hashlib.sha256(walk.text(thing).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{sys.implementation.cache_tag}:{sha256}" if walk.has_bytecode else sha256


def plain_repr(thing: Any) -> str:
    """``repr(thing)`` without addresses."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))


class _Walk:
    """Writes a thing as text; functions, classes and objects once each, since they may lead back to themselves."""

    def __init__(self, *, inside: bool) -> None:
        # The objects are held, not their ids alone: a freed one would give its id to another.
        self.seen: dict[int, tuple[int, Any]] = {}
        self.inside = inside  # a module whose parameters are written already, or don't count
        self.has_bytecode = False

    def text(self, thing: Any) -> str:
        if isinstance(thing, _PLAIN):
            return f"{type(thing).__name__} {thing!r}"
        # Whether two equal tuples are one object depends on whether their file was compiled or loaded.
        if isinstance(thing, tuple):
            return f"tuple [{', '.join(map(self.text, thing))}]"
        if isinstance(thing, frozenset):
            return f"set {sorted(map(plain_repr, thing))}"
        if isinstance(thing, types.CodeType):
            return self._code(thing)
        if isinstance(thing, Tensor):
            return f"tensor {digest([thing])}"
        if isinstance(thing, np.ndarray) and thing.dtype != object:
            return f"array {thing.dtype}{thing.shape} {hashlib.sha256(np.ascontiguousarray(thing).data).hexdigest()}"
        if id(thing) in self.seen:
            return f"seen {self.seen[id(thing)][0]}"
        self.seen[id(thing)] = (len(self.seen), thing)
        if isinstance(thing, list):
            return f"list [{', '.join(map(self.text, thing))}]"
        if isinstance(thing, set):  # its order follows from the process
            return f"set {sorted(map(plain_repr, thing))}"
        if isinstance(thing, Mapping):
            return f"map [{', '.join(f'{self.text(key)}: {self.text(value)}' for key, value in thing.items())}]"
        return self._callable(thing)

    def _callable(self, thing: Any) -> str:
        if isinstance(thing, types.FunctionType):
            return self._function(thing)
        if isinstance(thing, types.MethodType):
            return f"method {self.text(thing.__func__)} of {self.text(thing.__self__)}"
        if isinstance(thing, functools.partial):
            return f"partial {self.text([thing.func, thing.args, dict(sorted(thing.keywords.items()))])}"
        if isinstance(thing, (staticmethod, classmethod)):
            return f"{type(thing).__name__} {self.text(thing.__func__)}"
        if isinstance(thing, property):
            return f"property {self.text([thing.fget, thing.fset])}"
        if isinstance(thing, functools.cached_property):
            return f"property {self.text(thing.func)}"
        if isinstance(thing, type):
            return self._class(thing)
        if isinstance(thing, nn.Module):
            return self._module(thing)
        if hasattr(thing, "__wrapped__"):
            return f"wrapped {self.text(thing.__wrapped__)}"
        if _of_library(type(thing)) or not hasattr(thing, "__dict__"):
            return f"{_name(type(thing))} {plain_repr(thing)}"
        return f"object {self.text(type(thing))} {self.text(vars(thing))}"

    def _code(self, code: types.CodeType) -> str:
        self.has_bytecode = True
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        return f"code {counts} {code.co_code.hex()} {code.co_names} {self.text(code.co_consts)}"

    def _function(self, function: types.FunctionType) -> str:
        if _of_library(function):
            return f"function {_name(function)}"
        empty = types.CellType()  # of a name that is bound later
        cells = [cell.cell_contents for cell in function.__closure__ or () if cell != empty]
        defaults = [function.__defaults__, function.__kwdefaults__]
        known = function.__globals__
        found = [name for name in sorted(_names(function.__code__)) if name in known and not name.startswith("__")]
        named = {name: self.text(known[name]) for name in found if _counts(known[name], function.__module__)}
        return f"function {self.text(function.__code__)} {self.text(defaults)} {self.text(cells)} {named}"

    def _class(self, cls: type) -> str:
        if _of_library(cls):
            return f"class {_name(cls)}"
        own = {
            name: value
            for name, value in sorted(vars(cls).items())
            if not (name.startswith("__") and name.endswith("__") and not callable(value))
            and isinstance(value, (*_PLAIN, *_BEHAVIOR))
        }
        return f"class {cls.__qualname__} {self.text(own)} from {self.text(cls.__bases__)}"

    def _module(self, model: nn.Module) -> str:
        own = {name: value for name, value in sorted(vars(model).items()) if name not in _OF_MODULE}
        outermost, self.inside = not self.inside, True
        text = f"module {self.text(type(model))} {self.text(own)} {self.text(dict(model._modules))}"
        self.inside = not outermost
        if not outermost:
            return text
        state = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        return f"{text} {plain_repr(model)} {[name for name, _ in state]} {digest(value for _, value in state)}"


_BEHAVIOR = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property, tuple)


def _names(code: types.CodeType) -> set[str]:
    """Every name that the code, or code in it, may look up."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*inner)


def _counts(value: Any, module: str) -> bool:
    """Whether a global is a constant, or a function or class of the same module or of another file of the user's."""
    if isinstance(value, (types.FunctionType, type)):
        return value.__module__ == module or not set(_file(value).parts) & set(_INSTALLED)
    return isinstance(value, _PLAIN)


def _file(thing: Any) -> Path:
    """The file of the module that a function or class stands in; empty where it has none."""
    return Path(getattr(sys.modules.get(str(thing.__module__)), "__file__", None) or "")


def _of_library(thing: Any) -> bool:
    """Whether a function or class comes with Python, torch, NumPy or infotorch."""
    path = _file(thing)
    return thing.__module__ in sys.builtin_module_names or any(
        path.is_relative_to(folder) and not set(path.relative_to(folder).parts) & set(_INSTALLED)
        for folder in _LIBRARIES
    )


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
