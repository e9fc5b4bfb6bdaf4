"""Generalization bounds from training runs: f-CMI and its family, with what their estimates are worth."""

from infotorch.bounds import limits
from infotorch.bounds.bound import Bound
from infotorch.bounds.cells import Ensemble, Extra, TrainFn
from infotorch.bounds.collect import PredictionsError, RunError
from infotorch.bounds.conv_ensemble import ConvEnsemble, conv_ensemble
from infotorch.bounds.ensemble import DivergedCells
from infotorch.bounds.estimate import estimate, from_predictions
from infotorch.bounds.examples import Pair, example_scores, membership_pairs
from infotorch.bounds.experiment import Experiment
from infotorch.bounds.formulas import formula, plain_lipschitz, vacuous
from infotorch.bounds.grid import Cell, Grid
from infotorch.bounds.huggingface_learner import huggingface_learner
from infotorch.bounds.information import mutual_information, null_mean, plugin_mi
from infotorch.bounds.langevin import Langevin
from infotorch.bounds.leave_one_out import leave_one_out
from infotorch.bounds.mlp_ensemble import MlpEnsemble, mlp_ensemble
from infotorch.bounds.plan import Plan, plan
from infotorch.bounds.result import BoundEstimate, Report
from infotorch.bounds.run import run
from infotorch.bounds.sgld import sgld, sgld_account
from infotorch.bounds.sklearn_learner import sklearn_learner
from infotorch.bounds.statements import BOUNDS, bounds_table
from infotorch.bounds.status import Status, status
from infotorch.bounds.torch_learner import torch_learner
from infotorch.bounds.vmap_ensemble import VmapEnsemble, vmap_ensemble
from infotorch.measures.gradient_variance import gradient_variance

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundEstimate",
    "Cell",
    "ConvEnsemble",
    "DivergedCells",
    "Ensemble",
    "Experiment",
    "Extra",
    "Grid",
    "Langevin",
    "MlpEnsemble",
    "Pair",
    "Plan",
    "PredictionsError",
    "Report",
    "RunError",
    "Status",
    "TrainFn",
    "VmapEnsemble",
    "bounds_table",
    "conv_ensemble",
    "estimate",
    "example_scores",
    "formula",
    "from_predictions",
    "gradient_variance",
    "huggingface_learner",
    "leave_one_out",
    "limits",
    "membership_pairs",
    "mlp_ensemble",
    "mutual_information",
    "null_mean",
    "plain_lipschitz",
    "plan",
    "plugin_mi",
    "run",
    "sgld",
    "sgld_account",
    "sklearn_learner",
    "status",
    "torch_learner",
    "vacuous",
    "vmap_ensemble",
]
