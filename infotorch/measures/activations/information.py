"""What each layer's output tells of the input, when the weights below it are as uncertain as their posterior."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infotorch.blocks.loading import batches, is_loader
from infotorch.blocks.plan import MEMORY_LIMIT
from infotorch.capture import capture
from infotorch.errors import (
    ConfigError,
    DataError,
    NumericsError,
    ShapeError,
    check_limit,
    check_seed,
    check_whole,
    mebibytes,
    plain_number,
)
from infotorch.measures.activations.channel import (
    covariance_root,
    local_information,
    logdet,
    noiseless,
    spectrum,
    whitening,
    whole_spectrum,
)
from infotorch.measures.activations.noise import Posterior, WeightNoise, output_covariance, weight_noise
from infotorch.measures.activations.predictor import summed_losses
from infotorch.measures.activations.reading import Layer, Reading, input_jacobian, layers_of, rows_of
from infotorch.measures.activations.result import (
    ActivationsInformation,
    LayerInformation,
    TangentInformation,
    joined,
)
from infotorch.measures.activations.slopes import covariance_slopes
from infotorch.measures.activations.tangents import Tangent, named, tangents_of
from infotorch.measures.measure import Progress
from infotorch.task import Task

__all__ = ["activations_information", "check_asked"]

WHERE = "activations_information"
BATCH = 64
"""Samples of a forward, at most: more of them leave the caches and gain nothing."""


def activations_information(
    task: Task,
    data: Any,
    *,
    layers: str | Sequence[str],
    posterior: Posterior | Tensor | Any,
    tau: float,
    tangents: Mapping[str, Tangent] | Sequence[str] | None = None,
    rows: int | Mapping[str, int] | None = None,
    covariance_term: bool = False,
    draws: int = 8,
    seed: int = 0,
    memory_limit: int | None = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> ActivationsInformation:
    r"""Fisher information of every layer's output about the input, and the local information that follows, by sample.

    With weights :math:`N(w, \Sigma_w)` a layer's output z is, to first order, :math:`N(f_w(x), \Sigma_z)` with
    :math:`\Sigma_z = J_w \Sigma_w J_w^\top`, and

    .. math:: F_{z|x} = J_x^\top \Sigma_z^{-1} J_x
              + \tfrac12 \mathrm{tr}(\Sigma_z^{-1}\,\partial_a\Sigma_z\,\Sigma_z^{-1}\,\partial_b\Sigma_z)

    (Achille, Paolini, Soatto, arXiv 1905.12213, section 3; the second part with ``covariance_term``). The paper's
    Proposition 3.2 prints :math:`F_w` where :math:`(J_w F_w^{-1} J_w^\top)^{-1}` must stand, and this is the latter.

    .. math:: I_\tau(x) = \tfrac12\log|I + \tau^2 F_{z|x}|

    is the mutual information, in nats, of a jitter :math:`N(0, \tau^2 I)` of x and the linearized z, with
    :math:`\Sigma_z` held at x. For a layer, the weights at or below it carry noise. Units without noise (a dead ReLU)
    are dropped and counted, nothing is added to :math:`\Sigma_z`; where it is singular otherwise, its range is used,
    ``rank`` says how much that is, and ``noiseless`` how many directions of z follow x outside of it.

    A layer that tells little of a nuisance tells little only of what the noisy network still predicts with: read the
    numbers beside ``noisy_loss``.

    Args:
        task: Model in eval mode, loss, and the parameters that are uncertain.
        data: ``(x, y)``, x alone (then there is no loss), or a loader of these; x one tensor of floats [N, ...].
        layers: Module paths whose output is z, flattened a sample; ``""`` is the model.
        posterior: Of the selected parameters, end to end in ``named_parameters`` order: variances [P], a covariance
            [P, P], what :func:`infotorch.weights_information` returns, or its ``.posterior()``. Its mean must be the
            model's weights.
        tau: Deviation of the jitter, in units of x.
        tangents: {name: tangent}, directions in which x is changed: a tensor like x, a function of x, or for images
            [N, C, H, W] ``"rotation"`` (a radian about the centre), ``"shift"`` (a pixel to the right) or
            ``"brightness"`` (a unit of x, everywhere). A list of these three words names each by itself.
        rows: How many random rows of z to read of each layer, or {path: count} for the wide ones alone. What z tells
            is at least what some of its rows do.
        covariance_term: Also the second part of F, at d_z² double backwards a sample.
        draws: Draws of the weights for ``noisy_loss``.
        seed: Of rows and draws.
        memory_limit: Bytes of Jacobians and pairs: samples are taken some at a time, at most 64.
        progress: Called with ("activations", done, total) as samples of a layer are done; total is 0 for a loader.

    Returns:
        An :class:`ActivationsInformation`: ``result[path]`` has ``I_tau``, ``trace``, ``rank`` and ``dropped``, each
        [N]; ``result[path].tangents[name]`` has ``index`` and ``I_tau``.

    Raises:
        CaptureError: A selected parameter below a layer is used outside of a supported layer.
        ConfigError: An option is out of range, a path names no module that runs once, the model is in train mode, the
            posterior is centred elsewhere, or one sample exceeds ``memory_limit``.
        DataError: The data are empty, not finite, or not one tensor of floats a batch.
        NumericsError: A Jacobian is not finite, or the posterior's covariance has a negative direction.
        ShapeError: The posterior is of other parameters, or a tangent has another shape than x.

    Example:
        >>> task = Task(torch.nn.Linear(3, 2).eval(), loss="mse")
        >>> found = activations_information(task, torch.ones(5, 3), layers="", posterior=torch.ones(8), tau=0.1)
        >>> found[""].rank
        tensor([2, 2, 2, 2, 2])
    """
    memory_limit = MEMORY_LIMIT if memory_limit is None else memory_limit
    if not isinstance(task, Task):
        raise ConfigError(
            f"{WHERE}: task must be a Task; got {type(task).__name__}. Pass Task(model, loss=...), and the data."
        )
    tau, seed = plain_number(tau), check_seed(WHERE, seed)
    tangents = named(tangents)
    _check_options(tau, draws, memory_limit)
    task.check_mode()
    noise = weight_noise(task, posterior)
    loader = is_loader(data)
    weights = noise.sample(draws, seed) if draws else torch.zeros(0, noise.P)
    readings: list[_Read] = []
    pieces: dict[str, list[LayerInformation]] = {}
    start, done, plain, labelled = 0, 0, 0.0, True
    noisy = torch.zeros(draws, dtype=torch.float64)
    for batch in batches(WHERE, task, data) if loader else [data]:
        x = task.inputs(batch)
        N = _check_inputs(task, x)
        along = tangents_of(tangents, x, slice(start, start + N), None if loader else N)
        if not readings:
            found = layers_of(task, layers, x[:1])
            drawn = rows_of(found, rows, seed)
            readings = [_Read.of(task, layer, drawn[layer.path]) for layer in found]
        for read in readings:
            for few in _chunks(read, x, noise, covariance_term, memory_limit):
                own = {name: nu[few] for name, nu in along.items()}
                pieces.setdefault(read.layer.path, []).append(
                    _information(read, x[few], noise, own, tau, covariance_term, start + few.start)
                )
                done += few.stop - few.start
                if progress is not None:
                    progress("activations", done, 0 if loader else N * len(readings))
        y = task.labels(batch)
        labelled = labelled and y is not None
        if labelled:
            x, y = task.split(batch)
            loss, drawn_losses = summed_losses(task, x, y, weights)
            plain += loss
            noisy += drawn_losses.cpu()
        start += N
    for name, tangent in tangents.items():
        if isinstance(tangent, Tensor) and len(tangent) != start:
            raise ShapeError(
                f"{WHERE}: tangents[{name!r}] must be one tangent a sample, {start}; got {len(tangent)}. Lay them "
                "in the data's order."
            )
    known = labelled and draws > 0
    return ActivationsInformation(
        layers={path: joined(own) for path, own in pieces.items()},
        tau=float(tau),
        covariance_term=covariance_term,
        loss=plain / start if labelled else None,
        noisy_loss=float(noisy.mean()) / start if known else None,
        noisy_loss_stderr=float(noisy.std()) / start / math.sqrt(draws) if known and draws > 1 else None,
        draws=draws,
    )


def check_asked(
    task: Task, x: Tensor, *, layers: Any, tau: Any, tangents: Any = None, draws: Any = 8, **others: Any
) -> list[Layer]:
    """The layers that would be looked at; what can be refused without a posterior is refused, on one sample of x.

    Raises:
        ConfigError: An option is out of range or unknown.
        DataError: x is no tensor of floats.
        ShapeError: A tangent is of other inputs.
    """
    _check_options(tau, draws, others.get("memory_limit", MEMORY_LIMIT))
    task.check_mode()
    _check_inputs(task, x[:1])
    found = layers_of(task, layers, x[:1])
    tangents_of(named(tangents), x[:1], slice(0, 1), None)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """A layer, which of its rows are read, and the task whose outputs they are."""

    layer: Layer
    rows: Tensor | None
    task: Task

    @classmethod
    def of(cls, task: Task, layer: Layer, rows: Tensor | None) -> "_Read":
        return cls(layer=layer, rows=rows, task=Reading(task, layer.path, rows).task(task))

    @property
    def D(self) -> int:
        return self.layer.width if self.rows is None else len(self.rows)


def _information(
    read: _Read,
    x: Tensor,
    noise: WeightNoise,
    along: Mapping[str, Tensor],
    tau: float,
    covariance_term: bool,
    start: int,
) -> LayerInformation:
    """Of some samples, which start at that place in the data."""
    N, I = len(x), x[0].numel()
    followed = x.detach().requires_grad_()
    with torch.enable_grad():
        z = read.task.outputs(followed.clone())  # a leaf must not be changed in place
    J = input_jacobian(z, followed)
    covariance = J.new_zeros(N, read.D, read.D)
    if read.layer.follows:
        with capture(read.task, (x, None), seeds="logits") as cap, torch.no_grad():
            covariance = output_covariance(cap, noise).to(J.device)
    gram = J @ J.mT
    _check_finite(read.layer.path, start, gram, covariance)
    found = whitening(covariance)
    values, root = spectrum(found, gram), None
    if covariance_term and read.layer.follows:
        slopes = covariance_slopes(read.task, x, noise)
        _check_finite(read.layer.path, start, slopes)
        root = covariance_root(found, slopes)
        values = whole_spectrum(found, J, root)
    trace = values.sum(1)
    tangents = {}
    for name, nu in along.items():
        nu = nu.flatten(1)[:, :, None].to(J)
        moved = (found.W @ (J @ nu)).square().sum((1, 2))  # nu^T F nu
        if root is not None:
            moved += (root @ nu).square().sum((1, 2))
        whole = nu.square().sum((1, 2)) * trace
        index = torch.where(whole > 0, I * moved / whole, torch.nan)  # a dead layer is not an invariant one
        tangents[name] = TangentInformation(index=index.cpu(), I_tau=0.5 * torch.log1p(tau**2 * moved).cpu())
    return LayerInformation(
        I_tau=local_information(values, tau).cpu(),
        trace=trace.cpu(),
        rank=found.rank.cpu(),
        dropped=found.dropped.cpu(),
        noiseless=noiseless(found, gram, torch.finfo(z.dtype).eps).cpu(),
        logdet=logdet(values, I).cpu(),
        width=read.layer.width,
        inputs=I,
        rows=read.rows,
        tangents=tangents,
    )


def _chunks(read: _Read, x: Tensor, noise: WeightNoise, covariance_term: bool, memory_limit: int) -> Iterator[slice]:
    """Samples that are worked on at once."""
    D, I, nbytes = read.D, x[0].numel(), 0
    if read.layer.follows:
        with capture(read.task, (x[:1], None), seeds="logits") as cap:
            nbytes = cap.nbytes + noise.nbytes(cap)
    nbytes += 8 * D * (4 * I + 8 * D) + (24 * D * D * I if covariance_term else 0)
    if nbytes > memory_limit:
        raise ConfigError(
            f"{WHERE}: memory_limit must hold one sample's Jacobians at {read.layer.path!r} (needs {mebibytes(nbytes)} "
            f"for {D} rows); got {mebibytes(memory_limit)}. Raise it, or read fewer rows with rows=."
        )
    step = min(BATCH, memory_limit // nbytes)
    return (slice(start, min(start + step, len(x))) for start in range(0, len(x), step))


def _check_options(tau: Any, draws: Any, memory_limit: int) -> None:
    if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not 0 < tau < math.inf:
        raise ConfigError(
            f"{WHERE}: tau must be finite and above 0; got {tau!r}. Pass the deviation of a small change of x, in its "
            "units."
        )
    check_whole(WHERE, "draws", draws, 0, "Pass 0 for no noisy loss.")
    check_limit(WHERE, memory_limit)


def _check_inputs(task: Task, x: Any) -> int:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise DataError(
            f"{WHERE}: x must be one tensor of floats, that z has a derivative in; got {got}. For tokens, make a model "
            "of the embedded ones."
        )
    return task.check_inputs(x)


def _check_finite(path: str, first: int, *values: Tensor) -> None:
    for value in values:
        finite = value.flatten(1).isfinite().all(1)
        if not finite.all():
            n = first + int((~finite).nonzero()[0])
            raise NumericsError(
                f"{WHERE}: a layer's Jacobians must be finite; got NaN or infinity at {path!r} for sample {n}. Look at "
                "the model's weights and at that sample."
            )
