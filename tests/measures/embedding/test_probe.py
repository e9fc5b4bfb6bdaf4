import pytest
import torch
from torch import nn

from infotorch.errors import ConfigError
from infotorch.measures.embedding.probe import probe_weights, requiring_grad
from infotorch.task import Task


def make():
    return nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten()),
        nn.LayerNorm((3,)), nn.Linear(3, 4),
    ).eval()  # fmt: skip


@pytest.mark.parametrize(
    "probe_layers, found",
    [
        ("*", ["0", "2.0"]),
        ("0", ["0"]),
        (["2"], ["2.0"]),
        (["2.*", "0"], ["0", "2.0"]),
        (["[02]*"], ["0", "2.0"]),
        (["0", "4"], ["0", "4"]),
        (["*", "4"], ["0", "2.0", "4"]),
    ],
)
def test_head_norms_and_biases_are_no_part(probe_layers, found):
    """Only a head that is named in full counts."""
    got = probe_weights(Task(make()), torch.zeros(2, 1, 1, 1), probe_layers)
    assert list(got) == found and all(weight.dim() > 1 for weight in got.values())


@pytest.mark.parametrize(
    "probe_layers, message",
    [
        (["1"], "got '1', which matches none"),
        (["zz*"], "which matches none. It has '0', "),
        (["0.weight"], "Did you mean '0'?"),
        ("[4]", "beside the head"),
    ],
)
def test_what_is_no_probe_is_refused(probe_layers, message):
    with pytest.raises(ConfigError, match=message):
        probe_weights(Task(make()), torch.zeros(2, 1, 1, 1), probe_layers)


def test_a_norm_over_two_axes_has_a_matrix_and_is_none():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm((2, 3)), nn.Flatten(), nn.Linear(6, 2)).eval()
    assert list(probe_weights(Task(model), torch.zeros(1, 2, 3), "*")) == ["0"]


def test_layers_with_several_matrices_are_told_apart_and_tied_ones_come_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mix = nn.Embedding(5, 4), nn.MultiheadAttention(4, 2, batch_first=True)
            self.again, self.head = nn.Linear(4, 5, bias=False), nn.Linear(4, 2)
            self.again.weight = self.table.weight

        def forward(self, x):
            z = self.table(x)
            z = self.mix(z, z, z, need_weights=False)[0].mean(1)
            return self.head(z) + self.again(z).sum(1, keepdim=True)

    got = probe_weights(Task(Net().eval()), torch.zeros(2, 3, dtype=torch.int64), ["table", "mix", "again"])
    assert list(got) == ["table", "mix.in_proj_weight", "mix.out_proj"]


def test_gradients_are_asked_for_meanwhile_alone():
    model = make()
    model[0].requires_grad_(False)
    weights = {"0": model[0].weight, "4": model[4].weight}
    with pytest.raises(ZeroDivisionError), requiring_grad(weights):
        assert model[0].weight.requires_grad and not model[0].bias.requires_grad
        raise ZeroDivisionError
    assert not model[0].weight.requires_grad and model[4].weight.requires_grad
