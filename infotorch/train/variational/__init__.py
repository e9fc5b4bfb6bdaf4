"""Training with noise in the weights: a Gaussian posterior, its divergence from a prior, and the trade-off of both."""

from infotorch.train.variational.fitting import VariationalFit, fit_variational
from infotorch.train.variational.improper import ImproperKL, log_uniform_kl
from infotorch.train.variational.model import VariationalModel
from infotorch.train.variational.posterior import VariationalPosterior
from infotorch.train.variational.repeated import MarginalPrior, marginal_prior
from infotorch.train.variational.wrapping import variational

__all__ = [
    "ImproperKL",
    "MarginalPrior",
    "VariationalFit",
    "VariationalModel",
    "VariationalPosterior",
    "fit_variational",
    "log_uniform_kl",
    "marginal_prior",
    "variational",
]
