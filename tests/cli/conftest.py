"""Commands run in this process, their words and exit codes caught."""

import sys
from typing import NamedTuple

import pytest
import torch

from infotorch.cli import main


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs words as a command in a pipe of 80 columns: exit code, stdout, stderr."""
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "GITHUB_ACTIONS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def call(*argv):
        capsys.readouterr()
        code = main([str(word) for word in argv])
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture(autouse=True)
def as_it_was():
    """Path, modules and threads as before: a user's file puts itself there for the life of a process."""
    path, modules, threads = list(sys.path), set(sys.modules), torch.get_num_threads()
    yield
    sys.path[:] = path
    for name in [n for n in sys.modules if n not in modules and not n.startswith(("infotorch", "torch"))]:
        if getattr(sys.modules[name], "__file__", None) and "pytest-of" in str(sys.modules[name].__file__):
            del sys.modules[name]
    torch.set_num_threads(threads)
