"""Generalization bounds from training runs: f-CMI and its family, with what their estimates are worth."""

from infotorch.bounds.bound import Bound
from infotorch.bounds.cells import Ensemble, Extra, TrainFn
from infotorch.bounds.collect import RunError
from infotorch.bounds.estimate import estimate, from_predictions
from infotorch.bounds.examples import Pair, example_scores, membership_pairs
from infotorch.bounds.experiment import Experiment
from infotorch.bounds.formulas import formula, vacuous
from infotorch.bounds.grid import Cell, Grid
from infotorch.bounds.information import mutual_information, null_mean, plugin_mi
from infotorch.bounds.plan import Plan, plan
from infotorch.bounds.result import BoundEstimate, Report
from infotorch.bounds.run import run
from infotorch.bounds.statements import BOUNDS
from infotorch.bounds.status import Status, status

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundEstimate",
    "Cell",
    "Ensemble",
    "Experiment",
    "Extra",
    "Grid",
    "Pair",
    "Plan",
    "Report",
    "RunError",
    "Status",
    "TrainFn",
    "estimate",
    "example_scores",
    "formula",
    "from_predictions",
    "membership_pairs",
    "mutual_information",
    "null_mean",
    "plan",
    "plugin_mi",
    "run",
    "status",
    "vacuous",
]
