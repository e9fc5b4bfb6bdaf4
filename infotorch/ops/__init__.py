"""The compiled ops. Each equals its truth in :mod:`infotorch.ops.reference`."""

from infotorch.ops.fisher import fisher
from infotorch.ops.grads import grads
from infotorch.ops.gram import gram
from infotorch.ops.jvp import jvp
from infotorch.ops.kron import kron
from infotorch.ops.limit import LimitNoise, LimitRows, limit, limit_noise
from infotorch.ops.norms import norms
from infotorch.ops.project import project
from infotorch.ops.vjp import vjp

__all__ = [
    "LimitNoise",
    "LimitRows",
    "fisher",
    "grads",
    "gram",
    "jvp",
    "kron",
    "limit",
    "limit_noise",
    "norms",
    "project",
    "vjp",
]
