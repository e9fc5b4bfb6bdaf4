"""Which rule a module follows. A new kind of layer is a file beside this one and a line here."""

from torch import nn

from infotorch.capture.layers.conv import Conv
from infotorch.capture.layers.embedding import Embedding
from infotorch.capture.layers.linear import Linear
from infotorch.capture.layers.norm import Norm, batch_normalized, layer_normalized
from infotorch.capture.layers.rule import Rule

__all__ = ["RULES", "rule_of"]

_CONV = Conv()
_BATCH_NORM = Norm(batch_normalized)

RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: Linear(),
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.Conv3d: _CONV,
    nn.Embedding: Embedding(),
    nn.LayerNorm: Norm(layer_normalized),
    nn.BatchNorm1d: _BATCH_NORM,
    nn.BatchNorm2d: _BATCH_NORM,
    nn.BatchNorm3d: _BATCH_NORM,
}


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module that computes what its torch class computes; None for any other."""
    for kind, rule in RULES.items():
        if isinstance(module, kind):
            same = all(getattr(type(module), name, None) is getattr(kind, name, None) for name in _COMPUTE)
            return rule if same and not set(_COMPUTE) & set(vars(module)) else None
    return None


_COMPUTE = ("forward", "_conv_forward")
