"""The compiled module. Importing it registers ``torch.ops.infotorch``."""

import numpy as np
from numpy.typing import NDArray

build: dict[str, str]
"""Facts of the build: compiler, torch; and of what it chose on this processor."""

# Contiguous [K, N] each: int32 states with uint8 bits, or both int64, all in range.
def plugin_mi(
    states: NDArray[np.integer], bits: NDArray[np.integer], num_states: int, num_bits: int, correction: str
) -> NDArray[np.float64]: ...
def null_mean(
    states: NDArray[np.integer], bits: NDArray[np.integer], num_states: int, num_bits: int
) -> NDArray[np.float64]: ...
def occupied(
    states: NDArray[np.integer], bits: NDArray[np.integer], num_states: int, num_bits: int
) -> NDArray[np.int64]: ...

# Of rows [n, b, m], D and H [m, 2 S], rotated [m, V], power [m, P] and residual [n, b, V] into solution [m, n, V],
# own [n, b, V], norm and pivot [n, S], and spans [n, P], all float64; rows of any strides.
def leave_out(
    rows: np.ndarray,
    D: np.ndarray,
    H: np.ndarray,
    rotated: np.ndarray,
    power: np.ndarray,
    residual: np.ndarray | None,
    solution: np.ndarray,
    own: np.ndarray,
    norm: np.ndarray,
    pivot: np.ndarray,
    spans: np.ndarray,
    *,
    first_order: bool,
) -> None: ...

# Convolutions of E networks, samples innermost; shape is (E, C, H, W, B, O, Ho, Wo), kernel, stride, padding, dilation.
def member_conv(
    shape: tuple[int, ...], left: np.ndarray, right: np.ndarray, out: np.ndarray, relu: bool = False
) -> None: ...
def member_conv_dx(shape: tuple[int, ...], left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None: ...
def member_conv_dw(
    shape: tuple[int, ...], left: np.ndarray, right: np.ndarray, out: np.ndarray, relu: np.ndarray | None = None
) -> None: ...

# Batch norm, of x, weight, bias into y, mean, var; and of x, weight, bias, mean, var, dy into dx, dweight, dbias:
# x, y, dy and dx are [rows, size], the others [rows].
def member_norm(*arrays: np.ndarray, eps: float, relu: bool) -> None: ...
def member_norm_dx(*arrays: np.ndarray, eps: float, relu: bool) -> None: ...
