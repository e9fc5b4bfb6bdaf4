import math

import pytest
import torch
import torch.nn.functional as F

from infotorch.errors import ConfigError, DataError, ShapeError
from infotorch.measures.activations.tangents import named, tangents_of


def sampled(x, angle=0.0, pixels=0.0):
    """Images turned about their centre and moved to the right, by torch's own bilinear sampling."""
    N, _, H, W = x.shape
    c, s = math.cos(angle), math.sin(angle)
    # Coordinates run over [-1, 1] on either axis, whatever their sizes.
    theta = torch.tensor([[c, s * H / W, -2 * pixels / W], [-s * W / H, c, 0.0]], dtype=x.dtype).expand(N, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def tangent(name, x):
    return tangents_of({name: name}, x, slice(0, len(x)), len(x))[name]


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 6, 9)])
def test_generators_are_differences_of_small_transformations(shape, rng):
    x, h = torch.randn(*shape, dtype=torch.float64, generator=rng), 1e-6
    turned = (sampled(x, angle=h) - sampled(x, angle=-h)) / (2 * h)
    moved = (sampled(x, pixels=h) - sampled(x, pixels=-h)) / (2 * h)
    torch.testing.assert_close(tangent("rotation", x), turned, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tangent("shift", x), moved, rtol=1e-4, atol=1e-4)
    raised = ((x + h) - (x - h)) / (2 * h)
    torch.testing.assert_close(tangent("brightness", x), raised, rtol=1e-4, atol=1e-4)


def test_what_a_generator_moves_a_ramp_by():
    """A picture that rises by 1 a column is 1 lower a pixel to the right, but at the repeated border."""
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    assert torch.equal(tangent("shift", ramp)[0, 0, 2], torch.tensor([-0.5, -1, -1, -1, -0.5]))
    assert torch.equal(tangent("rotation", ramp)[0, 0, :, 2].abs(), torch.tensor([2.0, 1, 0, 1, 2]))


def test_tensors_and_functions(rng):
    x, whole = torch.randn(3, 4, generator=rng), torch.randn(10, 4, generator=rng)
    found = tangents_of({"t": whole, "f": lambda x: 2 * x}, x, slice(5, 8), 10)
    with pytest.raises(ShapeError, match=r"must have the inputs' shape \[10, 4\]; got \[3, 4\]"):
        tangents_of({"n": x}, x, slice(5, 8), 10)
    assert torch.equal(found["t"], whole[5:8]) and torch.equal(found["f"], 2 * x)
    assert tangents_of(None, x, slice(0, 3), 3) == {}


@pytest.mark.parametrize(
    ("tangent", "error", "text"),
    [
        (
            "rotation",
            ShapeError,
            r"tangents\['v'\] must be of images \[N, C, H, W\] to be a rotation; got inputs \[3, 4\]",
        ),
        (
            "rotate",
            ConfigError,
            r"tangents\['v'\] must be one of 'rotation', .*; got 'rotate'\. Did you mean 'rotation'\?",
        ),
        (torch.ones(3, 5), ShapeError, r"tangents\['v'\] must have the inputs' shape \[3, 4\]; got \[3, 5\]\. Give"),
        (lambda x: x[0], ShapeError, r"tangents\['v'\] must have the inputs' shape \[3, 4\]; got \[4\]\. Give"),
        (lambda x: 1.0, ShapeError, r"tangents\['v'\] must have the inputs' shape \[3, 4\]; got float\. Give"),
        (1.0, ConfigError, r"tangents\['v'\] must be a tensor, a function or one of .*; got float\. Pass"),
        (
            torch.full((3, 4), torch.nan),
            DataError,
            r"tangents\['v'\] must be finite; got NaN or infinity at sample 0\.",
        ),
    ],
)
def test_refusals(tangent, error, text):
    x = torch.ones(3, 4)
    with pytest.raises(error, match="activations_information: " + text):
        tangents_of({"v": tangent}, x, slice(0, 3), 3)


def test_a_list_of_words_names_each_by_itself():
    assert named(["rotation", "shift"]) == named(("rotation", "shift")) == {"rotation": "rotation", "shift": "shift"}
    assert named(None) == {} == named({})
    for wrong in ("rotation", torch.ones(2), 3, [torch.ones(2)], [1]):
        with pytest.raises(ConfigError, match="tangents must be a dict of tangents by name, or a list of"):
            named(wrong)


def test_a_tangent_without_axes_is_refused():
    with pytest.raises(ShapeError, match=r"must have the inputs' shape \[2, 3\]; got \[\]"):
        tangents_of({"v": torch.tensor(1.0)}, torch.ones(2, 3), slice(0, 2), None)
