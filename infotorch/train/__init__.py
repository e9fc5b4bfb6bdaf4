"""Training that withholds label noise from the weights."""

from infotorch.ops import LimitNoise, LimitRows
from infotorch.train.limit_gradient import LimitLoss, limit_gradient
from infotorch.train.replace_gradient import replace_gradient

__all__ = ["LimitLoss", "LimitNoise", "LimitRows", "limit_gradient", "replace_gradient"]
