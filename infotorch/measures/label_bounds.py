"""What information about labels allows and demands: Fano's inequality, read in both directions."""

import math

from infotorch.errors import ConfigError

__all__ = ["fano_min_error", "label_info_lower", "max_memorised"]

TOLERANCE = 1e-12


def fano_min_error(entropy: float, info: float, num_classes: int) -> float:
    r"""Smallest error rate on the noisy training labels that weights with so little label information can have.

    The smallest root r of :math:`h_b(r) + r \log(C - 1) = h - i` on [0, (C-1)/C], with :math:`h_b` the entropy of a
    coin (Fano's inequality for labels of equal entropy; Harutyunyan et al., arXiv 2002.07933, section 2). A bound on
    the expected error rate over runs, where ``info`` is an upper bound of I(W;Y|X)/n; else what ``info`` is.

    Args:
        entropy: h = H(y|x), nats a label, up to log C.
        info: i = I(W;Y|X)/n, nats a label.
        num_classes: C, at least 2.

    Returns:
        The error rate, in [0, (C-1)/C]; 0 where ``entropy <= info``.

    Raises:
        ConfigError: A negative argument, fewer than two classes, or more entropy than log C.

    Example:
        >>> round(fano_min_error(0.5004024235381879, 0.0, 2), 6)  # a fifth of the labels is wrong
        0.2
    """
    _check("fano_min_error", num_classes, entropy=entropy, info=info)
    return _smallest_error(entropy - info, num_classes)


def label_info_lower(error: float, entropy: float, num_classes: int) -> float:
    r"""Label information that weights must hold to reach a training error, nats a label.

    :math:`\max(0, h - h_b(e) - e \log(C - 1))`: Fano's inequality read backwards. A lower bound on I(W;Y|X)/n where e
    is the expected error rate over runs; with the error of one run, an estimate of that bound.

    Args:
        error: e, the error rate on the noisy training labels, in [0, 1].
        entropy: h = H(y|x), nats a label, up to log C.
        num_classes: C, at least 2.

    Returns:
        Nats a label, at least 0.

    Raises:
        ConfigError: An argument is out of range.
    """
    _check("label_info_lower", num_classes, entropy=entropy)
    if not 0 <= error <= 1:
        raise ConfigError(f"label_info_lower: error must lie in [0, 1]; got {error}. Pass a rate, not a count.")
    return max(0.0, entropy - _explained(error, num_classes))


def max_memorised(info: float, n_mislabelled: float, num_classes: int) -> float:
    r"""Largest expected number of mislabelled samples whose wrong label weights with this information can predict.

    For truth a function of the input and a wrong label uniform over the other :math:`k = C - 1` classes, which label it
    is takes :math:`\log k` nats, so the count is at most :math:`n (1 - r)`, where r is the smallest root of
    :math:`h_b(r) + r \log(k - 1) = \log k - I / n` on [0, (k-1)/k]. Derived here from the inequality of arXiv
    2002.07933, section 2; the paper doesn't print it. At I = 0 it is chance, n / (C-1). A bound where ``info`` is one.

    Args:
        info: I(W;Y|X), nats over the whole training set.
        n_mislabelled: n, the number of mislabelled samples.
        num_classes: C, at least 2; with 2 the wrong label is known and all may be predicted.

    Returns:
        A count, in [n / (C-1), n].

    Raises:
        ConfigError: A negative argument or fewer than two classes.
    """
    _check("max_memorised", num_classes, info=info, n_mislabelled=n_mislabelled)
    k = num_classes - 1
    if n_mislabelled == 0 or k == 1:
        return float(n_mislabelled)
    return n_mislabelled * (1 - _smallest_error(math.log(k) - info / n_mislabelled, k))


def _explained(r: float, C: int) -> float:
    """hb(r) + r log(C - 1): entropy of a label whose prediction errs with probability r."""
    coin = -sum(p * math.log(p) for p in (r, 1 - r) if p > 0)
    return coin + r * math.log(C - 1)


def _smallest_error(unexplained: float, C: int) -> float:
    """The smallest r with hb(r) + r log(C - 1) = unexplained; by bisection, as the left side grows up to (C-1)/C."""
    low, high = 0.0, (C - 1) / C
    if unexplained <= 0:
        return low
    if unexplained >= _explained(high, C):
        return high
    while high - low > TOLERANCE * high:
        middle = (low + high) / 2
        if _explained(middle, C) < unexplained:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _check(where: str, num_classes: int, **numbers: float) -> None:
    if num_classes < 2:
        raise ConfigError(f"{where}: num_classes must be at least 2; got {num_classes}. One class has no information.")
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ConfigError(f"{where}: {name} must be finite and at least 0; got {value}. Correct {name}.")
    if numbers.get("entropy", 0.0) > math.log(num_classes) + 1e-9:
        raise ConfigError(
            f"{where}: entropy must be at most log C = {math.log(num_classes):.6g} nats; got {numbers['entropy']:.6g}. "
            "Pass nats a label, not bits or a sum."
        )
