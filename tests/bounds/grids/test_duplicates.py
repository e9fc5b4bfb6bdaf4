"""Equal items of a supersample are found in inputs of any form."""

import warnings

import numpy as np
import pytest
import scipy.sparse
import torch

from infotorch import bounds
from infotorch.bounds.grids.duplicates import check_items, warn_of_duplicates
from infotorch.errors import DataError

N = 12
PLAN = bounds.plan(N, 6, 1, 2, block=2)  # the one supersample is the whole pool
DIFFERENT = np.arange(N * 3.0).reshape(N, 3)
TWICE = DIFFERENT.copy()
TWICE[7] = TWICE[2]


def frame(values):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": values[:, 0], "b": [str(value) for value in values[:, 1]]})


FORMS = {
    "array": np.asarray,
    "tensor": torch.from_numpy,
    "sparse": scipy.sparse.csr_matrix,
    "coo": lambda values: scipy.sparse.coo_array(values),
    "frame": frame,
    "texts": lambda values: [str(row) for row in values],
    "tensors": lambda values: [torch.from_numpy(row) for row in values],
    "ragged": lambda values: [row.tolist() * (1 + int(row[0]) % 2) for row in values],
    "numbers": lambda values: values[:, 0],
    "objects": lambda values: values.astype(object),
}


@pytest.mark.parametrize("form", FORMS)
def test_equal_items_are_warned_of_and_others_are_not(form):
    with pytest.warns(UserWarning, match=r"run: 1 items of supersample 0 come more than once: .* Remove duplicates"):
        warn_of_duplicates(PLAN, FORMS[form](TWICE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_duplicates(PLAN, FORMS[form](DIFFERENT))


def test_equal_items_outside_of_a_supersample_are_no_harm():
    one = bounds.plan(N, 2, 1, 2, block=2)
    outside = np.setdiff1d(np.arange(N), one.supersamples)
    x = DIFFERENT.copy()
    x[outside] = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_duplicates(one, x)


class Looked(list):
    """Notes which of its items are looked at."""

    def __init__(self, *given):
        super().__init__(*given)
        self.at = []

    def __getitem__(self, place):
        self.at.append(place)
        return super().__getitem__(place)


def test_each_item_of_the_supersamples_is_looked_at_once_and_no_other():
    two = bounds.plan(40, 6, 2, 2, block=2)
    items = Looked(str(place) for place in range(40))
    warn_of_duplicates(two, items)
    assert items.at == sorted(set(two.supersamples.reshape(-1).tolist())) and len(items.at) < 24


def test_items_of_another_pool_are_refused():
    with pytest.raises(DataError, match=r"run: items must be those of the pool, 12; got 11\. Pass the pool's inputs"):
        check_items(PLAN, DIFFERENT[1:])
