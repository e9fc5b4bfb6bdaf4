"""Information about labels in what a training passes to its classifier, step by step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from infotorch import ops
from infotorch.errors import ConfigError, ShapeError, check_choice
from infotorch.ops import LimitRows
from infotorch.table import Estimate

__all__ = ["LabelInfo", "LabelInfoMeter"]

Predictor = Literal["trained", "frozen", "zero", "uniform"]
CHANNELS = ("gaussian", "laplace", "ce")
PREDICTORS = ("trained", "frozen", "zero", "uniform")
SOURCE = "arXiv 2002.07933, section 3"
NLL = "nll of gradients"
_SUMS = ("rows", "match", "pen", "ce", "kl")


@dataclass(frozen=True, kw_only=True)
class LabelInfo:
    """What all steps so far passed on about the labels; ``None`` where there is no such number."""

    bound: bool
    """Whether ``total_nats`` bounds I(W;Y|X): there is noise, and the predictor was not fitted on these labels."""
    total_nats: float | None
    """Upper bound of the label information in the weights: the steps' divergences, at most the labels' entropy."""
    transfer_nats: float | None
    """The steps' divergences where the predictor is trained: what the channel carried, no bound on the weights."""
    entropy_nats: float | None
    """Entropy of the training labels, or n log C: no weights hold more."""
    nll_nats: float | None
    """Cross-entropy of the gradients under the predictor, at ``lam`` or else at ``lam_fit``; may be negative."""
    lam_fit: float | None
    """Rate of the noise under which the gradients seen are most likely."""
    num_labels: int
    """Labels met in all steps, each as often as it was met."""
    num_steps: int
    """Steps met."""

    def nats(self) -> tuple[float | None, str | None]:
        """The one number to show while training runs, and what it is of."""
        for value, what in (
            (self.total_nats, "at most in the weights"),
            (self.transfer_nats, "passed on"),
            (self.nll_nats, NLL),
        ):
            if value is not None:
                return value, what
        return None, None

    def estimates(self) -> list[Estimate]:
        """The numbers that are there, each with its kind."""
        shown: list[tuple[str, float | None, str, str]] = [
            ("label information in the weights, at most", self.total_nats, "nats", "bound"),
            ("label information passed by the predictor", self.transfer_nats, "nats", "diagnostic"),
            ("cross-entropy of gradients under the predictor", self.nll_nats, "nats", "diagnostic"),
        ]
        return [
            Estimate(name=name, value=value, unit=unit, kind=kind, source=SOURCE)  # type: ignore[arg-type]  # of shown
            for name, value, unit, kind in shown
            if value is not None
        ]


class LabelInfoMeter:
    r"""Adds up what each step's gradient can tell of its labels, in nats.

    A step passes :math:`\tilde g = g + \xi` on, g the gradient of cross-entropy in the logits and :math:`\xi` noise of
    rate :math:`\lambda`. Whatever predicts :math:`\mu` without knowing the step's labels gives

    .. math:: I(\tilde g; Y \mid X, \text{past}) \le \sum_n KL(p(\tilde g_n \mid g_n) \,\|\, q(\tilde g_n \mid \mu_n)),

    and the terms are :math:`\lambda \|d\|^2` for Gaussian noise of variance :math:`1/(2\lambda)` and
    :math:`\sum_c (e^{-\lambda |d_c|} + \lambda |d_c| - 1)` for Laplace noise of scale :math:`1/\lambda`, with
    :math:`d = g - \mu` (Harutyunyan et al., arXiv 2002.07933, section 3; the Laplace form is derived here). Summed over
    the steps this bounds I(W;Y|X) of noisy-gradient training, provided the predictor has not been fitted on these
    labels. With a trained auxiliary network that is not so: then the sum is called ``transfer_nats`` and is no bound.

    Args:
        num_classes: C; 2 where the networks have one logit.
        n_train: n, the number of training labels; ``None`` where it is unknown, and nothing is cut at their entropy.
        q: The noise's law; ``"ce"`` has no density, and then only sums of losses are kept.
        lam: The noise's rate :math:`\lambda`; ``None`` where no noise is added, and then every divergence is infinite
            and not reported.
        label_entropy: H(y|x) in nats, one number for all labels or [n]; default log C.
        predictor: What :math:`\mu` comes from: an auxiliary network that is ``"trained"`` on these labels or
            ``"frozen"``; ``"zero"``, :math:`\mu = 0`; or ``"uniform"``, :math:`\mu = s - 1/C`.

    Raises:
        ConfigError: An option is unknown or out of range.
    """

    def __init__(
        self,
        num_classes: int,
        n_train: int | None,
        *,
        q: str = "gaussian",
        lam: float | None = None,
        label_entropy: float | Sequence[float] | Tensor | np.ndarray | None = None,
        predictor: Predictor = "trained",
    ) -> None:
        where = "LabelInfoMeter"
        check_choice(where, "q", q, CHANNELS)
        check_choice(where, "predictor", predictor, PREDICTORS)
        if num_classes < 2:
            raise ConfigError(f"{where}: num_classes must be at least 2; got {num_classes}. One logit has 2 classes.")
        if n_train is not None and n_train < 1:
            raise ConfigError(f"{where}: n_train must be at least 1; got {n_train}. Pass None where it is unknown.")
        if lam is not None and not 0 < lam < math.inf:
            raise ConfigError(f"{where}: lam must be finite and above 0; got {lam}. Pass None where there is no noise.")
        if lam is not None and q == "ce":
            raise ConfigError(f"{where}: lam goes with gaussian or laplace; got q='ce'. Leave lam out.")
        self.num_classes, self.n_train = num_classes, n_train
        self.q, self.lam, self.predictor = q, lam, predictor
        self.label_entropy = None if label_entropy is None else self._mean_entropy(label_entropy)
        self._coordinates = num_classes
        self._num_steps = 0
        self._sums = dict.fromkeys(_SUMS, 0.0)

    def _mean_entropy(self, label_entropy: Any) -> float:
        """Nats a label."""
        where, limit = "LabelInfoMeter", math.log(self.num_classes)
        h = torch.as_tensor(label_entropy, dtype=torch.float64)
        if h.dim() and h.shape != (self.n_train,):
            raise ShapeError(
                f"{where}: label_entropy must be a number or [n_train] = [{self.n_train}]; got {list(h.shape)}. "
                "Pass one entropy a label."
            )
        if not ((h >= 0) & (h <= limit + 1e-9)).all():
            raise ConfigError(
                f"{where}: label_entropy must lie in 0..log C = {limit:.6g}; got {h.min():.6g} to {h.max():.6g}. "
                "Pass nats a label, not bits or a sum."
            )
        return float(h.mean())

    def update(self, logits: Tensor, aux_logits: Tensor | None, target: Tensor) -> dict[str, float | None]:
        r"""Adds one step and returns its numbers, sums over its valid labels.

        Args:
            logits: The classifier's, [..., C].
            aux_logits: The auxiliary network's, of the same shape; unused and may be ``None`` under the predictors
                ``"zero"`` and ``"uniform"``.
            target: Labels, int64 [...], -100 where there is none; or probabilities, [..., C].

        Returns:
            ``match``, ``pen`` and ``ce_noisy``: sums of the mismatch of predicted and true gradient, of the predicted
            gradient's squared norm, and of the classifier's cross-entropy with the given labels. In nats: ``kl_nats``,
            the bound's terms; ``capacity_nats``, :math:`N \frac C2 \log(1 + 2 \lambda P / C)` with P the batch's mean
            :math:`\|d\|^2`, Gaussian noise only, tighter but biased low on small batches, so never added up;
            ``nll_nats``, at ``lam`` or else at ``lam_fit``. ``lam_fit``: the most likely rate. ``None`` where there is
            no such number.

        Raises:
            ShapeError: ``logits`` has another number of classes.
            ConfigError: ``aux_logits`` is missing.
        """
        return self.add(self.sums(logits, aux_logits, target))

    @torch.no_grad()
    def sums(
        self,
        logits: Tensor,
        aux_logits: Tensor | None,
        target: Tensor,
        *,
        rows: LimitRows | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """A step's sums over valid labels, float64 [5]: labels, match, pen, ce, kl. They add over parts of a step.

        Args:
            logits: As of ``update``.
            aux_logits: As of ``update``.
            target: As of ``update``.
            rows: What ``ops.limit`` made of these tensors under this meter's q; default: it is called here in float64.
            counted: Labels to count, bool, of the labels' shape; default all.
        """
        C = self.num_classes
        single = logits.shape[-1:] == (1,) or (logits.dim() == 1 and target.shape == logits.shape)
        if (2 if single else logits.shape[-1]) != C:
            raise ShapeError(
                f"LabelInfoMeter: logits must be [..., {C}]; got {list(logits.shape)}. "
                "Give num_classes as the networks have outputs, 2 for one logit."
            )
        self._coordinates = 1 if single else C
        if self.predictor == "zero":
            aux_logits = logits
        elif self.predictor == "uniform":
            aux_logits = torch.zeros_like(logits)
        elif aux_logits is None:
            raise ConfigError(
                f"LabelInfoMeter: predictor={self.predictor!r} needs aux_logits; got None. Pass the auxiliary "
                'network\'s logits, or set predictor="uniform".'
            )
        if rows is None:
            z = logits.detach().double()
            v = aux_logits.detach().to(torch.float64, copy=True)  # the op refuses one tensor in both places
            y = target.double() if target.is_floating_point() else target
            rows = ops.limit(z, v, y, q=self.q)  # type: ignore[arg-type]  # __init__ has checked q
        valid = rows.valid.double() if counted is None else rows.valid.double() * counted.view_as(rows.valid)
        pen = torch.zeros_like(rows.pen) if self.predictor == "zero" else rows.pen
        kept = valid > 0
        columns = [rows.match, pen, rows.ce]
        if self.lam is not None:
            laplace = self.q == "laplace"
            kl = _laplace_kl(aux_logits, target, self.lam, single, kept) if laplace else self.lam * rows.match.double()
            columns.append(kl)
        of_rows = torch.where(kept, torch.stack(columns), 0.0).flatten(1)  # [3 or 4, N]
        sums = [valid.sum().view(1), of_rows.sum(1, dtype=torch.float64)]
        return torch.cat(sums if self.lam is not None else [*sums, valid.new_zeros(1)])

    def add(self, sums: Tensor) -> dict[str, float | None]:
        """Adds one step, given its ``sums``, and returns its numbers as ``update`` does."""
        step = dict(zip(_SUMS, sums.tolist(), strict=True))
        for name, value in step.items():
            self._sums[name] += value
        self._num_steps += 1
        capacity = None
        if self.lam is not None and self.q == "gaussian" and step["rows"]:
            d = self._coordinates
            capacity = step["rows"] * d / 2 * math.log1p(2 * self.lam * step["match"] / step["rows"] / d)
        return {
            "match": step["match"],
            "pen": step["pen"],
            "ce_noisy": step["ce"],
            "kl_nats": None if self.lam is None else step["kl"],
            "capacity_nats": capacity,
            "nll_nats": self._nll(step),
            "lam_fit": self._lam_fit(step),
        }

    def result(self) -> LabelInfo:
        """What all steps so far passed on."""
        bound = self.lam is not None and self.predictor != "trained"
        h = math.log(self.num_classes) if self.label_entropy is None else self.label_entropy
        entropy = None if self.n_train is None else self.n_train * h
        kl = None if self.lam is None else self._sums["kl"]
        total = kl if kl is None or entropy is None else min(kl, entropy)
        return LabelInfo(
            bound=bound,
            total_nats=total if bound else None,
            transfer_nats=None if bound else kl,
            entropy_nats=entropy,
            nll_nats=self._nll(self._sums),
            lam_fit=self._lam_fit(self._sums),
            num_labels=int(self._sums["rows"]),
            num_steps=self._num_steps,
        )

    def _lam_fit(self, sums: dict[str, float]) -> float | None:
        if self.q == "ce" or not sums["rows"]:
            return None
        if not sums["match"]:
            return math.inf
        return self._coordinates * sums["rows"] / (sums["match"] * (2 if self.q == "gaussian" else 1))

    def _nll(self, sums: dict[str, float]) -> float | None:
        lam = self._lam_fit(sums) if self.lam is None else self.lam
        if self.q == "ce" or lam is None:
            return None
        if lam == math.inf:
            return -math.inf
        normalizer = math.log(math.pi / lam) / 2 if self.q == "gaussian" else math.log(2 / lam)
        return lam * sums["match"] + sums["rows"] * self._coordinates * normalizer

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {
            "num_classes": self.num_classes,
            "n_train": self.n_train,
            "coordinates": self._coordinates,
            "num_steps": self._num_steps,
            "sums": dict(self._sums),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from the sums of ``state_dict``."""
        self._sums = dict(state["sums"])
        self._num_steps, self._coordinates = state["num_steps"], state["coordinates"]


def _laplace_kl(aux_logits: Tensor, target: Tensor, lam: float, single: bool, kept: Tensor) -> Tensor:
    """KL of the Laplace channel a label, of ``kept``'s shape."""
    v = aux_logits.double()
    if single:
        distance = (v.sigmoid().view_as(kept) - target.double().view_as(kept)).abs()[..., None]
    elif target.is_floating_point():
        distance = (v.softmax(-1) - target.double()).abs()
    else:
        labels = torch.where(kept, target, 0)
        distance = (v.softmax(-1) - F.one_hot(labels, v.shape[-1])).abs()
    return (torch.expm1(-lam * distance) + lam * distance).sum(-1)
