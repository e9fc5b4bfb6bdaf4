"""Checks of what a user hands to the array-level functions, and the move to float64."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infotorch.errors import DataError, ShapeError
from infotorch.linalg.symmetric import asymmetry
from infotorch.measures.kernel_problem import KernelProblem

Array = Tensor | np.ndarray | list | tuple

# K = J J^T from one product differs from its transpose by a few roundings, not by this many.
ASYMMETRY_IN_EPS = 1e4


@dataclass(frozen=True, kw_only=True)
class KernelInput:
    """A checked kernel problem in float64, on the kernel's device."""

    kernel: Tensor
    """[N b, N b], b rows a sample."""
    residual: Tensor
    """[N, C] as given."""
    test_kernel: Tensor | None
    """[M b, N b]."""
    rows_per_sample: int
    """b: C, or 1 where all outputs share the kernel."""
    input_eps: float
    """Rounding of the dtype that the kernel came in."""
    owned: bool
    """Whether the kernel's memory is a copy that may be overwritten."""

    @property
    def num_test(self) -> int:
        return 0 if self.test_kernel is None else len(self.test_kernel) // self.rows_per_sample

    def problem(self, kept: Tensor | None = None, *, overwrite: bool = False) -> KernelProblem:
        """The problem on the samples of ``kept`` [N], all of them by default, whose kernel it may ``overwrite``."""
        kernel, residual, test = self.kernel, self.residual.reshape(len(self.kernel), -1), self.test_kernel
        owned = overwrite or self.owned
        if kept is not None and not kept.all():
            rows = kept.repeat_interleave(self.rows_per_sample)
            kernel, residual, owned = kernel[rows][:, rows], residual[rows], True
            test = None if test is None else test[:, rows]
        return KernelProblem(
            kernel=kernel,
            residual=residual,
            test_rows=test,
            num_samples=len(kernel) // self.rows_per_sample,
            num_test=self.num_test,
            input_eps=self.input_eps,
            overwrite=owned and kernel.is_contiguous(),
        )

    def rows_of_removed(self, kept: Tensor) -> Tensor:
        """What a network trained on the samples of ``kept`` [N] is multiplied with for outputs of the others."""
        rows = kept.repeat_interleave(self.rows_per_sample)
        return self.kernel[~rows][:, rows]


def kernel_input(
    where: str,
    K: Array,
    residual: Array,
    K_test: Array | None = None,
    *,
    shared: bool = False,
    outputs: str = "residual",
) -> KernelInput:
    """Check kernel, residual and test kernel, and move them to float64.

    ``shared``: the kernel has one row a sample, whatever the number of outputs. ``outputs`` is what the user calls the
    second argument.

    Raises:
        ShapeError: Sizes disagree, or there are fewer than two samples.
        DataError: A dtype is not float32 or float64, a value is not finite, or the kernel is not symmetric.
    """
    name = "G" if shared else "K"
    r = float64(where, outputs, residual)
    if r.ndim != 2:
        raise ShapeError(
            f"{where}: {outputs} must have shape [N, C]; got {tuple(r.shape)}. "
            f"Give one column an output, {outputs}[:, None] for one output."
        )
    N, C = r.shape
    b = 1 if shared else C
    if N < 2 or C == 0:
        raise DataError(
            f"{where}: needs at least 2 samples and 1 output; got {N} and {C}. "
            "A sample's unique information compares training with it and without it."
        )
    given, copied = _tensor(where, name, K)
    kernel = given.to(torch.float64)
    if kernel.shape != (N * b, N * b):
        size = "[N, N]" if shared else "[N*C, N*C]"
        raise ShapeError(
            f"{where}: {name} must have shape {size} = [{N * b}, {N * b}], as {outputs} is [{N}, {C}]; "
            f"got {tuple(kernel.shape)}. Order rows by sample, then by output."
        )
    input_eps = torch.finfo(given.dtype).eps
    difference = asymmetry(kernel)
    if not np.isfinite(difference):
        _refuse_not_finite(where, name, kernel, b)
    largest = float(kernel.diagonal().abs().max())
    if difference > ASYMMETRY_IN_EPS * input_eps * largest:
        raise DataError(
            f"{where}: {name} must be symmetric; got a largest |{name} - {name}.T| of {difference:.1e} "
            f"where its diagonal reaches {largest:.1e}. Give ({name} + {name}.T) / 2 if the difference is rounding."
        )
    if not r.isfinite().all():
        _refuse_not_finite(where, outputs, r, 1)
    test = None
    if K_test is not None:
        test = float64(where, f"{name}_test", K_test).to(kernel.device)
        if test.ndim != 2 or test.shape[1] != N * b or test.shape[0] % b or len(test) == 0:
            size = "[M, N]" if shared else "[M*C, N*C]"
            raise ShapeError(
                f"{where}: {name}_test must have shape {size} with N*C = {N * b} columns and C = {b}; "
                f"got {tuple(test.shape)}. Order rows by sample, then by output."
            )
        if not test.isfinite().all():
            _refuse_not_finite(where, f"{name}_test", test, b)
    return KernelInput(
        kernel=kernel,
        residual=r.to(kernel.device),
        test_kernel=test,
        rows_per_sample=b,
        input_eps=input_eps,
        owned=copied or given.dtype != torch.float64,
    )


def sample_mask(where: str, name: str, value: Array, shape: tuple[int | None, int]) -> Tensor:
    """A bool mask [G, N] (or [N], where ``shape`` starts with None) on the CPU."""
    mask = as_tensor(where, name, value)[0].cpu()
    rows, N = shape
    want = f"[{N}]" if rows is None else f"[G, {N}]"
    if mask.dtype != torch.bool or mask.ndim != (1 if rows is None else 2) or mask.shape[-1] != N or len(mask) == 0:
        raise ShapeError(
            f"{where}: {name} must be bool {want}; got {str(mask.dtype).removeprefix('torch.')} {list(mask.shape)}. "
            "Give True where the sample is meant."
        )
    return mask


def as_tensor(where: str, name: str, value: Any, *, read_only: bool = False) -> tuple[Tensor, bool]:
    """``value`` as a tensor, and whether that is a copy: of lists, and of arrays whose memory torch can't take over.

    ``read_only`` promises that the tensor is not written to, so that arrays without that right are no reason to copy.

    Raises:
        DataError: It is neither a tensor nor an array nor nested lists of numbers.
    """
    if isinstance(value, Tensor):
        return value.detach(), False
    given = value
    if not isinstance(value, np.ndarray) and (isinstance(value, list | tuple) or hasattr(value, "__array__")):
        try:
            value = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:  # ragged, or tensors that follow gradients
            raise _no_array(where, name, f"{type(given).__name__}: {error}") from error
    if not isinstance(value, np.ndarray):
        raise _no_array(where, name, f"{type(given).__name__}")
    if value.dtype.kind not in "biufc":
        raise _no_array(where, name, f"{type(given).__name__} of dtype {value.dtype}")
    allowed = read_only or value.flags.writeable
    usable = allowed and value.dtype.isnative and all(stride >= 0 for stride in value.strides)
    if not usable:
        value = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(value), not usable or value is not given
    except TypeError as error:  # a width that torch lacks
        raise _no_array(where, name, f"{type(given).__name__} of dtype {value.dtype}") from error


def _no_array(where: str, name: str, got: str) -> DataError:
    return DataError(
        f"{where}: {name} must be a tensor, an array or nested lists of numbers; got {got}. "
        "Convert it with numpy.asarray."
    )


def _tensor(where: str, name: str, value: Array) -> tuple[Tensor, bool]:
    tensor, copied = as_tensor(where, name, value)
    if isinstance(value, list | tuple) and tensor.dtype == torch.int64:
        tensor = tensor.to(torch.float64)
    if tensor.dtype not in (torch.float32, torch.float64):
        raise DataError(
            f"{where}: {name} must be float32 or float64; got {str(tensor.dtype).removeprefix('torch.')}. "
            f"Convert it, {name}.double() in torch."
        )
    return tensor, copied


def float64(where: str, name: str, value: Array) -> Tensor:
    return _tensor(where, name, value)[0].to(torch.float64)


def _refuse_not_finite(where: str, name: str, values: Tensor, rows_per_sample: int) -> None:
    row = int((~values.isfinite()).any(1).nonzero()[0])
    column = int((~values[row].isfinite()).nonzero()[0])
    raise DataError(
        f"{where}: {name} must be finite; got {float(values[row, column])} in row {row} "
        f"(sample {row // rows_per_sample}), column {column}. Remove the sample, or repair the model."
    )
