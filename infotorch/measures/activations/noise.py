"""The posterior of the weights as noise of a layer's output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from infotorch.blocks.factors import FORMED_BYTES, sample_slice, write_gradients
from infotorch.blocks.layout import flattened, split
from infotorch.blocks.per_sample import written
from infotorch.blocks.weights import own_weights
from infotorch.capture import Capture, LayerPair
from infotorch.errors import ConfigError, ShapeError
from infotorch.linalg.definite import checked_eigh
from infotorch.measures.weights.dual import LowRankPosterior
from infotorch.task import Task

__all__ = ["Posterior", "WeightNoise", "output_covariance", "weight_noise"]

WHERE = "activations_information"
SAME = 1e-14
"""Relative difference of two products of the same numbers that rounding may make."""
AT_WEIGHTS = 1e-5
"""Relative distance of a posterior's mean from the model's weights that rounding may make."""


class Posterior(Protocol):
    """A Gaussian over the selected parameters, end to end in ``named_parameters`` order, in float64."""

    @property
    def mean(self) -> Tensor:
        """[P]."""

    @property
    def shapes(self) -> Mapping[str, torch.Size]:
        """The parameters, in order."""

    def times(self, V: Tensor) -> Tensor:
        """Sigma V for V [P, J]."""

    def sample(self, K: int, *, seed: int) -> Tensor:
        """[K, P]."""


@dataclass(frozen=True, kw_only=True)
class WeightNoise:
    """N(w, Sigma_w) around the model's weights w."""

    shapes: Mapping[str, torch.Size]
    variances: Tensor | None
    """[P], where Sigma_w is diagonal, or so but for what is ``taken``; float64."""
    times: Callable[[Tensor], Tensor]
    """Sigma_w V for V [P, J]."""
    sample: Callable[[int, int], Tensor]
    """Draws of the weights, [K, P], for K and a seed."""
    taken: Callable[[Capture], Tensor] | None = None
    """J (diag(variances) - Sigma_w) J^T of a capture with unit seeds, [N, K, K]: what data took of a prior."""
    taken_bytes: Callable[[int], int] = lambda K: 0
    """Bytes of that for a sample of K rows."""
    alike: Callable[[Capture], bool] = lambda cap: True
    """Whether ``taken`` holds for this capture."""

    @property
    def P(self) -> int:
        return sum(shape.numel() for shape in self.shapes.values())

    def nbytes(self, cap: Capture) -> int:
        """Bytes for a sample's rows beside its pairs."""
        by_pairs = self.variances is not None and self.alike(cap)
        return self.taken_bytes(cap.K) if by_pairs else 24 * cap.K * self.P


def weight_noise(task: Task, posterior: Any) -> WeightNoise:
    """The posterior, checked, in one form.

    Args:
        task: Whose selected parameters it is of.
        posterior: Variances [P], a covariance [P, P], a :class:`Posterior`, or what has one as ``.posterior()``.

    Raises:
        ConfigError: It is none of these, not finite, negative, not symmetric, or centred on other weights.
        ShapeError: It is of other parameters.
    """
    shapes = task.shapes
    P = sum(shape.numel() for shape in shapes.values())
    weights = own_weights(WHERE, task)
    if isinstance(posterior, Tensor):
        if posterior.shape not in {(P,), (P, P)}:
            raise ShapeError(
                f"{WHERE}: posterior must be [P] variances or [P, P] for the task's P = {P}; got "
                f"{list(posterior.shape)}. Lay the selected parameters end to end in named_parameters order."
            )
        Sigma = posterior.detach().to(weights)
        _check_covariance(Sigma)
        if Sigma.dim() == 1:
            return WeightNoise(
                shapes=shapes,
                variances=Sigma,
                times=lambda V: Sigma[:, None] * V,
                sample=lambda K, seed: weights + Sigma.sqrt() * _normal(K, P, seed, weights),
            )

        def sample(K: int, seed: int) -> Tensor:
            found = checked_eigh(WHERE, Sigma)
            return weights + (_normal(K, P, seed, weights) * found.values.sqrt()) @ found.vectors

        return WeightNoise(shapes=shapes, variances=None, times=lambda V: Sigma @ V, sample=sample)
    known = posterior.posterior() if hasattr(posterior, "posterior") else posterior
    if not all(hasattr(known, name) for name in ("mean", "shapes", "times", "sample")):
        raise ConfigError(
            f"{WHERE}: posterior must be a tensor or have mean, shapes, times and sample; got "
            f"{type(posterior).__name__}. Pass weights_information(task, data).posterior(), or variances [P]."
        )
    _check_parameters(known, shapes, weights)
    factored = isinstance(known, LowRankPosterior)
    return WeightNoise(
        shapes=shapes,
        variances=known.deviation.square().to(weights) if factored else _variances(known, weights),
        taken=known.taken if factored else None,
        taken_bytes=known.taken_bytes if factored else lambda K: 0,
        alike=known.alike if factored else lambda cap: True,
        times=lambda V: known.times(V.to(known.mean.device)).to(V),
        sample=lambda K, seed: known.sample(K, seed=seed).to(weights),
    )


def _variances(posterior: Posterior, like: Tensor) -> Tensor | None:
    """[P] of a diagonal covariance, None of any other.

    Only a diagonal one makes v * Sigma 1 of Sigma v: for another the two are equal at no v but on a set of measure 0.
    """
    v = torch.randn(len(like), dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(
        posterior.mean.device
    )
    ones, moved = posterior.times(torch.stack([torch.ones_like(v), v], 1)).unbind(1)
    if not bool(((moved - v * ones).abs() <= SAME * (v * ones).abs()).all()):
        return None
    return ones.to(like)


def output_covariance(cap: Capture, noise: WeightNoise) -> Tensor:
    """Sigma_z = J_w Sigma_w J_w^T of every sample, float64 [N, K, K], from the pairs of unit seeds on z."""
    K = cap.K
    total = cap.outputs.new_zeros(cap.N, K, K, dtype=torch.float64)
    if noise.variances is None or not noise.alike(cap):
        rows = {
            name: cap.outputs.new_empty(cap.N, K, *shape, dtype=cap.dtypes[name])
            for name, shape in noise.shapes.items()
        }
        written(cap, rows)
        J = flattened(rows, noise.shapes).double()  # [N, K, P]
        noisy = noise.times(J.flatten(0, 1).mT).mT.view(J.shape)
        total = J @ noisy.mT
        return (total + total.mT) / 2
    variances = split(noise.variances, noise.shapes)
    for pair in cap.pairs.values():
        if pair.T == pair.groups == 1 and pair.in_features is None and not pair.transposed:
            total += _by_inputs(pair, variances)
        else:
            _add_by_gradients(total, pair, variances)
    return total if noise.taken is None else total - noise.taken(cap)


def _by_inputs(pair: LayerPair, variances: Mapping[str, Tensor]) -> Tensor:
    """The part of a matrix that is used once a sample: the noise of its output has independent entries."""
    weight, *bias = pair.shapes
    a = pair.a.reshape(pair.N, pair.I).double()
    b = pair.b[:, :, 0].double()  # [N, K, O]
    at_output = a.square() @ variances[weight].reshape(pair.O, pair.I).mT  # [N, O]
    for name in bias:
        at_output = at_output + variances[name].flatten()
    return (b * at_output[:, None]) @ b.mT


def _add_by_gradients(total: Tensor, pair: LayerPair, variances: Mapping[str, Tensor]) -> None:
    """The part of a matrix that is used in several places, from its Jacobian rows, some samples at a time."""
    K = pair.b.shape[1]
    size = sum(shape.numel() for shape in pair.shapes.values())
    step = max(1, FORMED_BYTES // (8 * K * size))
    for start in range(0, pair.N, step):
        few = sample_slice(pair, slice(start, min(start + step, pair.N)))
        rows = {name: few.b.new_empty(few.N, K, *shape) for name, shape in few.shapes.items()}
        write_gradients(few, rows)
        for name, J in rows.items():
            scaled = J.flatten(2).double() * variances[name].flatten().sqrt()  # [n, K, size]
            total[start : start + few.N] += scaled @ scaled.mT


def _normal(K: int, P: int, seed: int, like: Tensor) -> Tensor:
    return torch.randn(K, P, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(like.device)


def _check_covariance(Sigma: Tensor) -> None:
    variances = Sigma if Sigma.dim() == 1 else Sigma.diagonal()
    if not bool(Sigma.isfinite().all()) or bool((variances < 0).any()):
        got = "a number that is not finite" if not bool(Sigma.isfinite().all()) else f"{float(variances.min()):.3g}"
        raise ConfigError(f"{WHERE}: variances of the posterior must be finite and at least 0; got {got}. Look at it.")
    apart = float((Sigma - Sigma.mT).abs().max()) if Sigma.dim() == 2 else 0.0
    if apart > 1e-10 * float(Sigma.abs().max()):
        raise ConfigError(
            f"{WHERE}: the posterior's covariance must be symmetric; got entries {apart:.3g} apart. Pass (S + S.T) / 2."
        )


def _check_parameters(posterior: Posterior, shapes: Mapping[str, torch.Size], weights: Tensor) -> None:
    own = {name: tuple(shape) for name, shape in posterior.shapes.items()}
    wanted = {name: tuple(shape) for name, shape in shapes.items()}
    if list(own.items()) != list(wanted.items()):
        odd = sorted(set(own.items()) ^ set(wanted.items())) or [*own.items()]
        raise ShapeError(
            f"{WHERE}: the posterior must be of the task's parameters in their order; got a difference at "
            f"{odd[0][0]!r}. Compute it for this task."
        )
    distance = float((posterior.mean.to(weights) - weights).norm())
    if not distance <= AT_WEIGHTS * float(weights.norm()):
        raise ConfigError(
            f"{WHERE}: the posterior's mean must be the model's weights; got one {distance:.3g} away from them. "
            "Load these weights into the model, or compute the posterior of it as it is."
        )
