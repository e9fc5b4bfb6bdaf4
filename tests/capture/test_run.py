import gc
import re
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from infotorch.capture import Capture, capture
from infotorch.errors import CaptureError, ConfigError, DataError, NotSupported, ShapeError
from infotorch.task import Task
from tests.capture.agreement import assert_close, assert_exact, gradients


@pytest.fixture
def task(rng):
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    for p in model.parameters():
        p.data.normal_(generator=rng)
    return Task(model, loss="mse")


@pytest.fixture
def batch(rng):
    return (
        torch.randn(6, 5, dtype=torch.float64, generator=rng),
        torch.randn(6, 3, dtype=torch.float64, generator=rng),
    )


def test_capture_states_its_sizes_and_layout(task, batch):
    cap = capture(task, batch)
    assert isinstance(cap, Capture) and (cap.N, cap.C, cap.K, cap.P) == (6, 3, 1, 39)
    assert cap.names == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert cap.slices == {
        "0.weight": slice(0, 20),
        "0.bias": slice(20, 24),
        "2.weight": slice(24, 36),
        "2.bias": slice(36, 39),
    }
    assert cap.losses.shape == (6,) and not cap.losses.requires_grad and not cap.outputs.requires_grad
    assert_close(cap.losses, 0.5 * (cap.outputs - batch[1]).square().sum(1), "losses")
    assert cap.pairs["0"].shapes == {
        "0.weight": torch.Size([4, 5]),
        "0.bias": torch.Size([4]),
    }


def test_leaving_the_context_lets_go_of_the_pairs(task, batch):
    with capture(task, batch) as cap:
        assert cap.nbytes == 8 * (6 * 5 + 6 * 4 + 6 * 4 + 6 * 3)
    assert not cap.pairs and cap.nbytes == 0


def test_seeds_are_linear(task, batch, rng):
    """A cotangent's gradient is its combination of the outputs' gradients."""
    seeds = torch.randn(2, 6, 3, dtype=torch.float64, generator=rng)
    J, G = gradients(capture(task, batch, seeds="logits")), gradients(capture(task, batch[0], seeds=seeds))
    for name, rows in J.items():
        assert_close(G[name], torch.einsum("knc,nc...->nk...", seeds, rows), name)


def test_one_seed_keeps_its_axis(task, batch):
    cap = capture(task, batch, seeds=torch.ones(1, 6, 3, dtype=torch.float64))
    assert cap.K == 1 and cap.losses is None and cap.pairs["2"].b.shape == (6, 1, 1, 3)


def test_layer_that_some_outputs_do_not_use(rng):
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return torch.stack([self.left(x).sum(1).tanh(), self.right(x).sum(1).tanh()], 1)

    assert_exact(TwoHeads().double(), torch.randn(4, 3, dtype=torch.float64, generator=rng))


def test_unused_parameters_have_no_pair_and_are_named(rng):
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.idle, self.vain = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)
            self.token = nn.Parameter(torch.ones(3))

        def forward(self, x):
            self.vain(x)
            return self.fc(x)

    cap = assert_exact(Unused().double(), torch.randn(4, 3, dtype=torch.float64, generator=rng))
    assert set(cap.unused) == {"token", "idle.weight", "idle.bias", "vain.weight", "vain.bias"}
    assert cap.P == 27


@pytest.mark.parametrize("params", [["2.*"], ["0.weight", "2.bias"], ["*.bias"]])
def test_selection_leaves_the_rest_out(task, batch, params):
    cap = assert_exact(task.model, batch[0], params)
    assert all(any(re.fullmatch(p.replace("*", ".*"), name) for p in params) for name in cap.names)


def test_frozen_trunk_runs_without_a_graph(task, batch):
    task.model[0].requires_grad_(False)
    assert list(assert_exact(task.model, batch[0]).pairs) == ["2"]


def test_outputs_of_more_axes_are_flattened_seeds(rng):
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double().eval()
    x = torch.randn(4, 5, 3, dtype=torch.float64, generator=rng)
    assert capture(Task(model, loss="mse"), x, seeds="logits").K == 10
    assert_exact(model, x)


def test_dict_batch_with_forward_and_target(task, batch):
    named = Task(
        task.model, loss="mse", forward=lambda model, batch: model(batch["pixels"]), target=lambda batch: batch["want"]
    )
    got = capture(named, {"pixels": batch[0], "want": batch[1]}, verify=True)
    assert_close(got.pairs["0"].grad(3), capture(task, batch).pairs["0"].grad(3), "dict batch")


def test_capture_runs_under_no_grad(task, batch):
    with torch.no_grad():
        assert capture(task, batch).pairs["0"].b.abs().sum() > 0


@pytest.mark.parametrize(
    "options, error, message",
    [
        (
            {"seeds": "logit"},
            ConfigError,
            "seeds must be one of 'logits', 'fisher'; got 'logit'. Did you mean 'logits'?",
        ),
        ({"seeds": torch.ones(6, 3)}, ShapeError, "seeds must be [K, N, ...] for outputs [6, 3]; got [6, 3]"),
        ({"fallback": "fun"}, ConfigError, "fallback must be one of None, 'func'; got 'fun'. Did you mean 'func'?"),
        ({"labels": "exact"}, NotSupported, "labels must be None; got 'exact'. Pass seeds, or output cotangents"),
    ],
)
def test_options_are_checked(task, batch, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        capture(task, batch, **options)


def test_outputs_without_a_graph_are_refused(task, batch):
    blind = Task(task.model, loss="mse", forward=lambda model, x: model(x).detach())
    with pytest.raises(CaptureError, match="outputs must depend on a selected parameter; got outputs without a graph"):
        capture(blind, batch)


def test_data_are_checked_with_seeds_too(task, batch):
    batch[0][2, 1] = float("nan")
    with pytest.raises(DataError, match="x must be finite; got nan at sample 2"):
        capture(task, batch[0], seeds="logits")


def test_nothing_is_left_of_earlier_batches(task, batch):
    """Graphs and hooks are let go of: as many tensors live after as before."""

    def alive():
        gc.collect()
        return sum(type(o) is torch.Tensor for o in gc.get_objects())

    capture(task, batch)
    before = alive()
    for _ in range(50):
        capture(task, batch, check=False)
    assert alive() == before


class Blocked(torch.autograd.Function):
    """A value that tells autograd of no gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return None


@pytest.mark.parametrize("seeds", [None, "logits"])
def test_layer_that_no_gradient_reaches_has_gradient_zero(batch, seeds):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.conv, self.right = nn.Linear(5, 3), nn.Conv1d(1, 3, 5), nn.Linear(5, 3)

        def forward(self, x):
            return Blocked.apply(self.left(x)) + Blocked.apply(self.conv(x[:, None]))[..., 0] + self.right(x)

    model = Half().double().eval()
    cap = capture(Task(model, loss="mse"), batch, seeds=seeds, verify=True)
    for name, rows in gradients(cap).items():
        assert rows.shape == (6, *([3] if seeds else []), *model.get_parameter(name).shape)
        assert rows.any() == name.startswith("right"), name


class BlockedForSecond(Blocked):
    """The same, under the seed of the second output alone."""

    @staticmethod
    def backward(ctx, grad):
        return None if grad[:, 1].any() else grad


def test_layer_that_a_seed_does_not_reach_has_gradient_zero_there(rng):
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return BlockedForSecond.apply(self.last(self.first(x)))

    model = Sometimes().double().eval()
    x = torch.randn(6, 5, dtype=torch.float64, generator=rng)
    torch.use_deterministic_algorithms(True)  # fresh memory holds NaN
    try:
        got = gradients(capture(Task(model, loss="mse"), x, seeds="logits"))
    finally:
        torch.use_deterministic_algorithms(False)
    for name, rows in got.items():
        assert not rows[:, 1].any(), name
        assert rows[:, 0].any() and rows[:, 2].any(), name


@pytest.mark.parametrize("params", [["0.bias"], ["2.bias"], ["0.bias", "2.bias"]])
def test_samples_in_any_strides_and_nests(task, params, rng):
    """Columns of a larger tensor, in a dict, through ``forward``, for biases alone."""
    whole = torch.randn(6, 10, dtype=torch.float64, generator=rng)
    want = capture(Task(task.model, loss="mse", params=params), whole[:, ::2].contiguous(), seeds="logits")
    nested = Task(task.model, loss="mse", params=params, forward=lambda model, x: model(x["pixels"][0]))
    got = capture(nested, {"pixels": (whole[:, ::2],)}, seeds="logits")
    assert list(gradients(got)) == params
    for name, rows in gradients(want).items():
        assert_close(gradients(got)[name], rows, name)


def test_finite_names_the_samples_with_other_numbers():
    """A number that overflows in a layer's input makes the gradients of its sample not finite, and of no other."""
    model = nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).eval()
    for p in model.parameters():
        p.data.fill_(1e30)
    x = torch.full((4, 1, 3), 1e-30)
    x[2] = 1e20
    cap = capture(Task(model, loss="mse"), x, seeds="logits")
    assert cap.finite.tolist() == [True, True, False, True]
    for n in range(4):
        assert bool(cap.pairs["3"].grad(n).isfinite().all()) == (n != 2)


def test_half_precision_that_overflows_is_told():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)).eval()
    model[0].weight.data.fill_(1.0)
    model[1].weight.data.fill_(60000.0)
    with torch.autocast("cpu", torch.float16):
        cap = capture(Task(model, loss="mse"), (torch.tensor([[0.0, 0.0], [9.0, 9.0]]), torch.zeros(2, 1)))
    assert cap.finite.tolist() == [True, False]


@pytest.mark.slow
def test_memory_does_not_grow_over_a_thousand_batches(rng):
    """Live tensors to the number, and the process by less than 1 MiB."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.pos, self.attn = nn.Embedding(9, 8), nn.Embedding(4, 8), nn.MultiheadAttention(8, 2)
            self.fc, self.scale = nn.Linear(8, 3), nn.Parameter(torch.ones(3))

        def forward(self, ids):
            h = (self.emb(ids) + self.pos(torch.arange(4))).transpose(0, 1)
            return self.fc(self.attn(h, h, h)[0].sum(0)) * self.scale

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    def alive():
        gc.collect()
        return sum(type(o) is torch.Tensor for o in gc.get_objects())

    net = Net().eval()
    tasks = Task(net, loss="mse", params=["*.*"]), Task(net, loss="mse")  # the second with what falls back
    ids = torch.randint(0, 9, (16, 4), generator=rng)
    sizes = []
    for n in range(1100):
        capture(tasks[n % 10 == 0], ids[: 8 + n % 8], seeds=("mc", 1, n), fallback="func").close()
        if n in (99, 1099):
            sizes.append((alive(), resident()))
    assert sizes[0][0] == sizes[1][0] and sizes[1][1] - sizes[0][1] < 2**20, sizes


def test_threads_take_turns_on_a_model(rng):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    task, x = Task(model, loss="mse"), torch.randn(5, 3, generator=rng)
    want = capture(task, x, seeds="logits").pairs["0"].b
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: capture(task, x, seeds="logits").pairs["0"].b, range(80)))
    assert all(torch.equal(b, want) for b in found)
    assert not any("forward" in vars(module) or module._forward_hooks for module in model.modules())


def test_labels_beside_the_seeds_of_the_fisher_information_are_checked(rng):
    task, x = Task(nn.Linear(3, 4).eval()), torch.randn(5, 3, generator=rng)
    for y in (torch.full((5,), -1), torch.full((5,), 4), torch.zeros(4, dtype=torch.int64)):
        with pytest.raises(DataError):
            capture(task, (x, y), seeds="fisher")
    assert capture(task, (x, None), seeds="fisher").asked == "fisher"
