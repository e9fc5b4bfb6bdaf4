import copy

import pytest
import torch
from torch import nn

from infotorch.blocks import kernel, ntk
from infotorch.blocks.kernel import layer_kernels
from infotorch.blocks.plan import plan_panels
from infotorch.capture import capture
from infotorch.errors import CaptureError, ConfigError, DataError, NotSupported, NumericsError
from infotorch.task import Task
from tests.blocks import cases
from tests.blocks.cases import MODELS, Gated
from tests.laws import assert_same, assert_same_bits


def case(name):
    """(task, x, K [N, C, N, C] by the Jacobian that jacrev gives)."""
    made = cases.case(name)
    return made.task, made.x, torch.einsum("ncp,mdp->ncmd", made.J, made.J)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [2, 3, 128])
def test_kernel_is_the_jacobians_gram(name, batch_size):
    task, x, K = case(name)
    gram = ntk(task, x, batch_size=batch_size)
    assert_same(gram.values, K)
    assert_same_bits(gram.matrix, gram.matrix.mT.contiguous())
    assert_same(gram.outputs, task.outputs(x).detach())
    assert gram.symmetric and gram.outputs2 is gram.outputs


@pytest.mark.parametrize("name", MODELS)
def test_kernels_of_layers_add_up(name):
    """By the name of each pair, and all under one key."""
    task, x, K = case(name)
    apart, outputs = layer_kernels(task, x, lambda pair: pair.name)
    assert_same(torch.stack(list(apart.values())).sum(0), K)
    for values in apart.values():
        assert_same_bits(values, values.permute(2, 3, 0, 1).contiguous())
    together, _ = layer_kernels(task, x, lambda pair: "all")
    assert_same_bits(together["all"], ntk(task, x).values)
    assert_same(outputs, task.outputs(x).detach())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [2, 128])
def test_two_sets_meet_off_the_diagonal(name, batch_size):
    task, x, K = case(name)
    gram = ntk(task, x[:4], x[2:], batch_size=batch_size)
    assert_same(gram.values, K[:4, :, 2:])
    assert_same(gram.outputs2, task.outputs(x[2:]).detach())
    assert (gram.N, gram.M, gram.symmetric) == (4, 5, False)
    assert_same_bits(gram.matrix, gram.values.reshape(4 * gram.C, 5 * gram.C))


@pytest.mark.parametrize("name", MODELS)
def test_reduced_kernels(name):
    """The trace is the mean over outputs; the sum is the kernel of the summed output."""
    task, x, K = case(name)
    for batch_size in (3, 128):
        trace, total = (ntk(task, x, outputs=outputs, batch_size=batch_size) for outputs in ("trace", "sum"))
        assert_same(trace.values, K.diagonal(dim1=1, dim2=3).mean(-1))
        assert_same(total.values, K.sum((1, 3)))
        assert_same_bits(trace.matrix, trace.matrix.mT.contiguous())
    assert_same(ntk(task, x[:2], x, outputs="trace").values, trace.values[:2])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("outputs", ["full", "trace", "sum"])
def test_captures_stand_for_task_and_samples(name, outputs):
    task, x, _ = case(name)
    whole, rest = capture(task, x, seeds="logits"), capture(task, x[2:], seeds="logits")
    assert_same(ntk(whole, outputs=outputs).values, ntk(task, x, outputs=outputs).values)
    assert_same(ntk(whole, rest, outputs=outputs).values, ntk(task, x, x[2:], outputs=outputs).values)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_memory_limit_changes_no_bit(name, batch, monkeypatch):
    """Panels are held or captured again as the limit has it; tiles, and so bits, are the same."""
    task, x, _ = case(name)
    plans = []

    def planned(*args, **options):
        work, per_sample = options["work"], options["bytes_per_sample"]
        plans.append((2 * batch * per_sample + work(batch, batch, batch), plan_panels(*args, **options)))
        return plans[-1][1]

    monkeypatch.setattr(kernel, "plan_panels", planned)
    steps = []
    for x2 in (None, x[:3]):
        full = ntk(task, x, x2, batch_size=batch)
        least, plan = plans[-1]
        assert plan.panel is None and full.values.any()
        for limit in (least, 2 * least):
            tight = ntk(task, x, x2, batch_size=batch, memory_limit=limit, progress=lambda *step: steps.append(step))
            assert plans[-1][1].batch == batch
            assert_same_bits(tight.values, full.values)
            assert steps[-1][0] == "kernel" and steps[-1][1] == steps[-1][2] == len(steps), "progress ends at its total"
            steps.clear()
        ntk(task, x, x2, batch_size=batch, memory_limit=least)
        assert plans[-1][1].panel == batch


def test_same_call_gives_same_bits():
    for name in MODELS:
        task, x, _ = case(name)
        assert_same_bits(ntk(task, x).values, ntk(task, x).values)


def test_float32_jacobians_are_multiplied_in_float64():
    """The error of a float32 model's kernel is that of its float32 forward and backward."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 4)).eval()
    x = torch.randn(40, 64)
    K = ntk(Task(model, loss="mse"), x).values
    truth = ntk(Task(copy.deepcopy(model).double(), loss="mse"), x.double()).values
    assert K.dtype == torch.float64 and (K - truth).norm() < 3e-7 * truth.norm()


def test_selected_parameters_alone_count():
    task, x, _ = case("mlp")
    last = ntk(Task(task.model, loss="mse", params=["2.*"]), x).values
    features = task.model[1](task.model[0](x)).detach()
    assert_same(last, torch.einsum("nm,cd->ncmd", features @ features.mT + 1, torch.eye(3).double()))


def test_one_sample_over_the_limit_is_refused_with_its_size():
    task = Task(nn.Sequential(nn.Linear(2, 2**16), nn.Linear(2**16, 2)).eval(), loss="mse")
    with pytest.raises(
        ConfigError, match=r"must hold one sample of each side \(needs \d+ MiB\); got 1 MiB. Raise memory"
    ):
        ntk(task, torch.ones(3, 2), memory_limit=2**20)


def test_layers_that_only_some_samples_use_are_refused(rng):
    x = torch.cat([-torch.ones(2, 3), torch.ones(2, 3)])
    with pytest.raises(CaptureError, match="every batch must use the same layers; got 'extra' in some batches alone"):
        ntk(Task(Gated().eval(), loss="mse"), x, batch_size=2)


def test_outputs_that_are_not_finite_are_refused():
    task, x, _ = case("mlp")
    zero = x[5, 0]
    overflow = Task(task.model, loss="mse", forward=lambda model, x: model(x) / (x[:, :1] - zero))
    with pytest.raises(NumericsError, match=r"the model's outputs must be finite; got \[.*\] at sample 5"):
        ntk(overflow, x, batch_size=2)


def test_options_and_data_are_checked():
    task, x, _ = case("mlp")
    with pytest.raises(
        ConfigError, match=r"outputs must be one of 'full', 'trace', 'sum'; got 'ful'\. Did you mean 'full'"
    ):
        ntk(task, x, outputs="ful")
    with pytest.raises(ConfigError, match="batch_size must be at least 1; got 0"):
        ntk(task, x, batch_size=0)
    with pytest.raises(DataError, match="at least one sample; got none"):
        ntk(task, x[:0])
    with pytest.raises(
        ConfigError, match=r"must have one seed an output; got None for 3, seeds=None. Call capture\(task, x, seeds="
    ):
        ntk(capture(task, (x, torch.zeros(7, 3, dtype=torch.float64))))
    x = x.clone()
    x[3, 0] = float("inf")
    with pytest.raises(DataError, match="x must be finite; got inf at sample 3"):
        ntk(task, x[:2], x)


@pytest.mark.parametrize("M", [None, 3])
def test_sizes_of_a_set_are_looked_at_once(M):
    """Two forwards on fake tensors, whatever the number of sets and batches, and two of a sample to plan with."""
    task, x, _ = case("mlp")
    seen = []

    def forward(model, x):
        seen.append(len(x))
        return model(x)

    counted = Task(copy.deepcopy(task.model), loss="mse", forward=forward)  # verdicts are kept for each model
    ntk(counted, x, None if M is None else x[:M], batch_size=2)
    assert seen == [1, 2, 3, 1, *([1, 1] if M else []), 2, 2, 2, 1, *([2, 1] if M else [])]


def test_columns_of_another_length_are_looked_at_too():
    """A position embedding that is looked up once: its first size is the batch's by chance, in the columns alone."""

    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.place, self.fc = nn.Embedding(4, 3), nn.Linear(3, 2)

        def forward(self, ids):
            few = ids.shape[1] == 1
            place = self.place(ids * 0) if few else self.place(torch.arange(ids.shape[1]))[None]
            return self.fc(place + ids[..., None]).mean(1)

    task = Task(Places().eval(), loss="mse")
    rows, columns = torch.ones(2, 1, dtype=torch.int64), torch.ones(2, 2, dtype=torch.int64)
    with pytest.raises(CaptureError, match="place  Embedding  weight: must see one input a sample"):
        ntk(task, rows, columns)


def test_other_devices_than_the_cpu_are_refused_before_any_product():
    """Ids on the meta device have no values to check, and so reach the choice of routes."""
    ids = torch.zeros(8, 5, dtype=torch.int64, device="meta")
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Flatten()).to("meta").eval()
    with pytest.raises(NotSupported) as caught:
        ntk(Task(model, loss="mse"), ids)
    assert str(caught.value) == (
        "ntk: layers at several positions must be on the CPU, where their op has kernels; got '0' on meta. "
        "Move model and samples with .cpu(), or pass params=[...] without it."
    )


def test_captures_that_do_not_fit_are_refused():
    task, x, _ = case("mlp")
    cap, closed = (capture(task, x, seeds="logits") for _ in range(2))
    closed.close()
    for sets in ((closed,), (cap, closed), (closed, cap)):
        with pytest.raises(ConfigError, match="ntk: the Capture must hold its pairs; got one that was closed"):
            ntk(*sets)
    last = capture(Task(task.model, loss="mse", params=["2.*"]), x, seeds="logits")
    for sets in ((cap, last), (last, cap)):
        with pytest.raises(CaptureError, match="ntk: both sets must use '0' alike; got nothing of it in the"):
            ntk(*sets)


def test_captures_of_curvature_are_refused():
    """They have as many seeds as there are outputs, by chance."""
    task, x, _ = case("mlp")
    for seeds in ("fisher", ("mc", 3, 0)):
        with (
            capture(task, x, seeds=seeds) as cap,
            pytest.raises(ConfigError, match="ntk: a Capture must have one seed"),
        ):
            assert cap.K == cap.C
            ntk(cap)
