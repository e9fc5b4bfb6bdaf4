"""Calls that information refuses, with the class of the error and all that it says."""

import numpy as np

from infotorch.bounds.theory.information import (
    difference_states,
    loss_states,
    mutual_information,
    null_mean,
    occupied,
    pair_states,
    plugin_mi,
    subset_bits,
    subset_states,
)
from infotorch.errors import ConfigError, DataError, ShapeError

GOOD = np.zeros((4, 3), int)
BAD_BIT, BAD_STATE = GOOD.copy(), GOOD.copy()
BAD_BIT[3, 1], BAD_STATE[2, 0] = 2, -1
LABELS = np.zeros((4, 3, 2), int)
BAD_LABEL = LABELS.copy()
BAD_LABEL[1, 2, 1] = 3
NAN = np.where(BAD_LABEL, np.nan, 0.5)

REFUSALS = [
    (
        DataError,
        lambda: plugin_mi(GOOD, BAD_BIT, 4),
        "plugin_mi: bits must be 0 or 1; got 2 at [3,1]. Pass the mask row of each run.",
    ),
    (
        DataError,
        lambda: null_mean(BAD_STATE, GOOD, 4),
        "null_mean: states must lie in [0, 4); got -1 at [2,0]. Pass n_states as their number.",
    ),
    (
        DataError,
        lambda: occupied(GOOD + 4, GOOD, 4),
        "occupied: states must lie in [0, 4); got 4 at [0,0]. Pass n_states as their number.",
    ),
    (
        DataError,
        lambda: plugin_mi(GOOD, GOOD + 4, 4, num_bits_states=4),
        "plugin_mi: bits must lie in [0, 4); got 4 at [0,0]. Pass the mask row of each run.",
    ),
    (
        DataError,
        lambda: plugin_mi(GOOD.astype(float), GOOD, 4),
        "plugin_mi: states must be integers; got dtype float64. Pass labels, not floats.",
    ),
    (
        DataError,
        lambda: plugin_mi(GOOD, GOOD * 0.5, 4),
        "plugin_mi: bits must be integers; got dtype float64. Pass labels, not floats.",
    ),
    (
        ShapeError,
        lambda: plugin_mi(GOOD[:0], GOOD[:0], 4),
        "plugin_mi: states must be [K, n] with K at least 1; got shape [0, 3]. Pass a row for each run.",
    ),
    (
        ShapeError,
        lambda: plugin_mi(GOOD, GOOD[0], 4),
        "plugin_mi: bits must be [K, n] with K at least 1; got shape [3]. Pass a row for each run.",
    ),
    (
        ShapeError,
        lambda: plugin_mi(GOOD, GOOD[:, :2], 4),
        "plugin_mi: states and bits must agree on [K, n]; got [4, 3] and [4, 2]. Pass the mask row of each run.",
    ),
    (
        ConfigError,
        lambda: plugin_mi(GOOD, GOOD, 4, correction="jacknife"),
        "plugin_mi: correction must be one of 'none', 'miller_madow', 'jackknife'; got 'jacknife'. "
        "Did you mean 'jackknife'?",
    ),
    (
        ConfigError,
        lambda: plugin_mi(GOOD, GOOD, 0),
        "plugin_mi: n_states must be at least 1 and num_bits_states at least 2; got 0 and 2. "
        "Pass how many values there can be, not how many came.",
    ),
    (
        ConfigError,
        lambda: plugin_mi(GOOD, GOOD, 4.0),
        "plugin_mi: n_states must be an integer; got 4.0. Pass an int.",
    ),
    (
        ConfigError,
        lambda: null_mean(GOOD, GOOD, 4, num_bits_states="2"),
        "null_mean: num_bits_states must be an integer; got '2'. Pass an int.",
    ),
    (
        ConfigError,
        lambda: pair_states(LABELS, 2.5),
        "pair_states: C must be an integer; got 2.5. Pass an int.",
    ),
    (
        ConfigError,
        lambda: subset_bits(GOOD, 1.0),
        "subset_bits: m must be an integer; got 1.0. Pass an int.",
    ),
    (
        ConfigError,
        lambda: plugin_mi(GOOD, GOOD, 2**62, num_bits_states=3),
        f"plugin_mi: n_states and num_bits_states must fit into 63 binary digits; got {2**62} and 3. "
        "Take smaller subsets.",
    ),
    (
        DataError,
        lambda: pair_states(LABELS.astype(np.float32), 3),
        "pair_states: labels must be integers; got float predictions (float32) where labels are asked. "
        "Pass the arg max over classes, or losses to loss_states.",
    ),
    (
        DataError,
        lambda: pair_states(LABELS.astype(str), 3),
        "pair_states: labels must be integers; got dtype <U21 where labels are asked. "
        "Pass the arg max over classes, or losses to loss_states.",
    ),
    (
        DataError,
        lambda: pair_states(BAD_LABEL, 3),
        "pair_states: labels must lie in [0, 3); got 3 at [1,2,1]. Pass C as the number of classes.",
    ),
    (
        ShapeError,
        lambda: pair_states(GOOD, 3),
        "pair_states: labels must be [K, n, 2] with K at least 1; got shape [4, 3]. "
        "Pass both columns of the supersample.",
    ),
    (
        ConfigError,
        lambda: pair_states(LABELS, 1),
        "pair_states: C must be at least 2; got 1. One class has no information.",
    ),
    (
        ConfigError,
        lambda: pair_states(LABELS, 46341),
        "pair_states: C squared must be below 2^31; got C = 46341. Merge classes.",
    ),
    (DataError, lambda: loss_states(NAN), "loss_states: losses must be finite; got nan at [1,2,1]. Correct it."),
    (
        DataError,
        lambda: difference_states(LABELS.astype(str)),
        "difference_states: losses must be real numbers; got dtype <U21. Pass an array of them.",
    ),
    (
        ConfigError,
        lambda: subset_states(GOOD, 4, 4),
        "subset_states: m must be from 1 to n = 3; got 4. Take smaller subsets.",
    ),
    (
        ConfigError,
        lambda: subset_bits(GOOD, 0),
        "subset_bits: m must be from 1 to n = 3; got 0. Take smaller subsets.",
    ),
    (
        ConfigError,
        lambda: subset_states(GOOD, 2**21, 3),
        "subset_states: subsets must have at most 2^62 states; got 2097152^3. Lower m.",
    ),
    (
        DataError,
        lambda: subset_bits(BAD_BIT, 2),
        "subset_bits: bits must be 0 or 1; got 2 at [3,1]. Pass the mask row of each run.",
    ),
    (
        DataError,
        lambda: mutual_information([[0.5, 0.6], [-0.1, 0]]),
        "mutual_information: joint must hold probabilities; got -0.1 at [1,0]. Correct it.",
    ),
    (
        DataError,
        lambda: mutual_information([[0.5, 0.6]]),
        "mutual_information: joint must sum to 1; got 1.1. Divide it by its sum.",
    ),
    (
        ShapeError,
        lambda: mutual_information([0.5, 0.5]),
        "mutual_information: joint must be [A, B]; got shape [2]. Flatten either side.",
    ),
]
