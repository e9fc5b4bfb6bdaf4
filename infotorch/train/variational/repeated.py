"""One prior for many runs: what weights tell of the data set they were trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from infotorch.errors import ConfigError, DataError, ShapeError, check_choice
from infotorch.train.variational.model import VariationalModel
from infotorch.train.variational.posterior import VariationalPosterior

__all__ = ["MarginalPrior", "marginal_prior"]

WHERE = "marginal_prior"
Shared = Literal["weight", "parameter"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MarginalPrior:
    r"""KL of each run's posterior from a Gaussian prior made of the runs.

    For every prior P, :math:`E_D\,\mathrm{KL}(Q(w|D) \| P) = I(w; D) + \mathrm{KL}(Q(w) \| P) \ge I(w; D)`.
    """

    kl: Tensor
    """[R], in nats: of run r from the prior made of the *other* runs."""
    in_sample: float
    """Mean KL from the best Gaussian for these runs. At least I(w; D) for D uniform over the runs' own data sets, which
    is at most log R; for fresh data sets it is no bound, since this prior has seen them."""
    num_runs: int
    """R."""
    mean: Tensor
    """[P], of the prior of all runs."""
    variance: Tensor
    """[P]."""
    kind: str = "estimate"

    @property
    def mean_kl(self) -> float:
        """The mean of ``kl``: in expectation over independent data sets at least I(w; D), in nats.

        Where runs differ in more than their data, in a training seed, each Q is of the data and the seed together: then
        it estimates a bound on I(w; D, seed), which also counts which of many equal minima was reached.
        """
        return float(self.kl.mean())

    @property
    def stderr(self) -> float:
        """Of ``mean_kl``, over runs, as if they were independent: they share the others' data sets."""
        return float(self.kl.std() / self.num_runs**0.5)

    def __str__(self) -> str:
        return (
            f"mean KL {self.mean_kl:.4g} ± {self.stderr:.2g} nats over {self.num_runs} runs, each from the prior of "
            "the others: in expectation at least I(w; D)"
        )


def marginal_prior(
    runs: Sequence[VariationalModel | VariationalPosterior], *, shared: Shared = "weight"
) -> MarginalPrior:
    r"""The best Gaussian prior over runs on repeated data sets, and the mean KL from it, at least :math:`I(w; D)`.

    The prior of least mean KL among Gaussians with a diagonal covariance has the runs' moments: mean
    :math:`m = \overline{\mu_r}`, variance :math:`\overline{\sigma_r^2 + (\mu_r - m)^2}` (information in the weights in
    Shannon's sense: Achille and Soatto, arXiv 1706.01350, section 4). A prior fitted to its own runs flatters them, so
    each run is also compared with the prior of the others.

    Args:
        runs: At least 3 (each prior needs 2), of one network trained from the same initial weights on data sets drawn
            anew, by posteriors with one variance a weight or a unit.
        shared: ``"weight"``: a variance of the prior for each weight; ``"parameter"``: one for each parameter tensor,
            for few runs.

    Raises:
        ConfigError: An unknown option.
        DataError: There are fewer than 3 runs.
        ShapeError: Runs have other parameters, or Kronecker covariances.
    """
    check_choice(WHERE, "shared", shared, get_args(Shared))
    found: list[Any] = [run.posterior() if isinstance(run, VariationalModel) else run for run in runs]
    R = len(found)
    if R < 3:
        raise DataError(f"{WHERE}: there must be at least 3 runs; got {R}. Train on more data sets.")
    for place, posterior in enumerate(found):
        if not isinstance(posterior, VariationalPosterior):
            got = type(posterior).__name__
            raise ConfigError(
                f"{WHERE}: runs must be variational; got {got} at {place}. Pass what variational returns."
            )
        if posterior.shapes != found[0].shapes:
            raise ShapeError(f"{WHERE}: runs must have the same parameters; got others at {place}. Pass one network's.")
        if posterior.krons:
            raise ShapeError(
                f"{WHERE}: runs must have diagonal covariances; got Kronecker ones at {place}. "
                'Use granularity="weight".'
            )
    mu = torch.stack([posterior.mean for posterior in found])  # [R, P]
    var = torch.stack([posterior.variance for posterior in found])
    mean, variance = _prior(mu, var, shared, found[0].shapes)
    kl = []
    for r in range(R):
        rest = [other for other in range(R) if other != r]
        kl.append(_kl(mu[r], var[r], *_prior(mu[rest], var[rest], shared, found[0].shapes)))
    in_sample = float(torch.stack([_kl(mu[r], var[r], mean, variance) for r in range(R)]).mean())
    return MarginalPrior(kl=torch.stack(kl), in_sample=in_sample, num_runs=R, mean=mean, variance=variance)


def _prior(mu: Tensor, var: Tensor, shared: str, shapes: Mapping[str, torch.Size]) -> tuple[Tensor, Tensor]:
    """Mean and variance [P] of the Gaussian of least mean KL from runs [R, P]."""
    mean = mu.mean(0)
    second = (var + (mu - mean).square()).mean(0)
    if shared == "parameter":
        parts = second.split([shape.numel() for shape in shapes.values()])
        second = torch.cat([part.mean().expand(len(part)) for part in parts])
    return mean, second


def _kl(mu: Tensor, var: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Of two diagonal Gaussians, in nats, []."""
    return 0.5 * ((var + (mu - mean).square()) / variance - 1 + (variance / var).log()).sum()
