import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from infotorch.blocks import Arena, per_sample_grad_norms, per_sample_grads
from infotorch.capture import capture
from infotorch.errors import ConfigError, ShapeError
from infotorch.task import Task
from tests.blocks.cases import MODELS, case
from tests.laws import assert_same, assert_same_bits


@pytest.fixture(params=MODELS)
def made(request):
    return case(request.param)


def jacobian(made):
    """{name: [N, C, *shape]} of the outputs."""
    C, parts, start = made.J.shape[1], {}, 0
    for name, g in made.g.items():
        size = g[0].numel()
        parts[name] = made.J[..., start : start + size].reshape(len(g), C, *g.shape[1:])
        start += size
    return parts


def test_gradients_are_those_of_each_sample(made):
    grads = per_sample_grads(made.task, made.batch)
    assert list(grads) == list(made.g)
    for name, g in made.g.items():
        if g.any():
            assert_same(grads[name], g)
        else:
            assert grads[name].shape == g.shape and not grads[name].any(), "an unused parameter is zero"


def test_captures_stand_for_task_and_batch(made):
    with capture(made.task, made.batch) as cap:
        for name, g in per_sample_grads(cap).items():
            assert_same_bits(g, per_sample_grads(made.task, made.batch)[name])
        assert_same_bits(per_sample_grad_norms(cap), per_sample_grad_norms(made.task, made.batch))


def test_seeds_have_an_axis(made):
    cap = capture(made.task, made.x, seeds="logits")
    truth = jacobian(made)
    for name, g in per_sample_grads(cap).items():
        assert g.shape == truth[name].shape and (g - truth[name]).norm() <= 1e-12 * truth[name].norm()
    assert_same(per_sample_grad_norms(cap, squared=True), made.J.square().sum(-1))


def test_norms_are_those_of_the_gradients(made):
    assert_same(per_sample_grad_norms(made.task, made.batch), made.G.norm(dim=1))
    assert_same(per_sample_grad_norms(made.task, made.batch, squared=True), made.G.square().sum(1))


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_memory_limit_divides_the_batch(made, samples):
    with capture(made.task, (made.x[:1], made.y[:1])) as one:
        limit = samples * one.nbytes
    seen = []

    def forward(model, x):
        seen.append(len(x))
        return model(x)

    task = Task(made.task.model, loss="mse", forward=forward)
    grads = per_sample_grads(task, made.batch, memory_limit=limit)
    assert max(seen[2:]) <= samples, "after the probe of one sample"
    for name, g in made.g.items():
        assert (grads[name] - g).norm() <= 1e-12 * g.norm()
    assert_same(per_sample_grad_norms(task, made.batch, memory_limit=limit), made.G.norm(dim=1))


def test_one_sample_over_the_limit_is_refused_with_its_size():
    task = Task(nn.Sequential(nn.Linear(2, 2**17), nn.Linear(2**17, 2)).eval(), loss="mse")
    batch = torch.ones(3, 2), torch.ones(3, 2)
    for call in (per_sample_grads, per_sample_grad_norms):
        with pytest.raises(ConfigError) as caught:
            call(task, batch, memory_limit=2**20)
        assert str(caught.value) == (
            f"{call.__name__}: memory_limit must hold one sample (needs 2 MiB); got 1 MiB. "
            "Raise memory_limit or restrict params."
        )


def test_out_is_written_in_place(made):
    out = {name: torch.full_like(g, float("nan")) for name, g in made.g.items()}
    places = {name: g.data_ptr() for name, g in out.items()}
    grads = per_sample_grads(made.task, made.batch, out=out)
    for name, g in made.g.items():
        assert grads[name] is out[name] and out[name].data_ptr() == places[name]
        assert (out[name] - g).norm() <= 1e-12 * g.norm()


def allocated(call):
    """Sizes in bytes of what a call allocates on the CPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = profile.profiler.kineto_results.events()
    return [event.nbytes() for event in events if event.name() == "[memory]" and event.nbytes() > 0]


@pytest.mark.parametrize("kind", ["dict", "arena"])
def test_out_spares_every_allocation_of_the_results_size(kind):
    """Weights with their biases beside them, a grouped convolution, a table and a transposed copy of none."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(600, 16), nn.Unflatten(1, (4, 16)), nn.Conv2d(4, 64, 3, groups=2, padding=1), nn.Flatten()
    )
    model.append(nn.Linear(64 * 16 * 16, 4)).eval()
    task = Task(model, loss="mse")
    batch = torch.randint(0, 600, (8, 64)), torch.zeros(8, 4)
    out = Arena() if kind == "arena" else {n: g.clone() for n, g in per_sample_grads(task, batch).items()}
    per_sample_grads(task, batch, out=out)
    with capture(task, batch) as cap:
        largest = max(allocated(lambda: per_sample_grads(cap)))
        smallest = min(8 * p.numel() * 4 for p in model.parameters() if p.dim() > 1)
        assert largest > 2**20 > smallest
        assert max(allocated(lambda: per_sample_grads(cap, out=out)), default=0) < smallest


def test_an_arena_serves_batches_of_every_size(made):
    arena = Arena()
    places = {name: g.data_ptr() for name, g in per_sample_grads(made.task, made.batch, out=arena).items()}
    held = arena.nbytes
    for n in (3, 7):
        grads = per_sample_grads(made.task, (made.x[:n], made.y[:n]), out=arena)
        for name, g in made.g.items():
            assert (grads[name] - g[:n]).norm() <= 1e-12 * g[:n].norm() and grads[name].data_ptr() == places[name]
    assert arena.nbytes == held == made.G.nbytes


def test_float32_gives_float32():
    made = case("mlp")
    task = Task(copy.deepcopy(made.task.model).float(), loss="mse")
    batch = made.x.float(), made.y.float()
    for name, g in per_sample_grads(task, batch).items():
        assert g.dtype == torch.float32
        assert_same(g, made.g[name])
    norms = per_sample_grad_norms(task, batch)
    assert norms.dtype == torch.float32
    assert_same(norms, made.G.norm(dim=1))


def test_samples_that_are_not_finite_stay_alone():
    made = case("mlp")
    task = Task(made.task.model, loss=lambda f, y: (f - y).square().sum(1) / (y[:, 0] != made.y[2, 0]).double())
    norms = per_sample_grad_norms(task, made.batch)
    assert norms.isfinite().tolist() == [n != 2 for n in range(7)]


def test_same_call_gives_same_bits_under_deterministic_algorithms(made):
    first = per_sample_grads(made.task, made.batch), per_sample_grad_norms(made.task, made.batch)
    torch.use_deterministic_algorithms(True)
    try:
        again = per_sample_grads(made.task, made.batch), per_sample_grad_norms(made.task, made.batch)
    finally:
        torch.use_deterministic_algorithms(False)
    for name, g in first[0].items():
        assert_same_bits(g, again[0][name])
    assert_same_bits(first[1], again[1])


def test_out_is_checked():
    made = case("mlp")
    out = {name: torch.empty_like(g) for name, g in made.g.items()}
    with pytest.raises(ShapeError, match=r"out must have the selected parameters; got a difference at '2.bias'"):
        per_sample_grads(made.task, made.batch, out={k: g for k, g in out.items() if k != "2.bias"})
    for wrong in (out["0.weight"].float(), out["0.weight"][:3], out["0.weight"].mT.contiguous().mT):
        with pytest.raises(ShapeError) as caught:
            per_sample_grads(made.task, made.batch, out=out | {"0.weight": wrong})
        assert str(caught.value) == (
            "per_sample_grads: out['0.weight'] must be contiguous torch.float64 [7, 8, 5] on cpu; got "
            f"{wrong.dtype} {list(wrong.shape)}, strides {list(wrong.stride())}, on cpu. "
            "Allocate it so, or pass an Arena."
        )


def test_what_is_not_a_batch_is_refused():
    made = case("mlp")
    with pytest.raises(
        ConfigError, match=r"batch must be one batch, \(x, y\) or a dict; got generator. Call it for each"
    ):
        per_sample_grads(made.task, (batch for batch in [made.batch]))
    with pytest.raises(ConfigError, match="task must come with a batch; got none"):
        per_sample_grads(made.task)
    with capture(made.task, made.batch) as cap:
        with pytest.raises(ConfigError, match="a Capture must come alone; got batch beside it"):
            per_sample_grads(cap, made.batch)
        with pytest.raises(ConfigError, match="a Capture must come alone; got memory_limit beside it"):
            per_sample_grad_norms(cap, memory_limit=2**30)
    with pytest.raises(ConfigError, match="the Capture must hold its pairs; got one that was closed"):
        per_sample_grad_norms(cap)


PEAKS = """
import ctypes, pathlib, sys
import torch
from torch import nn
from infotorch import Task, per_sample_grad_norms
torch.set_num_threads(1)
torch.manual_seed(0)
class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)
if sys.argv[1] == "conv":
    layers = []
    for i, o, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 2)):
        layers += [nn.Conv2d(i, o, 3, stride, 1), nn.ReLU()]
    model, x = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 64, 10)), torch.randn(128, 3, 32, 32)
elif sys.argv[1] == "residual":
    blocks = [Residual(nn.Conv2d(16, 16, 3, 1, 1), nn.GroupNorm(4, 16), nn.ReLU()) for _ in range(8)]
    model = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), *blocks, nn.Flatten(), nn.Linear(16 * 1024, 10))
    x = torch.randn(32, 3, 32, 32)
else:
    layer = nn.TransformerEncoderLayer(128, 4, 512, 0.0, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 4), nn.Flatten(), nn.Linear(32 * 128, 10))
    x = torch.randn(48, 32, 128)
model.eval()
batch = x, torch.randint(0, 10, (len(x),))
def plain():
    nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum").backward()
    model.zero_grad()
def memory(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
def peak(call):
    call()
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS:")
    call()
    return memory("VmHWM:") - before
print(peak(plain), peak(lambda: per_sample_grad_norms(Task(model), batch)))
"""


@pytest.mark.parametrize("net", ["conv", "residual", "encoder"])
def test_norms_take_at_most_a_third_more_memory_than_a_plain_backward(net):
    """Convolutions at 1,024 positions, whose unfolded inputs would take 9 times their size; and nets of many layers."""
    at_once = {f"MALLOC_{when}_THRESHOLD_": "65536" for when in ("MMAP", "TRIM")}  # what is freed leaves the process
    done = subprocess.run(
        [sys.executable, "-c", PEAKS, net], capture_output=True, text=True, check=True, env=os.environ | at_once
    )
    plain, norms = map(int, done.stdout.split())
    assert plain > 2**15 and norms <= 1.3 * plain, f"{norms} against {plain} KiB"


GROWTH = """
import pathlib
import torch
from torch import nn
from infotorch import Task, per_sample_grad_norms
torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
batch = torch.randn(8, 2, 8, 8), torch.randint(0, 3, (8,))
def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4
sizes = []
for step in range(1100):
    per_sample_grad_norms(Task(model), batch)
    if step in (99, 1099):
        sizes.append(resident())
print(sizes[1] - sizes[0])
"""


def test_memory_does_not_grow_over_a_thousand_batches():
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1024, "KiB"
