"""Generalization bounds from training runs: f-CMI and its family, with what their estimates are worth."""

from infotorch.bounds import limits
from infotorch.bounds.ensembles.conv_ensemble import ConvEnsemble, conv_ensemble
from infotorch.bounds.ensembles.ensemble import DivergedCells
from infotorch.bounds.ensembles.mlp_ensemble import MlpEnsemble, mlp_ensemble
from infotorch.bounds.ensembles.vmap_ensemble import VmapEnsemble, vmap_ensemble
from infotorch.bounds.estimates.estimate import estimate, from_predictions
from infotorch.bounds.estimates.examples import Pair, example_scores, membership_pairs
from infotorch.bounds.estimates.result import BoundEstimate, Report
from infotorch.bounds.grids.cells import Ensemble, Extra, TrainFn
from infotorch.bounds.grids.grid import Cell, Grid
from infotorch.bounds.grids.plan import Plan, plan
from infotorch.bounds.grids.status import Status, status
from infotorch.bounds.learners.huggingface_learner import huggingface_learner
from infotorch.bounds.learners.sklearn_learner import sklearn_learner
from infotorch.bounds.learners.torch_learner import torch_learner
from infotorch.bounds.runs.collect import PredictionsError, RunError
from infotorch.bounds.runs.experiment import Experiment
from infotorch.bounds.runs.run import run
from infotorch.bounds.theory.bound import Bound
from infotorch.bounds.theory.formulas import formula, plain_lipschitz, vacuous
from infotorch.bounds.theory.information import mutual_information, null_mean, plugin_mi
from infotorch.bounds.theory.langevin import Langevin
from infotorch.bounds.theory.leave_one_out import leave_one_out
from infotorch.bounds.theory.sgld import sgld, sgld_account
from infotorch.bounds.theory.statements import BOUNDS, bounds_table
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
