r"""The Gaussian posterior of one layer: its parameters, its draws, and its divergence from the prior.

One variance a weight, one an output unit, or a Kronecker covariance :math:`N(M, U \otimes V)` over [weight, bias] as a
matrix [O, I'] with the bias as its last column, :math:`U = L_U L_U^\top` [O, O], :math:`V = L_V L_V^\top` [I', I'].
Sums are taken in float64.
"""

import torch
from torch import Tensor, nn

from infotorch.train.variational.layers import NoisyLayer, num_units, over_units

__all__ = [
    "divergence",
    "draw",
    "factors",
    "learned_prior_var",
    "matrix",
    "parameter_names",
    "prior_means",
    "split",
    "spread_of",
    "variances",
]

SPREAD = 0.05
"""The first variance, as a share of that of a unit's weights (awslabs/aws-cv-task2vec)."""
LEAST_SPREAD = 1e-2
"""The variance it is a share of where all weights are 0."""
FACTORS = ("out", "in")


def holder(module: nn.Module, layer: NoisyLayer, name: str) -> str:
    """The parameter that holds the log-variances of parameter ``name``: a unit's bias belongs to its unit."""
    if layer.granularity == "filter" and name == "bias" and "weight" in layer.names:
        if num_units(module, "weight") == num_units(module, "bias"):
            return "weight_logvar"
    return f"{name}_logvar"


def parameter_names(module: nn.Module, layer: NoisyLayer) -> list[str]:
    """What the posterior adds to the module's parameters."""
    if layer.granularity == "kron":
        return [f"weight_{side}_{what}" for side in FACTORS for what in ("logvar", "lower")]
    return list(dict.fromkeys(holder(module, layer, name) for name in layer.names))


def prior_means(layer: NoisyLayer) -> list[str]:
    """The buffers that hold the prior's mean."""
    return [f"{name}_prior_mean" for name in layer.names]


def spread_of(module: nn.Module, layer: NoisyLayer, name: str) -> Tensor:
    """The rule's first variance of each entry of a parameter, float64, of the parameter's shape."""
    of = "weight" if name == "bias" and "weight" in layer.names else name
    p = module._parameters[of]
    assert p is not None
    units, w = num_units(module, of), p.detach().double()
    if isinstance(module, nn.modules.conv._ConvTransposeNd) and of == "weight":
        w = w.view(module.groups, len(w) // module.groups, -1, *w.shape[2:]).transpose(1, 2)
    w = w.reshape(units, -1)  # [U, weights of a unit]
    found = (w - w.mean(1, keepdim=True)).square().mean(1)
    for other in (w.square().mean(1), torch.full_like(found, LEAST_SPREAD)):  # norms are constant, biases may be 0
        found = torch.where(found > 0, found, other)
    if num_units(module, name) != units:
        found = found.mean().expand(num_units(module, name))
    return SPREAD * over_units(module, name, found)


def variances(module: nn.Module, layer: NoisyLayer) -> dict[str, Tensor]:
    """The marginal variance of every weight, by parameter, in the parameter's shape and dtype."""
    if layer.granularity == "kron":
        (out, _), (into, _) = factors(module)
        return split(module, layer, out.square().sum(1)[:, None] * into.square().sum(1))
    found = {}
    for name in layer.names:
        logvar = module._parameters[holder(module, layer, name)]
        assert logvar is not None
        found[name] = (over_units(module, name, logvar) if layer.granularity == "filter" else logvar).exp()
    return found


def factors(module: nn.Module) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(L_U [O, O], log-diagonal of its square [O]) and (L_V [I', I'], [I']), lower triangular."""
    found = []
    for side in FACTORS:
        logvar, lower = (module._parameters[f"weight_{side}_{what}"] for what in ("logvar", "lower"))
        assert logvar is not None and lower is not None
        found.append((lower.tril(-1) + (logvar / 2).exp().diag(), logvar))
    return found[0], found[1]


def matrix(module: nn.Module, layer: NoisyLayer, values: dict[str, Tensor]) -> Tensor:
    """[O, I']: a weight flattened behind its first axis, and the bias as one more column."""
    return torch.cat([values[name].reshape(num_units(module, name), -1) for name in layer.names], 1)


def split(module: nn.Module, layer: NoisyLayer, values: Tensor) -> dict[str, Tensor]:
    """The inverse of ``matrix``."""
    shapes = {name: module._parameters[name].shape for name in layer.names}  # type: ignore[union-attr]  # own names
    parts = values.split([max(1, shape[1:].numel()) for shape in shapes.values()], 1)
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def draw(module: nn.Module, layer: NoisyLayer) -> dict[str, Tensor]:
    """One draw of what is added to the means, by parameter."""
    if layer.granularity == "kron":
        (out, logvar), (into, _) = factors(module)
        eps = torch.randn(len(out), len(into), dtype=logvar.dtype, device=logvar.device)
        return split(module, layer, out @ eps @ into.mT)
    return {name: var.sqrt() * torch.randn_like(var) for name, var in variances(module, layer).items()}


def _second_moment(module: nn.Module, layer: NoisyLayer) -> tuple[Tensor, Tensor, int]:
    """The sum of (mu - w0)^2 + sigma^2, the log-determinant of the covariance, and the number of weights."""
    total = logdet = torch.zeros((), dtype=torch.float64)
    count = 0
    for name in layer.names:
        p, w0 = module._parameters[name], module._buffers[f"{name}_prior_mean"]
        assert p is not None and w0 is not None
        total = total.to(p.device) + (p.double() - w0.double()).square().sum()
        count += p.numel()
    if layer.granularity == "kron":
        (out, out_logvar), (into, in_logvar) = factors(module)
        total = total + out.double().square().sum() * into.double().square().sum()
        return total, len(into) * out_logvar.double().sum() + len(out) * in_logvar.double().sum(), count
    for name in layer.names:
        logvar = module._parameters[holder(module, layer, name)]
        assert logvar is not None
        full = (over_units(module, name, logvar) if layer.granularity == "filter" else logvar).double()
        total, logdet = total + full.exp().sum(), logdet.to(full.device) + full.sum()
    return total, logdet, count


def learned_prior_var(module: nn.Module, layer: NoisyLayer) -> Tensor:
    r"""The prior variance of the least divergence, :math:`\lambda^2 = \mathrm{mean}((\mu - w_0)^2 + \sigma^2)`, []."""
    total, _, count = _second_moment(module, layer)
    return total / count


def divergence(module: nn.Module, layer: NoisyLayer) -> Tensor:
    r"""KL of the layer's posterior from its prior, in nats, float64 [].

    :math:`\frac12 [\sum ((\mu - w_0)^2 + \sigma^2) / \lambda^2 - k + k \log \lambda^2 - \log|\Sigma|]`.
    """
    total, logdet, count = _second_moment(module, layer)
    prior_var = module._buffers.get("prior_var")
    if prior_var is None:  # learned: at its optimum the first two terms cancel
        return 0.5 * (count * (total / count).log() - logdet)
    prior_var = prior_var.double()
    return 0.5 * (total / prior_var - count + count * prior_var.log() - logdet)
