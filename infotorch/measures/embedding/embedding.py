"""What a task is embedded as: one number a filter of the probe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from infotorch.errors import DataError, NumericsError, ShapeError
from infotorch.table import Kind

__all__ = ["Embedding", "filter_means"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Embedding:
    """One number a filter of a probe network, as :func:`infotorch.task_embedding` makes them.

    Raises:
        NumericsError: A value is not finite, or negative; the text names its filter.
        ShapeError: Values and names disagree.
    """

    values: Tensor
    """[F], float64, never negative: for ``method="fisher"`` the Fisher information of the filter's weights, the mean
    over samples and weights, in squared units of the loss over squared units of the weights; for ``"variational"``
    the mean over weights of 1 / variance."""
    filters: tuple[str, ...]
    """Name of each filter, ``"conv1[3]"``, [F]."""
    layers: tuple[str, ...]
    """Layers of the probe, in order."""
    num_samples: int
    """How many the mean is over, or the posterior was read beside; 0 where none were given."""
    prior_var: Tensor | None = None
    """Variance of each filter's prior, [F], float64; None where it is the same for all, and then without effect."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: ``method``, ``labels``, ``balance``, ``loss``, and ``head_loss``, the mean loss of the head that
    the embedding was taken with, in the loss's unit, None without labels."""

    def __post_init__(self) -> None:
        if self.values.dtype != torch.float64 or self.values.shape != (len(self.filters),):
            raise ShapeError(
                f"embedding: values must be float64 [{len(self.filters)}], one a filter; got {self.values.dtype} "
                f"{list(self.values.shape)}. Pass values.double() and as many names."
            )
        if self.prior_var is not None and self.prior_var.shape != self.values.shape:
            raise ShapeError(
                f"embedding: prior_var must be {list(self.values.shape)}, one a filter; got "
                f"{list(self.prior_var.shape)}. Repeat a layer's for each of its filters."
            )
        if not (allowed := self.values.isfinite() & (self.values >= 0)).all():
            place = int((~allowed).nonzero()[0])
            raise NumericsError(
                f"embedding: values must be finite and at least 0; got {float(self.values[place])} at filter "
                f"{self.filters[place]}. Look at the probe's weights, and at samples with huge outputs."
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def kind(self) -> Kind:
        """``diagnostic``: it compares tasks on one probe, and bounds nothing."""
        return "diagnostic"

    def __repr__(self) -> str:
        low, high = (f"{float(v):.3g}" for v in torch.aminmax(self.values)) if len(self) else ("", "")
        return (
            f"Embedding({len(self):,} filters of {len(self.layers)} layers, {low} to {high}, "
            f"{self.meta.get('method', 'values')} on {self.num_samples:,} samples, kind {self.kind})"
        )

    @classmethod
    def from_variances(
        cls,
        variances: Mapping[str, Tensor],
        *,
        prior_var: float | Mapping[str, float] | None = None,
        num_samples: int = 0,
        meta: Mapping[str, Any] | None = None,
    ) -> "Embedding":
        """The embedding of a trained posterior N(w, diag sigma^2): the mean of 1 / sigma^2 over a filter's weights.

        At the optimum of E loss + beta KL on a quadratic loss of curvature H, 1 / sigma^2 = H / beta + 1 / prior_var:
        so embeddings are compared at one beta and one prior. Achille et al., "Task2Vec" (arXiv:1902.03545), whose
        authors' program has a KL twice as large and a mean loss, so that its beta is another.

        Args:
            variances: Layer -> sigma^2 of its weights, [O, ...], or [O] where a filter has one of its own; positive.
            prior_var: Variance of the prior, of all layers or by layer.
            num_samples: How many the posterior was trained on.
            meta: Whatever is to be told with it.

        Returns:
            :class:`Embedding` with ``method`` "variational".

        Raises:
            NumericsError: A variance is not above 0.
            ShapeError: There is none.

        Example:
            >>> Embedding.from_variances({"conv": torch.tensor([[0.5, 0.25], [1.0, 1.0]])}).values
            tensor([3., 1.], dtype=torch.float64)
        """
        for layer, variance in variances.items():
            if not (variance > 0).all():
                raise NumericsError(
                    f"embedding: variances must be above 0; got {float(variance.min())} in layer {layer}. "
                    "Pass sigma^2, the exponential of what is trained."
                )
        values, filters = filter_means({layer: variance.double().reciprocal() for layer, variance in variances.items()})
        priors = None
        if prior_var is not None:
            of = prior_var if isinstance(prior_var, Mapping) else dict.fromkeys(variances, prior_var)
            if missing := [layer for layer in variances if layer not in of]:
                raise ShapeError(
                    f"embedding: prior_var must have every layer; got none of {missing[0]}. Pass a float for all."
                )
            priors = torch.cat([values.new_full((len(variance),), of[layer]) for layer, variance in variances.items()])
        return cls(
            values=values,
            filters=filters,
            layers=tuple(variances),
            num_samples=num_samples,
            prior_var=priors,
            meta={"method": "variational", **(meta or {})},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, as JSON keeps them without loss."""
        return {
            "values": self.values.tolist(),
            "filters": list(self.filters),
            "layers": list(self.layers),
            "num_samples": self.num_samples,
            "prior_var": None if self.prior_var is None else self.prior_var.tolist(),
            "meta": dict(self.meta),
        }

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "Embedding":
        """What :meth:`to_dict` wrote.

        Raises:
            DataError: An entry is missing.
        """
        wanted = ("values", "filters", "layers", "num_samples", "prior_var", "meta")
        if missing := [name for name in wanted if name not in entries]:
            raise DataError(
                f"embedding: entries must be {', '.join(wanted)}; got no {missing[0]!r}. Pass what to_dict() returned."
            )
        prior = entries["prior_var"]
        return cls(
            values=torch.tensor(entries["values"], dtype=torch.float64),
            filters=tuple(entries["filters"]),
            layers=tuple(entries["layers"]),
            num_samples=entries["num_samples"],
            prior_var=None if prior is None else torch.tensor(prior, dtype=torch.float64),
            meta=dict(entries["meta"]),
        )


def filter_means(weights: Mapping[str, Tensor]) -> tuple[Tensor, tuple[str, ...]]:
    """Means over all axes but the first, end to end, float64 [F], and the filters' names.

    Raises:
        ShapeError: There is no layer.
    """
    if not weights:
        raise ShapeError("embedding: there must be a layer; got none. Pass one entry a layer of the probe.")
    means = torch.cat([weight.double().reshape(len(weight), -1).mean(1).cpu() for weight in weights.values()])
    return means, tuple(f"{layer}[{i}]" for layer, weight in weights.items() for i in range(len(weight)))
