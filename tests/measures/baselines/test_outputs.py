import re

import pytest
import torch
from torch import nn

from infotorch import Task
from infotorch.errors import ConfigError, DataError
from infotorch.measures.baselines.outputs import class_logits, classes, in_parts
from tests.laws import assert_same
from tests.measures.baselines.doubles import binary, classifier, shown

WRITTEN = 8 * (8 + 8 + 3)
"""Bytes of float64 that the layers of the classifier put out for a sample."""


@pytest.mark.parametrize(("memory_limit", "parts"), [
    (None, [11]), (10**9, [11]), (4 * WRITTEN, [4, 4, 3]), (4 * WRITTEN - 1, [3, 3, 3, 2]), (WRITTEN, [1] * 11),
])  # fmt: skip
def test_parts_put_out_no_more_than_the_limit(memory_limit, parts, rng):
    task, x, y = classifier(rng)
    seen, steps = [], []

    def each(outputs, y):
        seen.append(len(outputs))
        return torch.cat([outputs, y[:, None]], 1)

    got = in_parts("it", task, x, y, each, memory_limit=memory_limit, progress=lambda *step: steps.append(step))
    assert_same(got, torch.cat([task.model(x), y[:, None]], 1).detach())
    assert seen == parts and not got.requires_grad
    assert steps == [("it", done, 11) for done in torch.tensor(parts).cumsum(0).tolist()]


def test_functions_between_layers_count(rng):
    task, x, y = classifier(rng)
    wide = Task(task.model, forward=lambda model, x: model(x).repeat(1, 100).sum(1, keepdim=True))
    seen = []
    in_parts("it", wide, x, y, lambda f, _: seen.append(len(f)) or f, memory_limit=3 * (WRITTEN + 8 * 301))
    assert seen == [3, 3, 3, 2]


def test_what_does_not_grow_with_samples_is_not_counted(rng):
    task, x, y = classifier(rng)
    seen = []
    copied = Task(task.model, forward=lambda model, x: model(x) + 0 * torch.ones(10**5).sum())
    in_parts("it", copied, x, y, lambda f, _: seen.append(len(f)) or f, memory_limit=11 * (WRITTEN + 8 * 3))
    assert seen == [11]


def test_one_sample_is_a_part(rng):
    task, x, y = classifier(rng, N=1)
    assert in_parts("it", task, x, y, lambda f, _: f, memory_limit=WRITTEN).shape == (1, 3)


def test_limits_are_checked(rng):
    task, x, y = classifier(rng)
    message = f"it: memory_limit must hold the forward pass of one sample (needs {WRITTEN} bytes); got {WRITTEN - 1} "
    with pytest.raises(ConfigError, match=re.escape(message)):
        in_parts("it", task, x, y, lambda f, _: f, memory_limit=WRITTEN - 1)
    with pytest.raises(ConfigError, match="it: memory_limit must be a whole number of bytes above 0; got 0"):
        in_parts("it", task, x, y, lambda f, _: f, memory_limit=0)


def test_logits_are_outputs_in_float64(rng):
    task, x, y = classifier(rng, dtype=torch.float32)
    f, labels = class_logits("it", task, x, y)
    assert f.dtype == torch.float64 and torch.equal(labels, y)
    assert_same(f, task.model(x).double().detach(), torch.float32)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_is_the_second_of_two(shape, rng):
    task, x, y = binary(rng)
    f, labels = class_logits("it", task, x, y.reshape(shape))
    assert f[:, 0].eq(0).all() and torch.equal(labels, y.long())
    assert_same(f.softmax(1)[:, 1], task.model(x)[:, 0].sigmoid().detach())


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32, torch.bool])
def test_labels_of_a_binary_loss_are_0_and_1_of_any_dtype(dtype, rng):
    task, _, y = binary(rng)
    assert torch.equal(classes("it", task, y.to(dtype)), y.long())


@pytest.mark.parametrize("y", [
    torch.full((11, 3), 1 / 3), torch.zeros(11), torch.zeros(11, 3, dtype=torch.int64), torch.zeros(11).int(),
], ids=["probabilities", "numbers", "positions", "int32"])  # fmt: skip
def test_what_is_no_class_label_is_refused(y, rng):
    task, x, _ = classifier(rng)
    got = f"{str(y.dtype)[6:]} {list(y.shape)}"
    with pytest.raises(DataError, match=re.escape(f"it: y must be one class label a sample, int64 [N], or 0 and 1 of a "
                                                  f"binary loss; got {got}. Use loss or gradient_norm")):  # fmt: skip
        class_logits("it", task, x, y)


def test_soft_labels_of_a_binary_loss_are_refused(rng):
    task, x, y = binary(rng)
    with pytest.raises(DataError, match=r"it: y must be one class label .*; got float64 \[11\]"):
        class_logits("it", task, x, y * 0.9)


@pytest.mark.parametrize("label", [-1, 3, -100])
def test_labels_out_of_range_are_refused(label, rng):
    task, x, y = classifier(rng)
    y[4] = label
    with pytest.raises(DataError, match=rf"labels must be in 0..2, for 3 outputs; got {label} at sample 4"):
        class_logits("it", task, x, y)


@pytest.mark.parametrize(("shape", "loss"), [
    ((11, 1), "cross_entropy"), ((11, 4, 3), "cross_entropy"), ((11, 2), "binary_cross_entropy"),
    ((11, 1), nn.BCEWithLogitsLoss(reduction="none")),
], ids=["one class", "positions", "two logits", "a binary loss of the user's"])  # fmt: skip
def test_outputs_that_are_no_logits_of_one_choice_are_refused(shape, loss):
    task, x = shown(torch.zeros(shape), loss=loss)
    message = f"it: outputs must be logits [N, C] of at least two classes, or one logit .*; got {list(shape)}."
    with pytest.raises(ConfigError, match=re.escape(message).replace(r"\.\*", ".*")):
        class_logits("it", task, x, torch.zeros(11, dtype=torch.int64))


def test_outputs_of_a_regression_are_no_logits():
    task, x = shown(torch.zeros(11, 3), loss="mse")
    with pytest.raises(ConfigError, match="it: outputs must be logits; got those of a task with loss='mse'"):
        class_logits("it", task, x, torch.zeros(11, dtype=torch.int64))
