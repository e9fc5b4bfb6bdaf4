"""A sweep of beta: resumed, shared, extended, refused."""

import concurrent.futures as futures
import json
import math
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from infotorch import ConfigError, DataError, NotSupported, StoreError, SweepError, Task, read_sweep, sweep_beta
from infotorch.pipeline.sweep_cells import SweepRow
from infotorch.pipeline.sweeping import Sweep
from infotorch.store.files import locked

G = torch.Generator().manual_seed(0)
X = torch.randn(30, 3, generator=G)
DATA = (X, (X[:, 0] > 0).long())
OPTIONS = {"betas": [0.1, 2.0], "corruptions": [0.0, 1.0], "steps": 15, "num_draws": 3, "workers": 1}


def task():
    torch.manual_seed(0)
    return Task(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))


def swept(out, **options):
    return sweep_beta(task(), DATA, out=out, **OPTIONS | options)


def files(out):
    return {path.name: json.loads(path.read_text())["row"] for path in sorted((out / "cells").iterdir())}


class Killed(BaseException):
    pass


def test_a_sweep_that_was_killed_goes_on_and_has_the_same_rows(tmp_path):
    whole = swept(tmp_path / "whole", seeds=2)

    def kill(stage, done, total, note):
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        swept(tmp_path / "killed", seeds=2, progress=kill)
    there = files(tmp_path / "killed")
    assert len(there) == 3
    told = []
    again = swept(tmp_path / "killed", seeds=2, progress=lambda stage, done, total, note: told.append((done, total)))
    assert told == [(done, 8) for done in range(4, 9)]
    assert again == whole and files(tmp_path / "killed") == files(tmp_path / "whole")
    assert read_sweep(tmp_path / "killed") == whole
    assert swept(tmp_path / "whole", seeds=2, progress=lambda *_: pytest.fail("nothing is missing")) == whole


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    whole = swept(tmp_path)
    cell = next((tmp_path / "cells").iterdir())
    cell.unlink()
    cell.with_name(cell.name + ".tmp").write_text("{")
    assert swept(tmp_path) == whole
    assert not list(tmp_path.glob("**/*.tmp"))


@pytest.mark.parametrize("way", ["processes", "threads"])
def test_rows_are_the_same_whoever_computes_them(tmp_path, way):
    expected = swept(tmp_path / "here")
    if way == "processes":
        assert swept(tmp_path / "there", workers=2) == expected
    else:
        with futures.ThreadPoolExecutor(3) as pool:
            assert swept(tmp_path / "there", workers=None, executor=pool) == expected


def test_other_betas_and_seeds_join_those_that_are_there(tmp_path):
    first = swept(tmp_path)
    more = swept(tmp_path, betas=[0.5], seeds=2)
    assert len(more.rows) == 4 and len(first.rows) == 4
    rows = read_sweep(tmp_path).rows
    assert len(rows) == 8 and set(rows) == {*first.rows, *more.rows}


def test_two_commands_on_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(StoreError, match="store: a run has one writer at a time; got "):
        swept(tmp_path)
    code = f"""
import tests.pipeline.test_sweeping as here
here.swept({str(tmp_path)!r}, progress=lambda *_: (print("one", flush=True), input()))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "one\n"
        with pytest.raises(StoreError, match=r"which another process is writing. Wait until it ends, or choose"):
            swept(tmp_path)
        other.kill()
    assert swept(tmp_path) == swept(tmp_path / "whole")  # a killed writer blocks nobody


def test_another_sweep_is_refused_by_what_differs(tmp_path):
    swept(tmp_path)
    for options, place in (
        ({"steps": 16}, "steps = 16, where it was begun with 15"),
        ({"noise": "local"}, "noise = 'local', where it was begun with 'weight'"),
        ({"fresh": False}, "weights = '"),
        ({"test_data": DATA}, "test_data = '"),
        ({"threads": 2}, "threads = 2"),
    ):
        with pytest.raises(StoreError, match=f"must hold cells of the same sweep; got {re.escape(place)}"):
            swept(tmp_path, **options)
    other = (X + 1, DATA[1])
    with pytest.raises(StoreError, match="must hold cells of the same sweep; got data = '"):
        sweep_beta(task(), other, out=tmp_path, **OPTIONS)


class Scaled(nn.Linear):
    """Its ``repr`` doesn't tell its scale."""

    def __init__(self, scale):
        super().__init__(3, 2)
        self.scale = scale

    def forward(self, x):
        return super().forward(x) * self.scale


def scaled_loss(scale):
    return lambda f, y: scale * nn.functional.cross_entropy(f, y, reduction="none")


def test_cells_of_another_network_or_loss_are_refused(tmp_path):
    def cells(model, loss, **options):
        return sweep_beta(
            Task(model, loss=loss), DATA, out=tmp_path, **OPTIONS | {"betas": [1.0], "steps": 2} | options
        )

    first = cells(Scaled(1.0), scaled_loss(1.0))
    assert cells(Scaled(1.0), scaled_loss(1.0)) == first  # other initial weights, which are drawn anew
    with pytest.raises(StoreError, match=r"must hold cells of the same sweep; got network = "):
        cells(Scaled(2.0), scaled_loss(1.0))
    with pytest.raises(StoreError, match=r"must hold cells of the same sweep; got loss = "):
        cells(Scaled(1.0), scaled_loss(2.0))


def test_cells_of_other_frozen_weights_or_buffers_are_refused(tmp_path):
    def cells(shift=0.0, mean=0.0):
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2))
        model[0].requires_grad_(False).weight.data.copy_(torch.eye(3) + shift)
        model[0].bias.data.zero_()
        model[1].running_mean.fill_(mean)
        return sweep_beta(Task(model), DATA, out=tmp_path, **OPTIONS | {"betas": [1.0], "steps": 2})

    first = cells()
    assert cells() == first
    for change in ({"shift": 0.1}, {"mean": 0.1}):
        with pytest.raises(StoreError, match=r"must hold cells of the same sweep; got weights_kept = "):
            cells(**change)


class Explodes(nn.Linear):
    """Gives NaN where weights are large, as they come to be at small beta."""

    def forward(self, x):
        return super().forward(x) * (math.nan if self.weight.abs().max() > 1.2 else 1.0)


def test_cells_that_diverge_are_named_and_the_others_are_kept(tmp_path):
    model = Explodes(3, 2)
    with pytest.raises(SweepError) as told:
        sweep_beta(
            Task(model), DATA, out=tmp_path, betas=[1e-3, 50.0], steps=60, lr=0.1, num_draws=3, workers=1, retries=0,
        )  # fmt: skip
    assert re.search(
        r"every cell must train; got 1 that failed each time: \(beta=0.001, corruption=0, seed=0\): DivergenceError: "
        r"fit_variational: the loss must be finite; got nan at step \d+, first in network", str(told.value),
    )  # fmt: skip
    assert [cell.beta for cell in told.value.cells] == [1e-3]
    assert [row.beta for row in read_sweep(tmp_path).rows] == [50.0]


def test_the_model_and_the_generator_are_left_alone(tmp_path):
    mine = task()
    before = [p.clone() for p in mine.model.parameters()]
    state = torch.get_rng_state()
    sweep_beta(mine, DATA, out=tmp_path, **OPTIONS)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(mine.model.parameters(), before, strict=True))
    assert mine.model.training and all(p.requires_grad and p.grad is None for p in mine.model.parameters())


def test_only_the_tasks_parameters_get_noise(tmp_path):
    model = task().model
    found = sweep_beta(Task(model, params=["2.*"]), DATA, out=tmp_path, **OPTIONS)
    settings = json.loads((tmp_path / "sweep.json").read_text())
    assert settings["params"] == ["2.weight", "2.bias"] and len(found.rows) == 4
    assert model[0].weight.requires_grad


def row(beta, corruption, seed, acc, kl=1.0):
    return SweepRow(beta=beta, corruption=corruption, seed=seed, noisy_ce=2.0, stderr=0.1, train_acc=acc,
                    test_acc=None, kl=kl, c=2 + beta * kl)  # fmt: skip


def test_means_and_the_collapse():
    rows = [row(b, c, s, acc + (0.02 if s else -0.02), kl=1 + 2 * s)
            for c, accs in ((0.0, (0.9, 0.1, 0.5, 0.3)), (1.0, (0.9, 0.3, 0.1, 0.1)))
            for b, acc in zip((0.1, 0.3, 1.0, 3.0), accs, strict=True) for s in (0, 1)]  # fmt: skip
    sweep = Sweep(rows=tuple(rows), num_samples=10, num_classes=10)
    assert sweep.means()[0] == {
        "beta": 0.1, "corruption": 0.0, "num_seeds": 2, "noisy_ce": 2.0, "train_acc": pytest.approx(0.9),
        "test_acc": None, "kl": 2.0, "c": pytest.approx(2.2),
    }  # fmt: skip
    assert sweep.collapse(0.0) is None  # low in the middle, not from there on
    assert sweep.collapse(1.0) == 1.0
    assert sweep.as_dict()["collapse"] == {"0": None, "1": 1.0}


@pytest.mark.parametrize(
    ("num_classes", "accuracies", "at"),
    [
        (2, (1.0, 0.99, 0.76), None),
        (2, (1.0, 0.74, 0.5), 1.0),
        (3, (1.0, 0.67, 0.66), 3.0),
        (10, (0.3, 0.21, 0.1), 3.0),
    ],
)
def test_few_classes_collapse_halfway_to_guessing(num_classes, accuracies, at):
    rows = [row(beta, 0.0, 0, acc) for beta, acc in zip((0.1, 1.0, 3.0), accuracies, strict=True)]
    assert Sweep(rows=tuple(rows), num_samples=10, num_classes=num_classes).collapse(0.0) == at


def test_regression_is_swept_without_accuracy(tmp_path):
    found = sweep_beta(
        Task(nn.Linear(3, 1), loss="mse"), (X, X[:, :1].clone()), out=tmp_path, betas=[1.0], steps=3, workers=1
    )
    assert found.rows[0].train_acc is None and found.num_classes == 0 and found.collapse(0.0) is None
    with pytest.raises(DataError, match=r"labels must be classes, int64 \[N\], for random ones to be drawn; got torch"):
        sweep_beta(
            Task(nn.Linear(3, 1), loss="mse"), (X, X[:, :1].clone()), out=tmp_path, betas=[1.0], corruptions=[1.0]
        )


REFUSED = {
    "beta 0": (dict(betas=[0.1, 0.0]), ConfigError, "sweep_beta: betas must be > 0 and finite; got 0.0."),
    "beta inf": (dict(betas=[math.inf]), ConfigError, "betas must be > 0 and finite; got inf."),
    "no betas": (dict(betas=[]), ConfigError, "betas must be a list of numbers; got []. List at least one."),
    "corruption": (dict(corruptions=[1.5]), ConfigError, "corruptions must be in [0, 1]; got 1.5."),
    "seeds": (dict(seeds=0), ConfigError, "seeds must be a whole number of at least 1; got 0."),
    "workers": (dict(workers=0), ConfigError, "workers must be a whole number of at least 1; got 0."),
    "executor": (dict(executor=3), ConfigError, "executor must be a concurrent.futures.Executor; got int."),
    "noise": (dict(noise="locale"), ConfigError, "got 'locale'. Did you mean 'local'?"),
    "prior": (dict(prior_var=0.0), ConfigError, "variational: prior_var must be > 0 and finite; got 0.0."),
    "steps": (dict(steps=0), ConfigError, "fit_variational: steps must be a whole number of at least 1; got 0."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_leave_nothing_on_disk(tmp_path, case):
    options, kind, message = REFUSED[case]
    with pytest.raises(kind, match=re.escape(message)):
        swept(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_an_executor_leaves_workers_alone(tmp_path):
    with (
        futures.ThreadPoolExecutor(1) as pool,
        pytest.raises(ConfigError, match="workers must be left to the executor"),
    ):
        swept(tmp_path, executor=pool)


def test_a_forward_of_the_tasks_own_is_refused(tmp_path):
    with pytest.raises(NotSupported, match="the network must take its inputs itself"):
        sweep_beta(Task(nn.Linear(3, 2), forward=lambda m, x: m(x)), DATA, out=tmp_path, betas=[1.0])


def test_empty_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="data"):
        sweep_beta(task(), (X[:0], DATA[1][:0]), out=tmp_path / "new", betas=[1.0])
