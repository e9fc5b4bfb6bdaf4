"""Goldens, laws and refusals of the information that gradients tell of labels."""

import math

import pytest
import torch
import torch.nn.functional as F

from infotorch import ops
from infotorch.errors import ConfigError, ShapeError
from infotorch.measures.label_info import LabelInfoMeter
from tests.train.golden import information, load

CASES = [(q, lam) for q in ("gaussian", "laplace") for lam in (0.5, 5.0, 50.0)]


def close(got, want):
    return abs(got - float(want)) <= 1e-10 * (1 + abs(float(want)))


def golden(q, lam):
    case = load(f"info_{q}_lam{lam}")
    return case, (case["z"], case["v"], case["y"])


@pytest.mark.parametrize(("q", "lam"), CASES)
def test_golden_steps(q, lam):
    case, batch = golden(q, lam)
    step = LabelInfoMeter(5, 12, q=q, lam=lam).update(*batch)
    assert close(step["match"], case["match"].sum())
    assert close(step["kl_nats"], case["kl"].sum()) and close(step["nll_nats"], case["nll"].sum())
    for n in range(12):
        row = LabelInfoMeter(5, 12, q=q, lam=lam).update(*(part[n : n + 1] for part in batch))
        assert close(row["kl_nats"], case["kl"][n]) and close(row["nll_nats"], case["nll"][n])
        assert row["capacity_nats"] is None if q == "laplace" else close(row["capacity_nats"], case["capacity"][n])


@pytest.mark.parametrize("lam", [0.5, 5.0, 50.0])
def test_golden_capacity_of_a_batch(lam):
    """Concave in the mean power, so the batch's is at least the mean of its rows'."""
    case, batch = golden("gaussian", lam)
    step = LabelInfoMeter(5, 12, lam=lam).update(*batch)
    assert close(step["capacity_nats"], 12 * 5 / 2 * math.log1p(2 * lam * float(case["power"]) / 5))
    assert case["capacity"].sum() < step["capacity_nats"] < step["kl_nats"]


def test_golden_binary_channel():
    """By quadrature: exact <= capacity <= KL of the two-class Gaussian channel, and the meter gives the last two."""
    for case in information()["binary_channel"]:
        v = torch.tensor([[math.log(case["u"]), math.log1p(-case["u"])]] * 2, dtype=torch.float64)
        step = LabelInfoMeter(2, 2, lam=case["lam"]).update(torch.zeros_like(v), v, torch.tensor([0, 1]))
        if case["u"] == 0.5:
            assert close(step["kl_nats"] / 2, case["kl"]) and close(step["capacity_nats"] / 2, case["capacity_d2"])
        assert (
            case["exact"] <= case["capacity"] + 1e-12 <= step["capacity_nats"] / 2 + 1e-9 <= step["kl_nats"] / 2 + 1e-8
        )


@pytest.mark.parametrize(("q", "lam"), [("gaussian", 3.0), ("laplace", 3.0), ("gaussian", None), ("laplace", None)])
@pytest.mark.parametrize("predictor", ["trained", "frozen", "zero", "uniform"])
def test_a_bound_is_called_one_only_where_it_is(q, lam, predictor):
    meter = LabelInfoMeter(5, 12, q=q, lam=lam, predictor=predictor)
    meter.update(*golden("gaussian", 5.0)[1])
    result = meter.result()
    assert result.bound == (lam is not None and predictor != "trained")
    assert (result.total_nats is not None) == result.bound
    assert (result.transfer_nats is not None) == (lam is not None and predictor == "trained")
    kinds = {estimate.kind for estimate in result.estimates()}
    assert ("bound" in kinds) == result.bound and kinds <= {"bound", "diagnostic"}


def test_the_total_stops_at_the_labels_entropy_and_the_transfer_doesn_t():
    _, batch = golden("gaussian", 50.0)
    bounded, passed = (LabelInfoMeter(5, 12, lam=50.0, predictor=p) for p in ("frozen", "trained"))
    kl = bounded.update(*batch)["kl_nats"]
    assert kl > 12 * math.log(5) and close(bounded.result().total_nats, 12 * math.log(5))
    assert passed.update(*batch)["kl_nats"] == kl == passed.result().transfer_nats
    less = LabelInfoMeter(5, 12, lam=50.0, predictor="frozen", label_entropy=[0.1] * 6 + [0.3] * 6)
    less.update(*batch)
    assert close(less.result().total_nats, 2.4) and close(less.result().entropy_nats, 2.4)
    open_ended = LabelInfoMeter(5, None, lam=50.0, predictor="frozen")
    open_ended.update(*batch)
    assert open_ended.result().total_nats == kl and open_ended.result().entropy_nats is None


def test_predictors_without_labels():
    """Zero: d is the label's own gradient s - t. Uniform: d = 1/C - t, the same for every label."""
    z, _, y = golden("gaussian", 5.0)[1]
    zero = LabelInfoMeter(5, 12, lam=2.0, predictor="zero").update(z, None, y)
    assert close(zero["kl_nats"], 2 * (z.softmax(1) - F.one_hot(y, 5)).square().sum()) and zero["pen"] == 0
    uniform = LabelInfoMeter(5, 12, lam=2.0, predictor="uniform").update(z, None, y)
    assert close(uniform["kl_nats"], 2 * 12 * (0.8**2 + 4 * 0.04))


@pytest.mark.parametrize("q", ["gaussian", "laplace"])
def test_the_fitted_rate_is_the_most_likely(q):
    _, batch = golden(q, 5.0)
    fitted = LabelInfoMeter(5, 12, q=q).update(*batch)
    for factor in (0.9, 1.1):
        other = LabelInfoMeter(5, 12, q=q, lam=fitted["lam_fit"] * factor).update(*batch)
        assert other["nll_nats"] > fitted["nll_nats"] and other["lam_fit"] == fitted["lam_fit"]
    assert fitted["kl_nats"] is None


def test_a_perfect_prediction_has_no_finite_rate():
    y = torch.tensor([1, 0])
    v = torch.full((2, 3), -math.inf, dtype=torch.float64).scatter(1, y[:, None], 0.0)
    step = LabelInfoMeter(3, 2).update(torch.zeros(2, 3).double(), v, y)
    assert step["lam_fit"] == math.inf and step["nll_nats"] == -math.inf and step["match"] == 0


def test_the_ce_match_has_no_density():
    meter = LabelInfoMeter(5, 12, q="ce")
    step = meter.update(*golden("gaussian", 5.0)[1])
    assert step["kl_nats"] is step["nll_nats"] is step["lam_fit"] is step["capacity_nats"] is None
    assert step["match"] > 0 and meter.result().estimates() == []


@pytest.mark.parametrize(("q", "lam"), CASES)
def test_sums_add_over_parts_of_a_step(q, lam):
    _, (z, v, y) = golden(q, lam)
    meter = LabelInfoMeter(5, 12, q=q, lam=lam)
    parts = [meter.sums(z[rows], v[rows], y[rows]) for rows in (slice(0, 5), slice(5, 5), slice(5, 12))]
    whole = meter.sums(z, v, y)
    assert (sum(parts) - whole).abs().max() <= 1e-12 * whole.abs().max()
    rows = ops.limit(z, v, y, q=q)
    assert torch.equal(meter.sums(z, v, y, rows=rows), whole)


@pytest.mark.parametrize("q", ["gaussian", "laplace"])
def test_labels_left_out_count_for_nothing(q):
    _, (z, v, y) = golden(q, 5.0)
    meter = LabelInfoMeter(5, 12, q=q, lam=5.0)
    want = meter.sums(z[:7], v[:7], y[:7])
    ignored = torch.where(torch.arange(12) < 7, y, -100)
    assert (meter.sums(z, v, ignored) - want).abs().max() < 1e-12
    assert (meter.sums(z, v, y, counted=torch.arange(12) < 7) - want).abs().max() < 1e-12
    sequence = meter.sums(z.view(3, 4, 5), v.view(3, 4, 5), ignored.view(3, 4))
    assert (sequence - want).abs().max() < 1e-12


@pytest.mark.parametrize("q", ["gaussian", "laplace"])
def test_soft_and_single_logit_forms(q):
    _, (z, v, y) = golden(q, 5.0)
    meter = LabelInfoMeter(5, 12, q=q, lam=5.0)
    assert (meter.sums(z, v, F.one_hot(y, 5).double()) - meter.sums(z, v, y)).abs().max() < 1e-12
    z, v, y = z[:, 0], v[:, 0], (y > 2).long()
    d = (v.sigmoid() - y).abs()
    single = LabelInfoMeter(2, 12, q=q, lam=5.0)
    want = 5 * d.square() if q == "gaussian" else torch.expm1(-5 * d) + 5 * d
    for batch in ((z, v, y), (z[:, None], v[:, None], y), (z, v, y.double())):
        assert close(single.update(*batch)["kl_nats"], want.sum())


def test_an_empty_step():
    meter = LabelInfoMeter(5, 12, lam=5.0)
    step = meter.update(torch.zeros(0, 5), torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    assert step["kl_nats"] == 0 and step["lam_fit"] is None and step["capacity_nats"] is None
    assert meter.result().transfer_nats == 0 and meter.result().num_labels == 0


def test_state_goes_on_to_the_bit():
    _, (z, v, y) = golden("laplace", 5.0)
    whole, first, second = (LabelInfoMeter(5, 12, q="laplace", lam=5.0) for _ in range(3))
    for rows in (slice(0, 5), slice(5, 12)):
        whole.update(z[rows], v[rows], y[rows])
    first.update(z[:5], v[:5], y[:5])
    second.load_state_dict(first.state_dict())
    second.update(z[5:], v[5:], y[5:])
    assert second.result() == whole.result()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"q": "gausian"}, ConfigError, "Did you mean 'gaussian'"),
        ({"predictor": "one"}, ConfigError, "predictor must be one of"),
        ({"num_classes": 1}, ConfigError, "num_classes must be at least 2; got 1"),
        ({"n_train": 0}, ConfigError, "n_train must be at least 1; got 0"),
        ({"lam": 0.0}, ConfigError, "lam must be finite and above 0; got 0.0"),
        ({"lam": 1.0, "q": "ce"}, ConfigError, "lam goes with gaussian or laplace; got q='ce'"),
        ({"label_entropy": 2.0}, ConfigError, r"label_entropy must lie in 0\.\.log C = 1.60944; got 2 to 2"),
        ({"label_entropy": [0.1, 0.2]}, ShapeError, r"a number or \[n_train\] = \[12\]; got \[2\]"),
    ],
)
def test_refusals_of_options(options, error, text):
    with pytest.raises(error, match=text):
        LabelInfoMeter(**{"num_classes": 5, "n_train": 12, **options})


def test_refusals_of_a_step():
    with pytest.raises(ShapeError, match=r"logits must be \[..., 5\]; got \[2, 4\]"):
        LabelInfoMeter(5, 12).update(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2).long())
    with pytest.raises(ConfigError, match="predictor='frozen' needs aux_logits; got None"):
        LabelInfoMeter(5, 12, predictor="frozen").update(torch.zeros(2, 5), None, torch.zeros(2).long())
