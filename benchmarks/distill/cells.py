"""A grid of trainings whose cells are files: what is on the disk is not trained again."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

__all__ = ["filled", "row"]


def filled(file: pathlib.Path, settings: dict[str, Any], train: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures in ``file``, trained for if there are none.

    Raises:
        SystemExit: The file is of other settings.
    """
    if file.exists():
        found = json.loads(file.read_text())
        if found["settings"] != settings:
            raise SystemExit(f"{file}: must be of the settings {settings}; got {found['settings']}. Delete the folder.")
        return found["figures"]
    figures = train()
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps({"settings": settings, "figures": figures}))
    temporary.replace(file)
    return figures


def row(name: str, figures: list[dict[str, Any]]) -> str:
    """Mean and standard error over seeds of ``accuracy`` and ``fidelity``, per cent."""
    cells = [name]
    for key in ("accuracy", "fidelity"):
        values = [100 * cell[key] for cell in figures]
        N = len(values)
        mean = sum(values) / N
        error = (sum((v - mean) ** 2 for v in values) / (N - 1) / N) ** 0.5 if N > 1 else float("nan")
        cells.append(f"{mean:.1f} ± {error:.1f}")
    return f"| {' | '.join(cells)} |"
