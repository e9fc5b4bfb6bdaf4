"""How far two task embeddings are from each other."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from infotorch.errors import ConfigError, NumericsError, ShapeError, check_choice, check_number
from infotorch.measures.embedding.embedding import Embedding

__all__ = ["KINDS", "task_distance"]

Kind = Literal["cosine", "kl", "asymmetric_kl", "variance_cosine", "correlation", "entropy"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EPSILON = 1e-8
"""Added to the sum that each filter is divided by: that of the authors' program."""


def task_distance(
    a: Embedding | Tensor,
    b: Embedding | Tensor,
    *,
    kind: Kind = "cosine",
    trivial: Embedding | Tensor | None = None,
    alpha: float | None = None,
    floor: float | None = None,
) -> float:
    r"""Distance of two task embeddings F_a and F_b; with a trivial one, :math:`d(a, b) - \alpha\, d(a, t)`.

    ``"cosine"`` is 1 - cos of F_a / (F_a + F_b + 1e-8) and F_b / (F_a + F_b + 1e-8), the paper's symmetric distance,
    in [0, 1]: filters count alike, whatever their scale. Filters that are 0 in both add nothing. With the variances
    v = 1 / F, ``"kl"`` is the sum over filters of the larger of the two divergences of N(0, v_a) and N(0, v_b) in
    nats, ``"asymmetric_kl"`` that of N(0, v_a) from N(0, v_b), ``"variance_cosine"`` 1 - cos of v over the prior's
    variance, ``"correlation"`` 1 - r of v. ``"entropy"`` is log 2 less the mean entropy of a coin of probability
    F_a / (F_a + F_b + 1e-8), in nats. Achille et al., "Task2Vec" (arXiv:1902.03545), and its authors'
    program, whose Jensen-Shannon divergence is left out, as it is none.

    With ``trivial``, the embedding t of a task without structure, and ``alpha`` it is the paper's asymmetric distance
    of a target b from a source a: sources that are complex are nearer. ``alpha`` is chosen on tasks held out.

    Args:
        a: Embedding, or [F] of a floating dtype, never negative.
        b: Another of the same filters.
        kind: Which distance.
        trivial: A third, for the asymmetric distance; together with ``alpha``.
        alpha: Weight of the distance to ``trivial``.
        floor: Smaller values are raised to it; what filters without any information need where variances are compared.

    Returns:
        The distance: without unit, in nats for the divergences and the entropy.

    Raises:
        ConfigError: An option is unknown, or ``trivial`` and ``alpha`` do not come together.
        NumericsError: A value is not finite or negative, an embedding is zero, or a filter's is where the distance
            divides by it; the text names the filter.
        ShapeError: The embeddings are not of the same filters.

    Example:
        >>> task_distance(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0]))
        0.4...
    """
    check_choice("task_distance", "kind", kind, KINDS)
    if (trivial is None) != (alpha is None):
        raise ConfigError(
            "task_distance: trivial and alpha must come together; got "
            f"{'alpha' if trivial is None else 'trivial'} alone. Pass both, or neither for the distance itself."
        )
    floor = None if floor is None else check_number("task_distance", "floor", floor, "Correct floor.")
    alpha = None if alpha is None else check_number("task_distance", "alpha", alpha, "Correct alpha.")
    if floor is not None and not (math.isfinite(floor) and floor > 0):
        raise ConfigError(f"task_distance: floor must be finite and above 0; got {floor}. Correct floor.")
    if alpha is not None and not math.isfinite(alpha):
        raise ConfigError(f"task_distance: alpha must be finite; got {alpha}. Correct alpha.")
    given = {"a": a, "b": b} if trivial is None else {"a": a, "b": b, "trivial": trivial}
    filters = _check_alike(given)
    values = {name: _values(name, one, filters, floor) for name, one in given.items()}
    priors = {name: _prior(one) for name, one in given.items()}

    def distance(one: str, other: str) -> float:
        pair = values[one], values[other]
        _check_defined(kind, *pair, filters)
        if kind == "variance_cosine":
            scaled = (
                v if prior is None else v * prior for v, prior in zip(pair, (priors[one], priors[other]), strict=True)
            )
            return _DISTANCES[kind](*scaled)
        return _DISTANCES[kind](*pair)

    return distance("a", "b") if alpha is None else distance("a", "b") - alpha * distance("a", "trivial")


def _angle(u: Tensor, v: Tensor) -> float:
    """1 - cos, as half the squared distance of unit vectors: exact where they are nearly the same."""
    return float((u / u.norm() - v / v.norm()).square().sum() / 2)


def _shares(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    total = a + b + EPSILON
    return a / total, b / total


def _divergences(a: Tensor, b: Tensor) -> Tensor:
    """KL of N(0, 1/a) from N(0, 1/b), filter by filter."""
    ratio = b / a
    return (ratio - 1 - ratio.log()) / 2


def _cosine(a: Tensor, b: Tensor) -> float:
    return _angle(*_shares(a, b))


def _kl(a: Tensor, b: Tensor) -> float:
    return float(torch.maximum(_divergences(a, b), _divergences(b, a)).sum())


def _asymmetric_kl(a: Tensor, b: Tensor) -> float:
    return float(_divergences(a, b).sum())


def _variance_cosine(a: Tensor, b: Tensor) -> float:
    return _angle(1 / a, 1 / b)


def _correlation(a: Tensor, b: Tensor) -> float:
    centered = []
    for name, v in (("a", 1 / a), ("b", 1 / b)):
        if bool((v == v[0]).all()):
            raise NumericsError(
                f"task_distance: variances must differ between filters for kind='correlation'; got {float(v[0])} for "
                f"all filters of {name}. Use kind='cosine'."
            )
        centered.append(v - v.mean())
    return _angle(*centered)


def _entropy(a: Tensor, b: Tensor) -> float:
    p = _shares(a, b)[0]
    return math.log(2) + float((torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).mean())


_DISTANCES: dict[Kind, Callable[[Tensor, Tensor], float]] = {
    "cosine": _cosine,
    "kl": _kl,
    "asymmetric_kl": _asymmetric_kl,
    "variance_cosine": _variance_cosine,
    "correlation": _correlation,
    "entropy": _entropy,
}


def _check_alike(given: dict[str, Embedding | Tensor]) -> Sequence[str] | None:
    """Names of the filters that all are of; None where tensors tell none."""
    for name, one in given.items():
        if not isinstance(one, Embedding) and not (
            isinstance(one, Tensor) and one.dim() == 1 and one.is_floating_point()
        ):
            got = f"{one.dtype} {list(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
            raise ShapeError(
                f"task_distance: {name} must be an Embedding or floats [F]; got {got}. "
                "Pass what task_embedding returns."
            )
    lengths = {name: len(one) for name, one in given.items()}
    if len(set(lengths.values())) > 1 or not lengths["a"]:
        got = ", ".join(f"{length} in {name}" for name, length in lengths.items())
        raise ShapeError(
            f"task_distance: embeddings must have as many filters, at least one; got {got}. Embed all tasks by the "
            "same layers of one probe."
        )
    known = {name: one for name, one in given.items() if isinstance(one, Embedding)}
    if not known:
        return None
    (first, one), *rest = known.items()
    for name, other in rest:
        if other.filters != one.filters:
            i = next(i for i, pair in enumerate(zip(one.filters, other.filters, strict=True)) if pair[0] != pair[1])
            raise ShapeError(
                f"task_distance: embeddings must be of the same filters; got {one.filters[i]} in {first} and "
                f"{other.filters[i]} in {name}. Embed all tasks by the same layers of one probe."
            )
        if other.meta.get("method") != one.meta.get("method"):
            raise ConfigError(
                f"task_distance: embeddings must be made by one method; got {one.meta.get('method')!r} for {first} and "
                f"{other.meta.get('method')!r} for {name}. Embed all tasks alike."
            )
    return one.filters


def _values(name: str, one: Embedding | Tensor, filters: Sequence[str] | None, floor: float | None) -> Tensor:
    values = one.values if isinstance(one, Embedding) else one.detach().double().cpu()
    if not (allowed := values.isfinite() & (values >= 0)).all():
        place = int((~allowed).nonzero()[0])
        raise NumericsError(
            f"task_distance: embeddings must be finite and at least 0; got {float(values[place])} at filter "
            f"{_filter(place, filters)} of {name}. Embed that task again."
        )
    values = values if floor is None else values.clamp(min=floor)
    if not values.any():
        raise NumericsError(
            f"task_distance: an embedding must have a filter above 0; got zeros alone in {name}. Look whether the "
            "head's outputs depend on the probe, or are saturated."
        )
    return values


def _prior(one: Embedding | Tensor) -> Tensor | float:
    """Variances of the prior, as far as they differ between filters."""
    return 1.0 if not isinstance(one, Embedding) or one.prior_var is None else one.prior_var


def _check_defined(kind: Kind, a: Tensor, b: Tensor, filters: Sequence[str] | None) -> None:
    """Refuse to divide by 0: coins need a filter above 0 in either, variances in both."""
    if kind == "cosine":
        return
    undefined = (a + b if kind == "entropy" else torch.minimum(a, b)) == 0
    if undefined.any():
        place = int(undefined.nonzero()[0])
        raise NumericsError(
            f"task_distance: embeddings must be positive for kind={kind!r}; got 0 at filter {_filter(place, filters)}. "
            'Pass floor= or use "cosine".'
        )


def _filter(place: int, filters: Sequence[str] | None) -> str:
    return f"[{place}]" if filters is None else filters[place]
