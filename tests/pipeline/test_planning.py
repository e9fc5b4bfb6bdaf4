"""What a run will take: parts that add up, bytes as they are, nothing left behind, the refusals of the run."""

import dataclasses
import shutil
import warnings
from types import SimpleNamespace

import pytest
import torch

import infotorch
from infotorch import UniqueInformation, pipeline
from infotorch.errors import InfotorchError
from infotorch.pipeline import planning, primal_trial, streaming, trials
from infotorch.task import Task
from tests.pipeline.test_streaming import DIM, C, N, made, measure, score
from tests.store.test_writer import contents


@pytest.fixture(autouse=True)
def small_parts_and_time(monkeypatch):
    monkeypatch.setattr(streaming, "PART_BYTES", 2 * 8 * 8 * DIM * C)
    monkeypatch.setattr(trials, "WHOLE_KERNEL", 1e9)  # on a machine with much else to do, too


def plan(out=None, chosen=None, task=None, data=None, **options):
    """Of what ``score`` of the other file computes."""
    default = made()
    options = {"out": out, "batch_size": 8, "shard_size": 30} | options
    return pipeline.score_plan(task or default[0], data or default[1], chosen or measure(), **options)


def sizes(folder, *patterns):
    return sum(file.stat().st_size for pattern in patterns for file in folder.glob(pattern))


def test_bytes_are_those_of_the_run(tmp_path):
    """Of features exactly; Parquet squeezes other scores, and other samples, a little more or less."""
    models = [made(seed)[0].model for seed in range(2)]
    both = [measure(models=models), "gradient_norm"]
    found = plan(tmp_path / "run", both, features=tmp_path / "kept")
    score(tmp_path / "run", both, features=tmp_path / "kept")
    assert found.disk("features") == sizes(tmp_path, "kept/*/part-?????.npy")
    assert found.disk("outputs") == sizes(tmp_path, "kept/*/part-?????.outputs.npy")
    assert found.disk("samples") == pytest.approx(sizes(tmp_path, "run/samples/*"), rel=0.2)
    # the two measures of a run share one file a shard
    assert found.disk("scores") == pytest.approx(sizes(tmp_path, "run/scores/*"), rel=0.4)
    assert found.fits_disk


def test_parts_add_up(tmp_path):
    found = plan(tmp_path / "run", [measure(), "loss"])
    sketched, row_wise = found.measures
    stages = ["features", "test features", "moments", "eigendecomposition", "scores", "fidelity"]
    assert list(sketched.seconds) == stages and list(row_wise.seconds) == ["loss"]
    every = [*sketched.seconds.values(), *row_wise.seconds.values(), found.keeping_seconds]
    assert all(seconds > 0 for seconds in every) and found.seconds == pytest.approx(sum(every))
    names = ("features", "outputs", "scores")
    assert found.disk(*names, "samples") == sum(map(found.disk, names)) + found.keeping_bytes
    assert sketched.samples_per_second > 0 and 0 < sketched.effective_dimension <= DIM
    assert [each.form for each in found.measures] == ["primal", "row by row"]
    if found.memory is not None:
        assert found.memory >= max(found.memory_before, sketched.memory, row_wise.memory)


def test_nothing_is_written_and_the_model_is_as_it_was(tmp_path):
    task, _ = made()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    plan(tmp_path / "run", task=task, features=tmp_path / "kept")
    plan(None, task=task)
    assert not list(tmp_path.iterdir()) and not task.model.training
    assert all(p.grad is None for p in task.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    score(tmp_path / "run", task=task, features=tmp_path / "kept")
    there = contents(tmp_path / "run"), sorted(tmp_path.rglob("*"))
    plan(tmp_path / "run", task=task, features=tmp_path / "kept")
    plan(tmp_path / "other", measure(time=9.0), task=task, features=tmp_path / "kept")
    assert there == (contents(tmp_path / "run"), sorted(tmp_path.rglob("*")))


def test_the_trials_folder_goes_also_after_an_error(tmp_path, monkeypatch):
    def full(*_, **__):
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "primal_trial", full)
    with pytest.raises(KeyboardInterrupt):
        plan(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_done_again(tmp_path):
    kept = {"features": tmp_path / "kept"}
    score(tmp_path / "run", **kept)
    done = plan(tmp_path / "run", **kept)
    assert done.finished and done.seconds == 0 and done.disk("samples", "features") == 0
    later = plan(tmp_path / "later", measure(time=9.0), **kept)
    assert later.measures[0].seconds["features"] == 0 and later.disk("features", "outputs") == 0
    assert later.measures[0].seconds["scores"] > 0
    _, (x, y) = made()
    x[20] += 1  # in the second of five parts of 16
    changed = plan(tmp_path / "changed", data=(x, y), **kept)
    assert changed.disk("features") == 16 * C * DIM * 4 + 128
    (tmp_path / "run" / "shards" / "part-00001.json").unlink()
    some = plan(tmp_path / "run", **kept)
    assert not some.finished and some.keeping_seconds == 0 and some.disk("features") == 0


CASES = {
    "batch size": {"batch_size": 0},
    "features without out": {"features": "somewhere"},
    "fidelity of one": {"fidelity": 1},
    "unknown measure": {"chosen": "nothing"},
    "twice": {"chosen": ["loss", "loss"]},
    "memory": {"memory_limit": 10**6},
    "one sample": {"data": tuple(part[:1] for part in made()[1])},
    "no labels": {"data": (made()[1][0], torch.zeros(N, C + 1))},
    "groups in a run": {"chosen": UniqueInformation(groups=torch.eye(N, dtype=torch.bool)), "out": "run"},
    "a file": {"out": "file"},
    "a folder of others": {"out": "full"},
    "another command": {"out": "done", "shard_size": 31},
    "features of another network": {"out": "new", "features": "kept", "task": made(1)[0]},
    "another layer": {"chosen": UniqueInformation(layers="nothing")},
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_run_refuses_is_refused_in_its_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    for file in ("file", "full/something"):
        (tmp_path / file).write_text("mine")
    if "done" in CASES[name].values() or "kept" in CASES[name].values():
        score("done", features="kept", fidelity=0)
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(InfotorchError) as planned:
        plan(**CASES[name])
    assert sorted(tmp_path.rglob("*")) == there
    with pytest.raises(InfotorchError) as run:
        score(**CASES[name])
    assert type(planned.value) is type(run.value) and str(planned.value) == str(run.value)


def test_forms_come_with_their_reason(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = plan(None, UniqueInformation(time=5.0)).measures[0]
        small = plan(
            tmp_path / "run", UniqueInformation(time=5.0, dim=DIM), memory_limit=(256 << 20) + 800_000
        ).measures[0]
    assert (exact.form, exact.why) == ("dual", "the kernel of 70 samples, 1 MiB with what solves it, fits the memory")
    assert small.form == "primal" and small.why.startswith("the exact form needs")
    together, groups = (
        plan(None, each).measures[0]
        for each in ("label_quality", UniqueInformation(groups=torch.eye(N, dtype=torch.bool)))
    )
    assert together.form == groups.form == "all at once" and groups.why == "groups of samples"
    assert together.seconds == {"label_quality": None} and plan(None, "label_quality").seconds is None
    memory = plan(None, measure())
    assert memory.measures[0].why == "asked for: 16 features, sketched, in memory" and memory.disk("features") == 0


@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.1, "time": None, "loss": "cross_entropy_ggn"},
        {"layers": "last"},
        {"removed": [True] * 16 + [False] * (N - 16)},
        {"dim": 10**6, "space": "weights", "test_data": None},
    ],
    ids=lambda options: " ".join(options),
)
def test_every_kind_of_training_is_timed(options, tmp_path):
    found = plan(tmp_path / "run", measure(**options))
    assert found.seconds > 0, found.measures[0].notes
    assert ("fidelity" in found.measures[0].seconds) == (not {"layers", "dim"} & set(options))


def test_training_that_diverges_is_told_before_the_run(tmp_path):
    found = plan(tmp_path / "run", measure(time=None, lr=100.0, steps=100))
    assert found.seconds is None and found.measures[0].seconds["features"] > 0
    assert "Lower lr" in found.measures[0].notes[0]


def test_too_few_numbers_are_told_before_the_run(tmp_path):
    (found,) = plan(tmp_path / "run", measure(dim=2, time=500.0)).measures
    assert any("training uses at least 2 directions" in note for note in found.notes)
    (found,) = plan(tmp_path / "run", measure(time=1e-3)).measures
    assert not any("directions" in note for note in found.notes)


def test_features_in_a_run_are_refused_before_the_plan(tmp_path):
    with pytest.raises(InfotorchError, match="features must lie outside of runs"):
        plan(tmp_path / "run", features=tmp_path / "run/features")


def test_large_parts_and_decompositions_are_tried_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(primal_trial, "LARGEST", DIM // 2)
    monkeypatch.setattr(primal_trial, "SCORES", 0.0)
    monkeypatch.setattr(primal_trial, "PILOT", 4)
    (found,) = plan(tmp_path / "run").measures
    assert found.notes == (
        [
            "the eigendecomposition is that of 8 features times 8.0, for 16",
            "scores were timed on 4 of the 16 samples of a part",
        ]
    )
    assert found.effective_dimension is None and all(seconds > 0 for seconds in found.seconds.values())


def test_room_on_each_disk_is_compared(tmp_path, monkeypatch):
    found = plan(tmp_path / "run", features=tmp_path / "kept")
    need = found.disk("samples", "scores", "features", "outputs")
    assert dataclasses.replace(found, disk_free=need).fits_disk
    assert not dataclasses.replace(found, disk_free=need - 1).fits_disk
    assert dataclasses.replace(found, disk_free=need - 1, features_free=need).fits_disk
    assert not dataclasses.replace(found, features_free=found.disk("features")).fits_disk
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7))
    assert plan(tmp_path / "run").disk_free == 7 and plan(tmp_path / "run").fits_disk is False


def test_memory_that_the_system_does_not_tell_is_not_made_up(tmp_path, monkeypatch):
    for room in (planning, primal_trial, trials):
        real = room.measured
        monkeypatch.setattr(room, "measured", lambda call, real=real: dataclasses.replace(real(call), peak=None))
    monkeypatch.setattr(planning, "resident", lambda: None)
    found = plan(tmp_path / "run", [measure(), "loss"])
    assert found.memory is None and found.seconds > 0


def test_progress_is_told():
    told = []
    plan(None, ["loss", "el2n"], progress=lambda *step: told.append(step))
    assert told == [("planning", 0, 2), ("planning", 1, 2), ("planning", 1, 2), ("planning", 2, 2)]


def test_the_plan_is_public():
    assert infotorch.score_plan is pipeline.score_plan and isinstance(plan(None, "loss"), infotorch.ScorePlan)
    assert isinstance(made()[0], Task)
