"""Complexity along checkpoints: as each alone, resumable to the same bytes, and refused by name."""

import copy
import csv
import math

import pytest
import torch
from torch import nn

from infotorch import Task, supervision_complexity
from infotorch.errors import ConfigError, DataError, NumericsError, StoreError
from infotorch.pipeline import complexity, complexity_along

N, C = 12, 3
HEAD = "step target tau ridge quad complexity adjusted unit_adjusted alignment trace residual_norm".split()


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, C)).double().eval()


def data():
    rng = torch.Generator().manual_seed(9)
    return torch.randn(N, 4, dtype=torch.float64, generator=rng), torch.randint(0, C, (N,), generator=rng)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "ckpt"
    place.mkdir()
    for seed in (1, 2, 3):
        torch.save(network(seed).state_dict(), place / f"step-{10 * seed:08d}.pt")
    return place


def run(folder, **options):
    return complexity_along(Task(network(0)), data(), folder, **{"ridge": 0.1} | options)


def test_rows_are_those_of_each_checkpoint_alone(folder):
    x, y = data()
    model = network(0)
    before = copy.deepcopy(model.state_dict())
    soft = torch.full((N, C), 1 / C, dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    online = {step: torch.rand(N, C, dtype=torch.float64, generator=rng).softmax(1) for step in (10, 20, 30)}
    targets = {"soft": soft, "online": lambda step: online[step]}
    rows = complexity_along(Task(model), (x, y), folder, targets, ridge_rel=0.1, tau=2.0)
    assert [(row["step"], row["target"]) for row in rows] == [(s, t) for s in (10, 20, 30) for t in targets]
    for row in rows:
        P = soft if row["target"] == "soft" else online[row["step"]]
        alone = supervision_complexity(Task(network(row["step"] // 10)), x, P, ridge_rel=0.1, tau=2.0)
        assert list(row) == HEAD
        (want,) = alone.rows(row["target"])  # targets that share a factor have another rounding than one alone
        assert all(row[name] == pytest.approx(want[name], rel=1e-12) for name in HEAD[2:])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_labels_are_the_target_unless_others_are_given(folder):
    x, y = data()
    row = run(folder, f0="zero")[0]
    want = supervision_complexity(Task(network(1)), x, nn.functional.one_hot(y, C).double(), f0="zero", ridge=0.1)
    assert row["target"] == "labels" and row["quad"] == want.quad


def test_after_a_kill_it_goes_on_to_the_same_bytes(folder, tmp_path, monkeypatch):
    whole = run(folder, out=tmp_path / "whole")
    calls = []

    def killed(*given, **options):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return supervision_complexity(*given, **options)

    monkeypatch.setattr(complexity, "supervision_complexity", killed)
    with pytest.raises(KeyboardInterrupt):
        run(folder, out=tmp_path / "cut")
    assert not (tmp_path / "cut" / "complexity.csv").exists()
    told = []
    assert run(folder, out=tmp_path / "cut", progress=lambda *done: told.append(done)) == whole
    assert len(calls) == 4 and told[-1] == ("checkpoints", 3, 3)  # the first checkpoint was not computed again
    for name in ("complexity.json", "complexity.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run(folder, out=tmp_path / "cut") == whole and len(calls) == 4
    with open(tmp_path / "whole" / "complexity.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == HEAD and [float(row["quad"]) for row in table] == [row["quad"] for row in whole]
    assert not list(tmp_path.rglob("*.tmp"))


def test_new_checkpoints_are_added_in_order(folder, tmp_path):
    run(folder, out=tmp_path / "out")
    torch.save(network(4).state_dict(), folder / "step-00000015.pt")
    assert [row["step"] for row in run(folder, out=tmp_path / "out")] == [10, 15, 20, 30]


def test_another_call_is_refused_by_name(folder, tmp_path):
    run(folder, out=tmp_path / "out")
    with pytest.raises(StoreError, match=r"must hold the table of this call; got ridge = 0.1 there and 0.2 here"):
        run(folder, out=tmp_path / "out", ridge=0.2)
    torch.save(network(7).state_dict(), folder / "step-00000020.pt")
    with pytest.raises(StoreError, match=r"step-00000020.pt must be as it was when its rows were made"):
        run(folder, out=tmp_path / "out")
    (folder / "step-00000020.pt").unlink()
    with pytest.raises(StoreError, match=r"every checkpoint .* must still be there; got none of step-00000020"):
        run(folder, out=tmp_path / "out")
    (tmp_path / "out" / "complexity.json").write_text("[]")
    with pytest.raises(StoreError, match="must be that of a complexity table"):
        run(folder, out=tmp_path / "out")


def test_missing_and_misplaced_checkpoints_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"must be a folder with checkpoints .*; got none"):
        run(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there must be a checkpoint; got none"):
        run([])
    files = sorted(folder.iterdir())
    with pytest.raises(ConfigError, match="in the order of their steps; got step 10 after step 20"):
        run([files[1], files[0]])
    assert [row["step"] for row in run(files[1:])] == [20, 30]
    with pytest.raises(StoreError, match="must be there; got no such file"):
        run([files[0], folder / "step-00000040.pt"])
    torch.save({}, folder / "last.pt")
    with pytest.raises(ConfigError, match=r"must be named step-%08d.pt, as step-00000120.pt; got 'last.pt'"):
        run(folder)


def test_files_of_something_else_are_refused(folder):
    path = folder / "step-00000010.pt"
    state = network(1).state_dict()
    cases = [
        (StoreError, b"text", "must be a file of torch.save"),
        (StoreError, b"", "must be a file of torch.save, with tensors alone; got an empty file"),
        (StoreError, (folder / "step-00000020.pt").read_bytes()[:-40], "; got a file that is cut off"),
        (StoreError, {"state_dict": state}, "must hold a state dict; got one within 'state_dict'"),
        (StoreError, [1, 2], "must hold a state dict; got list"),
        (StoreError, network, "must be a file of torch.save, with tensors alone"),
        (StoreError, {**state, "0.weight": torch.zeros(2, 2)}, r"where 0.weight is \[2, 2\]"),
        (NumericsError, {**state, "2.bias": torch.full((C,), math.nan)}, "got nan in '2.bias' of step-00000010.pt"),
    ]
    for kind, content, words in cases:
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(kind, match=f"complexity: .*{words}"):
            run(folder)


def test_labels_of_other_classes_are_refused(folder):
    x, y = data()
    with pytest.raises(DataError, match=r"labels must be integers in 0..2, for 3 outputs; got others"):
        complexity_along(Task(network(0)), (x, y + 1), folder, ridge=0.1)


def test_a_file_in_place_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(StoreError, match=r"complexity: out must be a folder; got the file .*out"):
        run(folder, out=tmp_path / "out")


def test_outputs_as_f0_are_kept_with_the_table_by_their_digest(folder, tmp_path):
    f0 = torch.full((N, C), 0.25, dtype=torch.float64)
    rows = run(folder, f0=f0, out=tmp_path / "out")
    assert rows == run(folder, f0=f0, out=tmp_path / "out") == run(folder, f0=f0)
    with pytest.raises(StoreError, match="must hold the table of this call; got f0 = "):
        run(folder, f0=2 * f0, out=tmp_path / "out")


def test_steps_of_more_than_eight_digits_come_last(folder, tmp_path):
    """As ``TeacherPath`` writes and reads them."""
    for step in (99_999_999, 100_000_000):
        torch.save(network(4).state_dict(), folder / f"step-{step:08d}.pt")
    steps = [10, 20, 30, 99_999_999, 100_000_000]
    for _ in range(2):
        assert [row["step"] for row in run(folder, out=tmp_path / "out")] == steps
