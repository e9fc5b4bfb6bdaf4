"""A model, its loss and the chosen parameters: what every measure asks questions about.

Data are checked here, once, on their way in; the rooms behind trust what a :class:`Task` hands out.
"""

import difflib
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError, DataError, check_choice
from infotorch.task.losses import LOSSES, BinaryCrossEntropy, Loss, UserLoss
from infotorch.task.nest import check_finite, name_of, num_samples, tensors_of
from infotorch.task.targets import residual_targets

__all__ = ["Task"]

# How torch words an input of the wrong shape or dtype; any other error of a forward is the model's own.
_MISFIT = re.compile(
    r"shapes cannot be multiplied|index out of range in self|should be the same|same dtype|must match|but got|"
    r"expected .*(?:channels|scalar type|input|size)",
    re.I,
)


@dataclass(frozen=True)
class Task:
    """A trained model, the loss of one sample, and the parameters in question.

    The model is used as it is given: in eval mode, on its device, in its dtype. Nothing of it is changed. Losses are
    one number a sample, never a mean over them; sums over samples are ours and means are the caller's division.

    Args:
        model: In eval mode whenever it is used.
        loss: ``"cross_entropy"`` (int64 labels [N], or probabilities [N, C]; classes are the last axis of outputs, so
            that outputs [N, T, C] go with labels [N, T]), ``"mse"`` (half the squared norm, y [N, C]),
            ``"binary_cross_entropy"`` (one logit, y [N] in [0, 1]), a function ``fn(outputs, y) -> [N]``, or a
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
                f"task: model must be an nn.Module; got {name_of(type(self.model))}. Pass the module itself."
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
        hits = None if self.params is None else {id(p) for p in self._matches(self.params)}
        named = self.model.named_parameters()
        chosen = {name: p for name, p in named if p.requires_grad and (hits is None or id(p) in hits)}
        if not chosen:
            raise ConfigError(
                "task: params must select a parameter that requires grad; got none. "
                "Call requires_grad_(True) on those in question, or widen params."
            )
        return chosen

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """The shape of every selected parameter, in order."""
        return {name: p.shape for name, p in self.parameters().items()}

    def _first(self) -> nn.Parameter:
        """One of the selected parameters, for its device and dtype; without a walk where all are selected."""
        if self.params is None:
            first = next((p for p in self.model.parameters() if p.requires_grad), None)
            if first is not None:
                return first
        return next(iter(self.parameters().values()))

    def _matches(self, params: Sequence[str] | Callable[[str], bool]) -> list[nn.Parameter]:
        named = list(self.model.named_parameters(remove_duplicate=False))
        if callable(params):
            return [p for name, p in named if params(name)]
        hits = []
        for pattern in params:
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

    def inputs(self, batch: Any) -> Any:
        """X of (x, y), a dict, or x alone; not checked."""
        return batch[0] if _is_pair(batch) else batch

    def labels(self, batch: Any) -> Any:
        """Y of (x, y) or a dict, not checked; None where there is none."""
        if not isinstance(batch, Mapping) and (not _is_pair(batch) or batch[1] is None):
            return None
        if self.target:
            return self.target(batch)
        return batch.get("labels") if isinstance(batch, Mapping) else batch[1]

    def split(self, batch: Any) -> tuple[Any, Tensor]:
        """(x, y) of a batch, checked: finite, not empty, of one length."""
        if not isinstance(batch, Mapping) and not _is_pair(batch):
            raise DataError(f"task: a batch must be (x, y) or a dict; got {name_of(type(batch))}. Pass both together.")
        x, y = self.inputs(batch), self.labels(batch)
        N = self.check_inputs(x)
        if not isinstance(y, Tensor):
            raise DataError(
                f"task: y must be a tensor; got {name_of(type(y))}. Pass torch.as_tensor(y), or give target=."
            )
        device = next(tensors_of(x)).device  # the model's
        if y.device != device:
            raise DataError(
                f"task: y must be on the model's device {device}; got {y.device}. Pass y.to({str(device)!r})."
            )
        check_finite("y", y)
        if y.dim() == 0 or len(y) != N:
            raise DataError(f"task: x and y must have one length; got {N} and {list(y.shape)}. Pass one y a sample.")
        return x, y

    def check_inputs(self, x: Any) -> int:
        """The number of samples N in ``x``, whose every tensor is finite, [N, ...], and where the model is."""
        N = num_samples(x)
        weight = self._first()
        kind = weight.device.type
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        mixed = autocast or self.forward is not None
        for tensor in tensors_of(x):
            if tensor.device != weight.device:
                raise DataError(
                    f"task: x must be on the model's device {weight.device}; got {tensor.device}. "
                    f"Pass x.to({str(weight.device)!r})."
                )
            if tensor.is_floating_point() and tensor.dtype != weight.dtype and not mixed:
                raise DataError(
                    f"task: x must be {weight.dtype} as the model is; got {tensor.dtype}. Pass x.to({weight.dtype})."
                )
            check_finite("x", tensor)
        return N

    def check_mode(self) -> None:
        """Refuse a model whose samples are coupled or whose forward is random."""
        if not any(map(_may_couple, self.model.modules())):
            return
        norms, training = [], {}
        for path, module in self.model.named_modules():
            if module.training:
                training[path] = module
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                norms.append((path, module))
        for path, module in training.items():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise _train_mode(path, module, ", where BatchNorm makes each output depend on the whole batch")
            if isinstance(module, nn.modules.dropout._DropoutNd):
                raise _train_mode(path, module, ", where dropout draws a new mask at each pass")
        for path, module in training.items():
            raise _train_mode(path, module, "")
        for path, module in norms:
            if module.running_mean is None:
                raise ConfigError(
                    f"task: BatchNorm must use stored statistics; got {path!r} with track_running_stats=False, which "
                    "makes each output depend on the whole batch. Replace it, or store statistics."
                )

    def outputs(self, x: Any) -> Tensor:
        """The model's outputs [N, ...], [N, 1] where the model returns [N], under the caller's grad mode."""
        self.check_mode()
        N = num_samples(x)
        try:
            outputs = self.model(x) if self.forward is None else self.forward(self.model, x)
        except (RuntimeError, IndexError) as error:
            if not _MISFIT.search(str(error)):
                raise
            kinds = ", ".join(f"{list(t.shape)} {t.dtype}" for t in tensors_of(x))
            pictures = "; of pictures in bytes, x.float() / 255 say" if "torch.uint8" in kinds else ""
            raise DataError(
                f"task: x must fit the model; got {kinds}, of which torch says: {str(error).splitlines()[0]}. "
                f"Give samples of the shape and dtype that the model takes{pictures}."
            ) from error
        if not isinstance(outputs, Tensor):
            raise ConfigError(
                f"task: the model must return a tensor; got {name_of(type(outputs))}. "
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
            got = f"shape {list(losses.shape)}" if isinstance(losses, Tensor) else name_of(type(losses))
            raise ConfigError(
                f"task: the loss must return one number a sample, [{len(outputs)}]; got {got}. "
                'Use reduction="none" and sum over all axes but the first; do not average over samples.'
            )
        return losses

    def residual_targets(self, y: Tensor, num_outputs: int) -> Tensor:
        """What outputs are compared with in a least-squares residual, float64 [N, C].

        Class labels [N] are one-hot; for one output they are 0 or 1, and the targets themselves.

        Raises:
            DataError: A label is out of range, or targets have another size than the outputs.
        """
        return residual_targets(y, num_outputs, probabilities=isinstance(self.criterion, BinaryCrossEntropy))


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, (tuple, list)) and len(batch) == 2


def _may_couple(module: nn.Module) -> bool:
    return module.training or (isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None)


def _train_mode(path: str, module: nn.Module, why: str) -> ConfigError:
    where = f"{path!r} ({type(module).__name__})" if path else type(module).__name__
    return ConfigError(
        f"task: the model must be in eval mode; got {where} in train mode{why}. Call model.eval() first."
    )


def _check_reduction(loss: Any) -> None:
    if isinstance(loss, str):
        check_choice("task", "loss", loss, LOSSES)
    elif isinstance(loss, type):
        raise ConfigError(f"task: loss must be a name or a function; got the class {loss.__name__}. Pass an instance.")
    elif getattr(loss, "reduction", "none") != "none":
        raise ConfigError(
            f'task: a loss must have reduction="none", one number a sample; got {type(loss).__name__} with reduction='
            f'"{loss.reduction}". Pass {type(loss).__name__}(reduction="none"), or the name of a built-in loss.'
        )
    elif not callable(loss) and not isinstance(loss, Loss):
        raise ConfigError(
            f"task: loss must be a name or a function; got {name_of(type(loss))}. Choose of {list(LOSSES)}."
        )
