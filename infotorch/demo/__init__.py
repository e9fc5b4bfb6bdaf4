"""What infotorch does, shown on handwritten digits."""

from infotorch.demo.all_digits import AllDemoResult, run_all
from infotorch.demo.bounds import BoundsDemoResult, run_bounds
from infotorch.demo.distillation import DistillDemoResult, DistillDemoRow, run_distill
from infotorch.demo.limit import LimitDemoResult, run_limit
from infotorch.demo.unique_information import DemoResult, run

__all__ = [
    "AllDemoResult",
    "BoundsDemoResult",
    "DemoResult",
    "DistillDemoResult",
    "DistillDemoRow",
    "LimitDemoResult",
    "run",
    "run_all",
    "run_bounds",
    "run_distill",
    "run_limit",
]
