"""limit_gradient: no label reaches the classifier; the rest is what the loss says, however it is called."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounterWithBackend

from infotorch import ops
from infotorch.errors import ConfigError, NotSupported
from infotorch.ops import reference
from infotorch.train import LimitLoss, LimitNoise, limit_gradient
from tests.laws import assert_same, assert_same_bits
from tests.train import golden

QS = ["gaussian", "laplace", "ce"]
every_q = pytest.mark.parametrize("q", QS)
TRAJECTORIES = sorted(path.stem for path in golden.FOLDER.glob("train_*.npz"))
IDS = torch.tensor([7, 3, 2**40, 0, 11, 5])


def batch(rng, N=6, C=5, dtype=torch.float64):
    """(logits, aux_logits, labels) of which one is ignored."""
    z, v = (torch.randn(N, C, dtype=torch.float64, generator=rng).to(dtype).requires_grad_() for _ in range(2))
    y = torch.randint(C, (N,), generator=rng)
    y[N // 2] = -100
    return z, v, y


def grads(loss, *inputs):
    return torch.autograd.grad(loss, inputs, retain_graph=True)


def noise(step=0, ids=IDS):
    return LimitNoise(seed=9, step=step, ids=ids)


VARIANTS = {
    "plain": {},
    "weight": {"weight": torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)},
    "smoothing": {"label_smoothing": 0.1},
    "sampled": {"lam": 5.0, "noise": noise()},
    "all": {
        "weight": torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64),
        "label_smoothing": 0.1, "lam": 5.0, "noise": noise(), "inject_scale": 0.3,
    },
}  # fmt: skip


@every_q
@pytest.mark.parametrize("reduction", ["mean", "sum", "reference", "none"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_labels_of_a_batch_are_not_in_the_classifiers_gradient(variant, dtype, reduction, q, rng):
    """Permuted among the rows that count, they leave it as it is, bit for bit."""
    options = {key: x.to(dtype) if isinstance(x, torch.Tensor) else x for key, x in VARIANTS[variant].items()}
    if q == "ce":
        options = {key: x for key, x in options.items() if key not in ("lam", "noise")}
    z, v, y = batch(rng, dtype=dtype)
    y = torch.tensor([0, 1, 2, -100, 4, 3])
    first = None
    for order in ([0, 1, 2, 3, 4, 5], [4, 2, 1, 3, 5, 0], [5, 5, 5, 3, 5, 5]):
        loss = limit_gradient(z, v, y[order], q=q, beta=0.3, reduction=reduction, **options)
        inject, aux_grad = grads(loss.sum(), z, v)
        first = (inject, aux_grad) if first is None else first
        assert_same_bits(inject, first[0])
        assert order == [0, 1, 2, 3, 4, 5] or not torch.equal(aux_grad, first[1])


@every_q
@pytest.mark.parametrize("weighted", [False, True])
def test_the_classifier_gets_the_gradient_of_cross_entropy_to_the_auxiliary(weighted, q, rng):
    z, v, y = batch(rng)
    w = torch.rand(5, dtype=torch.float64, generator=rng) if weighted else None
    (inject,) = grads(limit_gradient(z, v, y, q=q, weight=w), z)
    u, counts = v.detach().softmax(1), y != -100
    distilled = -(u * (1 if w is None else w) * z.log_softmax(1)).sum(1)[counts].sum() / counts.sum()
    assert_same(inject, grads(distilled, z)[0])


@every_q
def test_the_auxiliary_gets_the_gradient_of_the_value(q, rng):
    """By differences of the value; the classifier's logits get none from it."""
    z, v, y = batch(rng)
    options = {"q": q, "beta": 0.7, "reduction": "sum", "label_smoothing": 0.2}
    loss = limit_gradient(z, v, y, **options)
    (aux_grad,) = grads(loss, v)
    step = 1e-6
    for n, c in [(0, 0), (1, 4), (3, 2), (5, 1)]:
        moved = torch.zeros_like(v)
        moved[n, c] = step
        with torch.no_grad():
            slope = limit_gradient(z, v + moved, y, **options) - limit_gradient(z, v - moved, y, **options)
        torch.testing.assert_close(aux_grad[n, c], slope / (2 * step), rtol=1e-6, atol=1e-7)


@every_q
def test_reductions_scale_both_gradients_as_they_say(q, rng):
    z, v, y = batch(rng)
    rows = ops.limit(z.detach(), v.detach(), y, q=q, beta=0.3)
    each = rows.match + 0.3 * rows.pen
    of = {"mean": (each.sum() / 5, 1 / 5, 1 / 5), "sum": (each.sum(), 1, 1), "reference": (each.sum() / 5, 1, 1 / 5)}
    for reduction, (value, for_z, for_v) in of.items():
        loss = limit_gradient(z, v, y, q=q, beta=0.3, reduction=reduction, inject_scale=2.0)
        assert_same(loss.detach(), value)
        inject, aux_grad = grads(3 * loss, z, v)
        assert_same(inject, 3 * 2 * for_z * rows.inject)
        assert_same(aux_grad, 3 * for_v * rows.aux_grad)
    loss = limit_gradient(z, v, y, q=q, beta=0.3, reduction="none")
    assert_same(loss.detach(), each)
    upstream = torch.arange(6.0, dtype=torch.float64)
    inject, aux_grad = torch.autograd.grad(loss, (z, v), upstream)
    assert_same(inject, upstream[:, None] * rows.inject)
    assert_same(aux_grad, upstream[:, None] * rows.aux_grad)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_half_gradients_are_scaled_in_float32(half, rng):
    """A scale of 65536 and its inverse leave no trace; a batch so large that 1/N underflows in half neither."""
    z, v, y = batch(rng, dtype=half)
    plain = grads(limit_gradient(z, v, y, reduction="sum"), z, v)
    loss = limit_gradient(z, v, y)
    assert loss.dtype == torch.float32
    for got, want in zip(grads(loss * 5, z, v), plain, strict=True):
        torch.testing.assert_close(got, want, rtol=2**-7 if half == torch.bfloat16 else 2**-10, atol=0)
    scaled = grads(loss * 65536 * 2**-14, z, v)
    for got, want in zip(scaled, grads(loss * 4, z, v), strict=True):
        assert_same_bits(got, want)


def test_a_scale_of_the_loss_is_exact(rng):
    z, v, y = batch(rng, dtype=torch.float32)
    once, scaled = grads(limit_gradient(z, v, y), z, v), grads(65536 * limit_gradient(z, v, y), z, v)
    for got, want in zip(scaled, once, strict=True):
        assert_same_bits(got / 65536, want)


def test_gradients_accumulate_as_those_of_one_batch(rng):
    z, v, y = batch(rng, N=12)
    whole = grads(limit_gradient(z, v, y, q="laplace"), z, v)
    for part in (slice(0, 5), slice(5, 12)):
        share = (y[part] != -100).sum().double() / (y != -100).sum()
        (limit_gradient(z[part], v[part], y[part], q="laplace") * share).backward()
    assert_same(z.grad, whole[0])
    assert_same(v.grad, whole[1])


@every_q
def test_sequences_equal_their_rows(q, rng):
    z, v = (torch.randn(4, 3, 5, dtype=torch.float64, generator=rng).requires_grad_() for _ in range(2))
    y = torch.randint(5, (4, 3), generator=rng)
    mask = torch.rand(4, 3, generator=rng) < 0.7
    flat = limit_gradient(z.flatten(0, 1), v.flatten(0, 1), y.where(mask, -100).flatten(), q=q)
    want = [x.reshape(4, 3, 5) for x in grads(flat, z, v)]
    channels = [x.detach().mT.contiguous().requires_grad_() for x in (z, v)]
    for loss, inputs, back in (
        (limit_gradient(z, v, y.where(mask, -100), q=q), (z, v), lambda x: x),
        (limit_gradient(z, v, y, q=q, mask=mask), (z, v), lambda x: x),
        (limit_gradient(*channels, y, q=q, mask=mask, class_dim=1), channels, lambda x: x.mT),
        (limit_gradient(*channels, F.one_hot(y, 5).mT.double(), q=q, mask=mask, class_dim=1), channels, lambda x: x.mT),
    ):
        assert_same(loss.detach(), flat.detach())
        for got, expected in zip(grads(loss, *inputs), want, strict=True):
            assert_same(back(got), expected)


@pytest.mark.parametrize("q, unit", [("gaussian", 0.1**0.5), ("laplace", 0.2)])
def test_a_draw_is_the_mean_plus_scaled_keyed_noise(q, unit, rng):
    z, v, y = batch(rng)
    options = {"q": q, "lam": 5.0, "reduction": "sum"}
    draw = reference.limit_noise(9, 4, IDS, 5, q)
    (mean,) = grads(limit_gradient(z, v, y, q=q, reduction="sum"), z)
    (sampled,) = grads(limit_gradient(z, v, y, noise=noise(4), **options), z)
    assert_same(sampled, mean + unit * draw * (y != -100)[:, None])
    order = torch.tensor([4, 0, 5, 1, 3, 2])
    (again,) = grads(limit_gradient(z[order], v[order], y[order], noise=noise(4, IDS[order]), **options), z)
    assert_same_bits(again, sampled)
    (other,) = grads(limit_gradient(z, v, y, noise=noise(5), **options), z)
    assert not torch.isclose(other, sampled)[y != -100].any()


def test_positions_draw_by_sample_and_place(rng):
    z, v = (torch.randn(6, 3, 5, dtype=torch.float64, generator=rng).requires_grad_() for _ in range(2))
    y = torch.randint(5, (6, 3), generator=rng)
    ids = torch.tensor([7, 3, 2**42, 0, 11, 5])
    (sampled,) = grads(limit_gradient(z, v, y, lam=2.0, noise=noise(1, ids), reduction="sum"), z)
    (mean,) = grads(limit_gradient(z, v, y, reduction="sum"), z)
    draw = reference.limit_noise(9, 1, (ids[:, None] * 2**20 + torch.arange(3)).flatten(), 5)
    assert_same(sampled, mean + 0.5 * draw.reshape(6, 3, 5))


def test_without_a_key_noise_follows_torchs_generator(rng):
    z, v, y = batch(rng)

    def sampled(seed):
        torch.manual_seed(seed)
        return [grads(limit_gradient(z, v, y, lam=5.0), z)[0] for _ in range(2)]

    first, second = sampled(1)
    assert not torch.equal(first, second)
    for got, want in zip(sampled(1), (first, second), strict=True):
        assert_same_bits(got, want)
    assert not torch.equal(sampled(2)[0], first)


@every_q
@pytest.mark.parametrize("rows", ["ignored", "masked", "none"])
def test_no_row_that_counts_gives_zero(rows, q, rng):
    z, v, y = batch(rng)
    mask = torch.zeros(6, dtype=torch.bool) if rows == "masked" else None
    if rows == "ignored":
        y[:] = -100
    if rows == "none":
        z, v, y = (x[:0] for x in (z, v, y))
    loss = limit_gradient(z, v, y, q=q, mask=mask)
    assert loss == 0
    assert not any(x.any() for x in grads(loss, z, v))


def test_one_of_both_may_be_frozen(rng):
    z, v, y = batch(rng)
    both = grads(limit_gradient(z, v, y), z, v)
    assert_same_bits(grads(limit_gradient(z, v.detach(), y), z)[0], both[0])
    assert_same_bits(grads(limit_gradient(z.detach(), v, y), v)[0], both[1])
    assert not limit_gradient(z.detach(), v.detach(), y).requires_grad
    with torch.no_grad():
        assert not limit_gradient(z, v, y).requires_grad


def test_rows_come_along_detached(rng):
    z, v, y = batch(rng)
    loss, rows = limit_gradient(z, v, y, lam=3.0, noise=noise(), rows=True)
    want = ops.limit(z.detach(), v.detach(), y, beta=1.0, lam=3.0, noise=noise())
    for got, expected in zip(rows, want, strict=True):
        assert_same_bits(got, expected)
    assert loss.requires_grad and not any(x.requires_grad for x in rows)


def test_backward_runs_twice_on_one_graph(rng):
    z, v, y = batch(rng)
    loss = limit_gradient(z, v, y)
    for got, want in zip(grads(loss, z, v), grads(loss, z, v), strict=True):
        assert_same_bits(got, want)


@pytest.mark.parametrize("of", [0, 1])
def test_a_gradient_of_the_gradient_is_refused(of, rng):
    z, v, y = batch(rng)
    gradient = torch.autograd.grad(limit_gradient(z, v, y), (z, v), create_graph=True)[of]
    with pytest.raises(RuntimeError, match="limit_gradient is once differentiable"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_whole_and_once_for_all_steps(backend, rng):
    torch._dynamo.reset()
    z, v, y = batch(rng)
    counter = CompileCounterWithBackend(backend)

    def loss(z, v, y, noise):
        return limit_gradient(2 * z, 2 * v, y, q="laplace", lam=4.0, noise=noise)

    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    for step in range(6):
        got, want = compiled(z, v, y, noise(step)), loss(z, v, y, noise(step))
        assert_same(got.detach(), want.detach())
        for x, expected in zip(torch.autograd.grad(got, (z, v)), grads(want, z, v), strict=True):
            assert_same(x, expected)
    assert counter.frame_count <= 2  # the second is for any step


def test_autocast_changes_nothing(rng):
    z, v, y = batch(rng, dtype=torch.float32)
    outside = limit_gradient(z, v, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = limit_gradient(z, v, y)
    assert_same_bits(inside.detach(), outside.detach())
    for got, want in zip(grads(inside, z, v), grads(outside, z, v), strict=True):
        assert_same_bits(got, want)


@pytest.mark.parametrize("name", TRAJECTORIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_training_is_the_golden_one(name, dtype):
    """A few steps of two linear networks, against NumPy's."""
    case = golden.load(name)
    opt = str(case["opt"])
    if dtype == torch.float32 and opt == "adam":
        pytest.skip("Adam's first steps divide by the gradient's own size: float64 only")
    X, y = case["X"].to(dtype), case["y"].long()
    params = [case[key].to(dtype).requires_grad_() for key in ("W0", "b0", "A0", "c0")]
    make = {
        "sgd": lambda p: torch.optim.SGD(p, lr=float(case["lr"])),
        "adam": lambda p: torch.optim.Adam(p, lr=float(case["lr"])),
    }[opt]
    optimisers = [make(params[:2]), make(params[2:])]
    B, warm = int(case["batch"]), int(case["warm"])
    for t in range(int(case["steps"])):
        rows = torch.arange(B) + B * (t % (len(X) // B))
        x = X[rows]
        W, b, A, c = params
        key = LimitNoise(seed=int(case["noise_seed"]), step=t, ids=rows) if case["sample"] else None
        loss = limit_gradient(
            x @ W.mT + b, x @ A.mT + c, y[rows], q=str(case["q"]), beta=float(case["beta"]),
            lam=float(case["lam"]) if case["sample"] else None,
            noise=key, reduction={"mean": "mean", "sum": "reference"}[str(case["reduction"])],
        )  # fmt: skip
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers[1:] if t < warm else optimisers:
            optimiser.step()
        tolerance = 1e-10 if dtype == torch.float64 else 1e-5
        assert abs(loss.item() - float(case["losses"][t])) <= tolerance * (1 + abs(float(case["losses"][t])))
    for got, key in zip(params, ("W", "b", "A", "c"), strict=True):
        assert ((got.double() - case[key]).abs() / (1 + case[key].abs())).max() <= tolerance


def test_the_loss_draws_anew_and_resumes(rng):
    z, v, y = batch(rng)
    loss = LimitLoss(q="laplace", lam=5.0, seed=2**63 + 1)
    drawn = [grads(loss(z, v, y, IDS), z)[0] for _ in range(3)]
    by_hand = LimitNoise(seed=2**63 + 1, step=2, ids=IDS)
    assert_same_bits(drawn[2], grads(limit_gradient(z, v, y, q="laplace", lam=5.0, noise=by_hand), z)[0])
    assert not torch.equal(drawn[0], drawn[1])
    again = LimitLoss(q="laplace", lam=5.0, seed=2**63 + 1)
    again(z, v, y, IDS)
    resumed = LimitLoss(q="laplace", lam=5.0, seed=2**63 + 1)
    resumed.load_state_dict(again.state_dict())
    assert_same_bits(grads(resumed(z, v, y, IDS), z)[0], drawn[1])
    with pytest.raises(
        ConfigError, match=r"LimitLoss: a state must have the seed of the loss, 0; got 9223372036854775809"
    ):
        LimitLoss(lam=5.0).load_state_dict(again.state_dict())


def test_the_loss_holds_every_option(rng):
    z, v, y = batch(rng)
    w = torch.rand(5, dtype=torch.float64, generator=rng)
    options = {
        "q": "laplace", "beta": 0.2, "weight": w, "label_smoothing": 0.1, "ignore_index": 2, "class_dim": 1,
        "reduction": "reference", "inject_scale": 0.4, "rows": True,
    }  # fmt: skip
    y = y.clamp(min=2)
    mask = torch.tensor([True, False, True, True, True, True])
    loss, rows = LimitLoss(**options)(z, v, y, mask=mask)
    want, want_rows = limit_gradient(z, v, y, mask=mask, **options)
    assert_same_bits(loss.detach(), want.detach())
    assert_same_bits(rows.aux_grad, want_rows.aux_grad)
    assert_same_bits(grads(loss, z)[0], grads(want, z)[0])
    single = [x[:, 0].detach() for x in (z, v)]
    of_single = LimitLoss(pos_weight=2.0)(*single, y % 2)
    assert_same(of_single, limit_gradient(*single, y % 2, pos_weight=2.0))


SAYS = {
    "reduction": (
        {"reduction": "median"},
        "limit_gradient: reduction must be one of 'mean', 'sum', 'none', 'reference'",
    ),
    "inject_scale": (
        {"inject_scale": float("nan")},
        "limit_gradient: inject_scale must be finite; got nan. Leave it out",
    ),
    "class_dim": (
        {"class_dim": 2},
        r"limit_gradient: class_dim must be an axis of logits; got 2 for \[6, 5\]. Leave it",
    ),
    "q": ({"q": "cauchy"}, "limit_gradient: q must be 'gaussian', 'laplace' or 'ce'; got 'cauchy'."),
}


@pytest.mark.parametrize("what", SAYS)
def test_options_must_fit(what, rng):
    options, says = SAYS[what]
    with pytest.raises(ValueError, match=says):
        limit_gradient(*batch(rng), **options)


def test_the_loss_refuses_an_unknown_reduction():
    with pytest.raises(ConfigError, match="LimitLoss: reduction must be one of"):
        LimitLoss(reduction="median")


def test_several_processes_need_ids(rng, monkeypatch):
    monkeypatch.setattr(sys.modules["infotorch.train.limit_gradient"], "world_size", lambda: 2)
    z, v, y = batch(rng)
    says = "in several processes every sample needs an id of its own; got lam without ids. Pass the samples' places"
    with pytest.raises(NotSupported, match=f"limit_gradient: {says}"):
        limit_gradient(z, v, y, lam=5.0)
    with pytest.raises(NotSupported, match=f"LimitLoss: {says}"):
        LimitLoss(lam=5.0)(z, v, y)
    LimitLoss(lam=5.0)(z, v, y, IDS)
    limit_gradient(z, v, y)
