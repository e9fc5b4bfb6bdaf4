"""Layers with the samples innermost against torch's own, member by member."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from infotorch import _C
from infotorch.bounds.ensembles.conv_layers import (
    Geometry,
    Spare,
    columns,
    columns_and_ones,
    convolve,
    normalize,
    plain_normalize,
    rectified,
)
from tests.laws import assert_same, assert_same_bits

# channels, size, out channels, kernel, stride, padding, dilation: off every tile's edge, and on it
SHAPES = [
    (32, (6, 6), 32, (4, 4), (2, 2), (1, 1), (1, 1)),
    (12, (5, 7), 16, (3, 3), (1, 1), (1, 1), (1, 1)),
    (5, (9, 8), 7, (3, 2), (2, 3), (1, 0), (1, 1)),
    (1, (8, 8), 3, (4, 4), (2, 2), (1, 1), (1, 1)),
    (3, (9, 9), 17, (3, 3), (1, 2), (2, 1), (2, 3)),
    (13, (3, 3), 9, (3, 3), (1, 1), (0, 0), (1, 1)),
    (4, (2, 2), 5, (2, 2), (1, 1), (2, 2), (1, 1)),  # some positions see padding alone
    (6, (7, 7), 8, (1, 1), (3, 3), (0, 0), (1, 1)),  # some pixels are never read
    (2, (4, 4), 1, (3, 3), (2, 2), (0, 0), (1, 1)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("B", [1, 8, 17, 35, 64])
def test_convolve_equals_conv2d(shape, B, dtype, rng):
    C, size, O, kernel, stride, padding, dilation = shape
    geometry = Geometry(channels=C, size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    E = 2
    leaves = [
        torch.randn(E, C, *size, B, generator=rng), torch.randn(E, O, C, *kernel, generator=rng),
        torch.randn(E, O, generator=rng),
    ]  # fmt: skip
    x, w, b = (leaf.to(dtype).requires_grad_() for leaf in leaves)
    y = convolve(x, w, b, geometry)
    upstream = torch.randn(y.shape, generator=rng).to(dtype)
    got = [y, *torch.autograd.grad(y, [x, w, b], upstream)]
    truths = [leaf.double().requires_grad_() for leaf in leaves]
    want = torch.stack(
        [
            F.conv2d(x.movedim(-1, 0), w, b, stride, padding, dilation).movedim(0, -1)
            for x, w, b in zip(*truths, strict=True)
        ]
    )
    for ours, truth in zip(got, [want, *torch.autograd.grad(want, truths, upstream.double())], strict=True):
        assert_same(ours.detach(), truth.detach())


def test_columns_fold_what_they_unfold(rng):
    """<columns(x), g> = <x, columns^T(g)>."""
    geometry = Geometry(channels=2, size=(6, 5), kernel=(3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2))
    x = torch.randn(2, 2, 6, 5, 3, generator=rng).double().requires_grad_()
    unfolded = columns(x, geometry)
    g = torch.randn(unfolded.shape, generator=rng).double()
    (back,) = torch.autograd.grad(unfolded, x, g)
    torch.testing.assert_close((unfolded * g).sum(), (x * back).sum())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_columns_and_ones_are_both(shape, rng):
    C, size, _, kernel, stride, padding, dilation = shape
    geometry = Geometry(channels=C, size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    x = torch.randn(2, C, *size, 3, generator=rng)
    both = columns_and_ones(x, geometry)
    assert both.shape[2:] == (*geometry.out, 3)
    assert_same_bits(both[:, :-1].flatten(2), columns(x, geometry))
    assert_same_bits(both[:, -1], torch.ones_like(both[:, -1]))


def test_a_member_has_the_same_bits_alone_and_among_others(rng):
    geometry = Geometry(channels=5, size=(7, 7), kernel=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1))
    x, w = torch.randn(3, 5, 7, 7, 20, generator=rng), torch.randn(3, 9, 5, 3, 3, generator=rng)
    together = convolve(x, w, None, geometry)
    for e in range(3):
        assert_same_bits(convolve(x[e : e + 1], w[e : e + 1], None, geometry)[0], together[e])


SIZES = Geometry(
    channels=2, size=(5, 4), kernel=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 1)
).sizes(3, 9, 17)  # fmt: skip
X, W, Y = (3, 2, 5, 4, 17), (3, 9, 2, 3, 2), (3, 9, 3, 3, 17)
KERNELS = {"member_conv": (X, W, Y), "member_conv_dx": (Y, W, X), "member_conv_dw": (X, Y, W)}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("which", range(3))
def test_a_kernel_refuses_arrays_of_other_sizes(kernel, which, dtype):
    """Each size of each array, one less and one more; and an axis too few."""
    call, shapes, real = getattr(_C, kernel), KERNELS[kernel], torch.empty(0, dtype=dtype).numpy().dtype
    call(SIZES, *(np.zeros(shape, real) for shape in shapes))
    name, right = ("left", "right", "out")[which], shapes[which]
    wrong = [tuple(np.add(right, step * np.eye(5, dtype=int)[axis])) for axis in range(5) for step in (-1, 1)]
    for shape in [*wrong, right[1:]]:
        arrays = [np.zeros(shape if k == which else shapes[k], real) for k in range(3)]
        got = str(list(map(int, shape)))
        with pytest.raises(ValueError, match=re.escape(f"{kernel}: {name} must be {list(right)}; got {got}. Match")):
            call(SIZES, *arrays)


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (0, 0, "sizes must be positive, paddings not negative, all below 2^31; got [0, 2, 5, 4, 17, 9, "),
        (8, -1, "sizes must be positive"),
        (10, 0, "sizes must be positive"),
        (12, -1, "paddings not negative"),
        (14, 2**31, "all below 2^31"),
        (6, 4, "Ho and Wo must be the positions of the kernel; got [3, 2, 5, 4, 17, 9, 4, 3, 3, 2, 2, 1, 1, 0, 1, 1]."),
        (7, 2, "Ho and Wo must be the positions of the kernel"),
        (9, 9, "Ho and Wo must be the positions of the kernel"),
    ],
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_refuses_sizes_of_no_convolution(kernel, place, value, text, dtype):
    real = torch.empty(0, dtype=dtype).numpy().dtype
    sizes = [*SIZES[:place], value, *SIZES[place + 1 :]]
    with pytest.raises(ValueError, match=re.escape(text)):
        getattr(_C, kernel)(sizes, *(np.zeros(shape, real) for shape in KERNELS[kernel]))


def test_a_kernel_refuses_a_mask_of_other_sizes(dtype):
    real = torch.empty(0, dtype=dtype).numpy().dtype
    arrays = [np.zeros(shape, real) for shape in KERNELS["member_conv_dw"]]
    _C.member_conv_dw(SIZES, *arrays, np.zeros(Y, real))
    with pytest.raises(ValueError, match=re.escape(f"member_conv_dw: relu must be {list(Y)}; got {list(X)}. Match")):
        _C.member_conv_dw(SIZES, *arrays, np.zeros(X, real))


@pytest.mark.parametrize("B", [1, 16, 35])
def test_rectified_equals_relu_of_the_product(B, dtype, rng):
    leaves = torch.randn(2, 37, 9, generator=rng), torch.randn(2, 9, 3, 4, B, generator=rng)
    weight, x = leaves[0].to(dtype).requires_grad_(), leaves[1].to(dtype)
    y = rectified(weight, x)
    upstream = torch.randn(y.shape, generator=rng).to(dtype)
    truth = leaves[0].to(dtype).double().requires_grad_()
    want = torch.einsum("eoi,eihwb->eohwb", truth, x.double()).relu()
    assert_same(y.detach(), want.detach())
    (got,), (dweight,) = torch.autograd.grad(y, weight, upstream), torch.autograd.grad(want, truth, upstream.double())
    assert_same(got, dweight)
    assert rectified(weight.detach().to("meta"), x.to("meta")).shape == y.shape


def test_the_next_step_takes_the_memory_of_the_last(rng):
    spare, x = Spare(), torch.zeros(1)
    first = spare.like("y", x, (2, 3))
    assert spare.like("y", x, (2, 3)).data_ptr() == first.data_ptr()
    others = [spare.like("dx", x, (2, 3)), spare.like("y", x, (3, 2)), Spare().like("y", x, (2, 3))]
    assert len({a.data_ptr() for a in (first, *others)}) == 4


def test_a_nan_stays_in_its_sample(rng):
    geometry = Geometry(channels=3, size=(4, 4), kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1))
    x, w = torch.randn(1, 3, 4, 4, 20, generator=rng), torch.randn(1, 4, 3, 3, 3, generator=rng)
    x[..., 18] = torch.nan
    bad = convolve(x, w, None, geometry).isnan().flatten(0, 3).any(0)
    assert bad.nonzero()[:, 0].tolist() == [18]


@pytest.mark.parametrize("B", [1, 5, 8, 33])
@pytest.mark.parametrize("form", [normalize, plain_normalize])
@pytest.mark.parametrize("relu", [False, True])
def test_normalize_equals_batch_norm(relu, form, B, rng):
    leaves = [torch.randn(3, 4, 2, 3, B, generator=rng) * 3 + 7, *torch.randn(2, 3, 4, generator=rng)]
    x, weight, bias = (leaf.double().requires_grad_() for leaf in leaves)
    y, mean, var = form(x if form is normalize else x.flatten(2), weight, bias, eps=1e-3, relu=relu)
    y = y.view(x.shape)
    want = torch.stack(
        [
            F.batch_norm(x[e].movedim(-1, 0), None, None, weight[e], bias[e], training=True, eps=1e-3).movedim(0, -1)
            for e in range(3)
        ]
    )
    want = want.relu() if relu else want
    assert_same(y.detach(), want.detach())
    assert_same(mean, x.detach().flatten(2).mean(-1))
    assert_same(var, x.detach().flatten(2).var(-1, correction=0))
    upstream = torch.randn(y.shape, generator=rng).double()
    for ours, truth in zip(
        torch.autograd.grad(y, [x, weight, bias], upstream),
        torch.autograd.grad(want, [x, weight, bias], upstream),
        strict=True,
    ):
        assert_same(ours, truth)


def test_normalize_in_float32_stays_near_float64(rng):
    leaves = [torch.randn(2, 3, 4, 5, 9, generator=rng) + 5, *torch.randn(2, 2, 3, generator=rng)]
    found = []
    for dtype in (torch.float32, torch.float64):
        x, weight, bias = (leaf.to(dtype).requires_grad_() for leaf in leaves)
        y, *statistics = normalize(x, weight, bias, eps=1e-5, relu=False)
        found.append([y.detach(), *statistics, *torch.autograd.grad(y, [x, weight, bias], x.detach() ** 2)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=2e-4)


ROWS = {name: (3,) for name in ("weight", "bias", "mean", "var", "dweight", "dbias")}
ROWS |= {name: (3, 20) for name in ("x", "y", "dy", "dx")}
NORMS = {
    "member_norm": ("x", "weight", "bias", "y", "mean", "var"),
    "member_norm_dx": ("x", "weight", "bias", "mean", "var", "dy", "dx", "dweight", "dbias"),
}


@pytest.mark.parametrize("kernel", NORMS)
def test_a_norm_refuses_arrays_of_other_sizes(kernel, dtype):
    call, real = getattr(_C, kernel), torch.empty(0, dtype=dtype).numpy().dtype
    arrays = {name: np.ones(ROWS[name], real) for name in NORMS[kernel]}
    call(**arrays, eps=1e-5, relu=True)
    for name in NORMS[kernel][1:]:
        for step in (-1, 1):
            wrong = (*ROWS[name][:-1], ROWS[name][-1] + step)
            text = f"{kernel}: {name} must be {list(ROWS[name])}; got {list(wrong)}. Match the sizes."
            with pytest.raises(ValueError, match=re.escape(text)):
                call(**arrays | {name: np.ones(wrong, real)}, eps=1e-5, relu=True)
    for shape in [(3,), (3, 0), (3, 4, 5)]:
        text = f"{kernel}: x must be [rows, size], size > 0; got {list(shape)}. Flatten it."
        with pytest.raises(ValueError, match=re.escape(text)):
            call(**arrays | {"x": np.ones(shape, real)}, eps=1e-5, relu=True)


def test_kernels_give_the_same_bits_by_any_threads(rng):
    geometry = Geometry(channels=33, size=(7, 6), kernel=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1))
    x, w = torch.randn(3, 33, 7, 6, 20, generator=rng), torch.randn(3, 40, 33, 3, 3, generator=rng)
    weight, bias = torch.randn(2, 3, 40, generator=rng)
    leaves = [leaf.requires_grad_() for leaf in (x, w, weight, bias)]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            y, *_ = normalize(convolve(x, w, None, geometry), weight, bias, eps=1e-5, relu=True)
            found.append([y.detach(), *torch.autograd.grad(y, leaves, torch.ones_like(y) + y.detach())])
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*found, strict=True):
        assert_same_bits(one, three)
