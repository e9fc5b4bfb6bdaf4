"""One HTML file a run: what was measured, which samples to look at first, and why to believe it."""

from infotorch.report.build import build

__all__ = ["build"]
