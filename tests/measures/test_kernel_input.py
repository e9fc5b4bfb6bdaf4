import math

import numpy as np
import pytest
import torch

from infotorch.errors import DataError, ShapeError
from infotorch.measures.kernel_input import kernel_input, sample_mask

K = torch.eye(6).double()
R = torch.zeros(3, 2).double()


def with_value(tensor, index, value):
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


@pytest.mark.parametrize(
    "K, residual, K_test, error, message",
    [
        (K, R[:, 0], None, ShapeError, r"residual must have shape \[N, C\]; got \(3,\)\. Give .* residual\[:, None\]"),
        (K[:4, :4], R, None, ShapeError, r"K must have shape \[N\*C, N\*C\] = \[6, 6\].*got \(4, 4\)"),
        (K[:4], R, None, ShapeError, r"got \(4, 6\)"),
        (torch.ones(6).double(), R, None, ShapeError, r"got \(6,\)"),
        (K, R, K[:3], ShapeError, r"K_test must have shape \[M\*C, N\*C\].*got \(3, 6\)"),
        (K, R, K[:2, :4], ShapeError, r"got \(2, 4\)"),
        (K, R, K[:0], ShapeError, r"got \(0, 6\)"),
        (K[:2, :2], R[:1], None, DataError, "needs at least 2 samples and 1 output; got 1 and 2"),
        (K[:0, :0], R[:0], None, DataError, "needs at least 2 samples and 1 output; got 0 and 2"),
        (K[:0, :0], R[:, :0], None, DataError, "needs at least 2 samples and 1 output; got 3 and 0"),
        (K.half(), R, None, DataError, r"K must be float32 or float64; got float16\. Convert it, K.double\(\)"),
        (K.int(), R, None, DataError, "got int32"),
        (K, R.to(torch.complex128), None, DataError, "residual must be float32 or float64; got complex128"),
        (K, R, K.bool(), DataError, "K_test must be float32 or float64; got bool"),
        (
            with_value(K, (3, 1), math.nan),
            R,
            None,
            DataError,
            r"K must be finite; got nan in row 3 \(sample 1\), column 1",
        ),
        (with_value(K, (5, 5), math.inf), R, None, DataError, r"K must be finite; got inf in row 5 \(sample 2\)"),
        (
            K,
            with_value(R, (2, 0), -math.inf),
            None,
            DataError,
            r"residual must be finite; got -inf in row 2 \(sample 2\)",
        ),
        (K, R, with_value(K, (0, 4), math.nan), DataError, r"K_test must be finite; got nan in row 0 \(sample 0\)"),
        (with_value(K, (0, 1), 0.5), R, None, DataError, r"largest \|K - K.T\| of 5.0e-01 where .* 1.0e\+00"),
    ],
)
def test_bad_input_is_refused_in_words(K, residual, K_test, error, message):
    with pytest.raises(error, match=message):
        kernel_input("here", K, residual, K_test)


def test_rounding_is_not_asymmetry(rng):
    for dtype in (torch.float32, torch.float64):
        J = torch.randn(60, 5000, generator=rng).to(dtype)
        K = J @ J.mT
        K[0, 1] *= 1 + 4 * torch.finfo(dtype).eps
        assert kernel_input("here", K, R.new_zeros(30, 2)).input_eps == torch.finfo(dtype).eps


def test_everything_becomes_float64():
    data = kernel_input("here", K.float(), R.numpy().astype(np.float32), K[:2].tolist())
    assert data.kernel.dtype == data.residual.dtype == data.test_kernel.dtype == torch.float64
    assert data.num_test == 1 and data.rows_per_sample == 2


def test_only_copies_may_be_overwritten():
    assert kernel_input("here", K.float(), R).owned
    assert kernel_input("here", K.tolist(), R).owned
    assert not kernel_input("here", K, R).owned
    assert not kernel_input("here", K.numpy(), R).owned


def test_a_shared_kernel_has_one_row_a_sample():
    data = kernel_input("here", K, torch.zeros(6, 4).double(), K[:2], shared=True)
    assert data.rows_per_sample == 1 and data.num_test == 2
    with pytest.raises(ShapeError, match=r"G must have shape \[N, N\] = \[6, 6\]"):
        kernel_input("here", K[:5, :5], torch.zeros(6, 4).double(), shared=True)


def test_gradients_are_not_followed():
    assert not kernel_input("here", K.clone().requires_grad_(), R).kernel.requires_grad


def unusable(array):
    """Arrays of the same numbers that torch refuses, or warns of."""
    frozen = array.copy()
    frozen.flags.writeable = False
    return {
        "negative strides": array[::-1].copy()[::-1],
        "read-only": frozen,
        "the other byte order": array.astype(array.dtype.newbyteorder()),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", ["negative strides", "read-only", "the other byte order"])
def test_any_array_of_floats_will_do(what, rng):
    """And the copy that it takes may be overwritten, where the array itself may not."""
    J = torch.randn(6, 9, generator=rng).double()
    kernel = unusable((J @ J.mT).numpy())[what]
    residual = unusable(torch.randn(3, 2, generator=rng).double().numpy())[what]
    data = kernel_input("here", kernel, residual, kernel)
    for got, want in ((data.kernel, kernel), (data.test_kernel, kernel), (data.residual, residual)):
        assert got.tolist() == want.tolist()
    assert data.owned
    mask = unusable(np.array([[True, False, True], [False, False, True]]))[what]
    assert sample_mask("here", "groups", mask, (1, 3)).tolist() == mask.tolist()


@pytest.mark.parametrize("kind", [list, tuple])
def test_nested_numbers_will_do(kind):
    rows = kind(kind(int(i == j) for j in range(6)) for i in range(6))
    data = kernel_input("here", rows, kind([kind([1, 2.5])] * 3), [torch.ones(6).double()] * 2)
    assert data.kernel.tolist() == K.tolist()
    assert data.residual.tolist() == [[1.0, 2.5]] * 3
    assert data.test_kernel.tolist() == [[1.0] * 6] * 2


@pytest.mark.parametrize(
    "value, got",
    [
        ("K.npy", "str"),
        (None, "NoneType"),
        ([[1.0, 2.0], [3.0]], "list: "),
        ([["1.0", "2.0"]], "list of dtype <U3"),
        (np.array([[None]]), "ndarray of dtype object"),
        (np.eye(6, dtype=np.longdouble), "ndarray of dtype (longdouble|float128)"),
    ],
)
def test_what_is_no_array_is_refused_in_words(value, got):
    for name, arguments in {"K": (value, R), "residual": (K, value), "K_test": (K, R, value)}.items():
        if name == "K_test" and value is None:
            continue  # none is given
        with pytest.raises(
            DataError, match=f"here: {name} must be a tensor, an array or nested .*; got {got}.*Convert"
        ):
            kernel_input("here", *arguments)
    with pytest.raises(DataError, match=f"here: groups must be a tensor, an array or .*; got {got}"):
        sample_mask("here", "groups", value, (1, 3))
