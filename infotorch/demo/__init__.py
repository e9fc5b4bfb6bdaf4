"""What infotorch does, shown on handwritten digits."""

from infotorch.demo.bounds import BoundsDemoResult, run_bounds
from infotorch.demo.limit import LimitDemoResult, run_limit
from infotorch.demo.unique_information import DemoResult, run

__all__ = ["BoundsDemoResult", "DemoResult", "LimitDemoResult", "run", "run_bounds", "run_limit"]
