"""What informations of single samples cannot say, on learners that are enumerated: nothing is sampled or estimated.

:func:`coset` is a learner whose output is independent of every single training sample and whose gap is 1/2 in absolute
value after every training set. :func:`play` takes a learner of yours.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from infotorch.bounds.theory.bound import NOT_THIS_RUN
from infotorch.bounds.theory.formulas import formula, vacuous
from infotorch.bounds.theory.statements import BOUNDS
from infotorch.errors import ConfigError

__all__ = ["Witness", "coset", "play", "xor"]

MAX_SETS = 2**16
"""Training sets that are enumerated, at most."""
MAX_RUNS = 2**20
"""Losses, or pairs of a supersample and a mask, at most."""


@dataclass(frozen=True, kw_only=True)
class Witness:
    """All that can happen to a deterministic learner on n samples, uniform on finitely many points.

    Informations are in nats; the gap is test minus train. Every number is exact up to rounding.
    """

    n: int
    """Training samples."""
    num_points: int
    """Values that a sample can have."""
    num_hypotheses: int
    """Values that W has."""
    exp_risk: float
    """E R(W)."""
    exp_train: float
    """E r_S(W)."""
    exp_gap: float
    """E[R(W) - r_S(W)]."""
    exp_sq_gap: float
    """E[(R(W) - r_S(W))²]."""
    least_gap: float
    """The smallest absolute gap over all training sets."""
    I_W_single: float
    """I(W;Z_i), the largest over i."""
    I_W_pair: float
    """I(W;Z_i,Z_k), the largest over pairs."""
    I_W_prefix: tuple[float, ...]
    """I(W;Z_1..Z_k) for k = 1..n; the last is I(W;S)."""
    samplewise_bound: float
    """The bound ``bu`` of the absolute expected gap, from the informations of all single samples."""
    pair_sq_bound_derived: float
    """The bound ``pair2`` of the expected squared gap, from the informations of all pairs."""
    pair_sq_bound_paper: float
    """The same with the paper's constant."""
    ecmi_bound: float | None
    """The bound ``ecmi`` with m = 1 of the absolute expected gap; ``None`` where supersamples weren't asked for."""

    def __str__(self) -> str:
        """A table: each bound above what it bounds."""
        sets = self.num_points**self.n
        empty = ", vacuous" if vacuous("pair2", self.pair_sq_bound_derived) else ""
        rows = [
            ("I(W;Z_i), largest", self.I_W_single, "nats"),
            ("I(W;Z_i,Z_k), largest", self.I_W_pair, "nats"),
            ("I(W;S)", self.I_W_prefix[-1], "nats"),
            ("E gap", self.exp_gap, f"= {self.exp_risk:.6g} - {self.exp_train:.6g}"),
            ("  bu", self.samplewise_bound, f"{BOUNDS['bu'].kind} of |E gap|, from single samples"),
            ("E gap²", self.exp_sq_gap, ""),
            ("  pair2", self.pair_sq_bound_derived, f"{BOUNDS['pair2'].kind} of E gap², from pairs{empty}"),
            ("|gap|, smallest", self.least_gap, "over all training sets"),
        ]
        if self.ecmi_bound is not None:
            rows.insert(
                5, ("  ecmi", self.ecmi_bound, f"{BOUNDS['ecmi'].kind} of |E gap|, from losses of single pairs")
            )
        head = f"{self.n} samples, uniform on {self.num_points} points: all {sets} training sets, exactly"
        lines = [f"{name:<22} {value:<9.6g} {what}".rstrip() for name, value, what in rows]
        return "\n".join([head, *lines, f"bu {NOT_THIS_RUN}"])


def play(
    learner: Callable[[tuple], Hashable],
    loss: Callable[[Any, Any], float],
    *,
    points: Sequence,
    n: int,
    supersample: bool = False,
) -> Witness:
    """Enumerates a learner of yours: every training set, every information, the gap and its bounds.

    Change the learner, the loss, the points (repeat a point to make it likelier) and n, and try to make
    ``exp_gap`` exceed ``samplewise_bound``, or ``exp_sq_gap`` exceed ``pair_sq_bound_derived``: neither can happen.
    What can happen is ``I_W_single == 0`` with a large ``exp_sq_gap`` (:func:`coset`). And from independence of every
    pair, ``I_W_pair == 0``, follows ``exp_sq_gap <= 1/n`` (after Harutyunyan et al., arXiv 2205.06915).

    Args:
        learner: From a tuple of n points to W, hashable and the same at every call.
        loss: Of W at a point, in [0, 1].
        points: The values of a sample, all equally likely.
        n: Training samples, at least 2.
        supersample: Also enumerates all supersamples and masks, for ``ecmi_bound``.

    Raises:
        ConfigError: n is below 2, there is no point, there are more than 65,536 training sets (or 1,048,576 losses or
            pairs of supersample and mask), W isn't hashable, or a loss lies outside of [0, 1].

    Example:
        >>> play(lambda S: max(S), lambda w, z: float(z > w), points=range(4), n=2).exp_gap
        0.21875
    """
    P = len(points)
    if isinstance(n, bool) or not isinstance(n, int) or n < 2 or P < 1:
        raise ConfigError(
            f"play: n must be an int of at least 2, and points at least one; got n = {n}, {P} points. Enlarge them."
        )
    _limit("play", "training sets", P**n, MAX_SETS)
    if supersample:
        _limit("play", "pairs of supersample and mask", P ** (2 * n) * 2**n, MAX_RUNS)
    sets = np.stack(np.unravel_index(np.arange(P**n), (P,) * n), axis=1)  # [T, n]
    number: dict[Hashable, int] = {}
    try:
        w = np.array([number.setdefault(learner(tuple(points[i] for i in row)), len(number)) for row in sets.tolist()])
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        raise ConfigError(f"play: learner must return what is hashable; got {error}. Return a tuple.") from error
    _limit("play", "losses", len(number) * P, MAX_RUNS)
    losses = np.array([[loss(hypothesis, point) for point in points] for hypothesis in number], dtype=float)  # [W, P]
    if not ((losses >= 0) & (losses <= 1)).all():
        h, p = np.argwhere(~((losses >= 0) & (losses <= 1)))[0]
        raise ConfigError(f"play: loss must lie in [0, 1]; got {losses[h, p]} at {points[p]!r}. Clip or scale it.")

    risk, errors = losses.mean(1)[w], losses[w[:, None], sets].sum(1)  # [T]
    excess = n * risk - errors  # n times the gap: no division rounds what cancels
    single = [_information(w, sets[:, i]) for i in range(n)]
    pairs = [_information(w, sets[:, i] * P + sets[:, k]) for i in range(n) for k in range(i + 1, n)]
    prefix = [_information(w, np.arange(P**n) // P ** (n - k)) for k in range(1, n + 1)]
    return Witness(
        n=n,
        num_points=P,
        num_hypotheses=len(number),
        exp_risk=float(risk.mean()),
        exp_train=float(errors.mean() / n),
        exp_gap=float(excess.mean() / n),
        exp_sq_gap=float((excess**2).mean() / n**2),
        least_gap=float(abs(excess).min() / n),
        I_W_single=max(single),
        I_W_pair=max(pairs),
        I_W_prefix=tuple(prefix),
        samplewise_bound=formula("bu", single, n=n),
        pair_sq_bound_derived=formula("pair2", pairs, n=n, constant="sharp"),
        pair_sq_bound_paper=formula("pair2", pairs, n=n, constant="paper"),
        ecmi_bound=_ecmi(w, losses, n) if supersample else None,
    )


def coset(N: int, n: int) -> Witness:
    r"""A learner that is independent of each of its samples, and has a gap of 1/2 after every training set.

    Z is uniform on the :math:`2^N` words of N bits. W is the linear span G of :math:`\{z_1 \oplus z_i\}`. Number the
    cosets of G by smallest element, in increasing order; the loss of G at z is the parity of the number of z + G. All
    training samples lie in one coset, so the train error is 0 or 1; half of the cosets have loss 1, so the risk is
    1/2. Any one sample is uniform given G: :math:`I(W;Z_i) = 0`, hence no bound from single-sample informations alone
    can be of the squared gap, which is 1/4. (The statement: Harutyunyan et al., arXiv 2205.06915; this construction,
    smaller than the paper's, is derived here.)

    Args:
        N: Bits of a sample.
        n: Training samples, 2 to N; N n is at most 16.

    Raises:
        ConfigError: N or n is out of range.

    Example:
        >>> witness = coset(3, 3)
        >>> witness.I_W_single, witness.exp_gap, witness.exp_sq_gap
        (0.0, 0.0, 0.25)
    """
    if any(isinstance(size, bool) or not isinstance(size, int) for size in (N, n)) or not 2 <= n <= N:
        raise ConfigError(f"coset: N and n must be ints with 2 <= n <= N; got N = {N}, n = {n}. Lower n or raise N.")
    _limit("coset", "training sets", 2 ** (N * n), MAX_SETS)

    @cache
    def parities(G: tuple[int, ...]) -> list[float]:
        smallest = [min(z ^ g for g in G) for z in range(2**N)]
        place = {first: k for k, first in enumerate(sorted(set(smallest)))}
        return [float(place[first] % 2) for first in smallest]

    return play(_span, lambda G, z: parities(G)[z], points=range(2**N), n=n)


def xor(n: int) -> Witness:
    """A learner that returns the exclusive or of n fair bits, with the loss 1[w ≠ z].

    W is independent of every n - 1 of its samples, and set by all of them. No single sample's information, no gap on
    average; ``ecmi_bound`` is above 0 all the same, as a supersample that is given makes W a function of the bits.

    Args:
        n: Training samples, 2 to 6.

    Raises:
        ConfigError: n is out of range.
    """
    return play(lambda S: sum(S) % 2, lambda w, z: float(w != z), points=(0, 1), n=n, supersample=True)


def _span(S: tuple[int, ...]) -> tuple[int, ...]:
    """The sorted span over F_2 of the differences of the first word to the others."""
    span = {0}
    for z in S[1:]:
        span |= {v ^ S[0] ^ z for v in span}
    return tuple(sorted(span))


def _limit(where: str, what: str, number: int, most: int) -> None:
    if number > most:
        raise ConfigError(f"{where}: at most {most} {what} are enumerated; got {number}. Lower n or the points.")


def _counts(keys: np.ndarray) -> np.ndarray:
    """How often each entry's value occurs, in its place."""
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[place.reshape(keys.shape)]


def _information(a: np.ndarray, b: np.ndarray) -> float:
    """I(A;B), nats, of equally likely entries; exactly 0 where the two are independent."""
    together = _counts(a * (int(b.max()) + 1) + b)
    return float(np.log(together * a.size / (_counts(a) * _counts(b))).mean())


def _ecmi(w: np.ndarray, losses: np.ndarray, n: int) -> float:
    """The bound ecmi with m = 1, over all supersamples and masks: w [P^n] hypotheses, losses [W, P]."""
    P = losses.shape[1]
    pools = np.stack(np.unravel_index(np.arange(P ** (2 * n)), (P,) * (2 * n)), axis=1).reshape(-1, n, 2)
    bits = np.stack(np.unravel_index(np.arange(2**n), (2,) * n), axis=1)  # [2^n, n]
    learned = w[pools[:, np.arange(n), bits] @ P ** np.arange(n)[::-1]]  # [Z, 2^n]
    values, kind = np.unique(losses, return_inverse=True)
    kind = kind.reshape(losses.shape)
    nats = np.empty((len(pools), n))
    for i in range(n):
        first, second = (kind[learned, pools[:, i, column, None]] for column in (0, 1))
        state = (
            np.arange(len(pools))[:, None] * len(values) ** 2 + first * len(values) + second
        )  # no two rows share one
        together = _counts(state * 2 + bits[:, i])
        nats[:, i] = np.log(together * 2 / _counts(state)).mean(1)
    return formula("ecmi", nats, n=n)
