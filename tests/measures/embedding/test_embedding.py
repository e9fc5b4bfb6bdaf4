import json
import math

import pytest
import torch

from infotorch import Embedding
from infotorch.errors import DataError, NumericsError, ShapeError
from tests.laws import assert_golden, assert_same_bits


def made(**changes):
    values = torch.tensor([0.1, 0.0, 1 / 3], dtype=torch.float64)
    fields = {"values": values, "filters": ("a[0]", "a[1]", "b[0]"), "layers": ("a", "b"), "num_samples": 5}
    return Embedding(**{**fields, **changes})


def test_json_keeps_every_bit():
    one = made(prior_var=torch.tensor([0.1, 0.1, 0.7], dtype=torch.float64), meta={"head_loss": 0.1 + 0.2})
    two = Embedding.from_dict(json.loads(json.dumps(one.to_dict())))
    assert_same_bits(two.values, one.values)
    assert_same_bits(two.prior_var, one.prior_var)
    assert (two.filters, two.layers, two.num_samples, two.meta) == (one.filters, one.layers, 5, one.meta)
    assert Embedding.from_dict(made().to_dict()).prior_var is None
    with pytest.raises(DataError, match="got no 'values'"):
        Embedding.from_dict({})


def test_variances_of_filters_or_of_their_weights():
    """1 / variance, the mean over a filter."""
    got = Embedding.from_variances(
        {"a": torch.tensor([0.5, 0.25]), "b": torch.tensor([[1.0, 0.25]])}, prior_var={"a": 2.0, "b": 3.0}
    )
    assert_golden(got.values, torch.tensor([2.0, 4.0, 2.5], dtype=torch.float64))
    assert_golden(got.prior_var, torch.tensor([2.0, 2.0, 3.0], dtype=torch.float64))
    assert got.filters == ("a[0]", "a[1]", "b[0]") and got.meta["method"] == "variational"
    assert Embedding.from_variances({"a": torch.ones(2)}, prior_var=0.5).prior_var.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan])
def test_variances_that_are_none_are_refused(bad):
    with pytest.raises(NumericsError, match=r"variances must be above 0; got .* in layer a"):
        Embedding.from_variances({"a": torch.tensor([1.0, bad])})


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf])
def test_values_that_are_none_are_refused_with_their_filter(bad):
    with pytest.raises(NumericsError, match=r"finite and at least 0; got .* at filter a\[1\]"):
        made(values=torch.tensor([0.1, bad, 0.2], dtype=torch.float64))


def test_sizes_that_disagree_are_refused():
    for changes in ({"values": torch.ones(2).double()}, {"values": torch.ones(3)}, {"prior_var": torch.ones(2)}):
        with pytest.raises(ShapeError, match="one a filter"):
            made(**changes)
    with pytest.raises(ShapeError, match="there must be a layer"):
        Embedding.from_variances({})
    with pytest.raises(ShapeError, match="got none of a"):
        Embedding.from_variances({"a": torch.ones(2)}, prior_var={})


def test_it_prints_in_a_line():
    values = torch.linspace(0, 1, 1000, dtype=torch.float64)
    found = Embedding(values=values, filters=tuple(map(str, range(1000))), layers=("a", "b"), num_samples=7)
    assert repr(found) == "Embedding(1,000 filters of 2 layers, 0 to 1, values on 7 samples, kind diagnostic)"
