import math

import pytest
import torch
from torch import nn

from infotorch import Task, activations_information
from infotorch.errors import ConfigError


def found(rng, **options):
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("a_layer_with_a_name_that_is_longer_than_a_column", nn.Linear(3, 6))
    model.add_module("tanh", nn.Tanh())
    model.add_module("head", nn.Linear(6, 2))
    x, y = torch.randn(5, 3, generator=rng).double(), torch.randint(2, (5,), generator=rng)
    paths = ["head", "a_layer_with_a_name_that_is_longer_than_a_column"]
    task = Task(model.double().eval())
    given = {"layers": paths, "posterior": torch.full((38,), 0.1), "tau": 0.1, "tangents": {"x": lambda x: x}} | options
    return activations_information(task, (x, y), **given)


def test_it_prints_in_80_columns_by_depth(rng):
    result = found(rng)
    lines = repr(result).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Information in activations, tau=0.1, N=5, mean part; means"
    assert lines[2].split()[1:4] == ["6/6", "6.0", "0.0"] and lines[3].split()[:2] == ["head", "2/2"]
    assert lines[4].startswith("along x: index (0 invariant, 1 no preference)")
    assert lines[-1] == "a layer's invariance means little where the noisy predictor fails"
    assert "covariance part" in repr(found(rng, covariance_term=True))


def test_a_layer_without_an_index_is_told(rng):
    lines = repr(found(rng, tangents={"still": torch.zeros_like})).splitlines()
    assert lines[5].split()[1:] == ["none", "0", "(none", "at", "5", "of", "5)"] and max(map(len, lines)) <= 80
    assert lines[7].startswith("  none: the layer tells nothing of x there") and "none" not in repr(found(rng))


def test_layers_are_found_by_path(rng):
    result = found(rng)
    assert list(result) == ["a_layer_with_a_name_that_is_longer_than_a_column", "head"] and len(result) == 2
    assert result.kind == "estimate" and result.tau == 0.1 and result["head"].width == 2 and result["head"].inputs == 3
    with pytest.raises(ConfigError, match=r"layer must be one of .*; got 'heat'\. Did you mean 'head'\?"):
        result["heat"]


def test_shannon_form_of_a_wide_layer(rng):
    layer = found(rng)["a_layer_with_a_name_that_is_longer_than_a_column"]
    want = 2.0 + 0.5 * float(layer.logdet.mean()) - 1.5 * math.log(2 * math.pi * math.e)
    assert layer.shannon(2.0) == pytest.approx(want, rel=1e-12)


def test_shannon_form_of_a_narrow_layer_is_refused(rng):
    text = r"^activations_information: Shannon form needs dim z >= dim x; got 2 < 3\. use the local information I_tau$"
    with pytest.raises(ConfigError, match=text):
        found(rng)["head"].shannon(2.0)


def test_shannon_form_of_a_singular_layer_is_refused():
    model = nn.Linear(2, 2, bias=False).double().eval()
    nn.init.ones_(model.weight)
    x = torch.ones(3, 2, dtype=torch.float64)
    layer = activations_information(Task(model, loss="mse"), x, layers="", posterior=torch.ones(4), tau=1.0)[""]
    with pytest.raises(ConfigError, match="needs F of full rank at every sample; got a singular one at sample 0"):
        layer.shannon(0.0)


def test_a_layer_prints_in_a_line(rng):
    head = found(rng)["head"]
    assert repr(head).startswith("LayerInformation(N = 5, 2/2 outputs read; means: I_tau ") and len(repr(head)) < 150
    assert repr(head.tangents["x"]).startswith("TangentInformation(N = 5: mean index ")


def test_a_change_of_nothing_has_no_index(rng):
    along = torch.ones(5, 3).double()
    along[2] = 0
    v = found(rng, tangents={"v": along})["head"].tangents["v"]
    assert v.index.isnan().tolist() == [False, False, True, False, False] and v.undefined == 1
    assert v.mean_index == pytest.approx(float(v.index[[0, 1, 3, 4]].mean()))
