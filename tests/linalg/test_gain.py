import math

import pytest
import torch

from infotorch.linalg.gain import descent_gain, flow_gain


def test_golden_values():
    """(1 - (1 - lr s)^T) / s by hand, below, at and above lr s = 1, for odd and even T."""
    s = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0]).double()
    torch.testing.assert_close(descent_gain(s, 0.5, 1).tolist(), [0.5] * 5)
    torch.testing.assert_close(descent_gain(s, 0.5, 2).tolist(), [1.0, 0.875, 0.75, 0.5, 0.25])
    torch.testing.assert_close(descent_gain(s, 0.5, 3).tolist(), [1.5, 37 / 32, 0.875, 0.5, 0.375])
    torch.testing.assert_close(flow_gain(s[:2], math.log(4)).tolist(), [math.log(4), 1.0])


@pytest.mark.parametrize("steps", [1, 2, 5, 30, 301])
def test_descent_is_the_recursion(steps):
    """One step is d + lr (1 - s d), from d = 0."""
    s, lr = torch.linspace(0, 1.99, 40).double() / 0.7, 0.7
    d = torch.zeros_like(s)
    for _ in range(steps):
        d = d + lr * (1 - s * d)
    torch.testing.assert_close(descent_gain(s, lr, steps), d, rtol=1e-12, atol=0)


def test_small_eigenvalues_lose_no_digits():
    s = torch.tensor([1e-18, 1e-12, 1e-9]).double()
    torch.testing.assert_close(flow_gain(s, 3.0), 3 - 4.5 * s, rtol=1e-15, atol=0)
    torch.testing.assert_close(descent_gain(s, 0.1, 30), 3 - 0.01 * 435 * s, rtol=1e-14, atol=0)


def test_the_limit_is_the_inverse_and_no_time_is_nothing():
    s = torch.tensor([0.25, 4.0]).double()
    assert flow_gain(s, math.inf).tolist() == descent_gain(s, 0.1, math.inf).tolist() == [4.0, 0.25]
    assert flow_gain(s, 0.0).tolist() == descent_gain(s, 0.1, 0).tolist() == [0.0, 0.0]
