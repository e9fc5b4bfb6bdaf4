"""A user's task, from ``package.module:callable`` or ``path/to/file.py:callable``."""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import pathlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType, TracebackType
from typing import Any

from infotorch.bounds.runs.experiment import Experiment
from infotorch.cli.failures import Usage, named
from infotorch.errors import ConfigError
from infotorch.task import Task


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What the user's function returned."""

    task: Task
    data: Any = None
    test_data: Any = None
    again: Callable[[], "Loaded"] | None = None
    """Calls the function once more, for a second network."""


class BadTaskError(ConfigError):
    """The user's own code does not give a task."""


class Blame:
    """Turns whatever the user's code raises inside of it into one line that names the place in the user's file."""

    def __init__(self, where: str, doing: str, file: str | None) -> None:
        self.where, self.doing, self.file = where, doing, file

    def __enter__(self) -> "Blame":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit | BadTaskError):
            return
        raise BadTaskError(
            f"{self.where}: {self.doing}; got {named(error)}{self.place(error)}. "
            "Mend it there, or add --debug for the trace."
        ) from error

    def place(self, error: BaseException) -> str:
        """`` (file, line n)``: the innermost line of the user's file that the error went through."""
        if isinstance(error, SyntaxError):
            return ""  # its text names file and line
        frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
        own = [f for f in frames if self.file and f[0] == self.file]
        file, line = (own or frames)[-1]
        return f" ({pathlib.Path(file).name}, line {line})"


def load(spec: str, *, where: str = "score") -> Loaded:
    """The task, and the data where the function returned some too.

    Raises:
        Usage: ``spec`` has no colon.
        ConfigError: The module doesn't import, has no such callable, or returns something else.
    """
    what, function, file = function_of(spec, where, "Write: def {name}(): return Task(model).")

    def call() -> Loaded:
        return returned(where, what, function, file)

    return replace(call(), again=call)


def load_experiment(spec: str, *, where: str) -> Experiment:
    """What the user's function returns for bounds.

    Raises:
        Usage: ``spec`` has no colon.
        ConfigError: The module doesn't import, has no such callable, or returns something else.
    """
    todo = "Write: def {name}(): return Experiment(labels=labels, train_fn=train_fn)."
    what, function, file = function_of(spec, where, todo)
    result = called(where, f"{what} must return an Experiment", function, file)
    if not isinstance(result, Experiment):
        raise BadTaskError(
            f"{where}: {what} must return an infotorch.bounds.Experiment; got {kind_of(result)}. "
            "Return Experiment(labels=labels, train_fn=train_fn)."
        )
    return result


def function_of(spec: str, where: str, todo: str) -> tuple[str, Callable[..., Any], str | None]:
    """What ``spec`` names, in words; the function itself; its file."""
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise Usage(
            f"{where}: TASK must be package.module:callable or path/to/file.py:callable; got {spec!r}. "
            "Name the function that returns the task after a colon."
        )
    module = module_of(where, place)
    if not hasattr(module, name):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        own = [n for n in names if getattr(getattr(module, n), "__module__", None) == module.__name__]
        hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(own) or 'no function of its own'}."
        raise BadTaskError(f"{where}: {place} must have the callable that TASK names; got {name!r}. {hint}")
    function = getattr(module, name)
    if not callable(function):
        raise BadTaskError(
            f"{where}: {name} in {place} must be a function that returns a Task; got {kind_of(function)}. "
            f"{todo.format(name=name)}"
        )
    return f"{name}() in {place}", function, getattr(module, "__file__", None)


def module_of(where: str, place: str) -> ModuleType:
    if not place.endswith(".py"):
        sys.path.insert(0, "")  # as python -m does; the console script doesn't
        found = importlib.util.find_spec(place.partition(".")[0]) if place.partition(".")[0] else None
        if found is None:
            raise BadTaskError(
                f"{where}: {place} must be a module that Python finds; got no module {place.partition('.')[0]!r}. "
                "Start in the folder that holds it, or give path/to/file.py:callable."
            )
        with Blame(where, f"{place} must import", None) as blame:
            spec = importlib.util.find_spec(place)
            blame.file = spec.origin if spec else None
            return importlib.import_module(place)
    path = pathlib.Path(place).resolve()
    if not path.is_file():
        raise BadTaskError(f"{where}: the task's file must exist; got {place}.{beside(path)}")
    sys.path.insert(0, str(path.parent))  # its own imports work as under python file.py
    name = path.stem if path.stem not in sys.modules else f"task_file_{path.stem}"  # a random.py is not Python's random
    made = importlib.util.spec_from_file_location(name, path)
    assert made is not None and made.loader is not None
    module = importlib.util.module_from_spec(made)
    with Blame(where, f"{place} must import", str(path)), contextlib.ExitStack() as undo:
        sys.modules[name] = module  # pickle, and the workers of a DataLoader, look classes up there
        undo.callback(sys.modules.pop, name)
        made.loader.exec_module(module)
        undo.pop_all()
    return module


def beside(path: pathlib.Path) -> str:
    """`` Did you mean 'x.py'?`` where the folder has a file of nearly that name."""
    files = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, files, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else " Check the path."


def called(where: str, doing: str, function: Any, file: str | None) -> Any:
    """What the function returns; it must need no arguments."""
    with Blame(where, doing, file):
        needed = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if needed:
            raise BadTaskError(
                f"{where}: {doing.partition(' must ')[0]} must need no arguments; got {', '.join(needed)}. "
                "Give them defaults, or name a function that calls it."
            )
        return function()


def returned(where: str, what: str, function: Any, file: str | None) -> Loaded:
    """What the function returns, checked."""
    result = called(where, f"{what} must return a Task", function, file)
    parts = result if isinstance(result, tuple) else (result,)
    if not parts or len(parts) > 3 or not isinstance(parts[0], Task):
        raise BadTaskError(
            f"{where}: {what} must return a Task, (task, loader) or (task, loader, test_loader); "
            f"got {kind_of(result)}. Wrap the model: Task(model)."
        )
    return Loaded(
        task=parts[0], data=parts[1] if len(parts) > 1 else None, test_data=parts[2] if len(parts) > 2 else None
    )


def kind_of(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(type(v).__name__ for v in value) or 'nothing'}"
    return "None" if value is None else type(value).__name__
