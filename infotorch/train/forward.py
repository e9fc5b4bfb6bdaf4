"""The forward passes of one step, in parts, and what they add up to."""

import contextlib
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from infotorch.errors import ConfigError, DataError
from infotorch.ops import LimitNoise, LimitRows
from infotorch.task.classes import given_classes, is_single, labelled, out_of_range
from infotorch.train.batch import Batch
from infotorch.train.limit_gradient import limit_gradient
from infotorch.train.options import by_memory, memory_of
from infotorch.train.ranks import total, world_size

if TYPE_CHECKING:
    from infotorch.train.trainer import LimitTrainer

__all__ = ["SUMS", "Forward"]

WHERE = "LimitTrainer.step"
SUMS = ("labels", "match", "pen", "ce", "right")
"""What a step adds up over its labels: their number, three losses, and how many the classifier predicts."""


class Forward:
    """One step of ``trainer`` on the batch ``whole``, before anything moves."""

    def __init__(self, trainer: "LimitTrainer", whole: Batch, warm: bool) -> None:
        self.trainer, self.whole, self.warm = trainer, whole, warm
        self.sums = torch.zeros(len(SUMS), dtype=torch.float64, device=trainer.device)
        """``SUMS`` of the parts so far, on this rank."""
        self.meter_sums: Tensor | None = None
        """The meter's sums of the parts so far, on this rank."""
        self.distances: list[tuple[Tensor, Tensor]] = []
        """ids [N] and, float, the mean distance of their label gradients from the predicted ones, for each part."""
        ids = whole.ids
        if ids is None and trainer.options.lam is not None and world_size() > 1:
            raise DataError(
                f"{WHERE}: noise in several processes needs the samples' ids; got a batch without. "
                "Let the loader yield (inputs, labels, ids)."
            )
        self._keyed = Batch(
            inputs=whole.inputs, labels=whole.labels, ids=torch.arange(len(whole)) if ids is None else ids
        )
        self.parts = self._keyed.parts(trainer.options.grad_accum)
        self._scale: float | None = None
        self._rows_met = 0

    def loss(self, part: Batch) -> Tensor:
        """The part's share of the loss to propagate back; all parts' add up to the step's."""
        trainer, options = self.trainer, self.trainer.options
        wrapped = isinstance(trainer.classifier, DistributedDataParallel)
        # In warm-up the classifier gets no gradient. Wrapped, it gets zeros: its hooks wait for one.
        still = torch.no_grad() if self.warm and not wrapped else contextlib.nullcontext()
        with trainer.autocast():
            with still:
                logits = trainer.classifier(part.inputs)
            aux_logits = trainer.aux(part.inputs)
        for name, output in (("classifier", logits), ("aux", aux_logits)):
            if not isinstance(output, Tensor):
                raise ConfigError(
                    f"{WHERE}: {name} must return its logits, a tensor; got {type(output).__name__}. "
                    "Wrap it in a module that returns them."
                )
        if trainer.options.amp is not None:  # one network may end in an operation that autocast leaves wide
            dtype = torch.promote_types(logits.dtype, aux_logits.dtype)
            logits, aux_logits = logits.to(dtype), aux_logits.to(dtype)
        if self._scale is None and not trainer.steps:
            check_sight(trainer.classifier, aux_logits)
        if self._scale is None:
            labels = self._count_labels(logits)
            # Ranks' gradients are averaged, so that each rank's sum is multiplied by their number.
            self._scale = world_size() / (1.0 if options.reduction == "sum" else labels)
            self._inject_scale = 0.0 if self.warm else labels if options.reduction == "reference" else 1.0
            C = 2 if is_single(logits, part.labels) else logits.shape[-1]
            if trainer.num_classes not in (None, C):
                raise ConfigError(
                    f"{WHERE}: num_classes must be the classifier's number of outputs, {C}; got {trainer.num_classes}. "
                    "Widen its last layer, or correct num_classes."
                )
            trainer.make_meter(C, trainer.n_train if logits.dim() <= 2 else None)
        noise = None
        if options.lam is not None:
            noise = LimitNoise(seed=options.seed, step=trainer.steps, ids=part.ids)  # type: ignore[arg-type]  # keyed
        loss, rows = limit_gradient(
            logits, aux_logits, part.labels, q=options.q, beta=options.beta, lam=options.lam, noise=noise,
            reduction="sum", inject_scale=self._inject_scale, rows=True,
        )  # fmt: skip
        self._add(part, rows, logits, aux_logits)
        return loss * self._scale

    def _count_labels(self, logits: Tensor) -> float:
        """The step's labels on all ranks.

        Raises:
            DataError: Another rank has one out of range, which it is about to refuse: nobody waits for that rank.
        """
        given = self.whole.labels
        there = float(labelled(logits, given).sum())
        if world_size() == 1:
            return max(there, 1.0)
        wrong = float(out_of_range(logits, given).any())
        there, wrong_ranks = total([there, wrong], self.trainer.device)
        if wrong_ranks and not wrong:
            raise DataError(
                f"{WHERE}: labels must be in range on every rank; got one that isn't on {int(wrong_ranks)} other rank. "
                "Read that rank's error."
            )
        return max(there, 1.0)

    def numbers(self, moving: Sequence[Sequence[Tensor]]) -> tuple[list[float], list[float]]:
        """This rank's sums, and the norms of the gradients of the parameters about to move, of one network each.

        One wait for the device.
        """
        device = self.trainer.device
        grads = [[p.grad for p in parameters if p.grad is not None] for parameters in moving]
        parts = [self.sums] if self.meter_sums is None else [self.sums, self.meter_sums]
        first = sum(map(len, parts))
        parts.append(self.trainer.scaler.scale(torch.ones(1, device=device)))
        parts += [torch.stack([norm.to(device) for norm in torch._foreach_norm(each)]) for each in grads if each]
        numbers = torch.cat([part.double() for part in parts]).tolist()
        unscale, of_tensors = 1 / numbers[first], iter(numbers[first + 1 :])
        return numbers[:first], [unscale * math.hypot(*itertools.islice(of_tensors, len(each))) for each in grads]

    @torch.no_grad()
    def _add(self, part: Batch, rows: LimitRows, logits: Tensor, aux_logits: Tensor) -> None:
        trainer, N = self.trainer, len(part)
        right = (rows.top == given_classes(logits, part.labels).view_as(rows.top)) & rows.valid
        columns = torch.stack([rows.valid, rows.match, rows.pen, rows.ce, right])
        self.sums = self.sums + columns.flatten(1).sum(1, dtype=torch.float64)
        if trainer.meter is not None:
            counted = None
            if trainer.rows_left is not None:
                places = torch.arange(self._rows_met, self._rows_met + N, device=rows.valid.device)
                counted = (places < trainer.rows_left).view(N, *[1] * (rows.valid.dim() - 1)).expand_as(rows.valid)
            mine = rows if trainer.meter.q == trainer.options.q else None
            sums = trainer.meter.sums(logits, aux_logits, part.labels, rows=mine, counted=counted)
            self.meter_sums = sums if self.meter_sums is None else self.meter_sums + sums
        self._rows_met += N
        if trainer.options.scores == "ema" and self.whole.ids is not None and part.ids is not None:
            dist, there = rows.dist, rows.valid
            if dist.dim() > 1:
                dist, there = dist.reshape(N, -1).sum(1), there.reshape(N, -1).sum(1)  # over [N, T]
            self.distances.append((part.ids, dist / there))  # 0 / 0 = NaN: no label, no score


def check_sight(classifier: nn.Module, aux_logits: Tensor) -> None:
    """Raises where the auxiliary's logits are made with a parameter of the classifier: ``ConfigError``.

    The auxiliary network may hold it where nobody lists it, as in a closure.
    """
    names = by_memory(classifier)
    nodes, seen = [aux_logits.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and memory_of(leaf) in names:
            name = names[memory_of(leaf)]
            raise ConfigError(
                f"{WHERE}: aux must not use the classifier's parameters; got classifier.{name} in its output. "
                "Through it the labels would reach the classifier; copy that part, or detach what it returns."
            )
        nodes += [following for following, _ in node.next_functions]
