"""Information in the weights: what a Gaussian around them costs to describe."""

from dataclasses import replace
from typing import Any, Literal, get_args

from torch import nn

from infotorch.blocks.weights import own_weights
from infotorch.capture.run import Fallback
from infotorch.errors import ConfigError, check_choice, check_limit, check_seed, check_whole
from infotorch.measures.weights.dual import Dual
from infotorch.measures.weights.family import Family, layer_sums
from infotorch.measures.weights.full_matrix import Blocks, Dense, DenseHessian
from infotorch.measures.weights.per_layer_factors import PerLayerFactors
from infotorch.measures.weights.per_weight import PerUnit, PerWeight
from infotorch.measures.weights.posterior import deviation
from infotorch.measures.weights.prior import PriorVariance, chosen, prior_of
from infotorch.measures.weights.problem import Labels, Problem
from infotorch.measures.weights.result import WeightsInformation, check_beta
from infotorch.measures.weights.rise import measured_rise, summed_loss
from infotorch.measures.weights.stochastic import Stochastic
from infotorch.task import Task

__all__ = ["ESTIMATORS", "GRAM_ROWS", "weights_information"]

WHERE = "weights_information"
GRAM_ROWS = 8192
"""Rows up to which the kernel of them is what ``"auto"`` takes: 0.5 GiB a matrix."""

Curvature = Literal["fisher", "empirical", "hessian"]
ESTIMATORS: dict[str, type[Family]] = {
    "gram": Dual,
    "kfac": PerLayerFactors,
    "diag": PerWeight,
    "filter": PerUnit,
    "block": Blocks,
    "dense": Dense,
    "slq": Stochastic,
}


def weights_information(
    task: Task,
    data: Any,
    *,
    beta: float = 1.0,
    prior_var: PriorVariance = 1.0,
    prior_mean: Any = None,
    curvature: Curvature = "fisher",
    estimator: str = "auto",
    labels: Labels = "exact",
    passes: int = 1,
    probes: int = 16,
    steps: int | Literal["auto"] = 40,
    draws: int = 8,
    per_layer: bool = True,
    per_sample: bool = False,
    seed: int = 0,
    memory_limit: int | None = None,
    fallback: Fallback | None = None,
) -> WeightsInformation:
    r"""Information in the weights, :math:`KL(Q^* \| P)` of the Gaussian around them that is best for a quadratic loss.

    With the loss summed over samples, its curvature F, prior :math:`P = N(w_0, \lambda^2 I)` and
    :math:`s = \lambda^2/\beta`:

    .. math:: Q^* = N(w, \beta (F + \tfrac{\beta}{\lambda^2} I)^{-1}), \qquad
        KL = \tfrac12 [\|w - w_0\|^2/\lambda^2 + \log|I + sF| - d_\text{eff}], \qquad
        d_\text{eff} = \operatorname{tr}[sF (I + sF)^{-1}]

    :math:`Q^*` minimizes :math:`C_\beta = E_Q[L] + \beta KL(Q\|P)` over all Gaussians centered at w, or over those that
    share the estimator's structure; :math:`\beta = 1` is the evidence lower bound. Achille, Paolini and Soatto, "Where
    is the information in a deep neural network?" (arXiv:1905.12213), print :math:`\beta/2` where :math:`\beta` stands
    here, for want of Taylor's 1/2: ``beta = b / 2`` gives the covariance of their formula at b. They also average the
    loss over samples: their beta is ours over N.

    It is a local number: the rise of the loss that the quadratic model predicts can be far below the true one at
    minima that saturate, so both are printed. For what the estimators guarantee see docs/weights-information.md.

    Args:
        task: Model, loss and parameters.
        data: (x, y) or a dict, or a DataLoader, which is read several times.
        beta: Units of the summed loss that a nat costs, above 0.
        prior_var: :math:`\lambda^2` above 0; a dict of one for each module path (or a path above it); ``"evidence"``
            for the one of least :math:`C_\beta`; ``"grid"`` for the best of a fixed grid, which a bound pays for.
        prior_mean: :math:`w_0`, flat [P] in ``named_parameters`` order or a dict of the parameters; default zeros.
        curvature: ``"fisher"``; ``"empirical"``, the outer products of the gradients at the data's labels; or
            ``"hessian"``, for small models, which must be positive definite with :math:`\beta/\lambda^2` added.
        estimator: ``"gram"``, exact, by the kernel of the M rows of F; ``"dense"``, exact, [P, P]; ``"block"`` of a
            parameter tensor; ``"kfac"``; ``"diag"``; ``"filter"``, one variance an output unit, its bias included.
            ``"slq"``, the exact matrix by random probes, in no memory to speak of and without a posterior to draw from.
            ``"auto"`` is gram for up to 8192 rows (N (C - 1) for cross-entropy, N C for mse, N for one logit), else
            kfac where every parameter is in a linear or convolutional layer, else diag; dense for a Hessian.
        labels: How the Fisher matrix is summed: ``"exact"``; ``"sketch"``, random signs, unbiased; ``"sampled"``,
            labels drawn from the model, unbiased but of little use at a fitted one; ``"empirical"``, as the curvature.
        passes: Backward passes of ``"sketch"`` and draws of ``"sampled"``.
        probes: Of ``"slq"``, at least 2.
        steps: Of each probe, at least 2; or ``"auto"``, which doubles them until they change less than probes.
        draws: Of the posterior, for the measured rise; 0 for none.
        per_layer: Give each layer's part, which for gram takes a kernel a layer.
        per_sample: Compute leverages and leave-one-out outputs now; else when first read.
        seed: Of all that is drawn.
        memory_limit: Bytes of pairs and matrices, 2 GiB if not given, as ``fisher`` and ``ntk`` take it.
        fallback: ``"func"`` takes gradients of parameters outside of supported layers by torch.func; None refuses them.

    Returns:
        :class:`WeightsInformation`, in nats for losses in nats; it keeps the model, for products with its Jacobian,
        and for gram the kernel, [N C, N C].

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer.
        ConfigError: An option is unknown, out of range or contradicts another; or a matrix exceeds ``memory_limit``.
        DataError: There are no samples, or they are not what the model and the loss take.
        NotSupported: The loss is a function, whose Fisher information nobody knows.
        NumericsError: Weights or losses are not finite, or the Hessian has no optimum.
        ShapeError: ``prior_mean`` has other sizes than the parameters.

    Example:
        >>> task = Task(nn.Linear(2, 1, bias=False).eval(), loss="mse")
        >>> data = torch.eye(2), torch.zeros(2, 1)
        >>> found = weights_information(task, data, prior_mean=task.model.weight.flatten())
        >>> round(found.nats, 4)  # two directions of curvature 1: (log 2 - 1/2) / 2 each
        0.1931
    """
    curvature, labels = _checked(task, estimator, curvature, labels, prior_var)
    beta = check_beta(beta)
    check_limit(WHERE, memory_limit)
    seed = check_seed(WHERE, seed)
    check_whole(WHERE, "passes", passes, 1)
    check_whole(WHERE, "draws", draws, 0)
    task.check_mode()
    w = own_weights(WHERE, task)
    prior = prior_of(task, prior_var, prior_mean, w.device)
    problem = Problem(
        task=task,
        data=data,
        labels=labels,
        passes=passes,
        seed=seed,
        relative=prior.relative,
        per_layer=per_layer,
        memory_limit=memory_limit,
        fallback=fallback,
        probes=probes,
        steps=steps,
        largest=prior.asked / beta if isinstance(prior.asked, float) else None,
    )
    seen = summed_loss(problem)
    if estimator == "auto":
        estimator = "dense" if curvature == "hessian" else _choice(problem, seen.N)
    family = (DenseHessian if curvature == "hessian" else ESTIMATORS[estimator]).of(problem)
    choice = chosen(prior, lambda: family.spectrum, prior.distance(w), beta)
    family.check(choice.scale, beta)
    result = WeightsInformation(
        beta=beta,
        prior_var=prior.asked if isinstance(prior.asked, dict) else choice.scale,
        prior=prior.asked if isinstance(prior.asked, str) else "given",
        union_cost=choice.union_cost,
        curvature=curvature,
        estimator=estimator,
        labels=labels,
        loss=seen.loss,
        measured=None,
        N=seen.N,
        P=len(w),
        dist2=float((w - prior.mean).square().sum()),
        _family=family,
        _scale=choice.scale,
        _distances=layer_sums((w - prior.mean).square() / prior.relative, task.shapes),
        _around={"mean": w, "shapes": task.shapes, "deviation": deviation(prior.relative, choice.scale)},
    )
    if draws and family.drawable:
        measured = measured_rise(problem, result.posterior(), draws=draws, loss=seen.loss)
        result = replace(result, measured=measured)
    if per_layer:
        result.per_layer  # noqa: B018  (read, so that it is computed now)
    if per_sample:
        result.leverage  # noqa: B018  (likewise)
    return result


def _checked(task: Task, estimator: str, curvature: Any, labels: Any, prior_var: Any) -> tuple[Curvature, Labels]:
    """Curvature and labels that go together."""
    if not isinstance(task, Task):
        raise ConfigError(
            f"{WHERE}: task must be a Task; got {type(task).__name__}. Pass Task(model, loss=...), and the data."
        )
    choices = {
        "estimator": (estimator, ("auto", *ESTIMATORS)),
        "curvature": (curvature, get_args(Curvature)),
        "labels": (labels, get_args(Labels)),
    }
    for what, (word, valid) in choices.items():
        check_choice(WHERE, what, word, valid)
    if curvature == "hessian":
        for what, got, only in (("estimator", estimator, ("auto", "dense")), ("labels", labels, ("exact",))):
            if got not in only:
                raise ConfigError(
                    f'{WHERE}: curvature="hessian" is of the data\'s labels and dense; got {what}={got!r}. Leave '
                    f'{what} out, or pass curvature="fisher".'
                )
        if isinstance(prior_var, str):
            raise ConfigError(
                f'{WHERE}: prior_var must be a number for curvature="hessian", which some priors leave without an '
                f'optimum; got {prior_var!r}. Pass a number, or curvature="fisher".'
            )
        return "hessian", "exact"
    if "empirical" in (curvature, labels):
        if labels in ("sketch", "sampled"):
            raise ConfigError(
                f'{WHERE}: curvature="empirical" is of the data\'s labels; got labels={labels!r}. Leave one of them '
                "out."
            )
        return "empirical", "empirical"
    return "fisher", labels


def _choice(problem: Problem, N: int) -> str:
    """The estimator for N samples, by sizes and kinds of layers alone."""
    if N * problem.rows_per_sample <= GRAM_ROWS and problem.gram_bytes(N) <= problem.limit:
        return "gram"
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    held = {id(p) for m in problem.task.model.modules() if isinstance(m, layers) for p in m._parameters.values()}
    return "kfac" if all(id(p) in held for p in problem.task.parameters().values()) else "diag"
