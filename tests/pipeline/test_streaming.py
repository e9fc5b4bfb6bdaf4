"""Two passes over features on disk: the scores of one pass in memory, and the same bytes after any crash."""

import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from infotorch import UniqueInformation, pipeline, store
from infotorch.data import streamed
from infotorch.errors import ConfigError, DataError, NumericsError, StoreError
from infotorch.pipeline import streaming
from infotorch.task import Task
from tests.store.test_writer import contents

ROOT = pathlib.Path(__file__).parents[2]
N, C, DIM = 70, 3, 16


def made(seed=0):
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, C)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / 2)
    return Task(model), (torch.randn(N, 5, generator=rng), torch.randint(0, C, (N,), generator=rng))


def measure(**options):
    rng = torch.Generator().manual_seed(9)
    defaults = {"space": "both", "test_data": torch.randn(20, 5, generator=rng), "time": 5.0, "dim": DIM}
    return UniqueInformation(**{"form": "primal"} | defaults | options)


def score(out=None, chosen=None, task=None, data=None, **options):
    """Parts of 16 samples, batches of 8, shards of 30."""
    default = made()
    options = {"out": out, "batch_size": 8, "shard_size": 30} | options
    return pipeline.score(task or default[0], data or default[1], chosen or measure(), **options)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(streaming, "PART_BYTES", 2 * 8 * 8 * DIM * C)


def assert_close(got, want, rtol=1e-5):
    assert list(got.columns) == list(want.columns)
    for name, column in want.columns.items():
        np.testing.assert_allclose(got[name].values, column.values, rtol=rtol, atol=rtol * abs(column.values).max())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"time": [1.0, 20.0], "l2": 0.01},
        {"time": None, "l2": 0.1, "loss": "cross_entropy_ggn"},
        {"layers": "last"},
        {"removed": [True, False, True] + [False] * 13 + [True] * 16 + [False] * (N - 32)},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_scores_are_those_of_one_pass_in_memory(options, tmp_path):
    """Also where samples of one part are all gone from training."""
    assert_close(score(tmp_path / "run", measure(**options)), score(None, measure(**options)))
    assert not (tmp_path / "run.features.tmp").exists()


def test_an_ensemble_has_features_for_every_network(tmp_path):
    models = [made(seed)[0].model for seed in range(3)]
    both = {"models": models, "dim": DIM}
    got = score(tmp_path / "run", measure(**both), features=tmp_path / "features")
    assert_close(got, score(None, measure(**both)))
    assert "unique_information_weights_stderr" in got.columns
    assert sorted(p.name for p in (tmp_path / "features").iterdir()) == ["network-0", "network-1", "network-2"]


def test_features_serve_other_times_labels_and_measures_beside(tmp_path):
    _, (x, y) = made()
    kept = {"features": tmp_path / "features"}
    score(tmp_path / "a", **kept)
    stages = set()
    again = {"progress": lambda stage, done, total: stages.add((stage, done)), **kept}
    later = measure(time=50.0, l2=0.1, space="weights", test_data=None)
    assert_close(score(tmp_path / "b", later, **again), score(None, later))
    assert ("features", N) in stages and ("features", 8) not in stages  # found, not made
    flipped = (x, (y + 1) % C)
    assert_close(score(tmp_path / "c", data=flipped, **kept), score(None, data=flipped))
    longer = (torch.cat([x, x[:9] + 1]), torch.cat([y, y[:9]]))
    assert_close(score(tmp_path / "d", data=longer, **kept), score(None, data=longer))


@pytest.mark.parametrize("place", ["run", "run/features", "other/features"])
def test_features_go_to_no_run(place, tmp_path):
    score(tmp_path / "other")
    before = contents(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"features must lie outside of runs.*Choose another folder"):
        score(tmp_path / "run", features=tmp_path / place)
    assert not (tmp_path / "run").exists() and contents(tmp_path / "other") == before


def test_features_of_another_network_or_sketch_are_refused(tmp_path):
    score(tmp_path / "a", features=tmp_path / "features")
    with pytest.raises(StoreError, match="got parameters "):
        score(tmp_path / "b", task=made(1)[0], features=tmp_path / "features")
    with pytest.raises(StoreError, match="got seed 0 there, 1 here"):
        score(tmp_path / "c", measure(seed=1), features=tmp_path / "features")
    with pytest.raises(ConfigError, match="features belongs to a run on disk"):
        score(None, features=tmp_path / "features")


def test_inputs_that_changed_are_sketched_anew(tmp_path):
    _, (x, y) = made()
    score(tmp_path / "a", features=tmp_path / "features")
    x[20] += 1
    assert_close(score(tmp_path / "b", data=(x, y), features=tmp_path / "features"), score(None, data=(x, y)))


def test_a_network_in_float64_loses_nothing_on_disk(tmp_path):
    task, (x, y) = made()
    task, data = Task(task.model.double()), (x.double(), y)
    exact = measure(dim=10**6, time=None, l2=1e-6, space="weights", test_data=None)
    assert_close(score(tmp_path / "a", exact, task, data), score(None, exact, task, data), rtol=1e-9)


def test_bfloat16_takes_half_the_disk(tmp_path):
    for name, dtype in [("half", "bfloat16"), ("full", "float32")]:
        got = score(tmp_path / name, features=tmp_path / f"{name}-features", feature_dtype=dtype)
    truth = store.open(tmp_path / "half").scores()
    for name, column in got.columns.items():
        if name.startswith("unique_information"):
            error = np.abs(truth[name].values / column.values - 1)
            assert 1e-5 < error.max() < 3e-2, name
    sizes = [
        sum(file.stat().st_size for file in (tmp_path / f"{name}-features").rglob("part-?????.npy"))
        for name in ("half", "full")
    ]
    assert 2 * (sizes[0] - 5 * 128) == sizes[1] - 5 * 128  # parts, each with a header
    bits = np.load(tmp_path / "half-features" / "network-0" / "part-00000.npy")
    full = np.load(tmp_path / "full-features" / "network-0" / "part-00000.npy")
    np.testing.assert_allclose(torch.from_numpy(bits).view(torch.bfloat16).float(), full, rtol=2**-8)
    with pytest.raises(
        ConfigError, match="feature_dtype must be one of None, 'float32', 'float64', 'bfloat16'; got 'half'"
    ):
        score(tmp_path / "other", feature_dtype="half")
    with pytest.raises(StoreError, match="got dtype 'bfloat16' there, 'float32' here"):
        score(tmp_path / "other", features=tmp_path / "half-features")


def test_networks_of_two_widths_share_their_parts(tmp_path):
    wide = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, C)).eval()
    both = measure(models=[made()[0].model, wide], dim=60)
    assert_close(score(tmp_path / "run", both), score(None, both))


def test_features_that_were_damaged_are_refused(tmp_path):
    score(tmp_path / "a", features=tmp_path / "features")
    file = tmp_path / "features" / "network-0" / "part-00001.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"part-00001\.npy must be as it was written; got content of another hash"):
        score(tmp_path / "b", features=tmp_path / "features")


def test_weights_that_are_not_finite_are_refused_with_the_sample(tmp_path):
    task, _ = made()
    with torch.no_grad():
        task.model[0].weight[0, 0] = torch.nan
    for out in (None, tmp_path / "nan"):
        with pytest.raises(NumericsError, match="must be finite; got others for sample 0"):
            score(out, task=task)


def test_streamed_inputs_have_the_bytes_of_those_in_memory(tmp_path):
    """Pictures too, and features that others made."""
    task, (_, y) = made()
    images = torch.rand(N, 1, 5, 5)
    task = Task(nn.Sequential(nn.AvgPool2d((5, 1)), nn.Flatten(), *task.model).eval())
    chosen = [measure(test_data=images[:9], seed=3), "gradient_norm"]
    for name, data in [("whole", (images, y)), ("streamed", streamed(TensorDataset(images, y)))]:
        score(tmp_path / name, chosen, task, data, features=tmp_path / "features")
    assert contents(tmp_path / "streamed") == contents(tmp_path / "whole")
    assert "image" in store.open(tmp_path / "streamed").samples().column_names


def test_what_auto_chose_is_in_the_run_and_said(tmp_path):
    auto = measure(form="auto", test_data=None, space="weights")
    data = torch.randn(3000, 5), torch.randint(0, C, (3000,))
    with pytest.warns(UserWarning, match=r"form='auto' takes the primal form: .* sketched to 16 numbers") as told:
        score(tmp_path / "run", auto, data=data, memory_limit=8 * 9000**2, fidelity=0, batch_size=500)
    assert told[0].filename == __file__
    text, narrow = store.open(tmp_path / "run").notes()["warnings"]
    assert text in str(told[0].message) and "The sketch has 16 numbers" in narrow


@pytest.mark.parametrize("chosen", [measure(form="dual", dim=None), measure(form="auto"), measure(), "label_quality"])
def test_streamed_inputs_need_measures_that_take_a_part(chosen, tmp_path):
    primal_on_disk = getattr(chosen, "form", "") == "primal"
    with pytest.raises(DataError, match="all inputs must be in memory"):
        score(None if primal_on_disk else tmp_path / "run", chosen, data=streamed(TensorDataset(*made()[1])))


def test_inputs_that_change_between_the_passes_are_refused(tmp_path):
    _, (x, y) = made()
    data = streamed(TensorDataset(x, y))
    x[33] += 1
    with pytest.raises(DataError, match="got another sample 33"):
        score(tmp_path / "run", data=data)


CHILD = """
import os, sys
sys.path.insert(0, sys.argv[2])
from infotorch.pipeline import streaming
from tests.pipeline import test_streaming
streaming.PART_BYTES = 2 * 8 * 8 * test_streaming.DIM * test_streaming.C
left = int(sys.argv[3])
def progress(*step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
test_streaming.score(sys.argv[1], progress=progress)
"""


def test_a_run_killed_in_either_pass_ends_with_the_same_bytes(tmp_path):
    """Steps: 3 shards of samples, 9 batches, 5 parts of moments, 6 shares of scores."""
    score(tmp_path / "truth")

    def begun(steps):
        command = [sys.executable, "-c", CHILD, tmp_path / str(steps), ROOT, str(steps)]
        return subprocess.run(command, cwd=ROOT, capture_output=True)

    cases = (4, 8, 12, 14, 18, 21)
    with ThreadPoolExecutor(2) as pool:
        killed = list(pool.map(begun, cases))
    for steps, done in zip(cases, killed, strict=True):
        out = tmp_path / str(steps)
        assert done.returncode == -9, done.stderr.decode()
        assert (tmp_path / f"{steps}.features.tmp").exists()
        score(out)
        assert contents(out) == contents(tmp_path / "truth"), f"killed after {steps} steps"
        assert not (tmp_path / f"{steps}.features.tmp").exists()
        store.verify(out)


def test_features_are_gone_when_the_run_is_whole(tmp_path):
    """Also where it was killed after the last score."""
    score(tmp_path / "run", features=tmp_path / "run.features.tmp")
    manifest = tmp_path / "run" / "manifest.json"
    assert (tmp_path / "run.features.tmp" / "network-0").exists()
    with store.reopen(tmp_path / "run") as writer:
        writer.note("later", {})  # not whole any more
    assert not store.open(tmp_path / "run").finished and manifest.exists()
    score(tmp_path / "run")
    assert store.open(tmp_path / "run").finished and not (tmp_path / "run.features.tmp").exists()


def test_unique_information_is_asked_for_once(tmp_path):
    with pytest.raises(ConfigError, match="unique_information must be asked for once"):
        score(tmp_path / "run", [measure(), measure(time=9.0)])
    assert not (tmp_path / "run").exists()


def test_a_function_that_makes_notes_is_called_once(tmp_path):
    calls = []
    score(tmp_path / "run", notes=lambda scores: calls.append(len(scores)) or {"a": 1, "b": 2})
    assert calls == [N] and store.open(tmp_path / "run").notes()["b"] == 2


def test_a_full_disk_in_the_first_pass_is_told_and_gone_on_with(tmp_path):
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from infotorch.errors import StoreError
from infotorch.pipeline import streaming
from tests.pipeline import test_streaming
streaming.PART_BYTES = 2 * 8 * 8 * test_streaming.DIM * test_streaming.C
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def progress(stage, done, total):
    if stage == "features" and done == 24:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    test_streaming.score({str(tmp_path / "run")!r}, progress=progress)
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    # A part is written while the next is computed.
    assert re.search(r"part-0000[01]\.npy must be written; got 'file too large'", done.stdout), done.stderr
    score(tmp_path / "run")
    score(tmp_path / "truth")
    assert contents(tmp_path / "run") == contents(tmp_path / "truth")


def test_a_sample_that_is_not_finite_is_named_before_any_work(tmp_path):
    _, (x, y) = made()
    x[41, 2] = torch.inf
    with pytest.raises(Exception, match="sample 41"):
        score(tmp_path / "run", data=(x, y))
    assert not (tmp_path / "run.features.tmp").exists()
