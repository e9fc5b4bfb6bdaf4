"""A training that was broken off ends with the bits of one that wasn't; what is on the disk is whole."""

import errno
import os
import pathlib
import resource
import sys

import pytest
import torch

from infotorch.errors import ConfigError, StoreError
from infotorch.measures.label_info import LabelInfoMeter
from infotorch.train.trainer import LimitTrainer
from tests import ahead
from tests.train.problems import batches, mlp, networks, samples, weights

HOUSE = pathlib.Path(__file__).parents[2]


def assert_equal(got, want, path="state"):
    """Equal in every entry, tensors to the bit."""
    assert type(got) is type(want), path
    if isinstance(want, torch.Tensor):
        assert got.shape == want.shape and got.dtype == want.dtype, path
        assert got.numpy().tobytes() == want.numpy().tobytes(), path
    elif isinstance(want, dict):
        assert list(got) == list(want), path
        for key in want:
            assert_equal(got[key], want[key], f"{path}.{key}")
    elif isinstance(want, (list, tuple)):
        assert len(got) == len(want), path
        for k, (mine, theirs) in enumerate(zip(got, want, strict=True)):
            assert_equal(mine, theirs, f"{path}[{k}]")
    else:
        assert got == want, path


def in_new_process(path, out, stop, load, own_generator):
    arguments = [path, out, stop, "load" if load else "new", "own" if own_generator else "torch's"]
    done = ahead.run(sys.executable, "-m", "tests.train.resuming", *arguments, cwd=HOUSE)
    assert done.returncode == 0, done.stderr
    return torch.load(out, weights_only=False)


def outcomes(stop, own_generator):
    """Of a training as a whole, one that is broken off, and what goes on from there."""
    with ahead.folder() as folder:
        path, out = pathlib.Path(folder) / "checkpoint.pt", pathlib.Path(folder) / "out.pt"
        whole = in_new_process(pathlib.Path(folder) / "whole.pt", out, 0, False, own_generator)
        broken_off = in_new_process(path, out, stop, False, own_generator)
        return whole, broken_off, in_new_process(path, out, 0, True, own_generator)


CASES = [(5, True), (7, False), (3, True)]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.ahead.with_args(outcomes, *case)) for case in CASES]
)
def test_a_training_gone_on_with_in_a_new_process_has_the_same_bits(case):
    """With dropout, BatchNorm, augmentation, momentum, a schedule, warm-up, clipping, accumulation and noise.

    It is broken off within an epoch, or (3) between two.
    """
    whole, broken_off, rest = ahead.soon(outcomes, *case).result()
    assert broken_off is None
    assert_equal(rest, whole)


def test_steps_by_hand_go_on_with_the_same_bits(tmp_path):
    """10 steps are 5, a checkpoint, and 5 more."""
    x, y, ids = samples(torch.Generator().manual_seed(0))
    parts = batches(x, y, ids) * 4

    def make():
        return LimitTrainer(*networks(dropout=0.5), lam=50.0, lr=1e-2)

    torch.manual_seed(1)
    whole = make()
    for batch in parts[:10]:
        whole.step(batch)
    torch.manual_seed(1)
    first = make()
    for batch in parts[:5]:
        first.step(batch)
    first.save(tmp_path / "a")
    torch.manual_seed(99)
    second = make()
    second.load(tmp_path / "a")
    for batch in parts[5:10]:
        second.step(batch)
    assert_equal(second.state_dict(), whole.state_dict())


def test_fit_writes_a_checkpoint_an_epoch_and_in_between(tmp_path, rng):
    saved = []
    trainer = LimitTrainer(*networks(), epochs=2)
    save = trainer.save
    trainer.save = lambda path: (saved.append((trainer.steps, trainer.position)), save(path))
    trainer.fit(batches(*samples(rng)), checkpoint=tmp_path / "a", checkpoint_every=2)
    assert saved == [(2, 2), (3, 0), (4, 1), (6, 3), (6, 0)] and os.listdir(tmp_path) == ["a"]


CHANGES = {
    "q": "laplace", "beta": 0.5, "lam": 4.0, "seed": 1, "reduction": "sum", "warm_up": 2, "grad_accum": 2,
    "clip_norm": 1.0, "amp": "bf16",
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_other_settings_is_refused_unless_overridden(name, rng):
    state = LimitTrainer(*networks(), lam=5.0).state_dict()
    other = LimitTrainer(*networks(), **{"lam": 5.0, name: CHANGES[name]})
    before = weights(other.classifier)
    with pytest.raises(ConfigError, match=rf"{name} must be that of the checkpoint, .* or pass override=\['{name}'\]"):
        other.load_state_dict(state)
    assert_equal(weights(other.classifier), before)
    other.load_state_dict(state, override=[name])


def test_an_override_that_is_none_is_refused():
    trainer = LimitTrainer(*networks())
    with pytest.raises(ConfigError, match=r"override must be one of .* got 'betta'. Did you mean 'beta'"):
        trainer.load_state_dict(trainer.state_dict(), override=["betta"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state["classifier"].pop("0.weight"), "classifier must be .* where 0.weight is absent; got"),
        (lambda state: state["aux"].update(extra=torch.zeros(2)), r"aux .* where extra is \[2\]; got absent"),
        (lambda state: state["aux"].update({"0.bias": torch.zeros(3)}), r"where 0.bias is \[3\]; got \[8\]"),
        (lambda state: state["schedulers"].append({}), "as many schedulers as in the checkpoint, 1; got 0"),
        (lambda state: state["optimizer"]["param_groups"].append({"params": [0]}), r"of \[4, 1\] tensors; got \[4\]"),
        (lambda state: state.pop("rng"), "got 'rng' missing"),
        (lambda state: state.update(format="1"), "got '1'"),
    ],
)
def test_a_checkpoint_of_other_networks_is_refused_before_anything_changes(change, text, rng):
    state = LimitTrainer(mlp(7), mlp(8)).state_dict()
    change(state)
    trainer = LimitTrainer(*networks())
    before = trainer.state_dict()
    with pytest.raises(StoreError, match=text):
        trainer.load_state_dict(state)
    assert_equal(trainer.state_dict(), before)


@pytest.mark.parametrize("damage", ["truncated", "edited", "text", "pickle", "empty"])
def test_a_file_that_is_no_checkpoint_is_refused(damage, tmp_path):
    trainer, path = LimitTrainer(*networks()), tmp_path / "a"
    trainer.save(path)
    data = path.read_bytes()
    if damage == "pickle":
        torch.save({"format": trainer}, path)  # would run code
    else:
        path.write_bytes({"truncated": data[: len(data) // 2], "edited": data.replace(b"PK", b"KP"), "text": b"hello",
                          "empty": b""}[damage])  # fmt: skip
    with pytest.raises(StoreError, match=r"LimitTrainer.load: .*/a must be a checkpoint of LimitTrainer; got"):
        trainer.load(path)
    with pytest.raises(StoreError, match="must be there; got no such file"):
        trainer.load(tmp_path / "none")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_last_good_checkpoint(call, tmp_path, monkeypatch, rng):
    trainer, path = LimitTrainer(*networks()), tmp_path / "a"
    trainer.step(samples(rng))
    trainer.save(path)
    good = path.read_bytes()
    trainer.step(samples(rng))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match=r"a must be written; got 'no space left on device' from the system"):
        trainer.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == good and os.listdir(tmp_path) == ["a"]
    trainer.load(path)
    assert trainer.steps == 1


def test_a_checkpoint_larger_than_the_disk_allows(tmp_path, rng):
    """The system itself ends the write in its middle."""
    trainer, path = LimitTrainer(*networks()), tmp_path / "a"
    trainer.save(path)
    good = path.read_bytes()
    trainer.step(samples(rng))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"a must be written; got 'file too large' from the system"):
            trainer.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == good and os.listdir(tmp_path) == ["a"]


def test_a_meter_of_one_s_own_goes_on(rng):
    batch = samples(rng)
    first = LimitTrainer(*networks(), lam=5.0, meter=LabelInfoMeter(4, 24, lam=5.0))
    first.step(batch)
    second = LimitTrainer(*networks(), lam=5.0, meter=LabelInfoMeter(4, 24, lam=5.0))
    second.load_state_dict(first.state_dict())
    assert second.meter.result() == first.meter.result() and second.meter.result().num_steps == 1


def test_the_scaler_goes_on(rng):
    trainer = LimitTrainer(*networks(dtype=torch.float32), amp="fp16")
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    trainer.step(samples(rng, dtype=torch.float32))
    other = LimitTrainer(*networks(dtype=torch.float32), amp="fp16")
    other.load_state_dict(trainer.state_dict())
    assert other.scaler.get_scale() == 2.0**39


def test_divergence_names_the_last_checkpoint(rng, tmp_path):
    x, y, ids = samples(rng)
    nets = networks()
    trainer = LimitTrainer(*nets)
    trainer.step((x, y, ids))
    trainer.save(tmp_path / "a")
    trainer.step((x, y, ids))
    with torch.no_grad():
        nets[1][0].bias[0] = torch.nan
    with pytest.raises(
        ArithmeticError, match=r"at step 2 .* in aux\.0\. Lower lr, raise beta, or resume from step 1\."
    ):
        trainer.step((x, y, ids))


@pytest.mark.parametrize("made", [(torch.optim.Adam, torch.optim.SGD), (torch.optim.SGD, torch.optim.Adam)])
def test_an_optimizer_of_another_kind(made, rng):
    first, second = (
        LimitTrainer(*nets, aux_optimizer=make(nets[1].parameters(), 0.1))
        for make, nets in ((make, networks()) for make in made)
    )
    torch.optim.lr_scheduler.StepLR(second.aux_optimizer, 1)  # which leaves a key of its own in the groups
    first.step(samples(rng))
    with pytest.raises(StoreError, match=f"must be of the kind in the checkpoint; got {made[1].__name__}"):
        second.load_state_dict(first.state_dict())
    nets = networks()
    same = LimitTrainer(*nets, aux_optimizer=made[0](nets[1].parameters(), 0.1))
    torch.optim.lr_scheduler.StepLR(same.aux_optimizer, 1)
    same.load_state_dict(first.state_dict())
