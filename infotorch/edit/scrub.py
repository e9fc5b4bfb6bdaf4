"""Weights from which what they knew of some samples has been taken."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from infotorch.blocks.features import features
from infotorch.blocks.weights import Weights, check_task, own_weights, vector_of, with_weights
from infotorch.capture.run import Fallback
from infotorch.edit.curvature import Curvature, Full, Structure, curvature, whole_curvature
from infotorch.edit.passes import check_disjoint, check_one_batch, gradient
from infotorch.edit.retraining import finite_time_target, ntk_step
from infotorch.errors import ConfigError, NumericsError, check_choice, check_number, check_seed
from infotorch.linalg.definite import check_shift
from infotorch.table import Kind
from infotorch.task import LOSSES, Task, select

__all__ = ["Scrubbed", "scrub"]

Method = Literal["fisher", "newton", "ntk"]
QUERY_BYTES = 256 * 2**20
"""Of the outputs' Jacobian, float64, that is held at once."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Scrubbed:
    """Scrubbed weights, the noise in them, and how much they may still tell. All float64, [P] in parameter order."""

    weights: Tensor
    """One draw of the noise around ``mean``, [P]."""
    cov: Tensor
    """Covariance of the noise: [P, P], or its diagonal [P] with ``structure="diagonal"``."""
    bound: float
    """Half the squared distance of ``mean`` to the Newton step in the inverse of ``cov``, nats. Without noise it is no
    bound, which ``holds`` says: inf, but 0 at the Newton step itself."""
    residual: float
    """The same at ``mean``, from the retained loss's gradient there, in nats: 0 where it is at its minimum."""
    mean: Tensor
    """The weights before the noise, [P]."""
    newton: Tensor | None
    """The weights after a Newton step on the retained loss, [P]; None for ``"ntk"`` without noise, which needs none."""
    quadratic_error: float
    """What ``bound`` leaves out: the same distance from the Newton step to the next one, by the retained loss's
    gradient there, in nats; 0 where that loss is quadratic, inf without noise or where there is no finite
    gradient."""
    frozen: int
    """Weights of the model that are not selected: they are as they were, and no bound is of what they tell."""
    method: str
    structure: str

    @property
    def holds(self) -> bool:
        """Whether ``bound`` may be read: it is finite, and leaves out at most a tenth of it, or of a nat."""
        return math.isfinite(self.bound) and self.quadratic_error <= max(0.1, 0.1 * self.bound)

    @property
    def kind(self) -> Kind:
        """``estimate``, which is a bound for a quadratic loss alone; ``diagnostic`` where it does not hold."""
        return "estimate" if self.holds else "diagnostic"

    def __repr__(self) -> str:
        off = f"{self.quadratic_error:.4g} nats left out"
        if not bool(self.cov.any()):
            told = "none, for without noise nothing is hidden"
        elif self.holds:
            told = f"about {self.bound:.4g} nats ({off})"
        else:
            told = f"does not hold, for the loss is not quadratic there: {self.bound:.4g} nats, {off}"
        return (
            f"Scrubbed({self.method}, {self.structure} curvature, {len(self.weights):,} weights, {self.frozen:,} more "
            f"frozen; bound {told}; residual {self.residual:.4g} nats; kind {self.kind})"
        )

    def query_bound(self, task: Task, x: Any, *, fallback: Fallback | None = None) -> Tensor:
        r"""What outputs of single queries may still tell, :math:`\frac12 \Delta f^\top(J\Sigma J^\top)^{-1}\Delta f`.

        Never above ``bound``. Golatkar, Achille and Soatto (arXiv:2003.02960), for outputs linearised at the task's
        weights; :math:`\Delta f = J (\mathrm{mean} - \mathrm{newton})`.

        Args:
            task: The task that was scrubbed.
            x: Queries, [N, ...].
            fallback: As for :func:`infotorch.fisher`.

        Returns:
            Float64 [N], nats.

        Raises:
            NumericsError: There is no noise, or a query's outputs hang together: C outputs over fewer parameters.
        """
        if self.newton is None or not bool(self.cov.any()):
            raise NumericsError("query_bound: there must be noise; got noise=0. Scrub with noise above 0.")
        N, P = task.check_inputs(x), len(self.mean)
        C = task.outputs(select(x, slice(0, 1)))[0].numel()
        step = max(1, QUERY_BYTES // (8 * C * P))
        found = []
        for start in range(0, N, step):
            J = features(task, select(x, slice(start, start + step)), fallback=fallback).rows.double()  # [n, C, P]
            spread = J @ self.cov if self.cov.dim() == 2 else J * self.cov
            L, info = torch.linalg.cholesky_ex(spread @ J.mT)
            if bool(info.any()):
                n = start + int(info.nonzero()[0])
                raise NumericsError(
                    f"query_bound: noise must reach every output of a query; got none in a direction of sample {n}. "
                    "Bound the outputs one by one, or the weights."
                )
            delta = J @ (self.mean - self.newton)  # [n, C]
            found.append(torch.linalg.solve_triangular(L, delta[..., None], upper=False).square().sum((1, 2)) / 2)
        return torch.cat(found)


def scrub(
    task: Task,
    retain: Any,
    *,
    forget: Any = None,
    method: Method = "fisher",
    noise: float,
    power: float = -0.5,
    damping: float = 0.0,
    ridge: float = 0.0,
    initial: Weights | None = None,
    seed: int = 0,
    structure: Structure = "full",
    time: float = math.inf,
    fallback: Fallback | None = None,
) -> Scrubbed:
    r"""Weights that tell less of the samples that are not in ``retain``, and a bound on what they still tell.

    With :math:`L_r` the loss summed over ``retain``, plus :math:`\frac12 \mathrm{ridge} \|w - w_0\|^2` where training
    had it, and :math:`H = F_r + (\mathrm{ridge} + \mathrm{damping}) I` its curvature by the exact Fisher matrix, the
    result is a draw from :math:`N(h, \Sigma)`, :math:`\Sigma = \sqrt{\mathrm{noise}}\, H^{-1/2}`: the covariance that
    minimises :math:`\frac12 \mathrm{tr}(H\Sigma) + \frac12 \mathrm{noise}\, \mathrm{tr}\, \Sigma^{-1}`, so noise is the
    paper's :math:`\lambda\sigma_h^2`. The mean h is

    - ``"fisher"``: the weights as they are. Noise alone hides what the samples did.
    - ``"newton"``: :math:`w - H^{-1} \nabla L_r(w)`; where the outputs are linear in the weights and the loss is
      squared, as of a linear head on frozen features, these are the retrained weights.
    - ``"ntk"``: the weights plus what retraining would have changed in the model linearised at ``initial``, for squared
      error trained to convergence with this ridge; needs ``forget``.

    The bound is :math:`\frac12 \|h - w_N\|^2_{\Sigma^{-1}}` with :math:`w_N` the Newton step: for quadratic losses it
    is the KL divergence to the same noise around the retrained weights, and no readout of a draw tells the two apart by
    more, however it is made. For other networks it is an estimate, as the retrained weights are elsewhere; ``residual``
    says how far the retained loss is from its minimum at the mean.
    Golatkar, Achille and Soatto, arXiv:1911.04933 (noise, Newton), 2003.02960 (ntk) and 2012.13431 (linear parts).
    Public implementations draw a variance of constant/F in place of the papers' square root: ``power=-1``.

    Args:
        task: The trained model, its loss and the parameters to edit. The model is left as it is.
        retain: What the weights may know: (x, y), a dict, or a loader that gives it at every pass.
        forget: What they shall not. Needed by ``"ntk"`` and by ``time``; elsewhere checked for overlap alone.
        method: Where the noise is put.
        noise: At least 0, in nats times squared weights; 0 is the bare step.
        power: Of H in the covariance :math:`\sqrt{\mathrm{noise}}\, H^{\mathrm{power}}`, at most 0.
        damping: Added to the curvature alone. Softmax outputs and dead units make F singular: then it must be above 0.
        ridge: Of the summed training loss, N l2 for a weight decay on the mean. It pulls to ``initial``, or to 0.
        initial: Weights where training began: [P], a state dict or a module.
        seed: Of the noise.
        structure: ``"full"`` forms H, P up to 16,384. ``"diagonal"`` gives the noise H's diagonal, and solves Newton's
            step with the whole of H by conjugate gradients, in two passes over the data a product.
        time: For how long the weights were trained by gradient flow on the summed loss, with ``"newton"``: the mean is
            then where the same flow on ``retain`` alone would be.
        fallback: As for :func:`infotorch.fisher`, for parameters outside of supported layers.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer.
        ConfigError: An option is out of range or unknown, one that the method needs is missing, or H is too large.
        DataError: A set is empty, or both have a sample in common.
        NotSupported: The loss is a function, whose output Hessian nobody knows.
        NumericsError: H is singular, or weights are not finite.

    Example:
        >>> task = Task(torch.nn.Linear(1, 1, bias=False).eval(), loss="mse")
        >>> x, y = torch.ones(4, 1), torch.full((4, 1), 3.0)
        >>> scrub(task, (x, y), method="newton", noise=0.0).weights
        tensor([3.], dtype=torch.float64)
    """
    check_task("scrub", task)
    todo, seed = "Pass a number.", check_seed("scrub", seed)
    noise, power, time, damping, ridge = (
        check_number("scrub", what, value, todo)
        for what, value in (
            ("noise", noise), ("power", power), ("time", time), ("damping", damping), ("ridge", ridge),
        )
    )  # fmt: skip
    _check_options(task, method, noise, power, structure, time)
    shift = check_shift("scrub", "damping", damping) + check_shift("scrub", "ridge", ridge)
    if forget is None and (method == "ntk" or time < math.inf):
        needy = 'method="ntk"' if method == "ntk" else "time"
        raise ConfigError(f"scrub: {needy} needs forget, the samples to forget; got none. Pass forget=(x, y).")
    if method == "ntk":
        if initial is None:
            raise ConfigError(
                'scrub: method="ntk" needs initial, the weights where training began; got none. Pass the state dict '
                'that was kept, or use method="newton".'
            )
        check_one_batch("scrub", "retain", retain)
        check_one_batch("scrub", "forget", forget)
    w = own_weights("scrub", task)
    frozen = sum(p.numel() for p in task.model.parameters()) - len(w)
    start = None if initial is None else vector_of("scrub", "initial", initial, task)
    anchor = torch.zeros_like(w) if start is None else start
    check_disjoint("scrub", task, retain, forget)

    mean = w
    if method == "ntk":
        assert start is not None
        mean = w + ntk_step(with_weights(task, start), retain, forget, ridge=ridge, fallback=fallback)
        if noise == 0:
            cov = w.new_zeros((len(w),) * (2 if structure == "full" else 1))
            return Scrubbed(
                weights=mean, cov=cov, bound=math.inf, residual=math.inf, mean=mean, newton=None,
                quadratic_error=math.inf, frozen=frozen, method=method, structure=structure,
            )  # fmt: skip
    H = curvature(task, retain, structure, shift=shift, damping=damping, fallback=fallback)
    newton = w - H.solve(gradient(task, retain) + ridge * (w - anchor))
    if time < math.inf:
        assert isinstance(H, Full)
        mean = finite_time_target(
            task,
            retain,
            forget,
            w,
            H,
            whole_curvature(task, H, forget, fallback),
            ridge=ridge,
            anchor=anchor,
            time=time,
        )
    elif method == "newton":
        mean = newton

    def left(at: Tensor) -> float:
        """The Newton step from there, in nats."""
        g = gradient(with_weights(task, at), retain) + ridge * (at - anchor)
        return _divergence(H, H.solve(g), noise, power) if bool(g.isfinite().all()) else math.inf

    bound = residual = _divergence(H, mean - newton, noise, power)
    quadratic_error = left(newton)
    if mean is not w:  # at w the step to the minimum is Newton's
        residual = quadratic_error if mean is newton else left(mean)
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randn(len(w), dtype=torch.float64, generator=rng).to(w.device)
    return Scrubbed(
        weights=mean + noise**0.25 * H.times(drawn, power / 2),
        cov=math.sqrt(noise) * H.matrix(power),
        bound=bound,
        residual=residual,
        mean=mean,
        newton=newton,
        quadratic_error=quadratic_error,
        frozen=frozen,
        method=method,
        structure=structure,
    )


def _divergence(H: Curvature, delta: Tensor, noise: float, power: float) -> float:
    """Half the squared length of delta [P] in the inverse of sqrt(noise) H^power."""
    if noise == 0:
        return math.inf if bool(delta.any()) else 0.0
    return float(H.times(delta, -power / 2).square().sum()) / (2 * math.sqrt(noise))


def _check_options(task: Task, method: str, noise: float, power: float, structure: str, time: float) -> None:
    check_choice("scrub", "method", method, get_args(Method))
    check_choice("scrub", "structure", structure, get_args(Structure))
    if not 0 <= noise < math.inf:
        raise ConfigError(f"scrub: noise must be finite and at least 0; got {noise}. Pass 0 for the bare step.")
    if not -math.inf < power <= 0:
        raise ConfigError(
            f"scrub: power must be finite and at most 0; got {power}. Pass -0.5, or -1 for a variance of constant/F."
        )
    if not time > 0:
        raise ConfigError(f"scrub: time must be above 0; got {time}. Pass math.inf for a converged training.")
    if time < math.inf and (method != "newton" or structure != "full"):
        raise ConfigError(
            f'scrub: time goes with method="newton" and structure="full"; got {method!r} and {structure!r}. Leave time '
            "out."
        )
    if method == "ntk" and task.criterion is not LOSSES["mse"]:
        raise ConfigError(
            f'scrub: method="ntk" is for squared error, loss="mse"; got {task.loss!r}. Use method="newton".'
        )
