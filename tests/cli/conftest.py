"""Commands run in this process, their words and exit codes caught."""

import sys
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch

from infotorch import store
from infotorch.cli import main
from infotorch.table import Column, Scores


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


@pytest.fixture
def finished_run():
    """Makes a small finished run without a network: five samples, one score."""

    def make(path):
        values = np.array([0.5, 2.0, 0.25, 1.0, 0.125])
        with store.create(path, command={"command": "test"}, num_rows=5, shard_size=2) as writer:
            for start, stop in writer.ranges():
                column = Column(values=values[start:stop], unit="nats", source="a test")
                writer.append(start, Scores(index=np.arange(start, stop), columns={"information": column}))
                index = list(range(start, stop))
                known = {"index": index, "id": [f"s{i}" for i in index], "label": [i % 2 for i in index]}
                writer.put_samples(start, pa.table(known))
            writer.finish()
        return path

    return make
