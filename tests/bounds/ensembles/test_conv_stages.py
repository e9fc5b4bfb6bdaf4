"""What becomes of the layers of a Sequential, and what is refused."""

import re

import pytest
import torch
from torch import nn

from infotorch.bounds.ensembles.conv_stages import Conv, First, Norm, stages_of
from infotorch.errors import NotSupported, ShapeError

X = torch.zeros(1, 4, 6, 6)


def test_norms_take_what_is_beside_them():
    network = nn.Sequential(
        nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Tanh(),
        nn.Flatten(), nn.Linear(20, 7),
    )  # fmt: skip
    stages, num_classes = stages_of("f", network, X)
    assert num_classes == 7 and len(stages) == 7
    conv, norm, second, second_norm = stages[:4]
    assert isinstance(conv, Conv) and isinstance(second, Conv) and conv.normed and second.normed
    assert isinstance(norm, Norm) and norm.relu and norm.conv == "0"
    assert isinstance(second_norm, Norm) and not second_norm.relu and second_norm.conv == "3"


def test_a_first_convolution_of_short_patches_takes_its_norm():
    network = nn.Sequential(nn.Conv2d(4, 16, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))
    assert isinstance(stages_of("f", network, X)[0][0], First)
    without = nn.Sequential(*list(network)[:2], nn.Tanh(), *list(network)[3:])
    assert isinstance(stages_of("f", without, X)[0][0], Conv)
    network[0] = nn.Conv2d(4, 15, 2)
    network[1] = nn.BatchNorm2d(15)
    network[4] = nn.Linear(375, 2)
    assert isinstance(stages_of("f", network, X)[0][0], Conv)


def test_an_activation_that_comes_again_is_called_again():
    relu = nn.ReLU()
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), relu)
    network = nn.Sequential(nn.Conv2d(4, 3, 3), relu, inner, nn.Flatten(), nn.Linear(48, 2), relu)
    names = [type(stage).__name__ for stage in stages_of("f", network, X)[0]]
    assert names == ["Conv", "Elementwise", "Conv", "Elementwise", "Flatten", "Linear", "Elementwise"]


def test_shared_parameters_and_buffers_are_refused():
    conv, norm, tied = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 4, 1)
    tied.bias = conv.bias
    text = r"f: parameters and buffers must be of one layer; got '2\.{}', which an earlier layer has too\. Use vmap_ens"
    for layers, name in (
        ([conv, norm, conv], "weight"),
        ([conv, norm, norm], "running_mean"),
        ([conv, norm, tied], "bias"),
    ):
        with pytest.raises(NotSupported, match=text.format(name)):
            stages_of("f", nn.Sequential(*layers), X)


def own(kind):
    """A subclass that computes something else."""
    return type(f"Own{kind.__name__}", (kind,), {"forward": lambda self, x: x})


class Named(nn.Sequential):
    """Only a name for layers."""


def test_a_sequence_by_another_name_is_one():
    assert len(stages_of("f", Named(Named(nn.Flatten()), nn.Linear(144, 2)), X)[0]) == 2


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([nn.Conv2d(4, 4, 3, groups=2)], "a Conv2d must come with groups=1, zero padding and its size in numbers; got"),
        ([nn.Conv2d(4, 4, 3, padding="same")], "got layer '0', Conv2d"),
        ([nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")], "got layer '0', Conv2d"),
        ([nn.BatchNorm2d(4, track_running_stats=False)], "with running statistics and a momentum; got layer '0'"),
        ([nn.BatchNorm2d(4, momentum=None)], "with running statistics and a momentum"),
        ([nn.Linear(6, 2)], "a Linear must come behind a Flatten; got layer '0'"),
        ([nn.Flatten(2)], "a Flatten must come of all but the batch"),
        ([nn.MaxPool2d(2, return_indices=True)], "without return_indices"),
        ([nn.Sequential(nn.ReLU(), nn.Dropout(0.5))], "got Dropout in layer '0.1'. Leave it out, or use vmap_ensemble"),
        ([nn.LocalResponseNorm(2)], "got LocalResponseNorm in layer '0'"),
        ([own(nn.ReLU)()], "got OwnReLU in layer '0'"),
        ([own(nn.Flatten)()], "got OwnFlatten in layer '0'"),
        ([own(nn.MaxPool2d)(2)], "got OwnMaxPool2d in layer '0'"),
        ([own(nn.AvgPool2d)(2)], "got OwnAvgPool2d in layer '0'"),
        ([own(nn.Sequential)(nn.ReLU())], "got OwnSequential in layer '0'"),
    ],
)
def test_refuses_by_the_layers_name(layers, text):
    with pytest.raises(NotSupported, match=re.escape(text)):
        stages_of("f", nn.Sequential(*layers), X)


def test_refuses_what_does_not_fit():
    for network, name in ((nn.Linear(4, 2), "Linear"), (own(nn.Sequential)(nn.Flatten()), "OwnSequential")):
        text = rf"f: network must be a Sequential, without a forward of its own; got {name}\. Use vmap_ensemble"
        with pytest.raises(NotSupported, match=text):
            stages_of("f", network, X)
    with pytest.raises(ShapeError, match=r"layer '1' must fit what comes before it; got \[1, 144\]"):
        stages_of("f", nn.Sequential(nn.Flatten(), nn.Linear(100, 2)), X)
    with pytest.raises(ShapeError, match=r"network must return \[B, C\]; got \[1, 4, 6, 6\]"):
        stages_of("f", nn.Sequential(nn.ReLU()), X)
