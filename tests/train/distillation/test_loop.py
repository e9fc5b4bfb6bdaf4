"""distill: the golden trajectories, a loop written by hand, exact resumes, and refusals in words."""

import copy
import math
import pathlib
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infotorch.errors import ConfigError, DataError, DivergenceError, ShapeError, StoreError
from infotorch.store.files import locked_file
from infotorch.train import TeacherPath, distill, distill_loss
from tests.laws import assert_same_bits
from tests.train.distillation import distributed
from tests.train.distillation.golden import batches, golden, sgd, softmax_layer, teachers, wide
from tests.train.problems import mlp, samples, weights
from tests.train.resuming import loader, seed

HOUSE = pathlib.Path(__file__).parents[3]
GOLDEN = golden("online_distill")


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_golden(mode):
    student = softmax_layer(torch.zeros(3, 3, dtype=torch.float64))
    path = TeacherPath([softmax_layer(wide(weight)) for weight in GOLDEN["checkpoints"]])
    data = [(wide(GOLDEN["X"]), torch.tensor(GOLDEN["y"]))]
    optimizer = torch.optim.SGD(student.parameters(), GOLDEN["lr"])
    result = distill(student, data, optimizer, teacher=path, mode=mode, tau=GOLDEN["tau"], steps=GOLDEN["steps"])
    torch.testing.assert_close(student.weight.detach(), wide(GOLDEN[f"student_{mode}"]), rtol=0, atol=1e-12)
    expected = [1, 1, 1, 2, 2, 2, 3, 3, 3] if mode == "online" else [3] * 9
    assert [entry["checkpoint"] for entry in result.history] == expected


def by_hand(student, data, modules, schedule, *, tau, alpha, clip=None):
    """The same training in plain torch; losses and fidelities."""
    optimizer, told = sgd(student), []
    for k, j in enumerate(schedule):
        x, y, _ = data[k % len(data)]
        with torch.no_grad():
            t = modules[j].eval()(x)
        optimizer.zero_grad()
        s = student(x)
        soft = -((t / tau).softmax(1) * (s / tau).log_softmax(1)).sum()
        loss = alpha * tau**2 * soft + (1 - alpha) * F.cross_entropy(s, y, reduction="sum")
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(student.parameters(), clip)
        optimizer.step()
        told.append((loss.item(), (s.argmax(1) == t.argmax(1)).double().mean().item()))
    return told


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        ({"mode": "online"}, [1, 1, 1, 2, 2, 3, 3]),
        ({"mode": "online", "match": "behind", "alpha": 0.3, "tau": 2.0}, [0, 0, 0, 1, 1, 2, 2]),
        ({"mode": "offline", "alpha": 0.5}, [3] * 7),
        ({"mode": "offline", "tau": 4.0, "clip_norm": 0.5, "grad_accum": 3}, [3] * 7),
    ],
    ids=["ahead", "behind", "offline", "accumulated and clipped"],
)
def test_equals_the_loop_by_hand(options, schedule, rng):
    """Seven steps over three batches, teachers with BatchNorm in train mode: weights to 1e-12, and what is told."""
    data, modules = batches(rng), teachers(norm=True)
    student, other = mlp(), mlp()
    before = [copy.deepcopy(module.state_dict()) for module in modules]
    student.eval()
    result = distill(student, data, sgd(student), teacher=TeacherPath(modules), steps=7, **options)
    assert not student.training and all(module.training for module in modules)
    for module, state in zip(modules, before, strict=True):
        for name, value in module.state_dict().items():
            assert_same_bits(value, state[name])
    told = by_hand(
        other.train(), data, modules, schedule, tau=options.get("tau", 1.0), alpha=options.get("alpha", 1.0),
        clip=options.get("clip_norm"),
    )  # fmt: skip
    for mine, theirs in zip(weights(student), weights(other), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    assert [entry["step"] for entry in result.history] == list(range(7)) and result.skipped == 0
    assert [entry["checkpoint"] for entry in result.history] == schedule
    for entry, (loss, fidelity) in zip(result.history, told, strict=True):
        assert entry["loss"] == pytest.approx(loss, rel=1e-12) and entry["fidelity"] == pytest.approx(fidelity)
        assert set(entry) == {"step", "loss", "checkpoint", "fidelity"}


@pytest.mark.parametrize("what", ["weights", "logits"])
def test_a_recorded_path_trains_as_its_modules_do(what, tmp_path, rng):
    data = batches(rng)
    x, _, _ = samples(torch.Generator().manual_seed(0))
    teacher, modules = mlp(9), []
    recording = TeacherPath.record(teacher, 1, tmp_path, dtype="float64", what=what,
                                   data=x if what == "logits" else None)  # fmt: skip
    modules.append(copy.deepcopy(teacher))
    for _ in range(3):
        with torch.no_grad():
            teacher[0].weight.mul_(1.5)
        recording.step()
        modules.append(copy.deepcopy(teacher))
    found = []
    for path in (TeacherPath(modules), TeacherPath(tmp_path, model=mlp())):
        student = mlp()
        distill(student, data, sgd(student), teacher=path, steps=6)
        found.append(weights(student))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_one_module_is_its_only_checkpoint(rng):
    data, found = batches(rng), []
    for options in ({"mode": "offline"}, {"mode": "online", "match": "behind"}):
        student = mlp()
        distill(student, data, sgd(student), teacher=mlp(9), steps=5, **options)
        found.append(weights(student))
    for mine, theirs in zip(*found, strict=True):
        assert_same_bits(mine, theirs)


class Counter:
    """A callback with a state."""

    def __init__(self):
        self.steps = []

    def __call__(self, moment):
        self.steps.append((moment.step, moment.checkpoint))

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = [tuple(step) for step in state["steps"]]


class Stop(Exception):
    """The process dies here."""


def run(path, stop=None, **options):
    """Ten steps with dropout, BatchNorm and augmentation by three generators, which may die before step ``stop``."""
    student, counter = mlp(dropout=0.3, norm=True), Counter()

    def dying(moment):
        if moment.step == stop:
            raise Stop

    callbacks = [counter, dying]
    arguments = {"steps": 10, "alpha": 0.5, "grad_accum": 2, "checkpoint": path, **options}
    try:
        result = distill(student, loader(), torch.optim.Adam(student.parameters(), 0.01),
                         teacher=TeacherPath(teachers()), callbacks=callbacks, **arguments)  # fmt: skip
    except Stop:
        return None
    return student.state_dict(), result.history, counter.steps


@pytest.mark.parametrize(("stop", "every"), [(3, 2), (4, 3), (9, 2)])
def test_a_training_gone_on_with_has_the_same_bits(stop, every, tmp_path):
    """From a checkpoint within a pass of three batches, or (3) between two."""
    seed()
    whole = run(tmp_path / "whole.pt")
    seed()
    assert run(tmp_path / "killed.pt", stop, checkpoint_every=every) is None
    torch.manual_seed(77)
    state, history, steps = run(tmp_path / "killed.pt")
    for name, value in whole[0].items():
        assert_same_bits(state[name], value)
    assert history == whole[1] and steps == whole[2] and [step for step, _ in steps] == list(range(11))


def test_a_finished_training_is_not_trained_again(tmp_path):
    seed()
    whole = run(tmp_path / "done.pt")
    again = run(tmp_path / "done.pt")
    assert again[1:] == whole[1:]
    for name, value in whole[0].items():
        assert_same_bits(again[0][name], value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tau": 2.0}, "tau must be that of the checkpoint, 1.0; got 2.0. Pass it, or delete"),
        ({"alpha": 0.6}, "alpha must be that of the checkpoint, 0.5; got 0.6"),
        ({"mode": "offline"}, "mode must be that of the checkpoint, 'online'; got 'offline'"),
        ({"match": "behind"}, "match must be that of the checkpoint, 'ahead'; got 'behind'"),
        ({"loss": "kl"}, "loss must be that of the checkpoint, 'ce'; got 'kl'"),
        ({"steps": 12}, "steps must be that of the checkpoint, 10; got 12"),
        ({"grad_accum": 1}, "grad_accum must be that of the checkpoint, 2; got 1"),
        ({"clip_norm": 1.0}, "clip_norm must be that of the checkpoint, None; got 1.0"),
        ({"amp": "bf16"}, "amp must be that of the checkpoint, None; got 'bf16'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_resume_with_another_argument(options, text, tmp_path):
    assert run(tmp_path / "a.pt", 4, checkpoint_every=2) is None
    with pytest.raises(ConfigError, match=f"^distill: {text}"):
        run(tmp_path / "a.pt", **options)


def test_a_resume_of_other_networks(tmp_path, rng):
    data, file = batches(rng), tmp_path / "a.pt"

    def start(student, optimizer=None, teacher=None, **options):
        optimizer = optimizer or sgd(student)
        distill(student, data, optimizer, teacher=teacher or mlp(9), steps=3, checkpoint=file, **options)

    start(mlp())
    with pytest.raises(StoreError, match=r"^distill: student must be the network of the checkpoint"):
        start(mlp(norm=True))
    student = mlp()
    with pytest.raises(StoreError, match=r"^distill: optimizer must be of the kind in the checkpoint; got Adam"):
        start(student, torch.optim.Adam(student.parameters()))
    with pytest.raises(ConfigError, match=r"^distill: checkpoints must be that of the checkpoint, 1; got 4"):
        start(mlp(), teacher=TeacherPath(teachers()))
    with pytest.raises(ConfigError, match=r"^distill: teacher must be that of the checkpoint, '.*'; got '.*'. Pass it"):
        start(mlp(), teacher=mlp(8))
    with pytest.raises(ConfigError, match=r"^distill: callbacks must be those of the checkpoint, 0; got 1"):
        start(mlp(), callbacks=[Counter()])
    file.write_bytes(b"no checkpoint")
    with pytest.raises(
        StoreError, match=r"^distill: .*a.pt must be a checkpoint of distill; got a file of another kind"
    ):
        start(mlp())


@pytest.mark.parametrize(("amp", "rtol"), [("bf16", 3e-2), ("fp16", 1e-2)])
def test_half_precisions_train_nearly_the_same(amp, rtol, rng):
    """As far as they train: fp16's first scales are too large, and their steps are skipped."""
    x, y, ids = samples(rng, dtype=torch.float32)

    def trained(steps, precision):
        student = mlp(dtype=torch.float32)
        result = distill(student, [(x, y, ids)], sgd(student), teacher=mlp(9, dtype=torch.float32), steps=steps,
                         amp=precision)  # fmt: skip
        return result.skipped, torch.cat([w.flatten() for w in weights(student)])

    skipped, narrow = trained(8, amp)
    _, plain = trained(8 - skipped, None)
    assert (skipped > 0) == (amp == "fp16") and skipped < 5
    assert 0 < (plain - narrow).norm() < rtol * plain.norm()


def test_a_loss_that_is_no_number_is_named_by_its_step(rng):
    """Student, buffers and generators are as before the step; the earlier steps stay."""
    data = batches(rng)
    data[2][0][3, 1] = math.nan
    student, other = mlp(norm=True), mlp(norm=True)
    path = TeacherPath(teachers())
    distill(other, data[:2], sgd(other), teacher=path, steps=2, mode="offline")
    text = r"^distill: the loss must be finite; got nan in step 2, from checkpoint 3. Lower the learning rate"
    with pytest.raises(DivergenceError, match=text) as raised:
        distill(student, data, sgd(student), teacher=path, steps=5, mode="offline")
    assert (raised.value.step, raised.value.where) == (2, "loss") and math.isnan(raised.value.value)
    for name, value in other.state_dict().items():
        assert_same_bits(student.state_dict()[name], value)


def test_a_gradient_that_is_no_number_is_named_by_its_step(rng):
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, x):
            return self.inner(x) + (0 * self.inner[0].weight.sum()).abs().sqrt()

    student = Steep()
    before = weights(student)
    with pytest.raises(
        DivergenceError, match=r"^distill: the gradient must be finite; got norm nan in step 0"
    ) as raised:
        distill(student, batches(rng), sgd(student), teacher=mlp(9), steps=2)
    assert raised.value.where == "gradient"
    for mine, old in zip(weights(student), before, strict=True):
        assert_same_bits(mine, old)


def test_moments_tell_where_it_is(rng):
    data, seen = batches(rng), []
    x = data[0][0]
    modules = teachers()

    def look(moment):
        j = moment.checkpoint
        assert_same_bits(moment.teacher(x), modules[j].eval()(x).detach())
        seen.append((moment.step, j, None if moment.entry is None else moment.entry["step"]))

    student = mlp()
    distill(student, data, sgd(student), teacher=TeacherPath(modules), steps=3, callbacks=[look])
    assert seen == [(0, 1, None), (1, 2, 0), (2, 3, 1), (3, 3, 2)]


def test_misuse(rng, tmp_path):
    data = batches(rng)

    def start(data=data, student=None, **options):
        student = student or mlp()
        distill(student, data, sgd(student), **{"teacher": mlp(9), "steps": 3, **options})

    for options, error, text in [
        ({"data": []}, DataError, "data must give at least one batch in each pass; got none"),
        ({"data": [(1, 2, 3, 4)]}, DataError, r"a batch must be \(inputs, labels\), .* got 4 entries"),
        ({"teacher": mlp(9, C=5)}, ShapeError, "student and teacher must have the same classes; got 4 and 5"),
        ({"teacher": TeacherPath([mlp(9), mlp(8, C=5)])}, ShapeError, r"must have the same classes; got \[4, 5\]"),
        ({"steps": 0}, ConfigError, "steps must be a whole number of at least 1; got 0"),
        ({"checkpoint_every": 2}, ConfigError, "checkpoint_every, at least 1, goes with checkpoint; got 2 and None"),
        ({"checkpoint": tmp_path / "a", "checkpoint_every": 0}, ConfigError, "at least 1, goes with checkpoint; got 0"),
        ({"checkpoint": tmp_path}, ConfigError, "checkpoint must be a file; got the folder"),
        ({"student": nn.LSTM(6, 4).double()}, ConfigError, "student must return its logits, a tensor; got tuple"),
    ]:
        with pytest.raises(error, match=rf"^distill(_loss)?: .*{text}"):
            start(**options)


def test_a_checkpoint_has_one_writer(tmp_path, rng):
    student = mlp()
    options = {"teacher": mlp(9), "steps": 1, "checkpoint": tmp_path / "a.pt"}
    with locked_file(tmp_path / "a.pt"), pytest.raises(StoreError, match=r"got .*a\.pt, which another process is writ"):
        distill(student, batches(rng), sgd(student), **options)
    distill(student, batches(rng), sgd(student), **options)


def test_the_sum_is_over_the_batch(rng):
    """Twice the samples have twice the loss: nothing is averaged."""
    x, y, _ = samples(rng)
    losses = []
    for repeat in (1, 2):
        student = mlp()
        result = distill(student, [(x.repeat(repeat, 1), y.repeat(repeat))], sgd(student), teacher=mlp(9), steps=1)
        losses.append(result.history[0]["loss"])
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-12)
    assert losses[0] == pytest.approx(distill_loss(mlp()(x), mlp(9)(x)).item(), rel=1e-12)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    """Each with half of every batch: weights and losses to 1e-12, a resume to the bit, and one rank's nan on both."""
    command = [sys.executable, "-m", "tests.train.distillation.distributed"]
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "rendezvous"), str(tmp_path / "out")], cwd=HOUSE)
        for rank in range(distributed.WORLD)
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    one, told = distributed.run()
    for rank in range(distributed.WORLD):
        found = torch.load(tmp_path / f"out.{rank}", weights_only=False)
        for (mine, history), again in [(found["whole"], False), (found["resumed"], True)]:
            for a, b in zip(mine, found["whole"][0] if again else one, strict=True):
                assert torch.equal(a, b) if again else (a - b).abs().max() <= 1e-12
            assert history == found["whole"][1]
        for mine, theirs in zip(found["whole"][1], told, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-12) and mine["fidelity"] == theirs["fidelity"]
        assert found["text"].startswith("distill: the loss must be finite; got nan in step 1, from checkpoint 1.")
        assert found["bare"].startswith("distill: student must be wrapped in DistributedDataParallel, as there are 2 ")


@pytest.mark.slow
def test_the_grid_of_pictures_goes_on_where_it_was_ended(tmp_path, data_folder, capsys):
    """The benchmark at its smallest: one cell is taken away, and it alone is trained again, to the same figures."""
    cifar10 = pytest.importorskip("benchmarks.distill.cifar10")
    small = ["--out", str(tmp_path), *"--seeds 1 --train 256 --test 64 --epochs 2 --width 8 --threads 1".split()]
    cifar10.main(small)
    table = capsys.readouterr().out.splitlines()[-6:]
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "seed-0").glob("*.json")}
    assert len(cells) == 6 and [line.split()[1] for line in table] == ["teacher", *cifar10.STUDENTS]
    for name in ("online_tau4.json", "online_tau4.pt"):
        (tmp_path / "seed-0" / name).unlink()
    cifar10.main(small)
    assert capsys.readouterr().out.splitlines()[-6:] == table
    kept = {path: path.stat().st_mtime_ns for path in cells if path.name != "online_tau4.json"}
    assert all(cells[path] == when for path, when in kept.items())
    with pytest.raises(SystemExit, match="must be of the settings"):
        cifar10.main([*small, "--epochs", "3"])
