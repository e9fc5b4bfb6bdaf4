"""Training that withholds label noise, or follows a teacher; label noise itself; what a training tells of it."""

from infotorch.measures import (
    LabelInfo,
    LabelInfoMeter,
    Memorised,
    fano_min_error,
    label_info_lower,
    max_memorised,
    memorised_counts,
)
from infotorch.ops import LimitNoise, LimitRows
from infotorch.train import losses, noise
from infotorch.train.adapters import __getattr__ as __getattr__
from infotorch.train.distillation.loop import distill
from infotorch.train.distillation.loss import distill_loss
from infotorch.train.distillation.result import DistillResult, Moment
from infotorch.train.distillation.teacher import TeacherPath
from infotorch.train.distillation.trace import SupervisionTrace
from infotorch.train.fisher_trace import FisherTrace
from infotorch.train.gradient_noise import noisy_gradient_loss
from infotorch.train.limit_gradient import LimitLoss, limit_gradient
from infotorch.train.noise import flip_labels, pmd, pmd_labels, transition_matrix
from infotorch.train.pretrained import pretrained_head
from infotorch.train.replace_gradient import replace_gradient
from infotorch.train.result import LimitInfo, LimitResult
from infotorch.train.scores import limit_scores
from infotorch.train.soft_limit import SoftLimitLoss
from infotorch.train.trainer import LimitTrainer
from infotorch.train.variational import (
    ImproperKL,
    MarginalPrior,
    VariationalFit,
    VariationalModel,
    fit_variational,
    log_uniform_kl,
    marginal_prior,
    variational,
)

__all__ = [
    "DistillResult",
    "FisherTrace",
    "ImproperKL",
    "LabelInfo",
    "LabelInfoMeter",
    "LimitInfo",
    "LimitLoss",
    "LimitNoise",
    "LimitResult",
    "LimitRows",
    "LimitTrainer",
    "MarginalPrior",
    "Memorised",
    "Moment",
    "SoftLimitLoss",
    "SupervisionTrace",
    "TeacherPath",
    "VariationalFit",
    "VariationalModel",
    "distill",
    "distill_loss",
    "fano_min_error",
    "fit_variational",
    "flip_labels",
    "label_info_lower",
    "limit_gradient",
    "limit_scores",
    "log_uniform_kl",
    "losses",
    "marginal_prior",
    "max_memorised",
    "memorised_counts",
    "noise",
    "noisy_gradient_loss",
    "pmd",
    "pmd_labels",
    "pretrained_head",
    "replace_gradient",
    "transition_matrix",
    "variational",
]
