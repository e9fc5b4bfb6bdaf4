import importlib

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from infotorch.capture import capture
from infotorch.capture.layers import conv
from infotorch.errors import CaptureError
from infotorch.task import Task
from tests.capture.agreement import assert_exact

run = importlib.import_module("infotorch.capture.run")
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@st.composite
def geometries(draw):
    """A convolution of one to three dimensions and an input that it accepts."""
    D = draw(st.sampled_from([1, 2, 2, 2, 3]))
    groups = draw(st.integers(1, 3))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * D))
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, 2)] * D)))
    stride = (1,) * D if padding == "same" else draw(st.tuples(*[st.integers(1, 3)] * D))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * D))
    options = {
        "kernel_size": kernel,
        "padding": padding,
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    }
    channels, features = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    sizes = draw(st.tuples(*[st.integers(3, 6)] * D))
    widths = [0] * D if isinstance(padding, str) else padding
    assume(all(s + 2 * p >= d * (k - 1) + 1 for s, p, d, k in zip(sizes, widths, dilation, kernel, strict=True)))
    return CONV[D](channels, features, **options).double(), (draw(st.integers(1, 3)), channels, *sizes)


@settings(max_examples=40, deadline=None)
@given(geometry=geometries(), last=st.booleans())
def test_convolution_is_exact_for_any_geometry(geometry, last):
    conv, shape = geometry
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    assert_exact(nn.Sequential(conv, nn.Tanh(), nn.Flatten()), x)


def test_patches_are_a_view_of_the_padded_input():
    """What a convolution keeps of its input is the padded input, not nine copies of it."""
    conv = nn.Conv2d(4, 8, 3, padding=1).eval()
    task = Task(nn.Sequential(conv, nn.Flatten()).eval(), loss="mse")
    pair = capture(task, (torch.randn(2, 4, 8, 8), torch.zeros(2, 512))).pairs["0"]
    assert pair.a.shape == (2, 8, 8, 4, 3, 3) and pair.t_dims == 2
    assert pair.a.untyped_storage().nbytes() == 2 * 4 * 10 * 10 * 4
    assert pair.nbytes() == 2 * 4 * 10 * 10 * 4 + 2 * 64 * 8 * 4


@pytest.mark.parametrize("groups", [1, 2])
def test_one_convolution_used_on_several_sizes_is_exact(groups):
    """A pyramid: one module at three resolutions, the gradients of all its uses summed within a sample."""

    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1, groups=groups, padding_mode="reflect")

        def forward(self, x):
            levels = [x, x[:, :, ::2], x[:, :, ::2, 1:]]
            return torch.stack([self.conv(level).tanh().flatten(1).sum(1) for level in levels], 1)

    cap = assert_exact(Pyramid().double(), torch.randn(3, 2, 6, 5, dtype=torch.float64))
    assert cap.pairs["conv"].t_dims == 3


def test_unbatched_input_is_refused():
    class Unbatched(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x):  # [N, 4, 4]; three samples pass for three channels
            return x.flatten(1)[:, :2] * self.conv(x).mean()

    task = Task(Unbatched().eval(), loss="mse")
    with pytest.raises(CaptureError, match=r"conv  Conv2d  weight, bias: must see one input a sample, \[N"):
        capture(task, (torch.randn(3, 4, 4), torch.zeros(3, 2)), check=False)


def test_seeds_in_turn_share_one_padded_input(monkeypatch):
    """The same factors as of all seeds at once, and one padding a call where each seed would have had its own."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 2, 3, padding="same"), nn.Flatten()]
    task = Task(nn.Sequential(*layers).double().eval(), loss="mse")
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    cotangents = torch.randn(5, *task.outputs(x).shape, dtype=torch.float64)
    with capture(task, (x, None), seeds=cotangents) as cap:
        whole = {name: pair.gradients() for name, pair in cap.pairs.items()}
    padded, plain = [], conv.pad
    monkeypatch.setattr(conv, "pad", lambda module, x: padded.append(x.shape) or plain(module, x))
    monkeypatch.setattr(run, "HELD_BYTES", -1)
    taken = []
    options = run.Options(seeds=cotangents, by_seed=True)
    run.captured(task, (x, None), options, lambda pair: taken.append((pair.name, pair.gradients())))
    assert len(padded) == 2
    for name, G in whole.items():
        torch.testing.assert_close(torch.cat([part for path, part in taken if path == name], 1), G)
