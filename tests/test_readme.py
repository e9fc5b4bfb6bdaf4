"""What the README shows runs as it stands there."""

import pathlib
import re
import shlex

import torch

from infotorch.cli import main

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_python_blocks_run(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    J = torch.randn(6, 20, dtype=torch.float64, generator=rng)
    names = {"K": J @ J.T, "residual": torch.ones(6, 1), "K_test": J[:2] @ J.T}
    from_python, from_kernel, _, from_large, from_train, from_bounds, weighed, taught, from_engine, from_ops = BLOCKS
    exec(from_python, names)
    exec(from_kernel, names)
    assert names["result"].weights.shape == (2, 6)
    assert len(names["scores"]) == 60 and (tmp_path / "runs/mine/manifest.json").exists()
    exec(from_large, names)
    assert len(names["scores"]) == 60 and (tmp_path / "runs/large/notes/fidelity.json").exists()
    exec(from_train, names)
    exec(from_bounds, names)
    assert len(names["runs"].done()) == 2 and names["runs"].done().all()
    exec(weighed, names)
    assert names["info"].measured_rise is not None and list(names["seen"]) == ["0", "2"]
    exec(taught, names)
    assert names["report"]["soft"].complexity < names["report"]["labels"].complexity
    exec(from_engine, names)
    flat = torch.cat([g.flatten(1) for g in names["loss_grads"].values()], 1)
    torch.testing.assert_close(names["norms"], flat.norm(dim=1))
    assert names["F"].shape == (flat.shape[1], flat.shape[1])
    exec(from_ops, names)


def test_own_task_runs_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_task.py").write_text(BLOCKS[2].replace("(300", "(30"))
    commands = re.findall(r"^    infotorch (.*)", README, re.M)
    assert [command.split()[0] for command in commands] == [
        "score",
        "show",
        "label-errors",
        "report",
        "verify",
        "train",
        "info",
    ]
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    assert (tmp_path / "runs/digits.html").exists()
