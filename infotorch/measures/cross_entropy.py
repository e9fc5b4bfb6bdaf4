"""Cross-entropy as ridge regression: the Gauss-Newton model of one Newton step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.measures.from_kernel import unique_information_from_kernel
from infotorch.measures.information import UniqueInformationResult
from infotorch.measures.kernel_input import Array, as_tensor, float64, kernel_input

WHERE = "cross_entropy_ggn"
TILE_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class NewtonTarget:
    r"""What one Newton step regresses :math:`R^\top J` on."""

    factor: Tensor
    """R, [N, C, C - 1], lower trapezoidal."""
    residual: Tensor
    """[N, C - 1]."""

    def logits(self, prediction: Tensor) -> Tensor:
        r"""Logits [N, C], of mean 0 over classes, that :math:`R^\top` maps to ``prediction`` [N, C - 1]."""
        C = self.factor.shape[1]
        top = self.factor[:, : C - 1].mT  # upper triangular
        first = torch.linalg.solve_triangular(top, prediction[..., None], upper=True)[..., 0]  # the last logit at 0
        change = torch.nn.functional.pad(first, (0, 1))
        return change - change.mean(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class CrossEntropyGGN(NewtonTarget):
    r"""A problem with C - 1 outputs that :func:`unique_information_from_kernel` takes.

    :math:`\tilde J_i = R_i^\top J_i` and :math:`\tilde r_i = -R_i^+ g_i`, where
    :math:`R_i R_i^\top = \text{diag}(p) - p p^\top` is the Hessian in the logits and :math:`g_i = p - \text{onehot}`
    the gradient.
    """

    kernel: Tensor
    """[N (C - 1), N (C - 1)], float64."""
    test_kernel: Tensor | None
    """[M (C - 1), N (C - 1)]: information in functions becomes the KL divergence of predictions, to second order."""
    displacement: Tensor | None
    """J~ (w - w0), [N, C - 1]; None where the ridge is centered at the current weights."""

    def relative_newton_step(self, *, ridge: float, distance: float) -> float:
        r"""Length of the whole Newton step from w over :math:`\|w - w_0\|`: 0 at an optimum of the trained objective.

        Args:
            ridge: Weight of half the squared distance from w0 on the summed loss.
            distance: :math:`\|w - w_0\|`.

        Raises:
            ConfigError: No displacement was given to :func:`cross_entropy_ggn`, or ``distance`` is 0.
        """
        if self.displacement is None or not distance > 0:
            raise ConfigError(
                f"{WHERE}: the relative Newton step needs J(w - w0) and |w - w0| > 0; got "
                f"{'no displacement' if self.displacement is None else f'distance {distance}'}. "
                "Give displacement= to cross_entropy_ggn."
            )
        _check_ridge(ridge)
        A = self.kernel.clone()
        A.diagonal().add_(ridge)
        r = self.residual.reshape(-1, 1)
        beta = torch.cholesky_solve(r, torch.linalg.cholesky(A))
        # |d - (w - w0)|^2 with d = J~' beta; at an optimum the three terms cancel to about 1e-8 of |w - w0|
        squared = beta.mT @ (self.kernel @ beta) - 2 * beta.mT @ self.displacement.reshape(-1, 1) + distance**2
        return float(squared.clamp(min=0).sqrt()) / distance


@torch.no_grad()
def cross_entropy_ggn(
    K: Array,
    logits: Array,
    labels: Array,
    K_test: Array | None = None,
    logits_test: Array | None = None,
    *,
    displacement: Array | None = None,
) -> CrossEntropyGGN:
    r"""Softmax cross-entropy at given logits as a ridge regression with C - 1 outputs (ours; not in the paper).

    One Newton step of the Gauss-Newton model at weights w solves a ridge regression of :math:`\tilde r = -R^+ g` on
    :math:`\tilde J = R^\top J`. Its ridge is centered at w. The objective that training minimizes has it at the initial
    weights: with ``displacement``, :math:`\tilde r = \tilde J (w - w_0) - R^+ g` and changes are measured from w0.

    R is the Cholesky factor of a multinomial covariance in closed form (Tanabe and Sagae, "An exact Cholesky
    decomposition and the generalized inverse of the variance-covariance matrix of the multinomial distribution", 1992),
    of full relative accuracy however small a probability is. Scores do not depend on which factor R is taken.

    Args:
        K: Kernel of the logits at w, [N C, N C], rows by sample, then by class.
        logits: [N, C].
        labels: Integer classes, [N].
        K_test: [M C, N C].
        logits_test: [M, C]; with ``K_test``.
        displacement: J (w - w0), [N, C]: what the linearized logits moved from the initial weights to w.

    Returns:
        Kernel, residual and test kernel with C - 1 outputs, float64. Train on them with ``ridge`` > 0 at time inf.

    Raises:
        ShapeError: Sizes disagree.
        DataError: A value is not finite, or a label is not a class.
        NumericsError: A probability underflows to 0.
    """
    data = kernel_input(WHERE, K, logits, K_test, outputs="logits")
    C = data.residual.shape[1]
    if C < 2:
        raise ShapeError(f"{WHERE}: logits must have at least 2 classes; got {C}. Give [N, 2] for a binary task.")
    newton = newton_target(data.residual, labels)
    R, residual, moved = newton.factor, newton.residual, None
    if displacement is not None:
        shift = float64(WHERE, "displacement", displacement).to(R.device)
        if shift.shape != data.residual.shape:
            raise ShapeError(
                f"{WHERE}: displacement must have the shape of logits, {tuple(data.residual.shape)}; "
                f"got {tuple(shift.shape)}. Give J(w - w0)."
            )
        moved = torch.einsum("ncd,nc->nd", R, shift)
        residual = residual + moved
    test = None
    if data.test_kernel is not None or logits_test is not None:
        test = _test_kernel(data.test_kernel, logits_test, R, data.num_test)
    return CrossEntropyGGN(
        kernel=between(R, data.kernel, R), residual=residual, test_kernel=test, factor=R, displacement=moved
    )


def cross_entropy_unique_information(
    K: Array,
    logits: Array,
    labels: Array,
    K_test: Array | None = None,
    logits_test: Array | None = None,
    *,
    ridge: float,
    displacement: Array | None = None,
    sigma: float = 1.0,
) -> UniqueInformationResult:
    """Unique information under the Gauss-Newton model of cross-entropy; arguments of :func:`cross_entropy_ggn`.

    ``reliable`` counts float64 rounding of the solve, not the rounding that K came with: a kernel of relative accuracy
    e multiplies ``relative_error`` by about e / 2.2e-16.

    Raises:
        ConfigError: ``ridge`` is not above 0: without it a separable problem has no optimum to leave a sample out of.
    """
    _check_ridge(ridge)
    ggn = cross_entropy_ggn(K, logits, labels, K_test, logits_test, displacement=displacement)
    return unique_information_from_kernel(
        ggn.kernel, ggn.residual, ggn.test_kernel, ridge=ridge, sigma=sigma, overwrite=True
    )


def newton_target(logits: Tensor, labels: Array) -> NewtonTarget:
    """R and the residual of one Newton step, from logits [N, C] in float64 and classes [N].

    Raises:
        ShapeError: Labels are no integers [N].
        DataError: A label is not a class.
        NumericsError: A probability underflows to 0.
    """
    y = _labels(labels, logits)
    R = probability_factor(logits)
    others = logits.log_softmax(1).exp().scatter(1, y[:, None], 0)
    g = others.scatter(1, y[:, None], -others.sum(1, keepdim=True))  # p - onehot without cancellation
    last = R.shape[2]
    residual = -torch.linalg.solve_triangular(R[:, :last], g[:, :last, None], upper=False)[..., 0]
    return NewtonTarget(factor=R, residual=residual)


def probability_factor(logits: Tensor, name: str = "logits") -> Tensor:
    """R of the probabilities at logits [N, C], float64.

    Raises:
        NumericsError: A probability underflows to 0.
    """
    return multinomial_factor(_probabilities(logits, name))


def multinomial_factor(p: Tensor) -> Tensor:
    r"""Lower trapezoidal R [N, C, C - 1] with :math:`R R^\top = \text{diag}(p) - p p^\top`, from p > 0, [N, C]."""
    C = p.shape[1]
    tail = p.flip(1).cumsum(1).flip(1)  # p_j + p_(j+1) + ...
    diagonal = (p[:, :-1] * tail[:, 1:] / tail[:, :-1]).sqrt()
    below = -p[:, :, None] * (p[:, :-1] / (tail[:, :-1] * tail[:, 1:])).sqrt()[:, None]  # [N, C, C - 1]
    R = below.tril(-1)
    R[:, : C - 1] += torch.diag_embed(diagonal)
    return R


def _probabilities(logits: Tensor, name: str) -> Tensor:
    p = logits.softmax(1)
    if not (p > 0).all():
        first = int((p == 0).any(1).nonzero()[0])
        raise NumericsError(
            f"{WHERE}: every probability must be above 0 in float64; got 0.0 for sample {first} of {name}. "
            "Give logits whose spread is below 700."
        )
    return p


def _labels(labels: Array, logits: Tensor) -> Tensor:
    y = as_tensor(WHERE, "labels", labels)[0].to(logits.device)
    N, C = logits.shape
    if y.shape != (N,) or y.is_floating_point() or y.dtype == torch.bool:
        raise ShapeError(
            f"{WHERE}: labels must be integer classes [{N}]; got {str(y.dtype).removeprefix('torch.')} "
            f"{list(y.shape)}. Give one class a sample."
        )
    wrong = (y < 0) | (y >= C)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise DataError(
            f"{WHERE}: labels must be from 0 to {C - 1}; got {int(y[first])} for sample {first}. Correct the label."
        )
    return y.long()


def _test_kernel(K_test: Tensor | None, logits_test: Array | None, R: Tensor, num_test: int) -> Tensor:
    if K_test is None or logits_test is None:
        raise ConfigError(f"{WHERE}: K_test and logits_test belong together; got only one. Give both, or neither.")
    logits = float64(WHERE, "logits_test", logits_test).to(R.device)
    if logits.shape != (num_test, R.shape[1]) or not logits.isfinite().all():
        raise ShapeError(
            f"{WHERE}: logits_test must be finite [{num_test}, {R.shape[1]}], as K_test has {len(K_test)} rows; "
            f"got {list(logits.shape)}. Compute both from the same test samples."
        )
    return between(probability_factor(logits, "logits_test"), K_test, R)


def between(left: Tensor, K: Tensor, right: Tensor) -> Tensor:
    """Blocks left_i.T K_ij right_j, [A (C - 1), B (C - 1)]; a tile of samples at a time."""
    A, C, D = left.shape
    B = len(right)
    out = K.new_empty(A, D, B, D)
    for tile in torch.arange(A).split(max(1, TILE_BYTES // (16 * D * B * C))):
        start, stop = int(tile[0]), int(tile[-1]) + 1
        half = left[start:stop].mT @ K.view(A, C, B * C)[start:stop]  # [a, D, B C]
        out[start:stop] = torch.einsum("adbc,bce->adbe", half.view(-1, D, B, C), right)
    return out.view(A * D, B * D)


def _check_ridge(ridge: float) -> None:
    if not 0 < ridge < float("inf"):
        raise ConfigError(
            f"{WHERE}: ridge must be finite and above 0; got {ridge}. Give N times the l2 of training: without one, "
            "separable data have no optimum."
        )
