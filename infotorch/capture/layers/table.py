"""Which rule a module follows. A new kind of layer is a file beside this one and a line here."""

from functools import cache
from typing import Any, cast

from torch import nn

from infotorch.capture.layers.attention import Attention
from infotorch.capture.layers.conv import Conv
from infotorch.capture.layers.conv_transpose import ConvTranspose
from infotorch.capture.layers.embedding import Embedding, EmbeddingBag
from infotorch.capture.layers.linear import Bilinear, Linear, TransposedLinear
from infotorch.capture.layers.norm import (
    InstanceNorm,
    LastNorm,
    Norm,
    ScaledNorm,
    batch_normalized,
    group_normalized,
    layer_normalized,
    negative_part,
    rms_normalized,
)
from infotorch.capture.layers.recurrent import Cell, Recurrent
from infotorch.capture.layers.rule import Product, Rule
from infotorch.capture.layers.scale import Scale
from infotorch.capture.layers.wrapper import Wrapper

__all__ = ["FOREIGN", "KINDS", "RULES", "forget_kinds", "rule_of"]

_CONV, _CONV_TRANSPOSE = Conv(), ConvTranspose()
_BATCH_NORM, _INSTANCE_NORM = Norm(batch_normalized), InstanceNorm()
_CELL, _RECURRENT, _WRAPPER = Cell(), Recurrent(), Wrapper()
_SCALED_NORM = ScaledNorm()

RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: Linear(),
    nn.Bilinear: Bilinear(),
    nn.Conv1d: _CONV,
    nn.Conv2d: _CONV,
    nn.Conv3d: _CONV,
    nn.ConvTranspose1d: _CONV_TRANSPOSE,
    nn.ConvTranspose2d: _CONV_TRANSPOSE,
    nn.ConvTranspose3d: _CONV_TRANSPOSE,
    nn.Embedding: Embedding(),
    nn.EmbeddingBag: EmbeddingBag(),
    nn.LayerNorm: LastNorm(layer_normalized),
    nn.RMSNorm: LastNorm(rms_normalized),
    nn.GroupNorm: Norm(group_normalized),
    nn.InstanceNorm1d: _INSTANCE_NORM,
    nn.InstanceNorm2d: _INSTANCE_NORM,
    nn.InstanceNorm3d: _INSTANCE_NORM,
    nn.BatchNorm1d: _BATCH_NORM,
    nn.BatchNorm2d: _BATCH_NORM,
    nn.BatchNorm3d: _BATCH_NORM,
    nn.PReLU: Norm(negative_part),
    nn.MultiheadAttention: Attention(),
    nn.RNN: _RECURRENT,
    nn.LSTM: _RECURRENT,
    nn.GRU: _RECURRENT,
    nn.RNNCell: _CELL,
    nn.LSTMCell: _CELL,
    nn.GRUCell: _CELL,
    nn.DataParallel: _WRAPPER,
    nn.parallel.DistributedDataParallel: _WRAPPER,
}

FOREIGN: dict[tuple[str, str], Rule] = {
    ("transformers.", "Conv1D"): TransposedLinear(),
    ("transformers.", "RMSNorm"): _SCALED_NORM,
    ("transformers.", "T5LayerNorm"): _SCALED_NORM,
}
"""By the beginning of a class's module and the end of its name, for libraries that are not imported here."""

KINDS: dict[str, Product] = {"linear": Linear(), "scale": Scale()}
"""What a use says of itself in words."""


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module that computes what its class is known to compute; None for any other."""
    own = vars(module)
    return None if "forward" in own or "_conv_forward" in own else _rule_of_type(cast(Any, type(module)))


def forget_kinds() -> None:
    """To be called after a change of ``RULES``."""
    _rule_of_type.cache_clear()


@cache
def _rule_of_type(module_type: Any) -> Rule | None:
    """That of the nearest class with a rule, as long as what computes is inherited from it."""
    for kind in module_type.__mro__:
        rule = RULES.get(kind) or _foreign(kind)
        if rule is not None:
            computes = [(getattr(module_type, name, None), getattr(kind, name, None)) for name in _COMPUTE]
            return rule if all(own is known for own, known in computes) else None
    return None


def _foreign(kind: type) -> Rule | None:
    for (module, name), rule in FOREIGN.items():
        if kind.__module__.startswith(module) and kind.__name__.endswith(name):
            return rule
    return None


_COMPUTE = ("forward", "_conv_forward")
