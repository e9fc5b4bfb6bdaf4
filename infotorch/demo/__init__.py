"""What infotorch does, shown on handwritten digits."""

from infotorch.demo.limit import LimitDemoResult, run_limit
from infotorch.demo.unique_information import DemoResult, run

__all__ = ["DemoResult", "LimitDemoResult", "run", "run_limit"]
