"""The exception classes, and what every room words alike.

Every message has one form: ``<where>: <what must hold>; got <what came>. <what to do>``.
"""

import difflib
import importlib
import math
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any


class InfotorchError(Exception):
    """Base of all that infotorch raises on its own account."""


class ShapeError(InfotorchError, ValueError):
    """Sizes disagree."""


class ConfigError(InfotorchError, ValueError):
    """An option is unknown, out of range, or contradicts another."""


class CaptureError(InfotorchError, RuntimeError):
    """A selected parameter belongs to an unsupported layer or is used outside of its layer."""


class NumericsError(InfotorchError, ArithmeticError):
    """A matrix is not positive definite, a recursion diverges, or a number is not finite."""


class DivergenceError(NumericsError):
    """A training produced a number that is not finite; the weights are as before the step."""

    def __init__(
        self, message: str, *, step: int = 0, where: str = "", layer: str | None = None, value: float = math.nan
    ) -> None:
        super().__init__(message)
        self.step = step
        """The step it happened in, counted from 0."""
        self.where = where
        """What was not finite: ``loss`` or ``gradient``."""
        self.layer = layer
        """The first module whose output, or parameter whose gradient, is not finite; ``None`` where there is none."""
        self.value = value
        """The number itself."""


class NotSupported(InfotorchError, NotImplementedError):
    """What was asked for has no exact answer here; nothing else is computed in its place."""


class DataError(InfotorchError, ValueError):
    """A sample, a label or a file of data is not what it must be."""


class StoreError(InfotorchError, RuntimeError):
    """A run on disk disagrees with the command, with its shards, or with the schema."""


class RankError(InfotorchError, RuntimeError):
    """Another of the processes that share a run has failed, or is gone."""


class MissingExtraError(InfotorchError, ImportError):
    """An optional dependency is absent."""


def require(where: str, module: str, extra: str) -> ModuleType:
    """The optional ``module``, imported.

    Raises:
        MissingExtraError: It is not installed; the text names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f'{where}: needs {module}; got {error}. Run: pip install "infotorch[{extra}]".'
        ) from error


def unknown(where: str, what: str, got: object, valid: Iterable[str | None]) -> ConfigError:
    """The error for a name outside of ``valid``; it names the nearest valid one."""
    valid, word = list(valid), got if isinstance(got, str) else ""
    names = [name for name in valid if name is not None]
    near = [name for name in names if word and word.lower() in name.lower()]
    near = near or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    told = " ".join(repr(got).split())  # an array's has several lines
    todo = f"Did you mean {near[0]!r}?" if near else "Choose one of these."
    return ConfigError(f"{where}: {what} must be one of {', '.join(map(repr, valid))}; got {told}. {todo}")


def check_choice(where: str, what: str, got: object, valid: Collection[str | None]) -> None:
    """Refuse what is not in ``valid``; of an array or a list, it could not be asked."""
    if not (got is None or isinstance(got, str)) or got not in valid:
        raise unknown(where, what, got, valid)


def path_of(where: str, name: str, got: object) -> Path:
    """A path; refuses what is none."""
    if not isinstance(got, (str, os.PathLike)):
        raise ConfigError(f"{where}: {name} must be a path; got {type(got).__name__}. Give a str or a pathlib.Path.")
    return Path(got)


def mebibytes(count: float) -> str:
    """A number of bytes in words: MiB, rounded up; bytes where it is less than one."""
    return f"{-(-int(count) // 2**20)} MiB" if count >= 2**20 else f"{int(count)} bytes"


def check_whole(where: str, name: str, value: object, least: int, todo: str | None = None) -> None:
    """Refuses what is no whole number of at least ``least``, NumPy's among them; ``todo`` is the remedy."""
    number = plain_number(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise ConfigError(
            f"{where}: {name} must be a whole number of at least {least}; got {value!r}. {todo or f'Correct {name}.'}"
        )


def check_limit(where: str, memory_limit: object) -> None:
    """Refuse what is no number of bytes."""
    if memory_limit is None:
        return
    if not isinstance(memory_limit, int) or isinstance(memory_limit, bool) or memory_limit < 1:
        raise ConfigError(
            f"{where}: memory_limit must be a whole number of bytes above 0; got {memory_limit!r}. "
            "Pass an int, as 2**30 for 1 GiB."
        )


def plain_number(value: Any) -> Any:
    """What a tensor or an array without axes holds; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def check_number(where: str, what: str, value: object, todo: str) -> float:
    """The number, of Python, NumPy or a tensor without axes; its range is the caller's to check.

    Raises:
        ConfigError: It is none.
    """
    number = plain_number(value)
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        got = f"{type(value).__name__} {str(value)[:30]!r}" if isinstance(value, str) else type(value).__name__
        raise ConfigError(f"{where}: {what} must be a number; got {got}. {todo}")
    return number


def check_seed(where: str, seed: object) -> int:
    """The seed, a whole number of at most 64 bits.

    Raises:
        ConfigError: It is none.
    """
    number = plain_number(seed)
    if not isinstance(number, int) or isinstance(number, bool) or not -(2**63) <= number < 2**64:
        raise ConfigError(f"{where}: seed must be a whole number below 2**64; got {seed!r}. Pass an int, such as 0.")
    return number
