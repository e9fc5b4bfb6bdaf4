import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from infotorch.capture import capture
from infotorch.task import Task
from tests.capture.agreement import assert_exact

KINDS = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@st.composite
def geometries(draw):
    D = draw(st.sampled_from([1, 2, 2, 3]))
    groups = draw(st.integers(1, 2))
    kernel, stride, dilation = (draw(st.tuples(*[st.integers(1, top)] * D)) for top in (3, 3, 2))
    padding = draw(st.tuples(*[st.integers(0, 2)] * D))
    # Output padding is below the stride or the dilation; above the stride there are more patches than inputs.
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    sizes = draw(st.tuples(*[st.integers(1, 3)] * D))
    outputs = [
        (size - 1) * s - 2 * p + d * (k - 1) + e + 1
        for size, s, p, d, k, e in zip(sizes, stride, padding, dilation, kernel, extra, strict=True)
    ]
    assume(min(outputs) > 0)
    options = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups}
    channels, features = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    conv = KINDS[D](channels, features, kernel, bias=draw(st.booleans()), **options)
    return conv.double(), (draw(st.integers(1, 3)), channels, *sizes)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(geometry=geometries())
def test_transposed_convolution_is_exact_for_any_geometry(geometry):
    conv, shape = geometry
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_exact(nn.Sequential(conv, nn.Tanh(), nn.Flatten()), x)


def test_one_seed_keeps_factors_and_several_are_formed():
    model = nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2, bias=False), nn.Flatten()).eval()
    x = torch.randn(4, 2, 3, 3)
    pair = capture(Task(model, loss="mse"), (x, torch.zeros(4, 147))).pairs["0"]
    assert pair.a.shape == (4, 3, 3, 3, 3, 3) and pair.b.shape == (4, 9, 2) and not pair.transposed
    assert pair.a.untyped_storage().nbytes() == 4 * 3 * 7 * 7 * 4
    assert list(capture(Task(model, loss="mse"), x, seeds="logits").pairs) == ["0.weight"]


def test_used_twice_and_called_with_an_output_size(rng):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 2, 2, stride=3)

        def forward(self, x):
            h = self.up(x, output_size=(6, 7)).tanh()
            return self.up(h[:, :, :2]).flatten(1)[:, ::9]

    assert_exact(Twice().double(), torch.randn(2, 2, 2, 2, dtype=torch.float64, generator=rng))
