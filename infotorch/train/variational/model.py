"""A network whose weights are drawn from a Gaussian in training, and are its means in evaluation."""

import contextlib
import copy
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from infotorch.errors import NotSupported, NumericsError
from infotorch.train.variational.gaussian import (
    divergence,
    draw,
    learned_prior_var,
    parameter_names,
    prior_means,
)
from infotorch.train.variational.layers import NoisyLayer, channel_axis
from infotorch.train.variational.noise import flipped, local
from infotorch.train.variational.posterior import VariationalPosterior, posterior_of

__all__ = ["VariationalModel"]


class VariationalModel(nn.Module):
    """What ``variational`` returns: in train mode each call draws noise, in eval mode the weights are their means.

    The means keep the names of the network's parameters under ``network``; beside each stand its log-variances,
    ``..._logvar``, and the buffers ``..._prior_mean``, and ``prior_var`` where it is fixed; ``state_dict()`` has them.
    Noise is drawn from torch's global generator. Activations that a network recomputes in the backward pass
    (``torch.utils.checkpoint``) would see other weights: leave that out.
    """

    def __init__(self, network: nn.Module, layers: tuple[NoisyLayer, ...]) -> None:
        super().__init__()
        self.network = network
        """A copy of the network that was wrapped."""
        self.layers = layers
        """What gets noise, and how."""
        self.train(network.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's outputs: with noise in train mode, at the means in eval mode.

        Raises:
            NotSupported: A layer whose outputs get noise was not called: its weights are read elsewhere.
        """
        if not self.training:
            return self.network(*args, **kwargs)
        called: set[str] = set()
        with self._output_noise(called):
            drawn = self._drawn([layer for layer in self.layers if layer.noise == "weight"])
            outputs = functional_call(self.network, drawn, args, kwargs)
        for layer in self.layers:
            if layer.noise != "weight" and layer.path not in called:
                raise NotSupported(
                    f"variational: a layer must be called for noise={layer.noise!r}; got none at {layer.path!r}, whose "
                    'weights are read elsewhere or not at all. Use noise="weight".'
                )
        return outputs

    def drawn_weights(self) -> dict[str, Tensor]:
        """One draw of all noisy weights, by their names in ``network``, for ``torch.func.functional_call``."""
        return self._drawn(self.layers)

    def _drawn(self, layers: Any) -> dict[str, Tensor]:
        found = {}
        for layer in layers:
            module = self._module(layer)
            for name, delta in draw(module, layer).items():
                mean = module._parameters[name]
                assert mean is not None
                found[layer.full(name)] = mean + delta
        return found

    def _module(self, layer: NoisyLayer) -> nn.Module:
        return self.network.get_submodule(layer.path)

    @contextlib.contextmanager
    def _output_noise(self, called: set[str]) -> Iterator[None]:
        with contextlib.ExitStack() as undo:
            for layer in self.layers:
                if layer.noise != "weight":
                    module = self._module(layer)
                    delta = draw(module, layer) if layer.noise == "flipout" else {}
                    noisy = partial(_noisy, layer=layer, delta=delta, called=called)
                    hook = module.register_forward_hook(noisy, with_kwargs=True)
                    undo.callback(hook.remove)
            yield

    def kl(self) -> Tensor:
        """KL of the posterior from the prior, in nats, float64 [], with a gradient.

        Raises:
            NumericsError: A mean, a log-variance or a prior is not finite; the text names the layer.
        """
        return self._added(self.kl_by_layer())

    def kl_as_it_is(self) -> Tensor:
        """``kl()``, finite or not: a training that checks its whole objective tells more."""
        return self._added(self._divergences())

    def _added(self, parts: dict[str, Tensor]) -> Tensor:
        return torch.stack([value.to(self._device) for value in parts.values()]).sum()

    def _divergences(self) -> dict[str, Tensor]:
        return {layer.path: divergence(self._module(layer), layer) for layer in self.layers}

    def kl_by_layer(self) -> dict[str, Tensor]:
        """The same for each layer, by module path, in nats, float64 []; they add up to ``kl()``.

        Raises:
            NumericsError: As there.
        """
        found = self._divergences()
        for path, value in found.items():
            if not value.isfinite():
                raise NumericsError(
                    f"kl: the KL of every layer must be finite; got {value.item():g} at {path!r}"
                    f"{self._not_finite(path)}. Look at the training, or load a checkpoint."
                )
        return found

    def _not_finite(self, path: str) -> str:
        """The tensor of a layer that is not finite, in words."""
        module = self.network.get_submodule(path)
        tensors = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        bad = [name for name, value in tensors.items() if not value.isfinite().all()]
        return f", for {bad[0]!r} is not" if bad else ", for its variances overflow"

    @property
    def prior_var(self) -> dict[str, float]:
        """The prior variance of each layer by module path; a learned one is that of the least KL now."""
        found = {}
        with torch.no_grad():
            for layer in self.layers:
                fixed = self._module(layer)._buffers.get("prior_var")
                found[layer.path] = float(learned_prior_var(self._module(layer), layer) if fixed is None else fixed)
        return found

    @property
    def num_weights(self) -> int:
        """How many weights have noise."""
        return sum(self._module(layer).get_parameter(name).numel() for layer in self.layers for name in layer.names)

    @property
    def _device(self) -> torch.device:
        layer = self.layers[0]
        return self._module(layer).get_parameter(layer.names[0]).device

    def posterior(self) -> VariationalPosterior:
        """The Gaussian as it is now, over the noisy parameters laid end to end in ``named_parameters()`` order."""
        return posterior_of([(self._module(layer), layer) for layer in self.layers])

    def unwrapped(self) -> nn.Module:
        """A plain copy of the network at the means, as it was wrapped: no noise, no names of ours."""
        network = copy.deepcopy(self.network)
        for layer in self.layers:
            module = network.get_submodule(layer.path)
            for name in parameter_names(module, layer):
                del module._parameters[name]
            for name in (*prior_means(layer), "prior_var"):
                module._buffers.pop(name, None)
        return network


def _noisy(
    module: nn.Module,
    args: Any,
    kwargs: Any,
    output: Any,
    *,
    layer: NoisyLayer,
    delta: dict[str, Tensor],
    called: set[str],
) -> Tensor:
    """The hook that adds the noise to a layer's outputs."""
    called.add(layer.path)
    x = args[0] if args else kwargs["input"]
    if layer.noise == "flipout":
        return flipped(module, x, output, delta)
    if isinstance(module, nn.Linear) and x.dim() > 2 and x.shape[1 : channel_axis(module)].numel() > 1:
        warnings.warn(
            f"variational: local noise is drawn for each position apart, and {layer.path!r} saw inputs "
            f'{list(x.shape)}: variances are right, covariances between positions are lost. Use noise="flipout".',
            stacklevel=2,
        )
    return local(module, layer, x, output)
