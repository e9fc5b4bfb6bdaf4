"""The pipeline: the same scores in memory and on disk, computed once, whole after any crash."""

import math
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import measures, store
from infotorch.data import Samples, pictures_of
from infotorch.errors import ConfigError, DataError, StoreError
from infotorch.table import Column, Scores
from infotorch.task import Task
from tests.pipeline.doubles import OTHERS, Centered, Compared, N, Sum, made, score
from tests.store.test_writer import contents

ROOT = pathlib.Path(__file__).parents[2]


def test_disk_and_memory_hold_the_same_bits(tmp_path):
    memory, disk, again = score(), score(tmp_path / "a"), store.open(tmp_path / "a").scores()
    assert list(memory.columns) == ["sum", "centered"] and memory.main == "sum"
    for other in (disk, again):
        assert (
            other.index.tolist() == list(range(N))
            and other.main == "sum"
            and list(other.columns) == list(memory.columns)
        )
        for name in memory.columns:
            assert other[name].values.tobytes() == memory[name].values.tobytes()
            assert (other[name].unit, other[name].kind) == (memory[name].unit, memory[name].kind)


def test_scores_are_those_of_the_measures():
    task, (x, _) = made()
    truth = task.outputs(x).sum(1).double().detach()
    got = score()
    assert torch.allclose(torch.from_numpy(got["sum"].values), truth, atol=1e-5)
    assert torch.allclose(torch.from_numpy(got["centered"].values), truth - truth.mean(), atol=1e-5)


def test_row_wise_measures_get_batches_within_shards_and_others_everything():
    rows, whole = Sum(), Centered("centered")
    score(chosen=[rows, whole])
    assert rows.calls == [3, 1, 3, 1, 3] and whole.calls == [N]


def test_the_same_command_writes_the_same_bytes(tmp_path):
    score(tmp_path / "a")
    score(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(store.verify(tmp_path / "a")) == 13


def test_a_finished_run_is_read_not_computed(tmp_path):
    first = score(tmp_path / "a", notes=lambda scores: {"title": {"sentence": str(len(scores))}})
    chosen, before = [Sum(), Centered("centered")], contents(tmp_path / "a")
    again = score(tmp_path / "a", chosen, notes=lambda scores: pytest.fail("computed again"))
    assert [measure.calls for measure in chosen] == [[], []] and contents(tmp_path / "a") == before
    assert again.values.tobytes() == first.values.tobytes()


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    def interrupt(stage, done, total):
        if (stage, done) == ("sum", 8):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "a", progress=interrupt)
    assert store.open(tmp_path / "a").done() == {(0, 4)}
    rows = Sum()
    score(tmp_path / "a", [rows, Centered("centered")])
    assert rows.calls == [3, 1, 3]
    score(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_samples_are_kept_with_their_scores(tmp_path):
    _, (x, y) = made()
    ids = ("<script>", "\u202e", "a\nb", "x" * 10_000, *map(str, range(N - 4)))
    flipped = np.arange(N) % 2 == 0
    samples = Samples(x=x, y=y, ids=ids, label_names=("<b>", "é", "ü"), metadata={"flipped": flipped})
    score(tmp_path / "a", data=samples)
    rows = store.open(tmp_path / "a").samples()
    assert rows["id"].to_pylist() == list(ids) and rows["label"].to_pylist() == y.tolist()
    assert rows["label_name"].to_pylist() == [samples.label_names[i] for i in y] and rows[
        "flipped"
    ].to_pylist() == list(flipped)
    image = np.frombuffer(rows["image"][0].as_py(), np.uint8).reshape(4, 4)
    assert np.array_equal(image, pictures_of(x)[0])
    assert store.open(tmp_path / "a").manifest["data"]["label_names"] == ["<b>", "é", "ü"]


def test_notes_are_kept_and_may_follow_from_the_scores(tmp_path):
    score(tmp_path / "a", notes=lambda scores: {"largest": {"row": int(scores.largest(1)[0])}})
    assert store.open(tmp_path / "a").notes() == {"largest": {"row": int(score().largest(1)[0])}}
    score(tmp_path / "b", notes={"warnings": ["<b>"]})
    score(tmp_path / "b", notes={"warnings": ["changed"]})
    assert store.open(tmp_path / "b").notes() == {"warnings": ["changed"]} and store.verify(tmp_path / "b")


def test_loaders_and_tensors_are_the_same_run(tmp_path):
    _, data = made()
    score(tmp_path / "a")
    score(tmp_path / "a", data=DataLoader(TensorDataset(*data), batch_size=5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda: {"chosen": [Sum(power=2), Centered("centered")]},
            "command.score.measures[0].power nothing there and 2 now",
        ),
        (lambda: {"chosen": [Sum()]}, "command.score.measures ["),
        (lambda: {"batch_size": 4}, "command.score.batch_size 3 there and 4 now"),
        (lambda: {"shard_size": 5}, "command.score.shard_size 4 there and 5 now"),
        (lambda: {"memory_limit": 5}, "command.score.memory_limit null there and 5 now"),
        (lambda: {"command": {"seed": 1}}, "command.seed 0 there and 1 now"),
        (
            lambda: {"task": Task(made()[0].model, loss="mse")},
            'command.score.task.loss "cross_entropy" there and "mse" now',
        ),
        (lambda: {"task": Task(made()[0].model, params=["1.bias"])}, "command.score.task.parameters"),
        (lambda: {"task": made(1)[0]}, "provenance.parameters"),
        (lambda: {"data": made(1)[1]}, "data.digest"),
    ],
    ids=range(10),
)
def test_a_run_of_another_command_is_refused_by_name(tmp_path, change, message):
    score(tmp_path / "a", command={"seed": 0})
    before = contents(tmp_path / "a")
    with pytest.raises(StoreError, match=re.escape(f"must be a run of this command, data and network; got {message}")):
        score(tmp_path / "a", **{"command": {"seed": 0}} | change())
    assert contents(tmp_path / "a") == before


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_another_model_never_gets_the_scores_of_the_first(tmp_path, case, threads):
    """All parameters and their names are equal; the run is finished, and may be of other threads."""
    make, message = OTHERS[case]
    first, second = make()
    assert {n: p.tolist() for n, p in first.parameters().items()} == {
        n: p.tolist() for n, p in second.parameters().items()
    }
    score(tmp_path / "a", task=first)
    before, was = contents(tmp_path / "a"), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.raises(StoreError, match=re.escape(message)):
            score(tmp_path / "a", task=second)
    finally:
        torch.set_num_threads(was)
    assert contents(tmp_path / "a") == before
    again = Sum()
    score(tmp_path / "a", [again, Centered("centered")], task=make()[0])
    assert not again.calls, "the same model made again is the same model"


class Hidden:
    """Something that no look at code and attributes sees."""

    __slots__ = ("factor",)

    def __repr__(self):
        return "Hidden()"


def test_outputs_tell_what_code_and_parameters_hide(tmp_path, monkeypatch):
    hidden = Hidden()
    hidden.factor = 1.0
    task = Task(made()[0].model, forward=lambda m, x: m(x) * hidden.factor)
    score(tmp_path / "a", task=task)
    hidden.factor = 2.0
    with pytest.raises(StoreError, match=r"got provenance\.outputs "):
        score(tmp_path / "a", task=task)
    hidden.factor = 1.0
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "of another machine")
    score(tmp_path / "a", task=task)  # last bits may differ there, so a finished run isn't held to them


class Groups(Sum):
    per_group = True

    def scores(self, task, x, y, *, memory_limit=None, progress=None):
        return super().scores(task, x, y).rows(0, 2)


def test_groups_have_rows_of_their_own(tmp_path):
    assert score(chosen=Groups()).index.tolist() == [0, 1]
    with pytest.raises(ConfigError, match=r"'sum' with groups has one row a group.*; got out\. Score the groups alone"):
        score(tmp_path / "a", Groups())
    with pytest.raises(ConfigError, match=r"with groups has one row a group.*; got 2 measures"):
        score(chosen=[Groups(), Sum("other")])
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("option", [{"notes": {"warnings": []}}, {"command": {"seed": 0}}])
def test_what_belongs_to_a_run_needs_one(option):
    with pytest.raises(ConfigError, match=f"score: {next(iter(option))} belongs to a run on disk; got no out"):
        score(**option)


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y),
        lambda x, y: x.numpy(),
        lambda x, y: (x.numpy(), y.numpy()),
        lambda x, y: TensorDataset(x, y),
        lambda x, y: DataLoader(TensorDataset(x, y), batch_size=4),
        lambda x, y: Samples(x=x, y=y, ids=tuple(map(str, range(N)))),
    ],
    ids=range(6),
)
def test_test_data_come_in_every_form_of_data(tmp_path, form):
    _, data = made(1)
    truth = score(chosen=Compared(test_data=data[0]))
    assert score(chosen=Compared(test_data=form(*data))).values.tobytes() == truth.values.tobytes()
    score(tmp_path / "a", Compared(test_data=data[0]))
    score(tmp_path / "a", Compared(test_data=form(*data)))  # one and the same command


def test_a_run_looks_once_for_what_is_there(tmp_path, monkeypatch):
    calls, done = [], store.RunWriter.done
    monkeypatch.setattr(store.RunWriter, "done", lambda run: calls.append(1) or done(run))
    score(tmp_path / "a", shard_size=4)
    few, calls[:] = len(calls), []
    score(tmp_path / "b", shard_size=1)
    assert len(calls) == few


def test_buffers_belong_to_the_parameters(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3)).eval()
    score(tmp_path / "a", task=Task(model))
    model[1].running_mean += 1
    with pytest.raises(StoreError, match=r"provenance\.parameters"):
        score(tmp_path / "a", task=Task(model))


def test_measures_are_found_by_name(monkeypatch):
    monkeypatch.setattr(measures, "REGISTRY", {"sum": Sum, "centered": Centered}, raising=False)
    assert list(score(chosen=["sum"]).columns) == list(score(chosen="sum").columns) == list(score(chosen=Sum()).columns)
    with pytest.raises(
        ConfigError, match=r"measure must be one of 'sum', 'centered'; got 'centred'\. Did you mean 'cent"
    ):
        score(chosen=["centred"])
    for wrong, got in [(Sum, "the class Sum"), (3, "int")]:
        with pytest.raises(
            ConfigError, match=f"measures must be names or measures; got {got}. Choose of sum, centered"
        ):
            score(chosen=[wrong])
    with pytest.raises(ConfigError, match="there must be a measure; got none"):
        score(chosen=[])


def test_measures_that_clash_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="measures must differ; got 'sum' twice"):
        score(tmp_path / "a", [Sum(), Sum()])
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match="a column must stand in one table only; got 'sum' in both"):
        score(tmp_path / "a", [Centered(column="sum"), Centered("centered", column="sum")])
    assert not store.open(tmp_path / "a").done()


class Half(Centered):
    def scores(self, task, x, y, *, memory_limit=None, progress=None):
        return super().scores(task, x, y).rows(0, len(x) // 2)


class Nan(Sum):
    def scores(self, task, x, y, *, memory_limit=None, progress=None):
        values = np.where(np.arange(len(x)) == 2, math.nan, 1.0)
        return Scores(index=np.arange(len(x)), columns={"a": Column(values=values, unit="1", source="")})


def test_a_measure_scores_every_sample_with_a_number():
    with pytest.raises(ConfigError, match="'sum' must score every sample once, 11 in all; got 5 rows"):
        score(chosen=[Half()])
    with pytest.raises(ArithmeticError, match="'a' must be a number for every sample; got nan for sample 2"):
        score(chosen=[Nan()])


@pytest.mark.parametrize("name", ["batch_size", "shard_size"])
def test_sizes_are_positive(name):
    with pytest.raises(ConfigError, match=f"score: {name} must be at least 1; got 0"):
        score(**{name: 0})


def test_bad_data_touch_no_disk(tmp_path):
    _, (x, y) = made()
    x[3, 0, 0, 0] = math.nan
    with pytest.raises(DataError, match=r"x must be finite; got nan in sample 3"):
        score(tmp_path / "a", data=(x, y))
    with pytest.raises(DataError, match="must not shuffle"):
        score(tmp_path / "a", data=DataLoader(TensorDataset(x, y), shuffle=True))
    assert not (tmp_path / "a").exists()


def test_progress_counts_up_to_its_total():
    seen = []
    score(progress=lambda *step: seen.append(step))
    assert seen == [("centering", 1, 1), *(("sum", done, N) for done in (3, 4, 7, 8, 11))]


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tests.pipeline import doubles as pipeline_doubles
left = int(sys.argv[3])
def progress(*step):
    global left
    left -= 1
    if left == 0:
        print("there", flush=True)
        time.sleep(600)
pipeline_doubles.score(sys.argv[1], progress=progress)
"""


def start(out, steps):
    """Another process that writes the run ``out`` and stands still after so many steps."""
    command = [sys.executable, "-c", CHILD, str(out), str(ROOT), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_killed_process_blocks_nobody_and_its_run_ends_with_the_same_bytes(tmp_path):
    """Killed while it keeps samples, scores the first shard, and the last; each refuses a second writer before."""
    score(tmp_path / "truth")
    for steps, running in [(steps, start(tmp_path / str(steps), steps)) for steps in (2, 6, 9)]:
        assert running.stdout.readline() == "there\n", running.stderr.read()
        with pytest.raises(StoreError, match=r"got .*, which another process is writing"):
            score(tmp_path / str(steps))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        assert not store.open(tmp_path / str(steps)).finished
        score(tmp_path / str(steps))
        assert contents(tmp_path / str(steps)) == contents(tmp_path / "truth"), f"killed after {steps} steps"


def test_another_process_writes_the_same_bytes(tmp_path):
    running = start(tmp_path / "a", -1)
    assert running.wait() == 0, running.stderr.read()
    score(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_labels_of_a_binary_loss_are_kept_as_classes(tmp_path, rng):
    """The loss takes floating point; the report compares classes."""
    task = Task(nn.Linear(3, 1).eval(), loss="binary_cross_entropy")
    x, y = torch.randn(6, 3, generator=rng), torch.tensor([0.0, 1, 0, 1, 1, 0])
    score(tmp_path / "run", [measures.UniqueInformation(l2=0.1)], task, (x, y))
    labels = store.open(tmp_path / "run").samples()["label"]
    assert str(labels.type) == "int64" and labels.to_pylist() == [0, 1, 0, 1, 1, 0]
