"""Fisher information of a probe's filters on a task, or the precision of a posterior of them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from infotorch.blocks.diagonal import Diagonal
from infotorch.blocks.fisher import Labels, fisher
from infotorch.blocks.loading import Progress, batches, is_loader, of_batch, seeds_of_batch
from infotorch.errors import ConfigError, DataError, check_choice
from infotorch.measures.embedding.embedding import Embedding, filter_means
from infotorch.measures.embedding.probe import by_output, log_variances, probe_weights, requiring_grad
from infotorch.task import Task, num_samples, select

__all__ = ["task_embedding"]

Granularity = Literal["filter"]
Method = Literal["fisher", "variational"]


def task_embedding(
    task: Task,
    data: Any,
    *,
    probe_layers: str | list[str] | tuple[str, ...],
    labels: Labels = "exact",
    granularity: Granularity = "filter",
    method: Method = "fisher",
    balance: bool = False,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> Embedding:
    r"""How much each filter of a probe network matters to a task: the diagonal of the Fisher information, averaged.

    .. math:: F_f = \frac{1}{N\,|f|} \sum_n \sum_{i \in f} E_{y \sim p_n} (\partial \ell_n(y) / \partial w_i)^2

    The probe is one network for all tasks, each with a head of its own that is trained here nowhere: train it first,
    with the probe frozen. A filter is a row of a layer's weight (its axis 0), an output channel of a convolution.
    Biases, parameters of norms and the head are no part of it, so that the length is the same whatever the classes.
    Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto and Perona, "Task2Vec: Task Embedding for Meta-Learning"
    (arXiv:1902.03545). Unlike in its authors' program, labels are summed over in place of drawn, gradients
    are squared sample by sample, not batch by batch, so that no batch size is in the numbers, and the model is in eval
    mode.

    The values fall with the head's confidence, as all Fisher information does: tasks whose heads are trained for
    different times differ by that alone. ``meta["head_loss"]`` tells of it.

    Args:
        task: Probe with the task's head, and its loss. Weights of the probe may be frozen; ``params`` has no effect.
        data: (x, y) or a dict; or a DataLoader of them, in one pass. Labels are needed by ``labels="empirical"`` and
            ``balance`` alone.
        probe_layers: Paths of the probe's layers as ``named_modules`` gives them, of modules that contain them, or
            globs. The head, the layer that runs last, is left out unless it is named in full.
        labels: As :func:`infotorch.fisher` takes them: ``"exact"``, ``("mc", draws, seed)`` or ``"empirical"``, which
            is another quantity.
        granularity: ``"filter"``: the mean over the weights of a filter.
        method: ``"fisher"``; or ``"variational"`` for the mean of 1 / variance of a trained posterior, the model's
            parameters ``weight_logvar`` or ``logvar`` beside a layer's weight, as :func:`infotorch.train.variational`
            makes them: data are then only counted, and their loss is taken, at the posterior's mean.
        balance: Every class weighs the same, rather than every sample.
        memory_limit: Bytes of pairs that may be held, as :func:`infotorch.fisher` takes it.
        progress: Called with ("batches", done, total) after each batch of a loader.

    Returns:
        :class:`Embedding` of F filters, in the model's order.

    Raises:
        CaptureError: A weight of the probe is used outside of a supported layer, or samples are coupled.
        ConfigError: An option is unknown, nothing matches an entry of ``probe_layers``, or the model is in train mode.
        DataError: A batch is empty, not finite, or of the wrong dtype or device; or ``balance`` finds no class labels.
        NumericsError: A value is not finite; the text names its filter.

    Example:
        >>> probe = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
        >>> task_embedding(Task(probe), torch.randn(5, 1, 4, 4), probe_layers="0").filters
        ('0[0]', '0[1]', '0[2]', '0[3]')
    """
    if not isinstance(task, Task):
        raise ConfigError(
            f"task_embedding: task must be a Task; got {type(task).__name__}. Pass Task(model, loss=...)."
        )
    check_choice("task_embedding", "granularity", granularity, get_args(Granularity))
    check_choice("task_embedding", "method", method, get_args(Method))
    total = _Totals(task, labels, balance, memory_limit)
    if method == "variational":
        if balance:
            raise ConfigError(
                'task_embedding: balance must be False for method="variational", whose posterior is trained already; '
                "got True. Balance the data it is trained on."
            )
        spread = log_variances(task.model, probe_layers)
    else:
        spread = None
    given = batches("task_embedding", task, data, progress) if is_loader(data) else (data,)
    for number, batch in enumerate(given):
        with of_batch(number, is_loader(data)):
            total.count(batch)
            if spread is None:
                total.add(batch, number, probe_layers)
    meta = {"method": method, "labels": labels, "balance": balance, "loss": _name(task), "head_loss": total.head_loss}
    if spread is not None:
        return Embedding.from_variances(
            {layer: value.double().exp() for layer, value in spread.items()},
            prior_var=_prior_var(task.model, spread),
            num_samples=total.num_samples,
            meta={**meta, "labels": None},
        )
    return Embedding(
        values=total.mean(),
        filters=total.filters,
        layers=tuple(total.weights),
        num_samples=total.num_samples,
        meta=meta,
    )


class _Totals:
    """Sums over samples, of each class apart where classes are to weigh the same."""

    def __init__(self, task: Task, labels: Labels, balance: bool, memory_limit: int | None) -> None:
        self.task, self.labels, self.balance, self.memory_limit = task, labels, balance, memory_limit
        self.weights: dict[str, nn.Parameter] = {}
        self.filters: tuple[str, ...] = ()
        self.sums: dict[int | None, Tensor] = {}  # [F]
        self.counts: dict[int | None, int] = {}
        self.num_samples = 0
        self.loss: float | None = 0.0

    @torch.no_grad()
    def count(self, batch: Any) -> None:
        """The samples and their loss."""
        x, y = self.task.inputs(batch), self.task.labels(batch)
        self.num_samples += num_samples(x)
        if y is None:
            self.loss = None
        elif self.loss is not None:
            x, y = self.task.split(batch)
            self.loss += float(self.task.losses(self.task.outputs(x), y).double().sum())

    @property
    def head_loss(self) -> float | None:
        return None if self.loss is None else self.loss / self.num_samples

    def add(self, batch: Any, number: int, probe_layers: Any) -> None:
        """What a batch adds to the sums."""
        if not self.weights:
            self.weights = probe_weights(self.task, self.task.inputs(batch), probe_layers)
        names = {id(p): name for name, p in self.task.model.named_parameters()}
        owners = {id(p): module for module in self.task.model.modules() for p in module._parameters.values()}
        chosen = {layer: names[id(weight)] for layer, weight in self.weights.items()}
        labels = self.labels if isinstance(self.labels, str) else seeds_of_batch(self.labels, number)
        options: dict[str, Any] = {"labels": labels, "memory_limit": self.memory_limit}
        with requiring_grad(self.weights):
            probe = replace(self.task, params=set(chosen.values()).__contains__)
            for label, part in self._classes(batch):
                found = fisher(probe, part, structure="diagonal", **options)
                assert isinstance(found, Diagonal)
                values = {k: by_output(found.values[name], owners[id(self.weights[k])]) for k, name in chosen.items()}
                means, self.filters = filter_means(values)
                self.sums[label] = self.sums[label] + means if label in self.sums else means
                self.counts[label] = self.counts.get(label, 0) + num_samples(self.task.inputs(part))

    def mean(self) -> Tensor:
        """Over samples, then over the classes that there are."""
        return torch.stack([self.sums[label] / self.counts[label] for label in self.sums]).mean(0)

    def _classes(self, batch: Any) -> Iterator[tuple[int | None, Any]]:
        if not self.balance:
            yield None, batch
            return
        y = self.task.labels(batch)
        if not isinstance(y, Tensor) or y.dim() != 1 or y.is_floating_point():
            raise DataError(
                "task_embedding: balance must have one class label a sample, integers [N]; got "
                f"{type(y).__name__ if not isinstance(y, Tensor) else list(y.shape)}. Pass (x, y), or balance=False."
            )
        for label in y.unique().tolist():
            yield label, select(batch, (y == label).nonzero()[:, 0])


def _prior_var(model: nn.Module, layers: Collection[str]) -> dict[str, float] | None:
    """By layer, where the model tells of all of them."""
    told = getattr(model, "prior_var", None)
    found = {layer: float(told[layer]) for layer in layers if layer in told} if isinstance(told, Mapping) else {}
    return found if found and set(found) == set(layers) else None


def _name(task: Task) -> str:
    return task.loss if isinstance(task.loss, str) else getattr(task.loss, "__name__", type(task.loss).__name__)
