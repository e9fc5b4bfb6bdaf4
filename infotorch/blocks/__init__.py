"""Matrices and vectors that stand on captured pairs."""

from infotorch.blocks.arena import Arena
from infotorch.blocks.block import Block
from infotorch.blocks.diagonal import Diagonal
from infotorch.blocks.directional import jvp, vjp
from infotorch.blocks.fisher import fisher
from infotorch.blocks.full import Full
from infotorch.blocks.gram import Gram
from infotorch.blocks.kernel import ntk
from infotorch.blocks.kfac import Kfac, Kronecker
from infotorch.blocks.low_rank import LowRank
from infotorch.blocks.per_sample import per_sample_grad_norms, per_sample_grads
from infotorch.blocks.sample_gram import grad_gram
from infotorch.blocks.sketching import sketch

__all__ = [
    "Arena",
    "Block",
    "Diagonal",
    "Full",
    "Gram",
    "Kfac",
    "Kronecker",
    "LowRank",
    "fisher",
    "grad_gram",
    "jvp",
    "ntk",
    "per_sample_grad_norms",
    "per_sample_grads",
    "sketch",
    "vjp",
]
