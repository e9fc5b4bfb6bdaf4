"""Layers that are called once for all samples, found without a number computed."""

import contextlib
import copy
import gc
import logging
import re
import weakref

import pytest
import torch
from torch import nn

from infotorch.capture import capture, probe
from infotorch.capture.hooks import layers_of
from infotorch.capture.probe import verdict_of
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import assert_exact


class Positions(nn.Module):
    """Position embeddings looked up once and broadcast over the batch."""

    def __init__(self, T, lead=False, change=lambda h: h):
        super().__init__()
        self.fc, self.pos, self.change = nn.Linear(3, 4), nn.Embedding(T, 4), change
        self.register_buffer("ids", torch.arange(T).expand(1, T) if lead else torch.arange(T))

    def forward(self, x):  # [N, T, 3]
        return (self.fc(x) + self.change(self.pos(self.ids))).tanh().sum(1)


def task_of(model):
    return Task(model.eval(), loss="mse")


@pytest.mark.parametrize("N", [1, 2, 3, 5])
@pytest.mark.parametrize("T", [1, 2, 3, 5])
@pytest.mark.parametrize("lead", [True, False])
def test_position_embedding_is_exact_also_where_T_is_N(N, T, lead, rng):
    cap = assert_exact(Positions(T, lead).double(), torch.randn(N, T, 3, dtype=torch.float64, generator=rng))
    assert cap.plan.expanded == ("pos",) and cap.pairs["pos"].a.shape == (N, T)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda h: h.flip(0), id="flip"),
        pytest.param(lambda h: h.softmax(0), id="softmax"),
        pytest.param(lambda h: h[None], id="axis"),
        pytest.param(lambda h: h.cumsum(0), id="cumsum"),
        pytest.param(lambda h: h.mT.reshape(h.shape), id="mT"),
    ],
)
@pytest.mark.parametrize("T", [1, 3])
def test_expansion_that_changes_the_outputs_is_refused(change, T, rng):
    """What acts on the first axis would act on samples. Sizes alone do not always tell; the outputs do."""
    model, x = Positions(T, change=change), torch.randn(3, T, 3, generator=rng)
    try:
        cap = capture(task_of(model), x, seeds="logits", verify=True)
    except CaptureError as error:
        assert re.search("pos  Embedding  weight: must see one input a sample", str(error))
        cap = capture(task_of(model), x, seeds="logits", verify=True, fallback="func")
        assert cap.plan.fallback == ("pos.weight",) and cap.plan.expanded == ()
    else:
        assert cap.plan.expanded == ("pos",)
        with torch.no_grad():
            torch.testing.assert_close(cap.outputs, model(x))


class Sequences(nn.Module):
    """An encoder whose second axis is that of samples."""

    def __init__(self):
        super().__init__()
        self.emb, self.norm, self.fc = nn.Embedding(6, 4), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, ids):
        return self.fc(self.norm(self.emb(ids.mT)).tanh()).sum(0)


@pytest.mark.parametrize("T", [2, 3, 4])
def test_samples_may_lie_on_another_axis(T, rng):
    cap = assert_exact(Sequences().double(), torch.randint(0, 6, (3, T), generator=rng))
    assert cap.pairs["fc"].a.shape == (3, T, 4)


class Branches(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x if x.sum() > -1e9 else -x)


def test_a_forward_that_branches_on_data_is_verified_once(rng):
    task = task_of(Branches(nn.Linear(3, 2)))
    x = torch.randn(4, 3, generator=rng)
    caps = [capture(task, x[:n], seeds="logits") for n in (4, 2)]
    assert [cap.plan.verified for cap in caps] == [True, False]


def test_samples_that_are_coupled_behind_a_branch_are_found(rng):
    class Mixed(nn.Linear):
        pass

    model = Branches(nn.Sequential(nn.Linear(3, 3), nn.Softmax(0), Mixed(3, 2)))
    for _ in range(2):  # a batch that failed has proved nothing
        with pytest.raises(CaptureError, match="must agree with those of each sample alone"):
            capture(task_of(model), torch.randn(4, 3, generator=rng), seeds="logits")


def test_the_forward_runs_once_a_batch_and_the_fakes_once_a_shape():
    seen = []

    def forward(model, x):
        seen.append((type(x).__name__, *x.shape))
        return model(x)

    task = Task(nn.Linear(3, 2).eval(), loss="mse", forward=forward)
    for N in (5, 5, 4):
        capture(task, torch.ones(N, 3), seeds="logits")
    assert seen == [("FakeTensor", 2, 3), ("FakeTensor", 3, 3), ("Tensor", 5, 3), ("Tensor", 5, 3), ("Tensor", 4, 3)]


def test_models_are_not_kept_alive():
    model = Positions(3)
    task = Task(model.eval(), loss="mse", forward=lambda _, x: model(x))
    capture(task, torch.ones(2, 3, 3), seeds="logits")
    gone = weakref.ref(model)
    task = model = None
    gc.collect()
    assert gone() is None


def test_what_a_forward_keeps_on_its_modules_is_real_afterwards():
    class Caches(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.cached = nn.Linear(3, 2), None
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.cached, self.new = x * 2, x * 3
            self.count = self.count + 1
            return self.fc(self.cached)

    model = Caches().eval()
    task = Task(model, loss="mse")
    verdict = verdict_of(task, torch.ones(4, 3), layers_of(dict(model.named_modules()), task.parameters()), run=True)
    assert verdict.ran and model.cached is None and not hasattr(model, "new") and float(model.count) == 0
    capture(task, torch.ones(4, 3), seeds="logits")
    assert type(model.cached) is torch.Tensor and float(model.count) == 1


def test_calls_that_depend_on_the_batch_are_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(self.fc(x)) if len(x) > 4 else self.fc(x)

    task = task_of(Odd())
    capture(task, torch.ones(4, 3), seeds="logits")
    with pytest.raises(CaptureError, match="must call the same layers whatever the batch; got 2 products where 1 were"):
        capture(task, torch.ones(5, 3), seeds="logits")


def test_layers_of_folded_positions_are_refused():
    """Two samples of three positions are no six samples."""

    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(x.flatten(0, 1)).view(x.shape).sum(1)

    with pytest.raises(CaptureError, match="fc  Linear  weight, bias: must see one input a sample"):
        capture(task_of(Folded()), torch.ones(2, 5, 3), seeds="logits")


class Folded(nn.Module):
    """Positions are folded into the batch, which one sample alone doesn't show."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x.flatten(0, 1)).view(len(x), -1, 2).mean(1)


class Table(nn.Module):
    """A table of biases whose rows are picked behind the layer: of an expanded one, those of the first sample alone."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 4)
        self.register_buffer("places", torch.tensor([[0, 1], [1, 0]]))

    def forward(self, x):  # [N, 2, 4]
        table = self.fc(torch.ones(2, 2).cumsum(0)).view(-1, 4)
        return (x + table[self.places[0]]).tanh().sum(1)


def test_one_sample_proves_nothing_about_several(rng):
    x = torch.randn(6, 4, 3, generator=rng)
    for model in (Folded(), Branches(Folded())):
        task = task_of(model)
        with contextlib.suppress(CaptureError):
            capture(task, x[:1], seeds="logits")
        with pytest.raises(CaptureError):
            capture(task, x, seeds="logits", check=False)


def test_expansion_is_proved_by_the_last_sample_too(rng):
    with pytest.raises(CaptureError, match=r"must see one input a sample|must agree with"):
        capture(task_of(Table()), torch.randn(4, 2, 4, generator=rng), seeds="logits")


def test_forwards_of_one_code_are_told_apart(rng):
    """What a closure holds may change the axis of samples."""
    model, x = nn.Linear(4, 2).eval(), torch.randn(3, 3, 4, generator=rng)

    def task(swap):
        def forward(m, x):
            return m(x.transpose(0, 1)).sum(0) if swap else m(x).sum(1)

        return Task(model, loss="mse", forward=forward)

    for swap in (False, True, False):
        assert torch.equal(capture(task(swap), x, seeds="logits").pairs[""].a, x)


def test_a_model_that_computes_otherwise_than_before_is_refused(rng):
    class Positioned(Positions):
        own = False

        def forward(self, x):
            ids = self.ids.expand(len(x), -1) if self.own else self.ids
            return (self.fc(x) + self.pos(ids)).tanh().sum(1)

    model, x = Positioned(4), torch.randn(4, 4, 3, generator=rng)
    capture(task_of(model), x, seeds="logits")
    model.own = True
    with pytest.raises(CaptureError, match="copy a model before you change how it computes"):
        capture(task_of(model), x, seeds="logits")
    capture(task_of(copy.deepcopy(model)), x, seeds="logits", verify=True)


def test_verdicts_of_many_lengths_are_not_all_kept(monkeypatch):
    monkeypatch.setattr(probe, "MOST_KNOWN", 3)
    task = task_of(nn.Linear(3, 2))
    for T in range(1, 8):
        capture(task, torch.ones(2, T, 3), seeds=torch.ones(1, 2, T, 2))
    assert len(probe._KNOWN[task.model]) == 3


def test_trials_that_fail_are_not_logged(caplog):
    """A table of relative positions can't be made to carry the batch; torch would print a trace for each trial."""

    class Relative(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias, self.head = nn.Embedding(9, 2), nn.Linear(3, 2)

        def forward(self, x):
            places = torch.arange(3)
            shift = self.bias(places[:, None] - places + 3).permute(2, 0, 1)  # [2, 3, 3]
            return self.head(x + shift.sum((0, 1)))

    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(CaptureError, match="bias  Embedding  weight: must see one input a sample"):
            capture(Task(Relative().eval(), loss="mse"), torch.ones(4, 3), seeds="logits")
        assert not caplog.records
        logger.error("told")
        assert [record.message for record in caplog.records] == ["told"]
    finally:
        logger.removeHandler(caplog.handler)
