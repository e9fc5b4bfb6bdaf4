"""A teacher's path as it is written: at which steps, of which numbers, whole, and refused in words."""

import errno
import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from infotorch.errors import ConfigError, DataError, NumericsError, StoreError
from infotorch.store import files
from infotorch.train import TeacherPath
from tests.laws import assert_same_bits
from tests.train.distillation.golden import sgd
from tests.train.problems import mlp, samples


def train(model, recording, steps=7, x=None):
    """Steps of a teacher; its weights after each."""
    states, optimizer = [{k: v.clone() for k, v in model.state_dict().items()}], sgd(model, 0.1)
    for k in range(steps):
        optimizer.zero_grad()
        model(torch.full((4, 6), 0.1 * (k + 1), dtype=torch.float64)).square().sum().backward()
        optimizer.step()
        recording.step()
        states.append({k: v.clone() for k, v in model.state_dict().items()})
    return states


def test_weights_are_those_of_each_third_step(tmp_path):
    model = mlp(norm=True)
    states = train(model, TeacherPath.record(model, 3, tmp_path / "a" / "b", dtype="float64"))
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [
        "path.json", "step-00000000.pt", "step-00000003.pt", "step-00000006.pt"
    ]  # fmt: skip
    path = TeacherPath(tmp_path / "a" / "b", model=mlp(5, norm=True))
    assert len(path) == 3 and path.steps == [0, 3, 6]
    for j, step in [(2, 6), (0, 0), (1, 3)]:
        for name, value in path.module(j).state_dict().items():
            assert_same_bits(value, states[step][name])


def test_narrow_weights_are_rounded_and_counts_are_not(tmp_path):
    model = mlp(norm=True)
    model[1].num_batches_tracked.fill_(70_001)
    TeacherPath.record(model, 1, tmp_path, dtype=torch.float16)
    state = torch.load(tmp_path / "step-00000000.pt", weights_only=True)
    assert_same_bits(state["0.weight"], model[0].weight.detach().half())
    assert state["1.num_batches_tracked"] == 70_001


@pytest.mark.parametrize("form", ["inputs", "pair", "loader", "ids"])
def test_logits_are_those_of_the_teacher_in_eval_mode(form, tmp_path, rng):
    x, y, ids = samples(rng, N=300)
    order = torch.randperm(300, generator=rng)
    data = {
        "inputs": x,
        "pair": (x, y),
        "loader": DataLoader(TensorDataset(x, y), 32),
        "ids": DataLoader(TensorDataset(x[order], y[order], ids[order]), 32, shuffle=True),
    }[form]
    model = mlp(dropout=0.5, norm=True)
    recording = TeacherPath.record(model, 2, tmp_path, dtype="float64", what="logits", data=data)
    expected = [model.eval()(x).detach()]
    model.train()
    for k in range(5):
        with torch.no_grad():
            model[0].weight.add_(0.1)
        recording.step()
        if k % 2:
            expected.append(model.eval()(x).detach())
            model.train()
    path = TeacherPath(tmp_path)
    assert len(path) == 3 and path.stored and model.training and model[3].training
    rows = torch.tensor([299, 3, 3])
    for j in range(3):
        torch.testing.assert_close(path.logits(j, rows), expected[j][rows], rtol=1e-12, atol=1e-12)
        assert path.logits(j, [5]).shape == (1, 4)
    assert json.loads((tmp_path / "path.json").read_text())["shape"] == [300, 4]


@pytest.mark.parametrize("own", [False, True])
def test_a_teachers_training_draws_the_same_numbers_with_it_as_without(own, tmp_path, rng):
    x, y, ids = samples(rng)
    generator = torch.Generator().manual_seed(3) if own else None
    loader = DataLoader(TensorDataset(x, y, ids), 8, shuffle=True, generator=generator)
    before, drawn = torch.get_rng_state(), generator and generator.get_state()
    TeacherPath.record(mlp(), 1, tmp_path, dtype="float32", what="logits", data=loader).step()
    assert torch.equal(torch.get_rng_state(), before)
    assert generator is None or torch.equal(generator.get_state(), drawn)


def test_what_a_save_that_failed_has_left_is_not_read(tmp_path, rng, monkeypatch):
    """The disk is full when the second manifest is due: the path has one checkpoint, and a later save is whole."""
    x, _, _ = samples(rng)
    model = mlp()
    recording = TeacherPath.record(model, 1, tmp_path, dtype="float32", what="logits", data=x)
    first = TeacherPath(tmp_path).logits(0, range(24))

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="no space left on device"):
        patch.setattr(files.os, "replace", full)
        with pytest.raises(StoreError, match=r"inputs.npy must be written; got 'no space left on device'"):
            TeacherPath.record(model, 1, tmp_path / "other", dtype="float32", what="logits", data=x)
        assert list((tmp_path / "other").iterdir()) == []
        with torch.no_grad():
            model[0].weight.mul_(2)
        recording.step()
    path = TeacherPath(tmp_path)
    assert len(path) == 1 and (tmp_path / "logits.bin").stat().st_size == 2 * 24 * 4 * 4
    assert_same_bits(path.logits(0, range(24)), first)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"every": 0}, ConfigError, "every must be a whole number of at least 1; got 0"),
        ({"what": "logit"}, ConfigError, "what must be one of 'weights', 'logits'; got 'logit'. Did you mean 'logits'"),
        ({"dtype": "float61"}, ConfigError, "dtype must be one of .* got 'float61'. Did you mean 'float64'"),
        ({"what": "logits"}, ConfigError, "data go with what='logits'; got none. Pass data="),
        ({"data": torch.ones(2, 6)}, ConfigError, "data go with what='logits'; got data for weights. Leave data out"),
        ({"what": "logits", "data": []}, DataError, "data must hold at least one sample; got none"),
        ({"what": "logits", "data": 3}, DataError, "data must be inputs or batches; got int"),
    ],
)
def test_misuse(options, error, text, tmp_path):
    arguments = {"every": 1, "dtype": "float32", **options}
    with pytest.raises(error, match=f"^TeacherPath.record: {text}"):
        TeacherPath.record(mlp(), arguments.pop("every"), tmp_path, **arguments)


def test_indices_that_are_no_numbering(tmp_path, rng):
    x, y, ids = samples(rng)
    with pytest.raises(DataError, match=r"indices of the samples must be 0..23, each once; got 1..24"):
        TeacherPath.record(mlp(), 1, tmp_path, dtype="float32", what="logits", data=[(x, y, ids + 1)])
    shuffled = DataLoader(TensorDataset(x, y), 8, shuffle=True)
    with pytest.raises(DataError, match=r"a loader that shuffles must yield \(inputs, labels, ids\); got .* without"):
        TeacherPath.record(mlp(), 1, tmp_path / "b", dtype="float32", what="logits", data=shuffled)


def test_a_folder_that_has_a_path(tmp_path):
    TeacherPath.record(mlp(), 1, tmp_path, dtype="float32")
    with pytest.raises(StoreError, match=r"must be free for a path; got path.json. Choose another folder"):
        TeacherPath.record(mlp(), 1, tmp_path, dtype="float32")


def test_numbers_that_the_dtype_cannot_hold(tmp_path):
    model = mlp()
    with torch.no_grad():
        model[0].bias[0] = 7e4
    with pytest.raises(
        ConfigError, match=r"dtype must hold the numbers; got 7e\+04 for torch.float16. Pass dtype='flo"
    ):
        TeacherPath.record(model, 1, tmp_path, dtype="float16")


def test_augmentation_is_noticed_when_it_is_recorded(tmp_path, rng):
    x, y, _ = samples(rng)

    class Augmented:
        def __iter__(self):
            yield x + torch.randn(24, 6), y

    recording = TeacherPath.record(mlp(), 2, tmp_path, dtype="float32", what="logits", data=Augmented())
    recording.step()
    torch.randn(1)  # the training draws between two checkpoints; the recording puts back what it drew
    with pytest.raises(
        DataError, match=r"data must give the same samples at every checkpoint; got others after 2 steps"
    ):
        recording.step()
    assert np.load(tmp_path / "inputs.npy").shape == (24,)


def test_a_teacher_without_logits(tmp_path):
    with pytest.raises(ConfigError, match=r"model must return its logits, a tensor; got tuple"):
        TeacherPath.record(torch.nn.LSTM(6, 2), 1, tmp_path, dtype="float32", what="logits", data=torch.ones(3, 6))


def test_logits_that_are_not_finite_are_not_stored(tmp_path, rng):
    x, y, _ = samples(rng)
    x[3, 0] = float("nan")
    with pytest.raises(NumericsError, match="logits must be numbers below inf; got others for sample 3 after 0 steps"):
        TeacherPath.record(mlp(), 1, tmp_path, dtype="float32", what="logits", data=(x, y))
