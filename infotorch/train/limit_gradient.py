"""LIMIT's loss: its value is the auxiliary network's, and the classifier gets the gradient that network predicts."""

import math
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from infotorch import ops
from infotorch.errors import ConfigError, NotSupported, check_choice
from infotorch.ops import LimitNoise, LimitRows
from infotorch.train.ranks import world_size

__all__ = ["LimitLoss", "limit_gradient"]

Match = Literal["gaussian", "laplace", "ce"]
Reduction = Literal["mean", "sum", "none", "reference"]
REDUCTIONS = ("mean", "sum", "none", "reference")


@overload
def limit_gradient(
    logits: Tensor,
    aux_logits: Tensor,
    target: Tensor,
    *,
    q: Match = ...,
    beta: float = ...,
    lam: float | None = ...,
    noise: LimitNoise | None = ...,
    weight: Tensor | None = ...,
    pos_weight: float | Tensor | None = ...,
    label_smoothing: float = ...,
    ignore_index: int = ...,
    mask: Tensor | None = ...,
    class_dim: int = ...,
    reduction: Reduction = ...,
    inject_scale: float = ...,
    rows: Literal[False] = ...,
) -> Tensor: ...
@overload
def limit_gradient(
    logits: Tensor,
    aux_logits: Tensor,
    target: Tensor,
    *,
    q: Match = ...,
    beta: float = ...,
    lam: float | None = ...,
    noise: LimitNoise | None = ...,
    weight: Tensor | None = ...,
    pos_weight: float | Tensor | None = ...,
    label_smoothing: float = ...,
    ignore_index: int = ...,
    mask: Tensor | None = ...,
    class_dim: int = ...,
    reduction: Reduction = ...,
    inject_scale: float = ...,
    rows: Literal[True],
) -> tuple[Tensor, LimitRows]: ...
@overload
def limit_gradient(
    logits: Tensor,
    aux_logits: Tensor,
    target: Tensor,
    *,
    q: Match = ...,
    beta: float = ...,
    lam: float | None = ...,
    noise: LimitNoise | None = ...,
    weight: Tensor | None = ...,
    pos_weight: float | Tensor | None = ...,
    label_smoothing: float = ...,
    ignore_index: int = ...,
    mask: Tensor | None = ...,
    class_dim: int = ...,
    reduction: Reduction = ...,
    inject_scale: float = ...,
    rows: bool,
) -> Tensor | tuple[Tensor, LimitRows]: ...
def limit_gradient(
    logits: Tensor,
    aux_logits: Tensor,
    target: Tensor,
    *,
    q: Match = "gaussian",
    beta: float = 1.0,
    lam: float | None = None,
    noise: LimitNoise | None = None,
    weight: Tensor | None = None,
    pos_weight: float | Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    mask: Tensor | None = None,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    inject_scale: float = 1.0,
    rows: bool = False,
) -> Tensor | tuple[Tensor, LimitRows]:
    r"""The auxiliary network's loss, whose backward gives the classifier the gradient that network predicts.

    For each row, with :math:`g` the gradient of the classifier's cross-entropy in its logits and :math:`\mu` what the
    auxiliary predicts of it (:func:`infotorch.ops.limit` has both), the loss is
    :math:`\text{match}(g, \mu) + \beta \|\mu\|_2^2`. Backward gives its gradient to ``aux_logits``; ``logits`` get
    :math:`\mu` or, with ``lam``, a draw from the density q about it. So no gradient that was made from a label ever
    reaches the classifier: permuting the labels of a batch leaves ``logits.grad`` as it is, bit for bit. Harutyunyan,
    Reing, Ver Steeg, Galstyan (arXiv:2002.07933), section 3.

    Stands where ``F.cross_entropy`` stood: ``loss = limit_gradient(f(x), a(x), y); loss.backward()``. Both gradients
    are multiplied by what comes from above, which the authors' code ignores, so a loss scale, an accumulation's
    divisor and weights of rows arrive. They divide by the number of rows that count, not by their labels' weights,
    since that sum tells of labels.

    ``reduction="reference"`` is the authors' scale: the mean for the auxiliary, the sum for the classifier. Adam hides
    the difference, SGD doesn't.

    Half logits are computed in float32; gradients are rounded to their dtype, and scaled in float32.

    Args:
        logits: The classifier's, [..., C], or [N] of a single logit; float64, float32, bfloat16 or float16.
        aux_logits: The auxiliary network's, of that shape and dtype.
        target: Labels, int64 [...], or probabilities [..., C]. A single logit has labels 0 and 1, or probabilities.
        q: What the auxiliary's error counts as: squared, absolute, or its own cross-entropy.
        beta: Weight of the squared norm of the predicted gradient.
        lam: Precision of the noise, for the sampled variant: variance 1 / (2 lam) (``"gaussian"``), or scale 1 / lam
            (``"laplace"``). ``None`` is the mean variant.
        noise: The draws' key. With ``lam`` alone the samples are numbered from 0, and torch's generator gives a seed
            at every call.
        weight: Of the classes, [C].
        pos_weight: Of the positive class of a single logit.
        label_smoothing: Share of the target that is spread over all classes.
        ignore_index: Rows with this label don't count.
        mask: Rows that count, bool, of the labels' shape.
        class_dim: The axis of classes; 1 for [N, C, T].
        reduction: ``"mean"`` over the rows that count, ``"sum"``, ``"none"``, or ``"reference"``.
        inject_scale: Factor on the classifier's gradient.
        rows: Also return the results of all rows, detached.

    Returns:
        A scalar, or [...] with ``reduction="none"``, float32, or float64 for double logits; 0 where no row counts.
        With ``rows``, a pair: the loss, and what :func:`infotorch.ops.limit` gives.

    Raises:
        ValueError: Shapes disagree, a label or an option is out of range, or both logits are one tensor.
        TypeError: Dtypes or devices disagree.
        NotSupported: ``lam`` without ``noise`` in one of several processes; a gradient of the gradient.

    Example:
        >>> z, v = torch.zeros(1, 2, requires_grad=True), torch.tensor([[0.0, -1e3]], requires_grad=True)
        >>> limit_gradient(z, v, torch.tensor([1])).backward()
        >>> z.grad  # as if the label were 0, which the auxiliary is sure of
        tensor([[-0.5000,  0.5000]])
    """
    where = "limit_gradient"
    check_choice(where, "reduction", reduction, REDUCTIONS)
    if not math.isfinite(inject_scale):
        raise ConfigError(f"{where}: inject_scale must be finite; got {inject_scale}. Leave it out for 1.")
    if class_dim != -1:
        check_class_dim(where, logits, class_dim)
        target = target.movedim(class_dim, -1) if target.shape == logits.shape else target
        logits, aux_logits = logits.movedim(class_dim, -1), aux_logits.movedim(class_dim, -1)
    if lam is not None and noise is None:
        noise = fresh_noise(where, logits)
    of_rows = ops.limit(
        logits.detach(), aux_logits.detach(), target, q=q, beta=beta, weight=weight, pos_weight=pos_weight,
        label_smoothing=label_smoothing, ignore_index=ignore_index, mask=mask, lam=lam, noise=noise, where=where,
    )  # fmt: skip
    value = torch.add(of_rows.match, of_rows.pen, alpha=beta)  # [...]
    share = None
    if reduction != "none":
        value = value.sum()
    if reduction in ("mean", "reference"):
        share = 1 / of_rows.valid.sum().clamp(min=1).to(value.dtype)
        value = value * share
    loss = _Replaced.apply(
        logits,
        aux_logits,
        value,
        of_rows.inject if of_rows.sample is None else of_rows.sample,
        of_rows.aux_grad,
        share,
        reduction == "mean",
        float(inject_scale),
        not rows and not torch.compiler.is_compiling(),  # nobody else has the gradients
    )
    return (loss, of_rows) if rows else loss


def check_class_dim(where: str, logits: Tensor, class_dim: int) -> None:
    if not -logits.dim() <= class_dim < logits.dim():
        raise ConfigError(
            f"{where}: class_dim must be an axis of logits; got {class_dim} for {list(logits.shape)}. "
            "Leave it out where the classes are last."
        )


def _numbered(where: str, logits: Tensor) -> Tensor:
    """Ids 0 ... N - 1, which in several processes would give them all the same draws."""
    if world_size() > 1:
        raise NotSupported(
            f"{where}: in several processes every sample needs an id of its own; got lam without ids. "
            "Pass the samples' places in the data set."
        )
    return torch.arange(logits.shape[0], device=logits.device)


def fresh_noise(where: str, logits: Tensor) -> LimitNoise:
    """A key that torch's generator gives anew at every call, for samples numbered from 0."""
    ids = _numbered(where, logits)
    return LimitNoise(seed=int(torch.randint(2**63 - 1, ())), step=0, ids=ids)


class _Replaced(torch.autograd.Function):
    """Passes ``value`` on; backward scales the gradients that were made beside it."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        aux_logits: Tensor,
        value: Tensor,
        inject: Tensor,
        aux_grad: Tensor,
        share: Tensor | None,
        share_injected: bool,
        inject_scale: float,
        owned: bool,
    ) -> Tensor:
        ctx.save_for_backward(inject, aux_grad, share)
        ctx.share_injected, ctx.inject_scale, ctx.owned = share_injected, inject_scale, owned
        return value.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        inject, aux_grad, share = ctx.saved_tensors
        with torch.no_grad():
            aux_factor = upstream if share is None else upstream * share
            factor = (aux_factor if ctx.share_injected else upstream) * ctx.inject_scale
            last = ctx.owned and not torch._C._autograd._get_current_graph_task_keep_graph()
            grads = [
                scaled(x, by, in_place=last) if needed else None
                for x, by, needed in zip((inject, aux_grad), (factor, aux_factor), ctx.needs_input_grad, strict=False)
            ]
        if torch.is_grad_enabled():  # someone keeps the graph of this backward
            grads = [None if x is None else _Once.apply(x, torch.zeros((), requires_grad=True)) for x in grads]
        return *grads, None, None, None, None, None, None, None


class _Once(torch.autograd.Function):
    """Passes a gradient on that has none: without this, torch would take it for a constant in silence."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, anchor: Tensor) -> Tensor:
        return grad.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        raise NotSupported(
            "limit_gradient: a gradient must not be differentiated again, since limit_gradient is once differentiable; "
            "got a backward through it. Leave create_graph out."
        )


def scaled(grad: Tensor, factor: Tensor, *, in_place: bool) -> Tensor:
    """Gradient [..., C] times a factor [] or [...], in the factor's dtype, rounded once."""
    factor = factor.reshape(*factor.shape, *[1] * (grad.dim() - factor.dim()))  # without axes, it would be rounded too
    if torch.compiler.is_compiling():
        return (grad.to(factor.dtype) * factor).to(grad.dtype)
    return torch.mul(grad, factor, out=grad if in_place else torch.empty_like(grad))  # fresh memory costs more


class LimitLoss(nn.Module):
    """:func:`limit_gradient` with its options, and the state of its noise.

    With ``lam`` each call of ``forward`` draws anew: it takes the next step of the noise, which ``state_dict`` holds.
    To ``torch.compile`` an integer of a module is a constant; where the loss itself is compiled, give
    :func:`limit_gradient` a :class:`LimitNoise` in its place.

    Args:
        q: As for :func:`limit_gradient`, like all that follow but ``seed``.
        beta: See there.
        lam: See there.
        seed: Of the noise, from 0 to 2^64 - 1.
        weight: See there; a buffer of the module.
        pos_weight: See there.
        label_smoothing: See there.
        ignore_index: See there.
        class_dim: See there.
        reduction: See there.
        inject_scale: See there.
        rows: See there.

    Raises:
        ConfigError: ``seed`` or ``reduction`` is out of range.
    """

    weight: Tensor | None

    def __init__(
        self,
        *,
        q: Match = "gaussian",
        beta: float = 1.0,
        lam: float | None = None,
        seed: int = 0,
        weight: Tensor | None = None,
        pos_weight: float | Tensor | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        class_dim: int = -1,
        reduction: Reduction = "mean",
        inject_scale: float = 1.0,
        rows: bool = False,
    ) -> None:
        super().__init__()
        check_choice("LimitLoss", "reduction", reduction, REDUCTIONS)
        self.q, self.beta, self.lam = q, beta, lam
        self.label_smoothing, self.ignore_index, self.class_dim = label_smoothing, ignore_index, class_dim
        self.reduction, self.inject_scale, self.rows = reduction, inject_scale, rows
        self.seed, self.step = LimitNoise(seed=seed, step=0, ids=torch.empty(0, dtype=torch.int64)).seed, 0
        self.register_buffer("weight", weight)
        self.pos_weight = pos_weight

    def forward(
        self,
        logits: Tensor,
        aux_logits: Tensor,
        target: Tensor,
        ids: Tensor | None = None,
        *,
        mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, LimitRows]:
        """The loss, as :func:`limit_gradient` gives it; ``ids`` int64 [N] key the noise, 0 ... N - 1 by default."""
        noise = None
        if self.lam is not None:
            ids = _numbered("LimitLoss", logits) if ids is None else ids
            noise = LimitNoise(seed=self.seed, step=self.step, ids=ids)
        loss = limit_gradient(
            logits, aux_logits, target, q=self.q, beta=self.beta, lam=self.lam, noise=noise, weight=self.weight,
            pos_weight=self.pos_weight, label_smoothing=self.label_smoothing, ignore_index=self.ignore_index,
            mask=mask, class_dim=self.class_dim, reduction=self.reduction, inject_scale=self.inject_scale,
            rows=self.rows,
        )  # fmt: skip
        self.step += noise is not None
        return loss

    def get_extra_state(self) -> dict[str, int]:
        """Seed and next step of the noise."""
        return {"seed": self.seed, "step": self.step}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Goes on where another left off.

        Raises:
            ConfigError: Its seed is another.
        """
        if state["seed"] != self.seed:
            raise ConfigError(
                f"LimitLoss: a state must have the seed of the loss, {self.seed}; got {state['seed']}. "
                "Build the loss with that seed."
            )
        self.step = state["step"]

    def extra_repr(self) -> str:
        """The options that tell one loss from another."""
        return f"q={self.q!r}, beta={self.beta}, lam={self.lam}, reduction={self.reduction!r}"
