"""distill_loss: golden values and gradients, its limits, and every bad input in words."""

import math

import pytest
import torch
import torch.nn.functional as F

from infotorch.errors import ConfigError, DataError, ShapeError
from infotorch.train import distill_loss
from tests.train.distillation.golden import golden, wide

GOLDEN = golden("distill_loss")


def logits():
    return wide(GOLDEN["student_logits"]), wide(GOLDEN["teacher_logits"]), torch.tensor(GOLDEN["labels"])


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"tau {case['tau']} alpha {case['alpha']}")
@pytest.mark.parametrize(("loss", "key"), [("ce", "value_cross_entropy_form"), ("kl", "value_kl_form")])
def test_golden(case, loss, key):
    s, t, y = logits()
    s.requires_grad_()
    value = distill_loss(s, t, y, tau=case["tau"], alpha=case["alpha"], loss=loss)
    torch.testing.assert_close(value, wide(case[key]), rtol=1e-12, atol=1e-12)
    value.backward()
    torch.testing.assert_close(s.grad, wide(case["grad"]), rtol=1e-12, atol=1e-12)


def test_golden_mse():
    s, t, _ = logits()
    s.requires_grad_()
    value = distill_loss(s, t, loss="mse", tau=3.0)
    torch.testing.assert_close(value, wide(GOLDEN["mse"]["value"]), rtol=1e-12, atol=1e-12)
    value.backward()
    torch.testing.assert_close(s.grad, s.detach() - t, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", ["ce", "kl", "mse"])
@pytest.mark.parametrize("tau", [0.7, 3.0])
def test_equals_the_sum_written_out(loss, tau, rng):
    """Over sequences [N, T, C] too, labels missing in places."""
    s, t = (torch.randn(3, 4, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    y = torch.randint(5, (3, 4), generator=rng)
    y[0, 1] = y[2, 3] = -100
    total = 0.0
    for n in range(3):
        for m in range(4):
            p, q = ((z[n, m] / tau).exp() / (z[n, m] / tau).exp().sum() for z in (t, s))
            entropy = -(p * p.log()).sum() if loss == "kl" else 0.0
            soft = tau**2 * (-(p * q.log()).sum() - entropy)
            total += 0.4 * (0.5 * (s[n, m] - t[n, m]).square().sum() if loss == "mse" else soft)
            if y[n, m] >= 0:
                total -= 0.6 * (s[n, m].exp() / s[n, m].exp().sum())[y[n, m]].log()
    got = distill_loss(s, t, y, tau=tau, alpha=0.4, loss=loss)
    torch.testing.assert_close(got, total, rtol=1e-12, atol=1e-12)


def test_hot_gradient_is_that_of_centred_logits(rng):
    s, t = (torch.randn(6, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    s.requires_grad_()
    distill_loss(s, t, tau=1e5).backward()
    centred = s.detach() - s.detach().mean(1, keepdim=True) - t + t.mean(1, keepdim=True)
    torch.testing.assert_close(s.grad, centred / 5, rtol=0, atol=1e-4)


def test_kl_of_equal_logits_is_zero_to_the_bit(rng):
    s = torch.randn(50, 7, generator=rng)
    assert distill_loss(s, s.clone(), tau=2.0, loss="kl").item() == 0.0


@pytest.mark.parametrize("loss", ["ce", "kl"])
@pytest.mark.parametrize("both", [False, True])
def test_a_class_that_the_teacher_rules_out_costs_nothing(loss, both, rng):
    """The sum over the other classes; the student may rule it out too."""
    s, t = (torch.randn(6, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    t[:, 1] = -math.inf
    if both:
        s[:, 1] = -math.inf
    s.requires_grad_()
    value = distill_loss(s, t, tau=2.0, loss=loss)
    kept = [0, 2, 3]
    p, log_q = (t / 2).softmax(1)[:, kept], (s / 2).log_softmax(1)[:, kept]
    expected = 4 * (p * ((p.log() if loss == "kl" else 0) - log_q)).sum()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    value.backward()
    grad = 2 * ((s / 2).softmax(1) - (t / 2).softmax(1))
    torch.testing.assert_close(s.grad, grad.detach(), rtol=1e-12, atol=1e-12)


def test_logits_that_are_no_numbers_give_none():
    assert distill_loss(torch.zeros(1, 3), torch.tensor([[0.0, math.nan, 0.0]]), loss="kl").isnan()


def test_a_teacher_alone_reads_no_label(rng):
    s, t = torch.randn(4, 3, generator=rng), torch.randn(4, 3, generator=rng)
    assert distill_loss(s, t, torch.full((4,), 99)) == distill_loss(s, t)


def test_labels_alone_are_cross_entropy(rng):
    s, t = torch.randn(9, 3, generator=rng), torch.full((9, 3), math.nan)
    y = torch.randint(3, (9,), generator=rng)
    torch.testing.assert_close(distill_loss(s, t, y, alpha=0.0), F.cross_entropy(s, y, reduction="sum"))


def test_no_gradient_reaches_the_teacher(rng):
    s, t = (torch.randn(4, 3, generator=rng).requires_grad_() for _ in range(2))
    distill_loss(s, t).backward()
    assert t.grad is None and s.grad is not None


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_logits_are_summed_in_float32(half, rng):
    s, t = (torch.randn(1000, 5, generator=rng).to(half) for _ in range(2))
    got = distill_loss(s, t, tau=2.0)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), distill_loss(s.double(), t.double(), tau=2.0), rtol=1e-6, atol=0)


def test_an_empty_batch_costs_nothing():
    assert distill_loss(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0).long(), alpha=0.5) == 0


S, Y = torch.zeros(2, 3), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("args", "options", "error", "text"),
    [
        ((S, S), {"tau": 0.0}, ConfigError, "tau must be finite and above 0; got 0.0"),
        ((S, S), {"tau": -1.0}, ConfigError, "tau must be finite and above 0; got -1.0"),
        ((S, S), {"tau": math.nan}, ConfigError, "tau must be finite and above 0; got nan"),
        ((S, S), {"tau": math.inf}, ConfigError, "tau must be finite and above 0; got inf"),
        ((S, S, Y), {"alpha": 1.5}, ConfigError, r"alpha must lie in \[0, 1\]; got 1.5"),
        ((S, S, Y), {"alpha": -0.1}, ConfigError, r"alpha must lie in \[0, 1\]; got -0.1"),
        ((S, S, Y), {"alpha": math.nan}, ConfigError, r"alpha must lie in \[0, 1\]; got nan"),
        ((S, S), {"alpha": 0.5}, ConfigError, "alpha below 1 needs labels; got alpha=0.5 and none"),
        ((S, S), {"loss": "msee"}, ConfigError, "loss must be one of 'ce', 'kl', 'mse'; got 'msee'"),
        ((S, torch.zeros(2, 4)), {}, ShapeError, "student and teacher must have the same classes; got 3 and 4"),
        ((S, torch.zeros(1, 3)), {}, ShapeError, r"must have one shape; got \[2, 3\] and \[1, 3\]"),
        ((S[0], S[0]), {}, ShapeError, r"student_logits must be a floating tensor .* got torch.float32 \[3\]"),
        ((S, S.long()), {}, ShapeError, r"teacher_logits must be a floating tensor .* got torch.int64 \[2, 3\]"),
        ((S, None), {}, ShapeError, "teacher_logits must be .* got NoneType"),
        ((S[:, :1], S[:, :1]), {}, ShapeError, "logits must be of at least 2 classes; got 1"),
        ((S, S, Y + 1), {"alpha": 0.5}, DataError, r"labels must lie in 0..2 or equal -100; got 3"),
        ((S, S, Y.float()), {"alpha": 0.5}, DataError, "labels must be classes, int64; got torch.float32"),
        ((S, S, S), {"alpha": 0.5}, ShapeError, r"labels must be one a row of logits, \[2\]; got \[2, 3\]"),
    ],
)  # fmt: skip
def test_misuse(args, options, error, text):
    with pytest.raises(error, match=f"^distill_loss: .*{text}"):
        distill_loss(*args, **options)
