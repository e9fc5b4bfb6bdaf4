"""Bounds as functions of given informations: checks what comes in, then asks the table ``BOUNDS``."""

import math
from typing import Any, Literal

import numpy as np
from torch import Tensor

from infotorch import errors
from infotorch.bounds.theory.bound import Bound
from infotorch.bounds.theory.statements import BOUNDS
from infotorch.errors import ConfigError, ShapeError

__all__ = ["formula", "plain_lipschitz", "vacuous"]

ROUNDING = 1e-12
"""Informations this little below 0, and this little (relatively) above a ceiling, are rounding."""
ZERO = 1e-14
"""Informations below are 0: a root would make 1e-7 of them."""

Array = float | np.ndarray | Tensor | list | tuple


def formula(
    id: str,
    information: Array | None = None,
    *,
    n: int | None = None,
    m: int = 1,
    sigma: float = 0.5,
    weights: Array | None = None,
    constant: Literal["sharp", "paper"] | None = None,
    train_risk: float | None = None,
    zero_one: bool | None = None,
    c: float | None = None,
    size: int | None = None,
    d: int | None = None,
    gamma: float | None = None,
    beta: float | None = None,
    beta1: float | None = None,
    beta2: float | None = None,
    k: int | None = None,
) -> float:
    r"""The right-hand side of the bound ``id``; ``print(BOUNDS[id])`` says of what, and what it takes.

    With f-CMI for example (Harutyunyan et al., arXiv 2110.01584), :math:`E_{z,u} \sqrt{2 I^z(F_u; J_u) / m}`: the mean
    of roots over U, then the weighted mean over Z. A bound where the informations are exact; where they are estimates,
    the value is an estimate. None of those of the expected gap says anything of the gap of one run.

    Args:
        id: A key of ``BOUNDS``.
        information: Nats: one number (the same for all), [U] or [Z, U]. U counts the n samples (m = 1), subsets of
            size m, or the n(n-1)/2 unordered pairs, and is 1 for ``xr``, ``loo``, ``loo_f``, ``weight2``, ``fcmi2``
            and ``fcmi2_tight``, whose information is of all at once. Z counts supersamples, or seeds where the
            statement has no supersample. The mean over Z is of roots, but for ``ld_flat``, ``kl``, ``interp``,
            ``fcmi2`` and ``fcmi2_tight`` of informations, as their statements say. None for the ids that need no
            information.
        n: Training samples.
        m: Size of the subsets, from 1 to n.
        sigma: The loss is sigma-subgaussian; 1/2 for a loss in [0, 1].
        weights: [Z], chances that add up to 1; default equal.
        constant: "sharp" (default), or "paper", for ``pair2``, ``stable`` and ``bagging``.
        train_risk: The expected train risk, in [0, 1], for ``kl``.
        zero_one: Whether the loss is 0 or 1, for ``interp``; default False.
        c: In (0, 1), for ``fcmi2_tight``; default the best one.
        size: Hypotheses, for ``finite``.
        d: VC dimension for ``vc``; dimension of a prediction for ``stable``, ``stable2`` and ``bagging``.
        gamma: Lipschitz constant of the loss in the prediction.
        beta: Stability: root mean squared move of the prediction at a training sample that is drawn anew.
        beta1: The same at a test point, for ``stable2``.
        beta2: The same at another training point, for ``stable2``.
        k: Size of a bag, from 1 to n, for ``bagging``.

    Returns:
        The bound; nats for ``vc`` and ``finite``, else in units of the loss (or of its square).

    Raises:
        ConfigError: An unknown id; an option that the id lacks, needs, or that is out of range; an information that is
            negative, not a number, or above its ceiling.
        ShapeError: ``information`` or ``weights`` has too many axes, or one of the wrong length.

    Example:
        >>> formula("fcmi", [[0.02, 0.08]], n=2)
        0.30000000000000004
    """
    where = f"formula({id!r})"
    errors.check_choice("formula", "id", id, BOUNDS)
    bound = BOUNDS[id]
    named = {"constant": constant, "train_risk": train_risk, "zero_one": zero_one, "c": c, "size": size, "d": d}
    named |= {"gamma": gamma, "beta": beta, "beta1": beta1, "beta2": beta2, "k": k}
    given = {name: value for name, value in named.items() if value is not None}
    _check_options(where, bound, given, n=n, m=m, sigma=sigma)
    given |= {"m": m, "sigma": sigma} | ({} if n is None else {"n": n})
    for name, value in given.items():
        _check_range(where, name, value)
    for name, part in (("m", m), ("k", k)):
        if name in bound.options and n is not None and part is not None and part > n:
            raise ConfigError(f"{where}: {name} must be at most n = {n}; got {part}. Lower {name}.")
    arguments = {name: value for name, value in given.items() if name in bound.parameters}
    if not bound.information:
        if information is not None or weights is not None:
            what = "information" if information is not None else "weights"
            raise ConfigError(f"{where}: takes no {what}; got one. Leave it out.")
        return bound.value(**arguments)
    assert n is not None
    nats = _informations(where, bound, information, n=n, m=m)
    return bound.value(nats, _chances(where, nats, weights), **arguments)


def vacuous(id: str, value: float, *, n: int | None = None) -> bool:
    """Whether the bound says nothing: it is no smaller than what holds for every learner.

    For a loss in [0, 1] that is 1 for gaps, squared gaps and risks, and n ln 2 nats for an information.

    Args:
        id: A key of ``BOUNDS``.
        value: The bound's value.
        n: Training samples; for ``vc`` and ``finite``.

    Raises:
        ConfigError: An unknown id, a value that isn't a number, or no n where one is needed.
    """
    errors.check_choice("vacuous", "id", id, BOUNDS)
    if math.isnan(value):
        raise ConfigError("vacuous: value must be a number; got nan. Look at what it is computed from.")
    trivial = BOUNDS[id].trivial
    if trivial is None:
        if n is None:
            raise ConfigError(f"vacuous: {id!r} needs n; got none. Pass n=, the number of training samples.")
        _check_range("vacuous", "n", n)
        trivial = n * math.log(2)
    return value >= trivial


def plain_lipschitz(*, gamma: float, beta: float) -> float:
    r"""A bound of the expected gap by stability alone, :math:`\gamma \beta`.

    Changing sample i for a fresh one moves the prediction at it by at most beta on average, hence the loss by at most
    gamma beta: no information is needed (derived here). Smaller than ``formula("stable")`` wherever that is below 1.

    Args:
        gamma: Lipschitz constant of the loss in the prediction.
        beta: Root mean squared move of the prediction at a training sample that is drawn anew.

    Raises:
        ConfigError: An argument is negative or not finite.
    """
    for name, value in (("gamma", gamma), ("beta", beta)):
        _check_range("plain_lipschitz", name, value)
    return gamma * beta


def _check_options(where: str, bound: Bound, given: dict[str, Any], *, n: int | None, m: int, sigma: float) -> None:
    """Each option that is given is one of the bound's, and none is missing. n is welcome everywhere."""
    chosen = [name for name, value, default in (("m", m, 1), ("sigma", sigma, 0.5)) if value != default]
    wrong = [name for name in [*given, *chosen] if name not in bound.options]
    if wrong:
        takes = ", ".join(bound.options) or "none"
        raise ConfigError(f"{where}: options must be of {takes}; got {wrong[0]}. Leave {wrong[0]} out.")
    missing = [name for name in bound.required if name not in given and (name != "n" or n is None)]
    if missing:
        raise ConfigError(
            f"{where}: {', '.join(bound.required)} must be given; got no {missing[0]}. Add {missing[0]}=."
        )


def _check_range(where: str, name: str, value: Any) -> None:
    """One option is of its type and in its range."""
    if name in ("n", "m", "size", "d", "k"):
        good, what = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1, "an int >= 1"
    elif name == "constant":
        good, what = value in ("sharp", "paper"), "'sharp' or 'paper'"
    elif name == "zero_one":
        good, what = isinstance(value, bool), "True or False"
    elif not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        good, what = False, "a number"
    elif name == "train_risk":
        good, what = 0 <= value <= 1, "in [0, 1]"
    elif name == "c":
        good, what = 0 < value < 1, "in (0, 1)"
    elif name == "sigma":
        good, what = 0 < value < math.inf, "finite and above 0"
    else:
        good, what = 0 <= value < math.inf, "finite and at least 0"
    if not good:
        raise ConfigError(f"{where}: {name} must be {what}; got {value!r}. Correct {name}.")


def _floats(where: str, name: str, value: Array) -> np.ndarray:
    """A float64 array, whatever it came as."""
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    except ValueError as error:
        raise ShapeError(f"{where}: {name} must have rows of one length; got {error}. Pass an array.") from error
    if array.dtype.kind not in "fiu":
        raise ConfigError(f"{where}: {name} must be numbers; got {array.dtype}. Pass floats.")
    return array.astype(np.float64)


def _informations(where: str, bound: Bound, information: Array | None, *, n: int, m: int) -> np.ndarray:
    """The informations as [] , [U] or [Z, U], with rounding below 0 taken away."""
    if information is None:
        raise ConfigError(f"{where}: needs {bound.information}, in nats; got none. Pass it as the second argument.")
    nats = _floats(where, "information", information)
    shape = list(nats.shape)
    if len(shape) > 2 or 0 in shape or (shape and not bound.entries and shape[-1] != 1):
        raise ShapeError(f"{where}: information must be {bound.shapes}; got {shape}. Pass {bound.information}.")
    if shape and bound.entries:
        every = {"samples": n, "subsets": math.comb(n, m), "pairs": math.comb(n, 2)}[bound.entries]
        some = bound.entries == "subsets" and m > 1  # a mean over all samples, but over as many subsets as one likes
        if shape[-1] > every or (shape[-1] < every and not some):
            what = f"{'at most ' if some else ''}{every} {bound.entries}"
            raise ShapeError(f"{where}: information must end in an axis of {what}; got {shape}. Pass one number each.")
    if bound.entries == "pairs" and n < 2:
        raise ConfigError(f"{where}: n must be at least 2; got {n}. One sample makes no pair.")
    ceiling = math.inf if bound.ceiling is None else bound.ceiling(n, m)
    for holds, what, todo in (
        (nats >= -ROUNDING, "at least 0", "Clip estimates that may be negative."),
        (nats <= ceiling * (1 + ROUNDING), f"at most {ceiling:.6g} nats", "Pass nats, not bits; clip estimates."),
    ):
        if not holds.all():
            place = tuple(int(i) for i in np.argwhere(~holds)[0])
            at = f" at {list(place)}" if place else ""
            raise ConfigError(f"{where}: information must be {what}; got {nats[place]:.6g}{at}. {todo}")
    return np.where(nats < ZERO, 0.0, nats)


def _chances(where: str, nats: np.ndarray, weights: Array | None) -> np.ndarray | None:
    """The weights of Z, [Z]."""
    if weights is None:
        return None
    chances = _floats(where, "weights", weights)
    if nats.ndim < 2 or chances.shape != nats.shape[:1]:
        want = f"[{len(nats)}]" if nats.ndim == 2 else "left out, as information has no axis Z"
        raise ShapeError(f"{where}: weights must be {want}; got {list(chances.shape)}. Pass one weight a supersample.")
    if not (chances >= 0).all() or not abs(chances.sum() - 1) <= 1e-9:
        got = f"a sum of {chances.sum():.6g}"
        raise ConfigError(f"{where}: weights must be at least 0 and add up to 1; got {got}. Divide by their sum.")
    return chances
