"""How far the samples' gradients lie from their mean."""

from typing import Any

import torch
from torch import Tensor

from infotorch import ops
from infotorch.capture import LayerPair, capture
from infotorch.errors import ConfigError, NumericsError
from infotorch.task import Task, num_samples, select

__all__ = ["gradient_variance"]


def gradient_variance(task: Task, batch: Any, *, batch_size: int = 128) -> float:
    r"""Variance of the samples' gradients, :math:`V = \frac1N \sum_n \|g_n\|^2 - \|\frac1N \sum_n g_n\|^2`.

    The trace of their covariance in its population form, over the parameters that the task selects, at the weights as
    they are. It is what the account of a Langevin training takes at every step (:func:`infotorch.bounds.sgld`), with
    ``batch`` the whole training set.

    No sample's gradient is formed beside its layer's factors: one forward and one backward a batch, squared norms from
    the ``norms`` op, and the mean gradient from ``vjp``. Sums over batches are in float64; what a batch adds has the
    model's rounding, so V has an absolute error of some 1e-7 mean squared norms for a model in float32.

    Args:
        task: Model in eval mode, loss and parameters.
        batch: ``(x, y)`` or a dict of N samples.
        batch_size: Samples of a forward.

    Returns:
        V >= 0, in squared units of the loss over squared units of the parameters.

    Raises:
        CaptureError: A selected parameter is used outside of a supported layer.
        ConfigError: The model is in train mode, where batch norm would couple the samples; or ``batch_size`` < 1.
        DataError: Samples or targets are not finite, or don't fit.
        NumericsError: A sample's gradient is not finite; the text names the first.

    Example:
        >>> layer = torch.nn.Linear(1, 1, bias=False).eval()
        >>> _ = torch.nn.init.zeros_(layer.weight)
        >>> gradient_variance(Task(layer, loss="mse"), (torch.ones(2, 1), torch.tensor([[1.0], [3.0]])))
        1.0
    """
    if not batch_size >= 1:
        raise ConfigError(
            f"gradient_variance: batch_size must be at least 1; got {batch_size}. Pass a number of samples."
        )
    x, _ = task.split(batch)
    N = num_samples(x)
    squares, sums = 0.0, dict[str, Tensor]()
    for start in range(0, N, batch_size):
        with capture(task, select(batch, slice(start, start + batch_size)), check=start == 0) as cap:
            norms = sum(_norms(pair) for pair in cap.pairs.values())
            assert isinstance(norms, Tensor)  # a task selects at least one parameter, and the outputs follow it
            _refuse_not_finite(norms, start)
            squares += float(norms.sum())
            for name, pair in cap.pairs.items():
                total = _total(pair)
                sums[name] = sums[name] + total if name in sums else total
    V = squares / N - sum(float(total.square().sum()) for total in sums.values()) / N**2
    return 0.0 if V < 0 else V  # rounding may dip below zero where all gradients are equal


def _norms(pair: LayerPair) -> Tensor:
    """Squared norms of one layer's gradients, float64 [N]."""
    return ops.norms(pair.a, pair.b, **pair.geometry).double().view(pair.N, pair.groups).sum(1)


def _total(pair: LayerPair) -> Tensor:
    """Sum of one layer's gradients, float64 [groups, O, I (+ 1)]."""
    ones = torch.ones(pair.N, dtype=torch.promote_types(pair.b.dtype, torch.float32), device=pair.b.device)
    groups = [slice(g, None, pair.groups) for g in range(pair.groups)]
    return torch.stack([ops.vjp(pair.a[g], pair.b[g], ones, **pair.geometry) for g in groups]).double()


def _refuse_not_finite(norms: Tensor, start: int) -> None:
    finite = norms.isfinite()
    if not finite.all():
        n = int((~finite).nonzero()[0])
        raise NumericsError(
            f"gradient_variance: every sample's gradient must be finite; got a squared norm of {float(norms[n])} for "
            f"sample {start + n}. Look at its loss: it or the outputs left the model's range."
        )
