"""DistillCallback in real Lightning trainings: equal to a loop by hand, and refused in words."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from infotorch.errors import ConfigError, DataError, DivergenceError
from infotorch.train import TeacherPath, distill_loss
from tests.laws import assert_same_bits
from tests.train.distillation.golden import teachers
from tests.train.problems import mlp, weights

pytest.importorskip("lightning.pytorch", reason="no lightning: it comes with the dev extra")
pytestmark = pytest.mark.filterwarnings("ignore")

from infotorch.train import DistillCallback  # noqa: E402  needs lightning
from tests.train.test_lightning import Plain, batches, fit  # noqa: E402  needs lightning


def by_hand(net, data, modules, schedule, *, parts=1, tau=1.0, alpha=1.0):
    """The mean over each batch's labels, of which ``parts`` make a step."""
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for start, j in zip(range(0, len(data), parts), schedule, strict=True):
        optimizer.zero_grad()
        for x, y, _ in data[start : start + parts]:
            t, there = modules[j](x).detach(), y >= 0
            value = distill_loss(net(x)[there], t[there], y[there], tau=tau, alpha=alpha)
            (value / there.sum() / parts).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("options", "schedule", "parts"),
    [
        ({}, [1, 1, 2, 2, 3], 1),
        ({"mode": "offline", "tau": 4.0, "alpha": 0.3}, [3] * 5, 1),
        ({"match": "behind", "tau": 2.0}, [0, 1, 2], 2),
    ],
    ids=["online", "offline", "accumulated"],
)
def test_equals_the_loop_by_hand(options, schedule, parts, rng):
    data, modules, student = batches(rng), teachers(), mlp()
    other, before = copy.deepcopy(student), [weights(module) for module in modules]
    here = DistillCallback(TeacherPath(modules), **options)
    fit(Plain(student), data, here, accumulate_grad_batches=parts)
    by_hand(other, data, modules, schedule, parts=parts, **{k: options[k] for k in ("tau", "alpha") if k in options})
    for mine, theirs in zip(weights(student), weights(other), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    assert [entry["checkpoint"] for entry in here.history] == [schedule[k // parts] for k in range(5)]
    for module, old in zip(modules, before, strict=True):
        for mine, theirs in zip(weights(module), old, strict=True):
            assert_same_bits(mine, theirs)


def test_stored_logits_take_ids(tmp_path, rng):
    data, found = batches(rng), []
    x = torch.cat([x for x, _, _ in data])
    TeacherPath.record(mlp(9), 1, tmp_path, dtype="float64", what="logits", data=x)
    for path in (TeacherPath([mlp(9)]), TeacherPath(tmp_path)):
        student = mlp()
        fit(Plain(student), data, DistillCallback(path, batch_ids=lambda batch: batch[2]))
        found.append(weights(student))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    with pytest.raises(DataError, match=r"^DistillCallback: stored logits need the samples' indices; got a batch"):
        fit(Plain(mlp()), data, DistillCallback(TeacherPath(tmp_path)))


def test_a_resumed_training_goes_on_with_the_schedule(tmp_path, rng):
    """Four steps, Lightning's checkpoint, and six more, are ten."""
    data, modules = batches(rng), teachers()
    found = []
    for stop in (None, 1):
        module = Plain(mlp())
        here = DistillCallback(TeacherPath(modules), steps=10)
        trainer = fit(module, data, here, max_epochs=stop or 2)
        if stop:
            trainer.save_checkpoint(tmp_path / "a.ckpt")
            module, here = Plain(mlp(5)), DistillCallback(TeacherPath(modules), steps=10)
            fit(module, data, here, max_epochs=2, ckpt=tmp_path / "a.ckpt")
            other = DistillCallback(TeacherPath(modules), steps=10, tau=2.0)
            with pytest.raises(ConfigError, match=r"load_state_dict: tau must be that of the checkpoint, 1.0; got 2.0"):
                fit(Plain(mlp()), data, other, max_epochs=2, ckpt=tmp_path / "a.ckpt")
        found.append((weights(module.model), here.history))
    assert found[0][1] == found[1][1] and len(found[0][1]) == 10
    for mine, theirs in zip(found[0][0], found[1][0], strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_other_precisions(precision, rng):
    data = [(x.float(), y, ids) for x, y, ids in batches(rng)]
    student, other = mlp(dtype=torch.float32), mlp()
    fit(Plain(student), data, DistillCallback(mlp(9, dtype=torch.float32)), precision=precision)
    by_hand(other, [(x.double(), y, ids) for x, y, ids in data], [mlp(9)], [0] * 5)
    rtol = 1e-4 if precision == "32-true" else 5e-2
    for mine, theirs in zip(weights(student), weights(other), strict=True):
        assert (mine - theirs).norm() < rtol * theirs.norm()


def test_misuse(rng):
    data, student = batches(rng), mlp()

    def start(here, module=None, **options):
        fit(module or Plain(mlp()), data, here, **options)

    for options, text in [
        ({"tau": 0.0}, "tau must be finite and above 0; got 0.0"),
        ({"alpha": 2.0}, r"alpha must lie in \[0, 1\]; got 2.0"),
        ({"mode": "ofline"}, "mode must be one of .* Did you mean 'offline'"),
        ({"steps": 0}, "steps must be a whole number of at least 1; got 0"),
    ]:
        with pytest.raises(ConfigError, match=f"^DistillCallback: {text}"):
            DistillCallback(mlp(9), **options)
    with pytest.raises(
        ConfigError, match=r"^DistillCallback: module must be the path of .* which has 'model'; got 'net'"
    ):
        start(DistillCallback(mlp(9), module="net"))
    with pytest.raises(ConfigError, match=r"^DistillCallback: student and teacher must share no parameter"):
        start(DistillCallback(student), Plain(student))
    with pytest.raises(ConfigError, match=r"^DistillCallback: the training must have a number of steps; got inf"):
        start(DistillCallback(mlp(9)), max_epochs=-1)
    with pytest.raises(
        ConfigError, match=r"^DistillCallback: the loss on the hooked logits must be plain cross-entropy"
    ):
        start(DistillCallback(mlp(9)), Plain(mlp(), loss=lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)))
    with pytest.raises(ValueError, match=r"student and teacher must have the same classes; got 4 and 5"):
        start(DistillCallback(mlp(9, C=5)))
    manual = Plain(mlp())
    manual.automatic_optimization = False
    with pytest.raises(ConfigError, match=r"^DistillCallback: the module must leave its optimization to Lightning"):
        start(DistillCallback(mlp(9)), manual)
    assert not student[0]._forward_hooks and math.isfinite(float(weights(student)[0].sum()))


def test_a_teacher_that_is_no_network_any_more_is_refused(rng):
    teacher, module = mlp(9), Plain(mlp())
    with torch.no_grad():
        teacher[0].weight.fill_(math.nan)
    before = weights(module)
    with pytest.raises(DivergenceError, match=r"^DistillCallback: the loss must be finite; got nan in step 0"):
        fit(module, batches(rng), DistillCallback(teacher))
    assert all(torch.equal(one, two) for one, two in zip(weights(module), before, strict=True))
