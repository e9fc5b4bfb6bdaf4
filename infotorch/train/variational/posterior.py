"""The posterior over all noisy weights as one Gaussian."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from infotorch.errors import ShapeError
from infotorch.train.variational.gaussian import factors, matrix, variances
from infotorch.train.variational.layers import NoisyLayer

__all__ = ["VariationalPosterior", "posterior_of"]


@dataclass(frozen=True, kw_only=True)
class _Kron:
    """The Kronecker factors of some of the weights: row-major over [O, I'], at the places ``rows``."""

    rows: Tensor
    out: Tensor
    into: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class VariationalPosterior:
    """A Gaussian over weights laid end to end in ``named_parameters()`` order, in float64 on the CPU."""

    mean: Tensor = field(repr=False)
    """[P]."""
    variance: Tensor = field(repr=False)
    """[P], the diagonal of the covariance."""
    shapes: dict[str, torch.Size]
    """Of the parameters, in order."""
    krons: tuple[_Kron, ...] = field(default=(), repr=False)

    def times(self, V: Tensor) -> Tensor:
        """The covariance times V [P, J], [P, J].

        Raises:
            ShapeError: V has another number of rows.
        """
        if V.dim() != 2 or len(V) != len(self.mean):
            raise ShapeError(f"posterior: V must be [{len(self.mean)}, J]; got {list(V.shape)}. Pass one row a weight.")
        V = V.double()
        found = self.variance[:, None] * V
        for kron in self.krons:
            O, I = len(kron.out), len(kron.into)
            block = V[kron.rows].view(O, I, -1)
            U, W = kron.out @ kron.out.mT, kron.into @ kron.into.mT
            found[kron.rows] = torch.einsum("op,ij,pjk->oik", U, W, block).reshape(O * I, -1)
        return found

    def covariance(self) -> Tensor:
        """[P, P]."""
        return self.times(torch.eye(len(self.mean), dtype=torch.float64))

    def sample(self, K: int, *, seed: int) -> Tensor:
        """K draws of the weights, [K, P]."""
        eps = torch.randn(K, len(self.mean), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        found = self.variance.sqrt() * eps
        for kron in self.krons:
            block = eps[:, kron.rows].view(K, len(kron.out), len(kron.into))
            found[:, kron.rows] = (kron.out @ block @ kron.into.mT).reshape(K, -1)
        return self.mean + found


def posterior_of(layers: Sequence[tuple[nn.Module, NoisyLayer]]) -> VariationalPosterior:
    """The posterior of modules with the parameters that are described."""
    means, diagonal, krons = [], [], []
    shapes: dict[str, torch.Size] = {}
    start = 0
    with torch.no_grad():
        for module, layer in layers:
            own = {name: module.get_parameter(name) for name in layer.names}
            places = {}
            for name, var in variances(module, layer).items():
                means.append(own[name].double().cpu().flatten())
                diagonal.append(var.double().cpu().flatten())
                shapes[layer.full(name)] = own[name].shape
                places[name] = torch.arange(start, start + var.numel()).view(var.shape)
                start += var.numel()
            if layer.granularity == "kron":
                (out, _), (into, _) = factors(module)
                rows = matrix(module, layer, places).flatten()
                krons.append(_Kron(rows=rows, out=out.double().cpu(), into=into.double().cpu()))
    return VariationalPosterior(mean=torch.cat(means), variance=torch.cat(diagonal), shapes=shapes, krons=tuple(krons))
