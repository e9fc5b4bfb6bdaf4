"""Information between what runs predict and how their splits fell: counted from runs, or exact. All in nats."""

import operator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from infotorch import _C
from infotorch.errors import ConfigError, DataError, ShapeError, check_choice

Integers = NDArray[np.integer[Any]]
Correction = Literal["none", "miller_madow", "jackknife"]

# Nats below which nothing but the rounding of a sum of logarithms is left.
ROUNDING = 1e-14
# How far a joint distribution's sum may be from 1.
SUM_ATOL = 1e-9
PASS_MASK = "Pass the mask row of each run."


@dataclass(frozen=True, kw_only=True)
class Occupied:
    """How many different values the runs of each sample took, int64 [n] each."""

    cells: NDArray[np.int64]
    """Pairs of a state and a bit."""
    bits: NDArray[np.int64]
    """Bits: 1 where all runs have the same."""
    states: NDArray[np.int64]
    """States; an estimate from K runs deserves trust where K is many times as large."""


def plugin_mi(
    states: ArrayLike,
    bits: ArrayLike,
    n_states: int,
    *,
    correction: Correction = "none",
    num_bits_states: int = 2,
) -> NDArray[np.float64]:
    r"""Plug-in estimate of each sample's information between state and bit, from K runs.

    :math:`\hat I = \frac{1}{K} (\sum_{bs} g(c_{bs}) - \sum_b g(c_b) - \sum_s g(c_s) + g(K))` with
    :math:`g(v) = v \ln v`, where c counts runs: the information of the empirical distribution. With bits drawn
    independently run by run it is too large on average where little is shown, by about
    :math:`(r_{bs} - r_b - r_s + 1) / 2K` with r the numbers of possible values, and may be too small where the state
    tells the bit. Where every sample has each bit in exactly half of the runs, and all runs' masks are marginally
    uniform, its mean is never below the truth: it is then the Jensen-Shannon divergence of two unbiased conditionals,
    in which it is jointly convex. The corrections lower the mean and lose that property.

    Counts are exact. The result doesn't depend on the order of runs or on the number of threads, to the bit.

    Args:
        states: What each run showed of each sample, [K, n], any integer dtype, in [0, n_states); see
            :func:`pair_states`, :func:`loss_states`, :func:`difference_states`, :func:`subset_states`.
        bits: The column that each run trained on, [K, n], 0 or 1; for subsets see :func:`subset_bits`.
        n_states: How many states there are; no table of that size is made beyond 65536.
        correction: ``"none"``; ``"miller_madow"`` subtracts the bias above with r the numbers of values that came;
            ``"jackknife"`` is :math:`K \hat I - \frac{K-1}{K} \sum_{bs} c_{bs} \hat I(c - e_{bs})`. Corrected values
            may be negative and are left so, for means over samples.
        num_bits_states: How many values a bit may have: 2, or 2^m for subsets of m samples.

    Returns:
        Nats, float64 [n]; exactly 0 below 1e-14, and never negative without a correction.

    Raises:
        ShapeError: Not [K, n] with K at least 1, or not of the same shape.
        DataError: Not integers, or out of range; the text names the first place.
        ConfigError: An unknown correction, no states, more states and bits than 63 binary digits can number, or a
            number of them that is no integer.

    Example:
        >>> plugin_mi([[0], [0], [3], [3]], [[0], [0], [1], [1]], 4)  # the state tells the bit: ln 2
        array([0.69314718])
    """
    check_choice("plugin_mi", "correction", correction, get_args(Correction))
    return _C.plugin_mi(*_runs("plugin_mi", states, bits, n_states, num_bits_states), correction)


def null_mean(states: ArrayLike, bits: ArrayLike, n_states: int, *, num_bits_states: int = 2) -> NDArray[np.float64]:
    r"""Mean of the plug-in over all permutations of each sample's bits: what it shows where there is no information.

    :math:`\sum_{bs} \sum_v \frac{v}{K} \ln \frac{K v}{c_b c_s} \, \mathrm{Hyp}(v; K, c_b, c_s)`, exact. As an
    expectation over random labelings it is that of Vinh, Epps and Bailey (JMLR 11, 2010).

    Args:
        states: As in :func:`plugin_mi`, [K, n].
        bits: As in :func:`plugin_mi`, [K, n].
        n_states: How many states there are.
        num_bits_states: How many values a bit may have.

    Returns:
        Nats, float64 [n], never negative.

    Raises:
        ShapeError: As :func:`plugin_mi`.
        DataError: As :func:`plugin_mi`.
        ConfigError: As :func:`plugin_mi`.
    """
    return _C.null_mean(*_runs("null_mean", states, bits, n_states, num_bits_states))


def occupied(states: ArrayLike, bits: ArrayLike, n_states: int, *, num_bits_states: int = 2) -> Occupied:
    """How many different cells, bits and states came among each sample's runs; arguments and errors of `plugin_mi`."""
    cells, rows, columns = _C.occupied(*_runs("occupied", states, bits, n_states, num_bits_states))
    return Occupied(cells=cells, bits=rows, states=columns)


def mutual_information(joint: ArrayLike) -> float:
    r"""Information between row and column of a joint distribution, :math:`\sum_{ab} p_{ab} \ln \frac{p_{ab}}{p_a p_b}`.

    Args:
        joint: Probabilities, [A, B], that sum to 1 up to 1e-9.

    Returns:
        Nats; exactly 0 below 1e-14.

    Raises:
        ShapeError: Not 2-D.
        DataError: A probability is negative or not finite, or they don't sum to 1.
    """
    p = np.asarray(joint, dtype=np.float64)
    if p.ndim != 2:
        raise ShapeError(f"mutual_information: joint must be [A, B]; got shape {list(p.shape)}. Flatten either side.")
    _refuse_first("mutual_information", "joint must hold probabilities", p, ~(np.isfinite(p) & (p >= 0)))
    if not abs(p.sum() - 1) <= SUM_ATOL:
        raise DataError(f"mutual_information: joint must sum to 1; got {p.sum():.10g}. Divide it by its sum.")
    a, b = np.nonzero(p)
    some = p[a, b]
    nats = float(np.sum(some * np.log(some / p.sum(1)[a] / p.sum(0)[b])))  # the product of both sums could underflow
    return 0.0 if nats < ROUNDING else nats


def pair_states(labels: ArrayLike, C: int) -> NDArray[np.int32]:
    """States of f-CMI: C times the label in column 0 plus the label in column 1, C² states.

    Args:
        labels: Predicted labels of both columns, [K, n, 2], any integer dtype, in [0, C).
        C: The number of classes.

    Returns:
        int32 [K, n].

    Raises:
        ShapeError: Not [K, n, 2].
        DataError: Not integers, or a label out of range; the text names the first place.
        ConfigError: C is no integer, below 2, or its square at least 2^31.
    """
    C = integer("pair_states", "C", C)
    given = _columns("pair_states", "labels", labels)
    if given.dtype.kind not in "biu":
        came = f"float predictions ({given.dtype})" if given.dtype.kind == "f" else f"dtype {given.dtype}"
        raise DataError(
            f"pair_states: labels must be integers; got {came} where labels are asked. "
            "Pass the arg max over classes, or losses to loss_states."
        )
    if C < 2:
        raise ConfigError(f"pair_states: C must be at least 2; got {C}. One class has no information.")
    if C * C >= 2**31:
        raise ConfigError(f"pair_states: C squared must be below 2^31; got C = {C}. Merge classes.")
    _in_range("pair_states", "labels", given, C, "Pass C as the number of classes.")
    pairs = given.astype(np.int32)
    return C * pairs[..., 0] + pairs[..., 1]


def loss_states(losses: ArrayLike) -> tuple[Integers, int]:
    """States of evaluated CMI: the losses of both columns, as numbers.

    0/1 losses give 2 e0 + e1. Of other losses each sample's different values are numbered, column by column: a state is
    then the pair of numbers, and has no meaning outside of its sample.

    Args:
        losses: Of both columns, [K, n, 2], finite. Losses count as equal only if all their digits are.

    Returns:
        States, integers [K, n], and their number, 4 for 0/1 losses.

    Raises:
        ShapeError: Not [K, n, 2] with K at least 1.
        DataError: Not real numbers, or not finite; the text names the first place.
    """
    given = _losses("loss_states", losses)
    if _zero_one(given):
        return (2 * given[..., 0] + given[..., 1]).astype(np.int32), 4
    first, second = _numbers(given[..., 0]), _numbers(given[..., 1])
    seconds = int(second.max(initial=0)) + 1
    n_states = (int(first.max(initial=0)) + 1) * seconds
    return _narrow(first * seconds + second, n_states), n_states


def difference_states(losses: ArrayLike) -> tuple[Integers, int]:
    """States of the loss-difference bound: column 1's loss minus column 0's, as a number.

    0/1 losses give 1 + e1 - e0. Of other losses each sample's different differences, formed in float64, are numbered.

    Args:
        losses: As in :func:`loss_states`, [K, n, 2].

    Returns:
        States, integers [K, n], and their number, 3 for 0/1 losses.

    Raises:
        ShapeError: As :func:`loss_states`.
        DataError: As :func:`loss_states`.
    """
    given = _losses("difference_states", losses)
    differences = given[..., 1] - given[..., 0]
    if _zero_one(given):
        return (1 + differences).astype(np.int32), 3
    numbers = _numbers(differences)
    n_states = int(numbers.max(initial=0)) + 1
    return _narrow(numbers, n_states), n_states


def subset_states(states: ArrayLike, n_states: int, m: int) -> Integers:
    """States of consecutive disjoint subsets of m samples: their states as digits, the first one leading.

    Args:
        states: [K, n], any integer dtype, in [0, n_states).
        n_states: How many states a sample has; a subset has n_states^m.
        m: The subsets' size, from 1 to n. Samples that fill no subset, n mod m at the end, are dropped.

    Returns:
        [K, n // m], int32 where that holds n_states^m states, else int64.

    Raises:
        ShapeError: Not [K, n] with K at least 1.
        DataError: Not integers, or out of range; the text names the first place.
        ConfigError: n_states or m is no integer, m is out of range, or n_states^m exceeds 2^62.
    """
    return _subsets("subset_states", "states", states, n_states, m, "Pass n_states as their number.")


def subset_bits(bits: ArrayLike, m: int) -> Integers:
    """The bits of the subsets of :func:`subset_states`, as one of 2^m states; its errors."""
    return _subsets("subset_bits", "bits", bits, 2, m, PASS_MASK)


def integer(where: str, name: str, value: Any) -> int:
    """Python's own int, which doesn't overflow, of NumPy's and torch's as well.

    Raises:
        ConfigError: It is no integer.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{where}: {name} must be an integer; got {value!r}. Pass an int.") from None


def _subsets(where: str, name: str, values: ArrayLike, end: int, m: int, todo: str) -> Integers:
    end, m = integer(where, "n_states", end), integer(where, "m", m)
    given = _matrix(where, name, values)
    _in_range(where, name, given, end, todo)
    K, n = given.shape
    if not 1 <= m <= n:
        raise ConfigError(f"{where}: m must be from 1 to n = {n}; got {m}. Take smaller subsets.")
    if end**m > 2**62:
        raise ConfigError(f"{where}: subsets must have at most 2^62 states; got {end}^{m}. Lower m.")
    digits = given[:, : n // m * m].reshape(K, -1, m)
    return _narrow(digits.astype(np.int64) @ np.array([end**j for j in reversed(range(m))]), end**m)


def _runs(
    where: str, states: ArrayLike, bits: ArrayLike, n_states: int, num_bits_states: int
) -> tuple[Integers, Integers, int, int]:
    """Checked, and contiguous in a pair of dtypes that the compiled routines take."""
    n_states = integer(where, "n_states", n_states)
    num_bits_states = integer(where, "num_bits_states", num_bits_states)
    s, b = _matrix(where, "states", states), _matrix(where, "bits", bits)
    if s.shape != b.shape:
        raise ShapeError(
            f"{where}: states and bits must agree on [K, n]; got {list(s.shape)} and {list(b.shape)}. {PASS_MASK}"
        )
    if n_states < 1 or num_bits_states < 2:
        raise ConfigError(
            f"{where}: n_states must be at least 1 and num_bits_states at least 2; got {n_states} and "
            f"{num_bits_states}. Pass how many values there can be, not how many came."
        )
    if (n_states - 1).bit_length() + (num_bits_states - 1).bit_length() > 63:
        raise ConfigError(
            f"{where}: n_states and num_bits_states must fit into 63 binary digits; got {n_states} and "
            f"{num_bits_states}. Take smaller subsets."
        )
    _in_range(where, "states", s, n_states, "Pass n_states as their number.")
    _in_range(where, "bits", b, num_bits_states, PASS_MASK)
    narrow = n_states <= 2**31 and num_bits_states <= 2**8
    state_type, bit_type = (np.int32, np.uint8) if narrow else (np.int64, np.int64)
    return np.ascontiguousarray(s, state_type), np.ascontiguousarray(b, bit_type), n_states, num_bits_states


def _matrix(where: str, name: str, values: ArrayLike) -> Integers:
    given = np.asarray(values)
    if given.ndim != 2 or not len(given):
        raise ShapeError(
            f"{where}: {name} must be [K, n] with K at least 1; got shape {list(given.shape)}. Pass a row for each run."
        )
    if given.dtype.kind not in "biu":
        raise DataError(f"{where}: {name} must be integers; got dtype {given.dtype}. Pass labels, not floats.")
    return given


def _columns(where: str, name: str, values: ArrayLike) -> NDArray[Any]:
    given = np.asarray(values)
    if given.ndim != 3 or given.shape[2] != 2 or not len(given):
        raise ShapeError(
            f"{where}: {name} must be [K, n, 2] with K at least 1; got shape {list(given.shape)}. "
            "Pass both columns of the supersample."
        )
    return given


def _losses(where: str, losses: ArrayLike) -> NDArray[np.float64]:
    given = _columns(where, "losses", losses)
    if given.dtype.kind not in "biuf":
        raise DataError(f"{where}: losses must be real numbers; got dtype {given.dtype}. Pass an array of them.")
    given = given.astype(np.float64)
    _refuse_first(where, "losses must be finite", given, ~np.isfinite(given))
    return given


def _zero_one(losses: NDArray[np.float64]) -> bool:
    return bool(((losses == 0) | (losses == 1)).all())


def _numbers(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Each column's different values numbered in ascending order, [K, n]."""
    order = np.argsort(values, axis=0)
    ranked = np.take_along_axis(values, order, 0)
    numbers = np.zeros(values.shape, np.int64)
    numbers[1:] = np.cumsum(ranked[1:] != ranked[:-1], axis=0)
    placed = np.empty_like(numbers)
    np.put_along_axis(placed, order, numbers, 0)
    return placed


def _narrow(states: NDArray[np.int64], n_states: int) -> Integers:
    return states.astype(np.int32) if n_states <= 2**31 else states


def _in_range(where: str, name: str, values: Integers, end: int, todo: str) -> None:
    # Negative numbers are the largest when read as unsigned: one pass in place of two.
    unsigned = values.view(values.dtype.str.replace("i", "u")) if values.dtype.kind == "i" else values
    if unsigned.size and unsigned.max() >= end:
        must = "be 0 or 1" if end == 2 else f"lie in [0, {end})"
        _refuse_first(where, f"{name} must {must}", values, (values < 0) | (values >= end), todo)


def _refuse_first(
    where: str, must: str, values: NDArray[Any], wrong: NDArray[np.bool_], todo: str = "Correct it."
) -> None:
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0].tolist())
        raise DataError(f"{where}: {must}; got {values[at]} at [{','.join(map(str, at))}]. {todo}")
