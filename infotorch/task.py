"""A model, its loss and the chosen parameters: what every measure asks questions about.

Data are checked here, once, on their way in; the rooms behind trust what a :class:`Task` hands out.
"""

import difflib
import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.errors import ConfigError, DataError, NotSupported, unknown

__all__ = ["LOSSES", "Loss", "Task", "num_samples", "select", "tensors_of"]

IGNORED_LABEL = -100
"""A token with this label adds nothing to its sample's loss, as in torch."""


@runtime_checkable
class Loss(Protocol):
    """One loss a sample, with the curvature of it in the outputs."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats, of outputs [N, C]; summed over positions where outputs are [N, T, C]."""

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """S [N, C, R] with S S^T the Hessian [N, C, C] of a sample's loss in its outputs [N, C]."""


class CrossEntropy:
    """-log softmax(outputs)[y] for int64 labels [N], or its mean under probability targets [N, C]."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats."""
        _check_classes(outputs, y)
        if y.is_floating_point():
            return -(y * outputs.log_softmax(-1)).flatten(1).sum(1)
        losses = F.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="none", ignore_index=IGNORED_LABEL)
        return losses.view(len(outputs), -1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """diag(sqrt p) - p sqrt(p)^T, [N, C, C]: times its transpose it is diag p - p p^T."""
        p = outputs.softmax(-1)  # [N, C]
        return p.sqrt().diag_embed() - p[:, :, None] * p.sqrt()[:, None, :]


class MeanSquaredError:
    """Half the squared norm of outputs - y, y [N, C]: with the Gaussian of unit variance, nats up to a constant."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N]."""
        y = _like_outputs("mse", outputs, y)
        return 0.5 * (outputs - y).square().flatten(1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The identity, [N, C, C]."""
        return torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device).expand(len(outputs), -1, -1)


class BinaryCrossEntropy:
    """-y log s - (1 - y) log(1 - s) with s the sigmoid of one logit, y [N] in [0, 1]."""

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """[N], in nats."""
        if outputs.shape[1:].numel() != 1:
            raise ConfigError(
                f"task: binary_cross_entropy must see one logit a sample; got outputs {list(outputs.shape)}. "
                'Use loss="cross_entropy" for several classes.'
            )
        y = _like_outputs("binary_cross_entropy", outputs, y.to(outputs.dtype))
        outside = ((y < 0) | (y > 1)).flatten(1).any(1)
        if outside.any():
            n = int(outside.nonzero()[0])
            raise DataError(
                f"task: labels of binary_cross_entropy must be in [0, 1]; got {y[n].item():g} at sample {n}. "
                "Map the two classes to 0 and 1."
            )
        return F.binary_cross_entropy_with_logits(outputs, y, reduction="none").flatten(1).sum(1)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        """sqrt(s (1 - s)), [N, 1, 1]."""
        return (outputs.sigmoid() * (-outputs).sigmoid()).sqrt().reshape(-1, 1, 1)


@dataclass(frozen=True)
class UserLoss:
    """A caller's ``fn(outputs, y) -> [N]``; its curvature in the outputs is not known."""

    fn: Callable[[Tensor, Tensor], Tensor]

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.fn(outputs, y)

    def hessian_sqrt(self, outputs: Tensor, y: Tensor) -> Tensor:
        raise NotSupported(
            f"task: the loss's output Hessian must be known; got the function {_name(self.fn)}. "
            "Give loss= an object with value(outputs, y) and hessian_sqrt(outputs, y), or a built-in loss."
        )


LOSSES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "mse": MeanSquaredError(),
    "binary_cross_entropy": BinaryCrossEntropy(),
}


@dataclass(frozen=True)
class Task:
    """A trained model, the loss of one sample, and the parameters in question.

    The model is used as it is given: in eval mode, on its device, in its dtype. Nothing of it is changed. Losses are
    one number a sample, never a mean over them; sums over samples are ours and means are the caller's division.

    Args:
        model: In eval mode whenever it is used.
        loss: ``"cross_entropy"`` (int64 labels [N], or probabilities [N, C]), ``"mse"`` (half the squared norm, y
            [N, C]), ``"binary_cross_entropy"`` (one logit, y [N] in [0, 1]), a function ``fn(outputs, y) -> [N]``, or a
            :class:`Loss`.
        params: ``None`` for all that require grad; names or globs (``["head.*"]``); or a predicate on the name.
        forward: ``fn(model, x) -> outputs [N, ...]``; ``model(x)`` if not given.
        target: ``fn(batch) -> y``; the second of ``(x, y)``, or entry ``"labels"`` of a dict, if not given.

    Raises:
        ConfigError: The loss is unknown or reduces over samples, or ``params`` matches nothing.

    Example:
        >>> task = Task(nn.Linear(3, 2).eval(), loss="cross_entropy", params=["weight"])
        >>> task.outputs(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    model: nn.Module
    _: KW_ONLY
    loss: str | Loss | Callable[[Tensor, Tensor], Tensor] = "cross_entropy"
    params: Sequence[str] | Callable[[str], bool] | None = None
    forward: Callable[[nn.Module, Any], Tensor] | None = None
    target: Callable[[Any], Tensor] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise ConfigError(
                f"task: model must be an nn.Module; got {_name(type(self.model))}. Pass the module itself."
            )
        if isinstance(self.params, str):
            raise ConfigError(
                f"task: params must be a list of names or globs; got {self.params!r}. Pass [{self.params!r}]."
            )
        _check_reduction(self.loss)
        self.parameters()

    @property
    def criterion(self) -> Loss:
        """The loss as an object with ``value`` and ``hessian_sqrt``."""
        if isinstance(self.loss, str):
            return LOSSES[self.loss]
        return self.loss if isinstance(self.loss, Loss) else UserLoss(self.loss)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The selected parameters by name, in the order of ``model.named_parameters()``; a tied one once."""
        hits = {id(p) for p in self._matches()}
        chosen = {name: p for name, p in self.model.named_parameters() if p.requires_grad and id(p) in hits}
        if not chosen:
            raise ConfigError(
                "task: params must select a parameter that requires grad; got none. "
                "Call requires_grad_(True) on those in question, or widen params."
            )
        return chosen

    def _matches(self) -> list[nn.Parameter]:
        named = list(self.model.named_parameters(remove_duplicate=False))
        if self.params is None or callable(self.params):
            return [p for name, p in named if self.params is None or self.params(name)]
        hits = []
        for pattern in self.params:
            found = [p for name, p in named if fnmatch.fnmatchcase(name, pattern)]
            if not found:
                near = difflib.get_close_matches(pattern, [name for name, _ in named], n=1, cutoff=0.0)
                raise ConfigError(
                    f"task: every entry of params must match a parameter; got {pattern!r}, which matches none. "
                    f"Did you mean {near[0]!r}?"
                )
            if not any(p.requires_grad for p in found):
                raise ConfigError(
                    f"task: selected parameters must require grad; got {pattern!r}, which matches frozen ones alone. "
                    "Call requires_grad_(True) on them, or leave it out of params."
                )
            hits += found
        return hits

    def split(self, batch: Any) -> tuple[Any, Tensor]:
        """(x, y) of a batch, checked: finite, not empty, of one length."""
        whole = isinstance(batch, dict)
        if not whole and not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise DataError(f"task: a batch must be (x, y) or a dict; got {_name(type(batch))}. Pass both together.")
        x = batch if whole else batch[0]
        y = self.target(batch) if self.target else batch.get("labels") if whole else batch[1]
        N = self.check_inputs(x)
        if not isinstance(y, Tensor):
            raise DataError(
                f"task: y must be a tensor; got {_name(type(y))}. Pass torch.as_tensor(y), or give target=."
            )
        _check_finite("y", y)
        if y.dim() == 0 or len(y) != N:
            raise DataError(f"task: x and y must have one length; got {N} and {list(y.shape)}. Pass one y a sample.")
        return x, y

    def check_inputs(self, x: Any) -> int:
        """The number of samples N in ``x``, whose every tensor is finite, [N, ...], and where the model is."""
        N = num_samples(x)
        weight = next(iter(self.parameters().values()))
        for tensor in tensors_of(x):
            if tensor.device != weight.device:
                raise DataError(
                    f"task: x must be on the model's device {weight.device}; got {tensor.device}. "
                    f"Pass x.to({str(weight.device)!r})."
                )
            mixed = torch.is_autocast_enabled(weight.device.type) or self.forward is not None
            if tensor.is_floating_point() and tensor.dtype != weight.dtype and not mixed:
                raise DataError(
                    f"task: x must be {weight.dtype} as the model is; got {tensor.dtype}. Pass x.to({weight.dtype})."
                )
            _check_finite("x", tensor)
        return N

    def check_mode(self) -> None:
        """Refuse a model whose samples are coupled or whose forward is random."""
        training = {path: module for path, module in self.model.named_modules() if module.training}
        for path, module in training.items():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise _train_mode(path, module, ", where BatchNorm makes each output depend on the whole batch")
            if isinstance(module, nn.modules.dropout._DropoutNd):
                raise _train_mode(path, module, ", where dropout draws a new mask at each pass")
        for path, module in training.items():
            raise _train_mode(path, module, "")
        for path, module in self.model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
                raise ConfigError(
                    f"task: BatchNorm must use stored statistics; got {path!r} with track_running_stats=False, which "
                    "makes each output depend on the whole batch. Replace it, or store statistics."
                )

    def outputs(self, x: Any) -> Tensor:
        """The model's outputs [N, ...], [N, 1] where the model returns [N], under the caller's grad mode."""
        self.check_mode()
        N = num_samples(x)
        outputs = self.model(x) if self.forward is None else self.forward(self.model, x)
        if not isinstance(outputs, Tensor):
            raise ConfigError(
                f"task: the model must return a tensor; got {_name(type(outputs))}. "
                "Give forward=lambda model, x: ... that picks it, say model(x).logits."
            )
        if outputs.dim() == 0 or len(outputs) != N:
            raise ConfigError(
                f"task: outputs must be [N, ...] with N = {N}; got {list(outputs.shape)}. "
                "Give forward= that returns one row a sample, the batch first."
            )
        return outputs[:, None] if outputs.dim() == 1 else outputs

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """One loss a sample, [N], in nats for the built-in losses."""
        losses = self.criterion.value(outputs, y)
        if not isinstance(losses, Tensor) or losses.shape != outputs.shape[:1]:
            got = f"shape {list(losses.shape)}" if isinstance(losses, Tensor) else _name(type(losses))
            raise ConfigError(
                f"task: the loss must return one number a sample, [{len(outputs)}]; got {got}. "
                'Use reduction="none" and sum over all axes but the first; do not average over samples.'
            )
        return losses

    def residual_targets(self, y: Tensor, num_outputs: int) -> Tensor:
        """What outputs are compared with in a least-squares residual: float64 [N, C], one-hot for class labels."""
        if y.dtype == torch.int64 and y.dim() == 1 and not isinstance(self.criterion, BinaryCrossEntropy):
            _check_range(y, num_outputs)
            return F.one_hot(y, num_outputs).double()
        if len(y) and y[0].numel() != num_outputs:
            raise DataError(
                f"task: targets must have one number for each of {num_outputs} outputs; got {list(y.shape)}. "
                "Pass int64 labels [N] or targets [N, C]."
            )
        return y.double().reshape(len(y), num_outputs)


def tensors_of(x: Any) -> Iterator[Tensor]:
    """Every tensor of a tensor, or of a nest of dicts, tuples and lists."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (dict, tuple, list)):
        for entry in x.values() if isinstance(x, dict) else x:
            yield from tensors_of(entry)
    else:
        raise DataError(
            f"task: x must be a tensor or a nest of tensors; got {_name(type(x))}. Pass torch.as_tensor(x)."
        )


def num_samples(x: Any) -> int:
    """The first size that all tensors of ``x`` share, at least 1."""
    sizes = [len(tensor) if tensor.dim() else None for tensor in tensors_of(x)]
    if not sizes or None in sizes or len(set(sizes)) > 1:
        raise DataError(f"task: tensors of x must share their first size N; got {sizes}. Pass one entry a sample.")
    if not sizes[0]:
        raise DataError("task: data must hold at least one sample; got none. Check the filter or the path.")
    return sizes[0]


def select(x: Any, index: slice | Tensor) -> Any:
    """The samples of ``x`` at ``index``, in the same nest."""
    if isinstance(x, Tensor):
        return x[index]
    if isinstance(x, dict):
        return {key: select(entry, index) for key, entry in x.items()}
    return type(x)(select(entry, index) for entry in x)


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _train_mode(path: str, module: nn.Module, why: str) -> ConfigError:
    where = f"{path!r} ({type(module).__name__})" if path else type(module).__name__
    return ConfigError(
        f"task: the model must be in eval mode; got {where} in train mode{why}. Call model.eval() first."
    )


def _check_reduction(loss: Any) -> None:
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise unknown("task", "loss", loss, LOSSES)
    elif getattr(loss, "reduction", "none") != "none":
        raise ConfigError(
            f'task: a loss must have reduction="none", one number a sample; got {type(loss).__name__} with reduction='
            f'"{loss.reduction}". Pass {type(loss).__name__}(reduction="none"), or the name of a built-in loss.'
        )
    elif not callable(loss) and not isinstance(loss, Loss):
        raise ConfigError(
            f"task: loss must be a name or a function; got {_name(type(loss))}. Choose of {list(LOSSES)}."
        )


def _check_finite(what: str, tensor: Tensor) -> None:
    if not (tensor.is_floating_point() or tensor.is_complex()) or bool(tensor.isfinite().all()):
        return
    bad = tensor.reshape(len(tensor), -1) if tensor.dim() else tensor.reshape(1, 1)
    n = int((~bad.isfinite()).any(1).nonzero()[0])
    value = bad[n][~bad[n].isfinite()][0].item()
    raise DataError(f"task: {what} must be finite; got {value} at sample {n}. Remove or repair that sample.")


def _check_classes(outputs: Tensor, y: Tensor) -> None:
    if y.is_floating_point():
        if y.shape != outputs.shape:
            raise DataError(
                f"task: probability targets must have the outputs' shape {list(outputs.shape)}; got {list(y.shape)}. "
                "Pass int64 labels [N], or one probability a class."
            )
        bad = ((y < 0).any(-1) | ((y.sum(-1) - 1).abs() > 1e-4)).flatten(1 if y.dim() > 2 else 0)
        if bad.any():
            n = int(bad.nonzero()[0, 0])
            raise DataError(
                f"task: probability targets must be at least 0 and sum to 1; got a sum of {y[n].sum().item():g} at "
                f"sample {n}. Normalize them."
            )
    elif y.dtype != torch.int64:
        raise DataError(f"task: class labels must be int64; got {y.dtype}. Pass y.long().")
    elif y.shape != outputs.shape[:-1]:
        raise DataError(
            f"task: class labels must be {list(outputs.shape[:-1])} for outputs {list(outputs.shape)}; got "
            f"{list(y.shape)}. Pass one int64 label each."
        )
    else:
        _check_range(y, outputs.shape[-1])


def _check_range(y: Tensor, C: int) -> None:
    outside = ((y < 0) | (y >= C)) & ((y != IGNORED_LABEL) if y.dim() > 1 else True)
    if outside.any():
        n = int(outside.nonzero()[0, 0])
        raise DataError(
            f"task: labels must be in 0..{C - 1}, for {C} outputs; got {int(y[outside][0])} at sample {n}. "
            "Map labels to 0, 1, ... or widen the model's last layer."
        )


def _like_outputs(loss: str, outputs: Tensor, y: Tensor) -> Tensor:
    """``y`` in the outputs' shape: [N] may stand for [N, 1]."""
    if not y.is_floating_point():
        raise DataError(f"task: targets of {loss} must be floating point; got {y.dtype}. Pass y.to({outputs.dtype}).")
    if y.shape != outputs.shape and (y.dim() != 1 or y.numel() != outputs.numel()):
        raise DataError(
            f"task: targets of {loss} must have the outputs' shape {list(outputs.shape)}; got {list(y.shape)}. "
            "One-hot encode class labels first."
        )
    return y.reshape(outputs.shape).to(outputs.dtype)
