"""A network made variational."""

import copy
import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from infotorch.blocks.layout import layer_of
from infotorch.errors import ConfigError, NotSupported, NumericsError, ShapeError, check_choice, unknown
from infotorch.train.variational.gaussian import holder, parameter_names, prior_means, spread_of
from infotorch.train.variational.layers import CONVOLUTIONS, Granularity, Noise, NoisyLayer, noisy_layers, num_units
from infotorch.train.variational.model import VariationalModel

__all__ = ["variational"]

WHERE = "variational"
LEARNED = "learned"
Init = Literal["rule", "fisher"]


def variational(
    model: nn.Module,
    *,
    prior_var: float | Mapping[str, float] | Literal["learned"],
    prior_mean: float | Tensor | Mapping[str, Tensor] | None = None,
    granularity: Granularity = "weight",
    noise: Noise = "weight",
    init: Init = "rule",
    fisher: Tensor | Mapping[str, Tensor] | None = None,
    beta: float = 1.0,
) -> VariationalModel:
    r"""A copy of the network with a Gaussian over its weights, for :math:`\min E_Q[L] + \beta\,\mathrm{KL}(Q \| P)`.

    :math:`Q = N(\mu, \mathrm{diag}\,\sigma^2)` or a Kronecker :math:`N(M, U \otimes V)`,
    :math:`P = N(w_0, \lambda^2 I)` with one :math:`\lambda^2` a layer (Achille, Soatto, arXiv 1706.01350, section 4).
    L is the loss *summed* over samples, so that beta = 1 is the negative evidence bound; with a mean loss
    divide beta by N. Train it by any optimizer, adding ``beta * q.kl()``, or by ``fit_variational``.

    Every parameter that requires grad gets noise, norms' and embeddings' too; frozen ones have none and don't count.
    Only Linear and convolutional layers, untied and not subclassed, have rules for ``"local"``, ``"flipout"`` and
    ``"kron"``; all other parameters keep one draw a pass and one variance a weight: ``q.layers`` says of each which.

    Args:
        model: Left as it is.
        prior_var: lambda^2 > 0, one number, or one a layer by module path; ``"learned"``: each layer's is
            mean((mu - w0)^2 + sigma^2), which minimises its KL at any moment.
        prior_mean: w0: ``None`` for the weights as they are now, a number for all, flat [P] in ``named_parameters()``
            order, or by name.
        granularity: What shares a variance: ``"weight"``; ``"filter"``: an output unit with its bias; ``"kron"``: none,
            the covariance is a Kronecker product, the bias a column of its weight.
        noise: ``"weight"``: one draw a pass, shared by the batch; ``"flipout"``: the same with signs of each sample's
            own; ``"local"``: outputs drawn from their Gaussian, at every position apart: for convolutions that is
            another model than noise of weights, which is warned of.
        init: The first variances: ``"rule"``: 0.05 times the variance of a unit's weights; ``"fisher"``:
            beta / (F + beta / lambda^2), the optimum where the loss is quadratic.
        fisher: For ``init="fisher"``: the diagonal F of the Fisher matrix summed over samples, flat [P] or by name, as
            ``infotorch.fisher(task, data, structure="diagonal").diag()``.
        beta: For ``init="fisher"``.

    Returns:
        Its ``kl()`` is a tensor; noise in train mode only; parameters as said there.

    Raises:
        ConfigError: An option is unknown or out of range, or no parameter requires grad.
        ShapeError: prior_mean or fisher has another shape than the parameters.
        NotSupported: Complex weights, or flipout of Kronecker noise.
        NumericsError: A weight is not finite.

    Example:
        >>> q = variational(nn.Linear(3, 2), prior_var=0.1)
        >>> loss = F.cross_entropy(q(x), y, reduction="sum") + 1.0 * q.kl()
    """
    for option, value, valid in (
        ("granularity", granularity, get_args(Granularity)), ("noise", noise, get_args(Noise)),
        ("init", init, get_args(Init)),
    ):  # fmt: skip
        check_choice(WHERE, option, value, valid)
    _check(model, granularity, noise)
    network = copy.deepcopy(model)
    layers = noisy_layers(network, granularity, noise)
    _check_layers(network, layers, granularity, noise)
    lambda2 = _prior_vars(prior_var, [layer.path for layer in layers])
    shapes = {
        layer.full(name): network.get_submodule(layer.path).get_parameter(name).shape
        for layer in layers
        for name in layer.names
    }
    w0 = _by_name("prior_mean", prior_mean, shapes)
    first = _first_variances(init, fisher, beta, lambda2, shapes)
    for layer in layers:
        _extend(network.get_submodule(layer.path), layer, lambda2, w0, first)
    return VariationalModel(network, layers)


def _extend(
    module: nn.Module,
    layer: NoisyLayer,
    lambda2: dict[str, float] | None,
    w0: dict[str, Tensor] | None,
    first: dict[str, Tensor] | None,
) -> None:
    """Gives the module what its posterior and prior are made of."""
    start = {}
    for name, buffer in zip(layer.names, prior_means(layer), strict=True):
        p = module.get_parameter(name)
        mean = p.detach().clone() if w0 is None else w0[layer.full(name)].detach().to(p).reshape(p.shape).clone()
        module.register_buffer(buffer, mean)
        start[name] = spread_of(module, layer, name) if first is None else first[layer.full(name)].to(p.device)
    like = module.get_parameter(layer.names[0])
    if lambda2 is not None:
        fixed = torch.tensor(lambda2[layer.path], dtype=torch.float64, device=like.device)
        module.register_buffer("prior_var", fixed)
    if layer.granularity == "kron":
        units = _unit_means(module, layer.names, start)
        I = sum(module.get_parameter(name)[0].numel() for name in layer.names)
        values = [units.log(), torch.zeros(len(units), len(units)), torch.zeros(I), torch.zeros(I, I)]
        for name, value in zip(parameter_names(module, layer), values, strict=True):
            module.register_parameter(name, nn.Parameter(value.to(like)))
        return
    for added in parameter_names(module, layer):
        names = [name for name in layer.names if holder(module, layer, name) == added]
        value = start[names[0]] if layer.granularity == "weight" else _unit_means(module, names, start)
        if layer.granularity == "filter" and not module.get_parameter(names[0]).dim():
            value = value[0]
        module.register_parameter(added, nn.Parameter(value.log().to(like)))


def _unit_means(module: nn.Module, names: Any, start: dict[str, Tensor]) -> Tensor:
    """[U]: for each unit one over the mean of 1/variance, which keeps the curvature's mean."""
    rows = []
    for name in names:
        values, U = start[name].double(), num_units(module, name)
        if isinstance(module, nn.modules.conv._ConvTransposeNd) and name == "weight":
            values = values.view(module.groups, len(values) // module.groups, -1, *values.shape[2:]).transpose(1, 2)
        rows.append(values.reshape(U, -1))
    return 1 / torch.cat(rows, 1).reciprocal().mean(1)


def _check(model: nn.Module, granularity: str, noise: str) -> None:
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{WHERE}: model must be an nn.Module; got {type(model).__name__}. Pass the network itself.")
    if any(isinstance(module, VariationalModel) for module in model.modules()):
        raise ConfigError(f"{WHERE}: model must be a plain network; got one that is variational. Pass q.unwrapped().")
    if granularity == "kron" and noise == "flipout":
        raise NotSupported(
            f"{WHERE}: flipout must have independent weights, whose signs may be flipped; got "
            'granularity="kron". Use noise="local" or "weight".'
        )
    for name, p in model.named_parameters():
        if is_lazy(p):
            raise ConfigError(f"{WHERE}: weights must be there; got the lazy {name!r}. Run the network once before.")
        if not p.is_meta and not bool(p.isfinite().all()):
            raise NumericsError(
                f"{WHERE}: weights must be finite; got {p[~p.isfinite()][0].item()} in {name!r}. Look at the training, "
                "or load a checkpoint."
            )
        if p.requires_grad and not p.is_floating_point():
            raise NotSupported(f"{WHERE}: weights must be real; got {p.dtype} at {name!r}. Freeze it.")


def _check_layers(network: nn.Module, layers: tuple[NoisyLayer, ...], granularity: str, noise: str) -> None:
    if not layers:
        raise ConfigError(
            f"{WHERE}: model must have parameters that require grad; got {type(network).__name__} with none. "
            "Call requires_grad_(True) on those that get noise."
        )
    kinds = sorted({type(network.get_submodule(layer.path)).__name__ for layer in layers})
    if noise != "weight" and not any(layer.noise == noise for layer in layers):
        raise ConfigError(
            f"{WHERE}: noise={noise!r} must have a Linear or convolutional layer whose weight is trained and not tied; "
            f'got parameters of {", ".join(kinds)} alone. Use noise="weight".'
        )
    if granularity == "kron" and not any(layer.granularity == "kron" for layer in layers):
        raise ConfigError(
            f'{WHERE}: granularity="kron" must have a Linear or convolutional layer without groups, trained and not '
            f'tied; got parameters of {", ".join(kinds)} alone. Use granularity="weight".'
        )
    convolutions = [
        layer.path for layer in layers
        if layer.noise == "local" and isinstance(network.get_submodule(layer.path), CONVOLUTIONS)
    ]  # fmt: skip
    if convolutions:
        warnings.warn(
            f"{WHERE}: local noise is drawn for each position apart, and {', '.join(map(repr, convolutions))} share "
            'their weights between positions: variances are right, covariances are lost. Use noise="flipout".',
            stacklevel=3,
        )


def _prior_vars(prior_var: Any, paths: list[str]) -> dict[str, float] | None:
    """By layer; ``None`` where they are learned."""
    if isinstance(prior_var, str):
        if prior_var != LEARNED:
            raise unknown(WHERE, "prior_var as a word", prior_var, [LEARNED])
        return None
    if not isinstance(prior_var, Mapping):
        prior_var = dict.fromkeys(paths, prior_var)
    for path in prior_var:
        check_choice(WHERE, "a layer of prior_var", path, paths)
    for path in paths:
        if path not in prior_var:
            raise ConfigError(f"{WHERE}: prior_var must name every layer; got none for {path!r}. Add it.")
        value = prior_var[path]
        one = getattr(value, "shape", None) in ((), (1,))
        value = value.item() if one and hasattr(value, "item") else value  # a tensor or an array of one number
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ConfigError(
                f"{WHERE}: prior_var must be > 0 and finite; got {value!r}. Pass the variance of the prior, such as "
                'mean((w - w0)**2), or "learned".'
            )
    return {path: float(prior_var[path]) for path in paths}


def _by_name(option: str, value: Any, shapes: dict[str, torch.Size]) -> dict[str, Tensor] | None:
    """A number, a flat tensor or tensors by name, all by name."""
    if value is None:
        return None
    if isinstance(value, int | float):
        value = {name: torch.full(shape, float(value), dtype=torch.float64) for name, shape in shapes.items()}
    elif not isinstance(value, Mapping):
        if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
            raise ConfigError(
                f"{WHERE}: {option} must be a number, a flat tensor or tensors by name; got {type(value).__name__}. "
                "Convert it with torch.tensor."
            )
        value, P = torch.as_tensor(value), sum(shape.numel() for shape in shapes.values())
        if value.shape != (P,):
            raise ShapeError(
                f"{WHERE}: {option} must be flat, [{P}], one entry for each weight with noise; got "
                f"{list(value.shape)}. Lay them end to end in named_parameters() order, or pass a dict."
            )
        parts = value.split([shape.numel() for shape in shapes.values()])
        value = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    for name in value:
        check_choice(WHERE, f"a name in {option}", name, shapes)
    found = {}
    for name, shape in shapes.items():
        if name not in value or torch.as_tensor(value[name]).shape != shape:
            got = list(torch.as_tensor(value[name]).shape) if name in value else "none"
            raise ShapeError(f"{WHERE}: {option} of {name!r} must be {list(shape)}; got {got}. Correct it.")
        found[name] = torch.as_tensor(value[name])
        if not found[name].isfinite().all():
            raise ConfigError(f"{WHERE}: {option} must be finite; got a number in {name!r} that is not. Correct it.")
    return found


def _first_variances(
    init: str, fisher: Any, beta: float, lambda2: dict[str, float] | None, shapes: dict[str, torch.Size]
) -> dict[str, Tensor] | None:
    """The optimum beta / (F + beta / lambda^2) by name; ``None`` for the rule."""
    if (init == "fisher") != (fisher is not None):
        given = "none" if fisher is None else f"init={init!r}"
        raise ConfigError(
            f'{WHERE}: fisher must come with init="fisher", and the other way round; got {given}. Pass '
            'fisher=infotorch.fisher(task, data, structure="diagonal").diag().'
        )
    if init == "rule":
        return None
    if lambda2 is None:
        raise ConfigError(f'{WHERE}: init="fisher" must have a number as prior_var; got "learned". Pass prior_var.')
    if not isinstance(beta, int | float) or not 0 < beta < math.inf:
        raise ConfigError(f"{WHERE}: beta must be > 0 and finite; got {beta!r}. Pass that of the training.")
    F = _by_name("fisher", fisher, shapes)
    assert F is not None
    negative = [name for name, values in F.items() if (values < 0).any()]
    if negative:
        raise ConfigError(f"{WHERE}: fisher must be >= 0; got less in {negative[0]!r}. Pass a Fisher, no Hessian.")
    return {name: beta / (values.double() + beta / lambda2[layer_of(name)]) for name, values in F.items()}
