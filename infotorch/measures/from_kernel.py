"""Smooth unique information of samples and groups, from a kernel and a residual."""

from typing import Any, Literal

import torch

from infotorch.measures.information import UniqueInformationResult, information, members
from infotorch.measures.kernel_input import Array, KernelInput, kernel_input
from infotorch.measures.schedule import WHERE, Numbers, schedule


def unique_information_from_kernel(
    K: Array,
    residual: Array,
    K_test: Array | None = None,
    *,
    ridge: float = 0.0,
    ridge_without: Numbers | None = None,
    time: Numbers | None = None,
    time_without: Numbers | None = None,
    lr: float | None = None,
    lr_without: Numbers | None = None,
    steps: Numbers | None = None,
    sigma: float = 1.0,
    groups: Array | None = None,
    removed: Array | None = None,
    nodes: int = 40,
    return_changes: bool = False,
    on_unreliable: Literal["raise", "flag"] = "raise",
    overwrite: bool = False,
) -> UniqueInformationResult:
    r"""Unique information of every sample in the weights and outputs of a linearized network, exactly.

    The network is :math:`f_0 + J d`, trained from d = 0 on :math:`\frac12\|r - J d\|^2 + \frac{\text{ridge}}{2}\|d\|^2`
    summed over samples. With :math:`\delta` the change of d when sample i leaves and training is run again,

    .. math:: SI_i = \|\delta\|^2 / (2\sigma^2), \qquad
        FSI_i = \tfrac{1}{2\sigma^2 M} \textstyle\sum_x \|J_x \delta\|^2

    (Harutyunyan et al., "Estimating informativeness of samples with smooth unique information", arXiv 2101.06640,
    eqs. 5, 7 and 8, with their factor 1/2, which the published code drops). Nothing is approximated: a converged
    training has a closed form without any of its rows, and a finite one is a sum of ``nodes / 2`` such forms with
    complex ridges, to 1e-14 at 40 nodes. All samples and all times come from one eigendecomposition (infinite times
    alone: from one inverse).

    Gradient descent of fewer than 16 steps, or with lr times the largest eigenvalue between 1 and 2, is stepped
    literally, all leave-outs at once: for :math:`2 (N C)^2 N` flops a step up to 16 of them, and beyond in the kernel's
    eigenbasis, for :math:`4 (N C)^2 C` a step.

    ``reliable`` and ``relative_error`` count float64 rounding of the solve only, for K taken as exact. The rounding
    that K came with is not counted: a kernel of relative accuracy e multiplies ``relative_error`` by about e / 2.2e-16
    (5e8 for products in float32), and nothing is refused because of it.

    The array level knows no convention: who deletes a row of a mean loss and trains again gives ``ridge = N l2``,
    ``ridge_without = (N - 1) l2``, ``time = lr steps / N``, ``time_without = lr steps / (N - 1)``.

    Memory: beside K, 3 matrices [N C, N C] during the eigendecomposition, 2 with ``overwrite``, 1 where all times are
    infinite; then a tile of samples at a time. At N C = 10,000 the process peaked at 3.43 GB without ``overwrite`` and
    with 2 threads (benchmarks/unique_information/memory.py): 3.2 are K and the 3 matrices, 0.26 what Python imports,
    the rest mostly work space of LAPACK's threads.

    Args:
        K: Kernel :math:`J J^\top` [N C, N C], rows by sample, then by output; float32 or float64, tensor or array.
            All work is in float64, on K's device.
        residual: y - f0, [N, C].
        K_test: :math:`J_{test} J^\top` [M C, N C]; without it ``functions`` is None.
        ridge: Weight of half the squared distance from the initial weights.
        ridge_without: That of the training without the sample, also one a group [G]; default: ``ridge``.
        time: Gradient-flow times on the summed loss, one or several, 0 and inf allowed. Default: inf.
        time_without: Those of the training without the sample, one for each time, also [times, G]; default: ``time``.
        lr: Step size of gradient descent on the summed loss, with ``steps`` in place of ``time``.
        lr_without: That of the training without the sample, also one a group [G]; default: ``lr``.
        steps: Numbers of steps, one or several, 0 and inf allowed.
        sigma: Standard deviation of the noise that smooths the weights or outputs: a pure scale.
        groups: bool [G, N]: who leaves together. The scores are then those of the groups, never sums over members.
        removed: bool [N]: samples already gone, so that scores are conditional on the rest. Theirs are exactly 0, since
            removing them again changes nothing, and their own prediction is that of the training on the rest.
        nodes: Of the contour, even, 16 to 64.
        return_changes: Whether to return ``change_test``, [times, N or G, M, C] numbers.
        on_unreliable: ``"raise"``: refuse, naming the first score whose estimated relative error exceeds 1e-6.
            ``"flag"``: return it, with ``reliable`` False there.
        overwrite: Let the eigenvectors take K's memory, if K is a contiguous float64 tensor: K is destroyed.

    Returns:
        Scores in nats with a leading time axis, also for one time.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, a dtype is not a float, K is not symmetric, or nobody would be left.
        ConfigError: An option is out of range or contradicts another.
        NumericsError: K is singular where time is inf and ridge 0, or has large negative eigenvalues; gradient descent
            diverges; a score is unreliable.

    Example:
        >>> K = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
        >>> residual = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        >>> unique_information_from_kernel(K, residual).weights
        tensor([[0.3333, 0.0833]], dtype=torch.float64)
    """
    return _scores(
        kernel_input(WHERE, K, residual, K_test),
        groups=groups,
        removed=removed,
        overwrite=overwrite,
        training={
            "ridge": ridge,
            "ridge_without": ridge_without,
            "time": time,
            "time_without": time_without,
            "lr": lr,
            "lr_without": lr_without,
            "steps": steps,
        },
        sigma=sigma,
        nodes=nodes,
        return_changes=return_changes,
        on_unreliable=on_unreliable,
    )


def unique_information_from_shared_kernel(
    G: Array,
    residual: Array,
    G_test: Array | None = None,
    *,
    ridge: float = 0.0,
    ridge_without: Numbers | None = None,
    time: Numbers | None = None,
    time_without: Numbers | None = None,
    lr: float | None = None,
    lr_without: Numbers | None = None,
    steps: Numbers | None = None,
    sigma: float = 1.0,
    groups: Array | None = None,
    removed: Array | None = None,
    nodes: int = 40,
    return_changes: bool = False,
    on_unreliable: Literal["raise", "flag"] = "raise",
    overwrite: bool = False,
) -> UniqueInformationResult:
    r"""The same where all C outputs share one kernel: :math:`K = G \otimes I_C`, N³ work in place of (N C)³.

    Exact for a last linear layer, :math:`G = a a^\top + 1` with a bias, and for any model that is linear in features
    common to its outputs. For other networks the mean over outputs, :math:`\frac1C \sum_c K_{cc}`, is an approximation.
    Rounding that G came with is not counted in ``reliable``, as there.

    Args:
        G: [N, N].
        residual: y - f0, [N, C]: C right-hand sides.
        G_test: [M, N].
        ridge: As in :func:`unique_information_from_kernel`, like all that follow.
        ridge_without: Of the training without the sample.
        time: Gradient-flow times.
        time_without: Of the training without the sample.
        lr: Step size of gradient descent.
        lr_without: Of the training without the sample.
        steps: Numbers of steps.
        sigma: Scale of the noise.
        groups: bool [G, N].
        removed: bool [N].
        nodes: Of the contour.
        return_changes: Whether to return ``change_test``.
        on_unreliable: ``"raise"`` or ``"flag"``.
        overwrite: Let the eigenvectors take G's memory.

    Returns:
        Scores summed over outputs, and own predictions and changes of all C outputs.

    Raises:
        ShapeError: As in :func:`unique_information_from_kernel`, like the others.
        DataError: A value is not finite, or G is not symmetric.
        ConfigError: An option is out of range.
        NumericsError: G is singular or indefinite, descent diverges, or a score is unreliable.
    """
    return _scores(
        kernel_input(WHERE, G, residual, G_test, shared=True),
        groups=groups,
        removed=removed,
        overwrite=overwrite,
        training={
            "ridge": ridge,
            "ridge_without": ridge_without,
            "time": time,
            "time_without": time_without,
            "lr": lr,
            "lr_without": lr_without,
            "steps": steps,
        },
        sigma=sigma,
        nodes=nodes,
        return_changes=return_changes,
        on_unreliable=on_unreliable,
    )


@torch.no_grad()
def _scores(
    data: KernelInput, *, groups: Array | None, removed: Array | None, training: dict[str, Any], **options: Any
) -> UniqueInformationResult:
    """``training`` goes to :func:`schedule`, ``options`` to :func:`information`."""
    who = members(len(data.residual), groups, removed)
    return information(data, who, schedule(**training, num_groups=who.num_groups), **options)
