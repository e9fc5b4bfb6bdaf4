"""limit: the golden values, the truth, the laws, the refusals; and its noise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from infotorch import _C
from infotorch.errors import ConfigError, NotSupported
from infotorch.ops import LimitNoise, limit, limit_noise, reference
from tests.laws import assert_same, assert_same_bits
from tests.ops.limit_cases import CASES, GOLDEN, assert_close, assert_rows, assert_true, by_name, golden, labels, logits
from tests.ops.limit_refusals import KEY, REFUSALS, SOFT, WRONG_KINDS, V, Y, Z, put

every_q = pytest.mark.parametrize("q", ["gaussian", "laplace", "ce"])
every_half = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


@pytest.mark.parametrize("name", CASES)
def test_the_truth_gives_the_golden_values(name):
    args, options, wanted = golden(name)
    rows = reference.limit(*args, **options)
    for key, want in wanted.items():
        assert_close(rows[key], want, 1e-10)


@pytest.mark.parametrize("name", CASES)
def test_golden(name, dtype, device):
    args, options, wanted = golden(name, dtype)
    args = [x.to(device) for x in args]
    options = {key: x.to(device) if isinstance(x, torch.Tensor) else x for key, x in options.items()}
    rows = by_name(limit(*args, **options))
    assert rows["inject"].dtype == rows["match"].dtype == dtype
    truth = {key: x.to(device) for key, x in wanted.items()}
    got = {key: x for key, x in rows.items() if key in wanted}
    assert len(got) >= 6
    assert_rows(got, truth, dtype, options["q"], strict=True)


@every_half
@pytest.mark.parametrize("name", CASES)
def test_16_bits_are_computed_in_float32(name, half, device):
    """The truth is of the rounded inputs; gradients are off by one unit in the last place, rows are float32."""
    (z, v, y), options, _ = golden(name, torch.float32)
    z, v, y = z.to(device, half), v.to(device, half), y.to(device)
    options = {key: x.to(device) if isinstance(x, torch.Tensor) else x for key, x in options.items()}
    if not z.isfinite().all():
        pytest.skip("logits beyond the dtype")
    rows = limit(z, v, y, **options)
    assert (rows.inject.dtype, rows.aux_grad.dtype, rows.match.dtype) == (half, half, torch.float32)
    assert_true(rows, z, v, y, **options)


# Around the lanes of a vector, past few classes, past one block of sums, a vocabulary.
@pytest.mark.parametrize("C", [2, 3, 15, 16, 17, 63, 64, 65, 100, 1000, 1025, 2049, 6200, 50257])
@every_q
def test_equals_the_truth(q, C, dtype, rng):
    N = 37 if C < 2000 else 3
    z, v = logits(rng, N, C, dtype=dtype)
    y = labels(rng, N, below=C)
    y[0] = -100
    weight = torch.rand(C, generator=rng, device=rng.device).to(dtype)
    soft = (3 * logits(rng, N, C, dtype=dtype)[0]).softmax(1)
    for target, options in (
        (y, {}),
        (y, {"label_smoothing": 0.1}),
        (y, {"weight": weight}),
        (soft, {}),
        (soft, {"weight": weight, "label_smoothing": 0.2}),
    ):
        assert_true(limit(z, v, target, q=q, beta=0.3, **options), z, v, target, q=q, beta=0.3, **options)


@every_q
def test_a_sure_auxiliary_keeps_its_small_errors(q, dtype, rng):
    """1 - u is the sum of the other classes, not a difference that rounds to zero."""
    v = torch.zeros(1, 5, dtype=dtype, device=rng.device)
    v[0, 2] = 25.0
    rest = 4 * torch.tensor(-25.0, dtype=torch.float64).exp()
    rows = limit(torch.zeros_like(v), v, torch.tensor([2], device=rng.device), q=q)
    want = {"gaussian": 1.25 * rest**2, "laplace": 2 * rest, "ce": rest}[q]
    if q != "ce":
        torch.testing.assert_close(rows.match[0].double().cpu(), want, rtol=1e-5, atol=0)
    torch.testing.assert_close(rows.dist[0].double().cpu(), (1.25**0.5) * rest, rtol=1e-5, atol=0)


@every_q
@pytest.mark.parametrize("C", [5, 100])
def test_masked_classes_take_no_part(C, q, dtype, rng):
    z, v = logits(rng, 6, C, dtype=dtype)
    z[:, 1], v[:, 2] = -torch.inf, -torch.inf
    y = torch.tensor([0, 0, 3, 1, 2, 4], device=rng.device)
    rows = limit(z, v, y, q=q, beta=0.5)
    assert_true(rows, z, v, y, q=q, beta=0.5)
    assert rows.ce.isinf().tolist() == [False, False, False, True, False, False]
    assert not rows.aux_grad[:, 2][y != 2].any()


@pytest.mark.parametrize("C", [1, 5, 100])
@pytest.mark.parametrize("soft", [False, True])
def test_nan_stays_in_its_row(soft, C, rng):
    z, v = logits(rng, 20, C)
    z[3, C // 2], v[7, 0] = torch.nan, torch.nan
    target = torch.full((20, C), 1 / C, dtype=z.dtype, device=z.device) if soft else labels(rng, 20, below=2)
    rows = limit(z, v, target, beta=1.0)
    assert rows.inject.isnan().any(1).nonzero().flatten().tolist() == [3, 7]
    assert rows.match.isnan().nonzero().flatten().tolist() in ([7], [3, 7])  # where u - t is at hand, s has no part
    assert rows.pen.isnan().nonzero().flatten().tolist() == [3, 7]


@every_q
@pytest.mark.parametrize("C", [5, 100])
def test_adding_a_constant_changes_nothing(C, q, rng):
    z, v = logits(rng, 6, C)
    y = labels(rng, 6, below=C)
    rows, moved = (limit(*pair, y, q=q, beta=0.3) for pair in ((z, v), (z + 50, v - 20)))
    for x, want in zip(by_name(moved).values(), by_name(rows).values(), strict=True):
        torch.testing.assert_close(x, want, rtol=1e-10, atol=1e-10)


@every_q
@pytest.mark.parametrize("C", [5, 100])
def test_permuting_the_classes_permutes(C, q, rng):
    z, v = logits(rng, 6, C)
    y, order = labels(rng, 6, below=C), torch.randperm(C, generator=rng, device=rng.device)
    weight = torch.rand(C, dtype=torch.float64, generator=rng, device=rng.device)
    rows = limit(z, v, y, q=q, beta=0.3, weight=weight)
    other = limit(z[:, order], v[:, order], order.argsort()[y], q=q, beta=0.3, weight=weight[order])
    assert_same(other.aux_grad, rows.aux_grad[:, order])
    assert_same(other.inject, rows.inject[:, order])
    assert torch.equal(order[other.top], rows.top)


@pytest.mark.parametrize("C", [5, 100])
def test_what_is_injected_sums_to_zero(C, rng):
    z, v = logits(rng, 6, C)
    rows = limit(z, v, labels(rng, 6, below=C))
    assert rows.inject.sum(1).abs().max() <= 1e-14
    assert rows.aux_grad.sum(1).abs().max() <= 1e-14


@every_q
@pytest.mark.parametrize("C", [5, 100])
def test_one_hot_probabilities_are_labels(C, q, rng):
    z, v = logits(rng, 6, C)
    y = labels(rng, 6, below=C)
    of_labels, of_probabilities = (limit(z, v, t, q=q, beta=0.3) for t in (y, F.one_hot(y, C).double()))
    for x, want in zip(by_name(of_probabilities).values(), by_name(of_labels).values(), strict=True):
        torch.testing.assert_close(x, want, rtol=1e-12, atol=1e-12)


@every_q
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_single_logit_is_two(smoothing, q, rng):
    """Of two logits 0 and z: match and pen are halved, as the same error counts in both; of ce pen alone."""
    z, v = logits(rng, 9)
    y = labels(rng, 9, below=2)
    beta = 0.7
    one = limit(z, v, y, q=q, beta=beta, label_smoothing=smoothing)
    pair = [torch.stack([torch.zeros_like(x), x], 1) for x in (z, v)]
    two = limit(*pair, y, q=q, beta=beta if q != "ce" else beta / 2, label_smoothing=smoothing)
    half = 1.0 if q == "ce" else 0.5
    assert_same(one.inject, two.inject[:, 1])
    assert_same(one.aux_grad, half * two.aux_grad[:, 1])
    assert_same(one.match, half * two.match)
    assert_same(one.pen, 0.5 * two.pen)
    assert_same(one.ce, two.ce)
    assert_same(one.dist, two.dist / 2**0.5)
    assert torch.equal(one.top, two.top) and torch.equal(one.aux_top, two.aux_top)
    for shape in ((9, 1), (3, 3, 1)):
        again = limit(z.view(shape), v.view(shape), y.view(shape[:-1]), q=q, beta=beta, label_smoothing=smoothing)
        assert again.inject.shape == shape and again.match.shape == shape[:-1]
        assert_same_bits(again.aux_grad.flatten(), one.aux_grad)
        assert_same_bits(limit(z.view(shape), v.view(shape), y.double().view(shape)).inject.flatten(), one.inject)


@every_q
def test_rows_have_the_shape_of_the_labels(q, rng):
    z, v = logits(rng, 2, 3, 4, 5)
    y = labels(rng, 2, 3, 4, below=5)
    y[0, 1] = -100
    mask = torch.rand(2, 3, 4, generator=rng, device=rng.device) < 0.8
    rows = limit(z, v, y, q=q, mask=mask)
    flat = limit(z.flatten(0, 2), v.flatten(0, 2), y.where(mask, -100).flatten(), q=q)
    for x, want in zip(by_name(rows).values(), by_name(flat).values(), strict=True):
        assert x.shape[:3] == (2, 3, 4)
        assert_same_bits(x.flatten(0, 2), want)


def test_how_logits_lie_is_not_in_the_result(rng):
    z, v = logits(rng, 6, 70)
    y = labels(rng, 6, below=70)
    want = limit(z, v, y, beta=0.3)
    spread = [torch.stack([x, x], -1)[..., 0] for x in (z, v)]
    turned = [x.mT.contiguous().mT for x in (z, v)]
    for pair in (spread, turned, (z[:, :], turned[1])):
        for x, expected in zip(by_name(limit(*pair, y, beta=0.3)).values(), by_name(want).values(), strict=True):
            assert_same_bits(x, expected)


@pytest.mark.parametrize("C", [1, 2, 10, 64, 65, 500])
def test_a_row_depends_neither_on_its_batch_nor_on_threads(C, dtype, rng):
    z, v = logits(rng, 70, C, dtype=dtype)
    y = labels(rng, 70, below=max(2, C))
    before, want = torch.get_num_threads(), limit(z, v, y, beta=0.3)
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for rows in (slice(0, 70), slice(13, 14), slice(40, 70)):
                got = limit(z[rows], v[rows], y[rows], beta=0.3)
                for x, expected in zip(by_name(got).values(), by_name(want).values(), strict=True):
                    assert_same_bits(x, expected[rows])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(0, 5), (0,), (0, 3, 5), (3, 0, 5)], ids=str)
def test_no_rows_give_none(shape, device):
    z, v = torch.zeros(shape, device=device), torch.ones(shape, device=device)
    y = torch.zeros(shape[:-1] if len(shape) > 1 else shape, dtype=torch.int64, device=device)
    key = LimitNoise(seed=0, step=0, ids=torch.arange(shape[0]))
    rows = limit(z, v, y, lam=1.0, noise=key)
    assert rows.inject.shape == rows.sample.shape == shape and rows.match.shape == y.shape


def test_noise_of_the_truth_gives_the_golden_values():
    case = np.load(GOLDEN / "noise.npz")
    key = {name: int(case[name]) for name in ("seed", "step")} | {"ids": torch.from_numpy(case["ids"].astype(np.int64))}
    assert (reference.limit_noise(**key, num_classes=8, kind="words").numpy() == case["words"]).all()
    assert (reference.limit_noise(**key, num_classes=6, kind="uniform").numpy() == case["uniforms"]).all()
    for kind in ("gaussian", "laplace"):
        assert_close(reference.limit_noise(**key, num_classes=6, kind=kind), torch.from_numpy(case[kind]), 1e-13)


def test_golden_noise(device):
    case = np.load(GOLDEN / "noise.npz")
    ids = torch.from_numpy(case["ids"].astype(np.int64)).to(device)
    key = LimitNoise(seed=int(case["seed"]), step=int(case["step"]), ids=ids)
    assert (limit_noise(key, 8, kind="words").cpu().numpy() == case["words"]).all()
    assert (limit_noise(key, 6, kind="uniform").cpu().numpy() == case["uniforms"]).all()
    for kind in ("gaussian", "laplace"):
        assert_close(limit_noise(key, 6, kind=kind).cpu(), torch.from_numpy(case[kind]), 1e-13)


@pytest.mark.parametrize("kind, variance", [("gaussian", 1), ("laplace", 2), ("uniform", 1 / 12)])
def test_noise_has_its_mean_and_variance(kind, variance, device):
    key = LimitNoise(seed=1, step=2, ids=torch.arange(50_000, device=device))
    drawn = limit_noise(key, 10, kind=kind)
    assert abs(drawn.mean() - 0.5 * (kind == "uniform")) < 0.005
    assert abs(drawn.var() / variance - 1) < 0.01


@pytest.mark.parametrize("key", ["seed", "step", "id"])
def test_every_part_of_the_key_counts(key):
    """All 64 bits of a seed and of an id, all 32 of a step."""
    bits = 32 if key == "step" else 63
    keys = [{"seed": 0, "step": 0, "id": 0}] + [{"seed": 0, "step": 0, "id": 0, key: 1 << bit} for bit in range(bits)]
    words = [
        limit_noise(LimitNoise(seed=k["seed"], step=k["step"], ids=torch.tensor([k["id"]])), 4, kind="words")
        for k in keys
    ]
    assert len({tuple(x.flatten().tolist()) for x in words}) == len(keys)


@pytest.mark.parametrize("q, scale", [("gaussian", 0.25), ("laplace", 0.125)])
def test_a_sample_is_the_mean_plus_a_draw(q, scale, dtype, rng):
    z, v = logits(rng, 6, 70, dtype=dtype)
    y = labels(rng, 6, below=70)
    y[2] = -100
    key = {"seed": 3, "step": 1, "ids": torch.tensor([4, 9, 2, 0, 2**40, 7], device=rng.device)}
    rows = limit(z, v, y, q=q, lam=8.0, noise=LimitNoise(**key))
    want = rows.inject.double() + scale * reference.limit_noise(**key, num_classes=70, kind=q) * rows.valid[:, None]
    assert_same(rows.sample, want)
    plain = limit(z, v, y, q=q)
    assert_same_bits(rows.inject, plain.inject)
    assert plain.sample is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_registration_passes_torchs_own_list(dtype, rng):
    z, v = logits(rng, 4, 5, dtype=dtype)
    op, y = torch.ops.infotorch.limit.default, labels(rng, 4, below=5)
    torch.library.opcheck(op, (z, v, y, "gaussian", 1.0))
    ids = torch.arange(4, device=rng.device)
    torch.library.opcheck(op, (z, v, y, "laplace", 0.5), {"label_smoothing": 0.1, "lam": 2.0, "ids": ids, "step": 3})
    torch.library.opcheck(op, (z[:, 0], v[:, 0], y % 2, "ce", 0.5))
    torch.library.opcheck(torch.ops.infotorch.limit_noise.default, (ids, 3, 5, 7))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_compiles_whole(dtype, rng):
    torch._dynamo.reset()
    z, v = logits(rng, 4, 5, dtype=dtype)
    y = labels(rng, 4, below=5)
    compiled = torch.compile(lambda z, v: limit(z * 2, v, y, beta=0.3), fullgraph=True, backend="aot_eager")
    for x, want in zip(by_name(compiled(z, v)).values(), by_name(limit(z * 2, v, y, beta=0.3)).values(), strict=True):
        assert_same_bits(x, want)


def test_autocast_changes_nothing(rng):
    z, v = logits(rng, 4, 5, dtype=torch.float32)
    y = labels(rng, 4, below=5)
    with torch.autocast(z.device.type, dtype=torch.bfloat16):
        inside = limit(z, v, y)
    for x, want in zip(by_name(inside).values(), by_name(limit(z, v, y)).values(), strict=True):
        assert_same_bits(x, want)


@pytest.mark.parametrize("of", [0, 1])
def test_refuses_logits_that_require_grad(of, rng):
    pair = logits(rng, 4, 5)
    pair[of].requires_grad_()
    says = "limit: no tensor may require grad, for there is no way back; got one that does. Detach it, or call under"
    with pytest.raises(NotSupported, match=says):
        limit(*pair, labels(rng, 4, below=5))
    with torch.no_grad():
        assert not limit(*pair, labels(rng, 4, below=5)).inject.requires_grad


def test_refuses_vmap(rng):
    z, v = logits(rng, 2, 4, 5)
    y = labels(rng, 4, below=5)
    with pytest.raises(NotSupported, match=r"limit: no tensor may be mapped by torch.func.vmap; got a mapped one."):
        torch.func.vmap(lambda z, v: limit(z, v, y).inject)(z, v)


@pytest.mark.skipif(bool(_C.build["cuda_archs"]), reason="built with CUDA kernels")
def test_a_cuda_tensor_needs_cuda_kernels(rng):
    """What runs for one, handed tensors of the CPU."""
    cuda = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    z, v = logits(rng, 2, 4, 5)
    with pytest.raises(NotSupported, match=r"limit: this build has CPU kernels only; got a tensor on cuda. Build with"):
        torch.ops.infotorch.limit.default.redispatch(cuda, z, v, labels(rng, 4, below=5), "gaussian", 1.0)


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses(case):
    args, options, says = REFUSALS[case]
    with pytest.raises(ValueError) as error:
        limit(*args, **options, where="limit_gradient")
    assert f"limit_gradient: {says}" in str(error.value)


@pytest.mark.parametrize("case", WRONG_KINDS)
def test_refuses_tensors_of_another_kind(case):
    args, says = WRONG_KINDS[case]
    with pytest.raises(TypeError) as error:
        limit(*args)
    assert f"limit: {says}" in str(error.value)


@pytest.mark.parametrize("row", ["ignored", "masked"])
def test_rows_that_do_not_count_may_hold_anything(row):
    bad = put(Z, 4, torch.nan)
    if row == "ignored":
        rows = limit(bad, V, put(Y, 4, -100))
    else:
        rows = limit(bad, V, put(Y, 4, 77), mask=put(torch.ones(32, dtype=torch.bool), 4, False))
        soft = limit(bad, V, put(SOFT, 4, 9.0), mask=put(torch.ones(32, dtype=torch.bool), 4, False))
        assert not soft.match[4] and not soft.aux_grad[4].any()
    for x in (rows.inject, rows.aux_grad, rows.match, rows.pen, rows.ce, rows.dist, rows.valid):
        assert not x[4].any()
    assert rows.valid.sum() == 31


@pytest.mark.parametrize(
    "options, says",
    [
        ({"kind": "cauchy"}, "limit_noise: kind must be 'gaussian', 'laplace', 'uniform' or 'words'; got 'cauchy'."),
        ({"num_classes": 0}, "limit_noise: num_classes must be positive; got 0. Pass the number of logits."),
        ({"ids": torch.zeros(3)}, "limit_noise: ids must be int64 [N]; got float32 [3]. Pass the samples' places"),
        ({"ids": torch.zeros(2, 2).long()}, "limit_noise: ids must be int64 [N]; got int64 [2, 2]."),
    ],
    ids=str,
)
def test_noise_refuses(options, says):
    ids, num_classes = options.pop("ids", KEY.ids), options.pop("num_classes", 4)
    with pytest.raises(ValueError) as error:
        limit_noise(LimitNoise(seed=0, step=0, ids=ids), num_classes, **options)
    assert says in str(error.value)


@pytest.mark.parametrize("key", [{"seed": -1}, {"seed": 2**64}, {"step": -1}, {"step": 2**32}], ids=str)
def test_a_key_must_fit(key):
    (name, value), bits = next(iter(key.items())), {"seed": 64, "step": 32}
    with pytest.raises(ConfigError) as error:
        LimitNoise(**({"seed": 0, "step": 0, "ids": KEY.ids} | key))
    must = f"LimitNoise: {name} must be 0 to 2^{bits[name]} - 1; got {value}. Take it modulo 2^{bits[name]}."
    assert str(error.value) == must


def test_a_key_takes_any_integer():
    key = LimitNoise(seed=np.uint64(2**64 - 1), step=np.int64(5), ids=KEY.ids)
    assert_same_bits(limit_noise(key, 3), limit_noise(LimitNoise(seed=2**64 - 1, step=5, ids=KEY.ids), 3))
