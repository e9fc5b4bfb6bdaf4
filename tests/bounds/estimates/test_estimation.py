"""What stands around the bounds: intervals, independence of the masks, what is warned of."""

import numpy as np
import pytest

from infotorch.bounds import from_predictions
from infotorch.bounds.estimates.estimation import FEWEST, Runs, report_of, summary


def drawn(rng, *, K1=6, K2=20, n=10, C=2):
    """Predictions that have nothing to do with the masks, and balanced masks."""
    predictions = rng.integers(C, size=(K1, K2, n, 2))
    masks = np.argsort(rng.random((K1, K2, n)), axis=1) % 2
    return predictions, masks, rng.integers(C, size=(K1, n, 2))


@pytest.fixture
def draws():
    return np.random.default_rng(0)


def test_an_interval_needs_five_supersamples(draws):
    predictions, masks, labels = drawn(draws)
    for K1 in (FEWEST - 1, FEWEST):
        found = from_predictions(predictions[:K1], masks[:K1], labels[:K1], num_classes=2, bounds=["fcmi", "kl"])
        for each in found.bounds.values():
            assert (each.interval is None) == (K1 < FEWEST)
            if each.interval is not None:
                assert each.interval[0] < each.value < each.interval[1]
    assert found["fcmi"].interval == pytest.approx(oracle_of_interval(found["fcmi"].per_supersample), rel=0.05)


def oracle_of_interval(values):
    """Percentiles over every resample with equal chances, enumerated."""
    K = len(values)
    means = values[np.array(np.meshgrid(*[range(K)] * K)).reshape(K, -1)].mean(0)
    return tuple(np.quantile(means, (0.025, 0.975)))


def test_predictions_that_ignore_the_masks_are_told(draws):
    predictions, masks, labels = drawn(draws)
    found = from_predictions(predictions, masks, labels, num_classes=2)
    assert found.independence > 0.05
    assert "or it ignores its train_indices" in " ".join(found.warnings)
    assert found["fcmi"].value == pytest.approx(found["fcmi"].null_value, rel=0.15)


def test_predictions_that_follow_the_masks_are_not(draws):
    predictions, masks, labels = drawn(draws)
    predictions[..., 0] = masks
    found = from_predictions(predictions, masks, labels, num_classes=2)
    assert found.independence == 0.01
    assert "ignores" not in str(found)
    assert found["fcmi"].value == pytest.approx(np.sqrt(2 * np.log(2)))
    assert found["fcmi"].vacuous


def test_masks_that_are_not_balanced_are_told(draws):
    predictions, _, labels = drawn(draws)
    masks = draws.integers(2, size=predictions.shape[:3])
    found = from_predictions(predictions, masks, labels, num_classes=2)
    assert found.mask_design == "iid"
    assert "iid masks" in str(found)


def test_many_states_for_few_runs_are_told(draws):
    found = from_predictions(*drawn(draws, C=5), num_classes=5)
    assert "(fcmi) of this information: there are too few runs" in " ".join(found.warnings)


def test_the_summary_is_the_report_in_two_numbers(draws):
    predictions, masks, labels = drawn(draws)
    runs = [
        Runs(bits=masks[k].astype(np.uint8), blocks=np.zeros(20, int), predicted=predictions[k], labels=labels[k],
             losses=None)
        for k in range(len(masks))
    ]  # fmt: skip
    whole = report_of(
        runs, num_classes=2, bounds=["fcmi"], m=1, correction="none", design="iid", checkpoint=None, notes=[]
    )
    assert summary(runs, 2) == pytest.approx((whole["fcmi"].value, whole.gap), abs=1e-12)
