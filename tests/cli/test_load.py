import sys

import pytest

from infotorch.cli.failures import Usage
from infotorch.cli.load import BadTaskError, load

GOOD = """
import torch
from torch import nn
from infotorch.task import Task

def task():
    return Task(nn.Linear(3, 2).eval())

def with_data():
    return task(), (torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))

def with_tests():
    return *with_data(), (torch.ones(2, 3), torch.zeros(2, dtype=torch.long))

def nothing():
    pass

def model():
    return nn.Linear(3, 2)

def pair():
    return task(), 1, 2, 3

def sized(width, depth=2):
    return task()

def broken():
    width = 3
    return Task(nn.Linear(width, 1 // 0))

number = 3
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a text to a file in the current folder; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # of a test before

    def write(text, name="mine.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return name

    return write


@pytest.mark.parametrize("how", ["mine.py", "mine"])
def test_a_task_comes_with_or_without_its_data(written, how):
    written(GOOD)
    assert load(f"{how}:task").data is None
    assert load(f"{how}:with_data").data[0].shape == (4, 3)
    assert load(f"{how}:with_tests").test_data[0].shape == (2, 3)


def test_a_file_imports_its_neighbors_and_may_be_called_like_a_known_module(written):
    written(GOOD, "sub/neighbor.py")
    written("from neighbor import task", "sub/random.py")
    import random

    assert load("sub/random.py:task").task is not None
    import sys

    assert sys.modules["random"] is random


REFUSED = [
    (
        "mine.py",
        Usage,
        "score: TASK must be package.module:callable or path/to/file.py:callable; got 'mine.py'. Name the function "
        "that returns the task after a colon.",
    ),
    ("mime.py:task", BadTaskError, "score: the task's file must exist; got mime.py. Did you mean 'mine.py'?"),
    ("no/where.py:task", BadTaskError, "score: the task's file must exist; got no/where.py. Check the path."),
    (
        "nowhere.tasks:task",
        BadTaskError,
        "score: nowhere.tasks must be a module that Python finds; got no module 'nowhere'. Start in the folder that "
        "holds it, or give path/to/file.py:callable.",
    ),
    (
        "mine.py:tusk",
        BadTaskError,
        "score: mine.py must have the callable that TASK names; got 'tusk'. Did you mean 'task'?",
    ),
    (
        "mine.py:zzz",
        BadTaskError,
        "score: mine.py must have the callable that TASK names; got 'zzz'. It has task, with_data, with_tests, "
        "nothing, model, pair, sized, broken.",
    ),
    (
        "mine.py:number",
        BadTaskError,
        "score: number in mine.py must be a function that returns a Task; got int. Write: def number(): return "
        "Task(model).",
    ),
    (
        "mine.py:nothing",
        BadTaskError,
        "score: nothing() in mine.py must return a Task, (task, loader) or (task, loader, test_loader); got None. "
        "Wrap the model: Task(model).",
    ),
    (
        "mine.py:model",
        BadTaskError,
        "score: model() in mine.py must return a Task, (task, loader) or (task, loader, test_loader); got Linear. "
        "Wrap the model: Task(model).",
    ),
    (
        "mine.py:pair",
        BadTaskError,
        "score: pair() in mine.py must return a Task, (task, loader) or (task, loader, test_loader); got a tuple of "
        "Task, int, int, int. Wrap the model: Task(model).",
    ),
    (
        "mine.py:sized",
        BadTaskError,
        "score: sized() in mine.py must need no arguments; got width. Give them defaults, or name a function that "
        "calls it.",
    ),
    (
        "mine.py:broken",
        BadTaskError,
        "score: broken() in mine.py must return a Task; got ZeroDivisionError: integer division or modulo by zero "
        "(mine.py, line 29). Mend it there, or add --debug for the trace.",
    ),
]


@pytest.mark.parametrize(("spec", "kind", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_no_task_is_refused_in_words(written, spec, kind, message):
    written(GOOD)
    with pytest.raises(kind) as caught:
        load(spec)
    assert str(caught.value) == message


FAILING = {
    "raise ValueError('no data\\nhere')": "ValueError: no data here (mine.py, line 2)",
    "import torhc": "ModuleNotFoundError: No module named 'torhc' (mine.py, line 2)",
    "def f(:": "SyntaxError: invalid syntax (mine.py, line 2)",
    "import sys; sys.exit(3)": "SystemExit: 3 (mine.py, line 2)",
    "import json; json.loads('{')": "JSONDecodeError: ",
}


@pytest.mark.parametrize("how", ["mine.py", "mine"])
@pytest.mark.parametrize("text", FAILING)
def test_a_file_that_does_not_import_names_what_happened_and_where(written, how, text):
    written("\n" + text + "\n")
    with pytest.raises(BadTaskError) as caught:
        load(f"{how}:task")
    said = " ".join(str(caught.value).split())
    assert said.startswith(f"score: {how} must import; got {FAILING[text]}")
    assert "line 2)" in said and said.endswith("Mend it there, or add --debug for the trace.")


def test_a_failed_import_leaves_no_half_made_module(written):
    import sys

    written("import torhc", "halfway.py")
    with pytest.raises(BadTaskError):
        load("halfway.py:task")
    assert "halfway" not in sys.modules


def test_an_interrupt_passes(written):
    written("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("mine.py:task")
