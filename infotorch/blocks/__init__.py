"""Matrices and vectors that stand on captured pairs."""

from infotorch.blocks.arena import Arena
from infotorch.blocks.directional import jvp, vjp
from infotorch.blocks.gram import Gram
from infotorch.blocks.kernel import ntk
from infotorch.blocks.per_sample import per_sample_grad_norms, per_sample_grads
from infotorch.blocks.sample_gram import grad_gram
from infotorch.blocks.sketching import sketch

__all__ = ["Arena", "Gram", "grad_gram", "jvp", "ntk", "per_sample_grad_norms", "per_sample_grads", "sketch", "vjp"]
