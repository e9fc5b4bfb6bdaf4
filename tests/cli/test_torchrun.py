"""``torchrun -m infotorch score``: the same bytes from any number of processes, whatever died in between."""

import os
import pathlib
import subprocess
import sys

import pytest

from infotorch.cli.torchrun import process_group
from tests.store.test_writer import contents
from tests.torchrun import torchrun

ROOT = pathlib.Path(__file__).parents[2]
TASK = """
import os, signal
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import infotorch
from infotorch.pipeline import streaming

streaming.PART_BYTES = 1 << 14
SEEN = []


class Net(nn.Sequential):
    def forward(self, x):
        SEEN.append(len(x))
        if os.environ.get("RANK", "none") == os.environ.get("DIES") and sum(SEEN) > 60:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def task():
    torch.manual_seed(0)
    model = Net(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    x, y = torch.randn(200, 5), torch.randint(0, 3, (200,))
    return infotorch.Task(model), DataLoader(TensorDataset(x, y), batch_size=50)


def other():
    made, loader = task()
    if os.environ.get("RANK") == "1":
        with torch.no_grad():
            made.model[0].weight[0, 0] += 1
    return made, loader
"""
OPTIONS = ["--measure", "unique_information,gradient_norm,loss", "--form", "primal", "--dim", "16", "--lr", "0.1",
           "--steps", "50", "--batch-size", "8", "--shard-size", "90", "--fidelity", "40",
           "--threads", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchrun")
    (folder / "mine.py").write_text(TASK)
    done = scored(folder, 1, "truth")
    assert done.returncode == 0, done.stderr
    return folder


def scored(folder, processes, out, task="task", **env):
    line = ["-m", "infotorch", "score", f"mine.py:{task}", *OPTIONS, "--out", out]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env}
    if processes > 1:
        return torchrun(processes, *line, cwd=folder, env=env)
    return subprocess.run([sys.executable, *line], cwd=folder, capture_output=True, text=True, env=env, timeout=300)


def test_four_processes_write_the_bytes_of_one(folder):
    """The last shard has fewer parts than there are processes."""
    done = scored(folder, 4, "four")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("200 samples scored") == 1  # one process speaks
    assert contents(folder / "four") == contents(folder / "truth")
    assert not (folder / "four.features.tmp").exists()


def test_a_process_killed_in_mid_pass_ends_all_and_two_go_on(folder):
    done = scored(folder, 3, "killed", DIES="1")
    assert done.returncode != 0 and "Signal 9 (SIGKILL)" in done.stderr
    assert (folder / "killed.features.tmp").exists()
    done = scored(folder, 2, "killed")
    assert done.returncode == 0, done.stderr
    assert contents(folder / "killed") == contents(folder / "truth")


def test_processes_of_different_networks_are_refused(folder):
    done = scored(folder, 2, "other", task="other")
    assert done.returncode != 0
    assert "score: all processes must have the same provenance.parameters; got " in done.stderr
    assert not (folder / "other").exists()


def test_other_commands_want_one_process(folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RANK": "1", "WORLD_SIZE": "2"}
    line = [sys.executable, "-m", "infotorch", "verify", "truth"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, env=env, timeout=100, check=False)
    assert done.returncode == 2 and "verify: there must be one process, for only score shares its work" in done.stderr


def test_one_process_has_no_group(monkeypatch):
    for rank, size in [(None, None), ("0", "1"), (None, "4")]:
        for name, value in [("RANK", rank), ("WORLD_SIZE", size)]:
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        assert process_group() is None
