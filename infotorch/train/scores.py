"""How suspicious a label looks to the auxiliary network, which predicts gradients without seeing it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from infotorch.errors import ConfigError, DataError, check_choice
from infotorch.table import Column, Scores
from infotorch.task.classes import is_soft, labelled
from infotorch.train.batch import Batch
from infotorch.train.evaluation import evaluating, outputs
from infotorch.train.ranks import gathered

__all__ = ["limit_scores"]

Kind = Literal["distance", "l1", "xent", "margin", "nll"]
ALWAYS = ("distance", "xent", "margin")
UNITS = {"distance": "1", "l1": "1", "xent": "nats", "margin": "1", "nll": "nats"}
DECAY = 0.8
SOURCE = "arXiv 2002.07933, section 4"


def limit_scores(
    aux: nn.Module | Sequence[nn.Module],
    loader: Iterable[Any],
    *,
    kind: Kind = "distance",
    average: Literal["last", "ema"] = "last",
    q: Literal["gaussian", "laplace"] = "gaussian",
    lam: float | None = None,
) -> Scores:
    r"""How far each sample's label gradient is from the predicted one; high means that the label is suspicious.

    With u the auxiliary network's probabilities in eval mode and t the given label, of class y (the classifier
    cancels):

    - ``distance``, :math:`\|u - t\|_2`, the norm of predicted minus label gradient, in [0, sqrt 2];
    - ``l1``, :math:`\|u - t\|_1 = 2 (1 - u_y)`;
    - ``xent``, :math:`-\log u_y`, nats;
    - ``margin``, :math:`\max_{c \ne y} u_c - u_y`, for labels that are no probabilities;
    - ``nll``, nats: minus the logarithm of the density of the label gradient under noise of rate ``lam`` around the
      prediction, :math:`\lambda \|u - t\|_2^2 + \frac C2 \log \frac\pi\lambda` (Gaussian) or
      :math:`\lambda \|u - t\|_1 + C \log \frac2\lambda` (Laplace).

    After Harutyunyan et al., arXiv 2002.07933, section 4, who rank by the distance. The scores are heuristics: an
    auxiliary network that has memorised a wrong label finds nothing wrong with it.

    Args:
        aux: The auxiliary network; under ``"ema"`` those of several epochs, oldest first.
        loader: Yields (inputs, labels, ids) or dicts with these keys; inputs without augmentation.
        kind: The score asked for, the table's main column.
        average: ``"last"``: of the last network. ``"ema"``: besides, the column ``limit_ema``, an exponential mean over
            the networks with decay 0.8, which resists that the last ones have memorised.
        q: Law of the noise of ``nll``.
        lam: Rate of the noise of ``nll``, which needs it.

    Returns:
        Columns ``limit_distance``, ``limit_xent``, ``limit_margin`` and the one asked for, float64, by sample id. Of a
        sample with several labels they are means over these, beside which stand the largest, ``limit_distance_max`` and
        so on. Samples without any label have no row.

    Raises:
        DataError: The loader gives no ids, an id twice, or no label.
        ConfigError: An option is unknown or contradicts another.
    """
    where = "limit_scores"
    check_choice(where, "kind", kind, get_args(Kind))
    check_choice(where, "average", average, ("last", "ema"))
    check_choice(where, "q", q, ("gaussian", "laplace"))
    if (kind == "nll") != (lam is not None) or (lam is not None and not 0 < lam < math.inf):
        raise ConfigError(f"{where}: lam, finite and above 0, goes with kind='nll'; got kind={kind!r}, lam={lam}. "
                          "Give both or neither.")  # fmt: skip
    networks = [aux] if isinstance(aux, nn.Module) else list(aux)
    if not networks or (average == "ema" and len(networks) == 1):
        raise ConfigError(
            f"{where}: average='ema' must see the auxiliary network of several epochs; got {len(networks)}. "
            'Pass them as a list, oldest first, or train with LimitTrainer(scores="ema").'
        )
    networks = networks if average == "ema" else networks[-1:]
    collected = [ScoreRows() for _ in networks]
    with evaluating(*networks):
        for batch, all_logits in outputs(where, loader, *networks):
            for rows, logits in zip(collected, all_logits, strict=True):
                rows.add(where, batch, label_scores(logits, batch.labels, kind=kind, q=q, lam=lam), logits)
    tables = [rows.scores(where, main=f"limit_{kind}") for rows in collected]
    if average == "last":
        return tables[0]
    mean = tables[0].values
    for table in tables[1:]:
        mean = DECAY * mean + (1 - DECAY) * table.values
    return with_ema(tables[-1], mean, UNITS[kind])


def with_ema(scores: Scores, mean: np.ndarray, unit: str = "1") -> Scores:
    """The table with the column ``limit_ema``, which becomes the main one."""
    column = Column(values=mean, unit=unit, source=f"{SOURCE}, exponential mean over epochs", kind="heuristic")
    return Scores(index=scores.index, columns={"limit_ema": column, **scores.columns}, main="limit_ema")


def label_scores(
    logits: Tensor, labels: Tensor, *, kind: str = "distance", q: str = "gaussian", lam: float | None = None
) -> dict[str, Tensor]:
    """The scores of each label, float64, [...] for logits [..., C]: those always there, and ``kind``."""
    v = logits.detach().double()
    soft = is_soft(logits, labels)
    if not soft and (
        logits.shape[-1:] == (1,) or logits.shape == labels.shape
    ):  # one logit: the second of two, beside 0
        v = v.reshape(labels.shape)
        v = torch.stack([torch.zeros_like(v), v], -1)
        if labels.is_floating_point():
            labels, soft = torch.stack([1 - labels, labels], -1), True
    C = v.shape[-1]
    u, log_u = v.softmax(-1), v.log_softmax(-1)
    found: dict[str, Tensor] = {}
    if soft:
        t = labels.double()
        d = u - t
        found["xent"] = -torch.where(t > 0, t * log_u, 0.0).sum(-1)
    else:
        y = torch.where(labelled(logits, labels), labels, 0)[..., None]
        others = u.scatter(-1, y, 0.0)
        # 1 - u_y as the sum of the others, which keeps its digits where the label is certain
        d = others.scatter(-1, y, -others.sum(-1, keepdim=True))
        found["xent"] = -log_u.gather(-1, y)[..., 0]
        found["margin"] = (u.scatter(-1, y, -math.inf).amax(-1, keepdim=True) - u.gather(-1, y))[..., 0]
    found["distance"], found["l1"] = d.norm(dim=-1), d.abs().sum(-1)
    if lam is not None:
        if q == "gaussian":
            found["nll"] = lam * d.square().sum(-1) + C / 2 * math.log(math.pi / lam)
        else:
            found["nll"] = lam * found["l1"] + C * math.log(2 / lam)
    if kind not in found:
        raise DataError(f"limit_scores: margin must see labels; got probabilities, {labels.dtype}. Use distance.")
    return {name: found[name] for name in dict.fromkeys((kind, *ALWAYS)) if name in found}


class ScoreRows:
    """Scores of samples as they come, by id."""

    def __init__(self) -> None:
        self._ids: list[Tensor] = []
        self._columns: dict[str, list[Tensor]] = {}

    def add(self, where: str, batch: Batch, found: dict[str, Tensor], logits: Tensor) -> None:
        """Adds a batch's scores of labels, reduced to one mean and one largest a sample.

        Raises:
            DataError: The batch has no ids.
        """
        if batch.ids is None:
            raise DataError(
                f"{where}: scores need the samples' ids; got batches without. Let the loader yield "
                "(inputs, labels, ids)."
            )
        there = labelled(logits, batch.labels)
        there = there.reshape(len(batch), -1)  # [N, T]
        kept = there.any(1)
        self._ids.append(batch.ids[kept.cpu()])
        for name, values in found.items():
            values = values.reshape(there.shape)
            mean = torch.where(there, values, 0.0).sum(1) / there.sum(1)
            columns = {name: mean}
            if there.shape[1] > 1:
                columns[f"{name}_max"] = torch.where(there, values, -math.inf).amax(1)
            for key, column in columns.items():
                self._columns.setdefault(f"limit_{key}", []).append(column[kept].cpu())

    def scores(self, where: str, *, main: str) -> Scores:
        """The table of all samples added on any rank.

        Raises:
            DataError: An id came twice, or no label came.
        """
        ranks = gathered((self._ids, self._columns))
        ids = torch.cat([part for ids, _ in ranks for part in ids] or [torch.empty(0, dtype=torch.int64)])
        if not len(ids):
            raise DataError(f"{where}: a loader to score must hold labels; got none. Check its split.")
        ids, order = ids.sort()
        again = (ids[1:] == ids[:-1]).nonzero()
        if len(again):
            raise DataError(
                f"{where}: ids must all differ; got {int(ids[again[0, 0]])} twice. Let each sample come once, "
                "with its own id."
            )
        columns = {
            name: Column(
                values=torch.cat([part for _, columns in ranks for part in columns.get(name, [])])[order].numpy(),
                unit=UNITS[name.removeprefix("limit_").removesuffix("_max")],
                source=SOURCE,
                kind="heuristic",
            )
            for name in dict.fromkeys(name for _, columns in ranks for name in columns)
        }
        return Scores(index=ids.numpy(), columns=columns, main=main)
