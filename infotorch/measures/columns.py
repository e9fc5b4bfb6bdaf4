"""From the results of one network, or an ensemble, to the columns of unique information."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from infotorch.measures.information import UniqueInformationResult
from infotorch.table import Column

__all__ = ["Regression", "columns"]

SOURCE = {
    "unique_information_weights": "arXiv 2101.06640, eq. 5",
    "unique_information_functions": "arXiv 2101.06640, eqs. 7 and 8",
    "own_residual": "leave-one-out prediction of the linearized network",
    "self_influence": "arXiv 1703.04730, section 2.1, of a sample on itself",
    "trak_self": "arXiv 2303.14186, section 3, of a sample on itself, one network",
}


class Regression(Protocol):
    """The least-squares problem of which a result is."""

    @property
    def target(self) -> Tensor:
        """What the outputs should be, [N, C]."""

    @property
    def outputs(self) -> Callable[[Tensor], Tensor]:
        """From J_n d to outputs comparable with ``target``."""

    @property
    def self_scores(self) -> Mapping[str, Tensor]:
        """Columns [N] beside unique information, by name."""


def columns(
    members: Sequence[tuple[Regression, UniqueInformationResult]], suffixes: Sequence[str], space: str, *, classes: bool
) -> dict[str, Column]:
    """Means over networks, and their standard errors where there are several.

    Args:
        members: Problem and result of every network.
        suffixes: What the columns of each time are marked with.
        space: "weights", "functions" or "both".
        classes: Whether a prediction names a label.
    """
    found: dict[str, Column] = {}

    def add(name: str, suffix: str, each: list[Tensor], unit: str, kind: Literal["estimate", "diagnostic"]) -> None:
        values = torch.stack(each)  # [models, rows]
        found[name + suffix] = Column(
            values=values.mean(0).numpy(force=True), unit=unit, source=SOURCE[name], kind=kind
        )
        if len(each) > 1:
            stderr = (values.std(0) / math.sqrt(len(each))).numpy(force=True)
            found[f"{name}{suffix}_stderr"] = Column(values=stderr, unit=unit, source=SOURCE[name], kind=kind)

    for time, suffix in enumerate(suffixes):
        if space != "functions":
            each = [result.weights[time] for _, result in members]
            add("unique_information_weights", suffix, each, "nats", "estimate")
        if space != "weights":
            each = [result.functions[time] for _, result in members if result.functions is not None]
            add("unique_information_functions", suffix, each, "nats", "estimate")
        predictions = [
            problem.outputs(result.own_prediction[time])
            for problem, result in members
            if result.own_prediction is not None
        ]
        if not predictions:
            continue
        target = members[0][0].target
        add("own_residual", suffix, [(target - p).norm(dim=1) for p in predictions], "1", "diagnostic")
        if classes:
            mean = torch.stack(predictions).mean(0)  # [N, C]
            label = mean.argmax(1) if mean.shape[1] > 1 else (mean[:, 0] > 0.5).long()
            source = "largest output of the network trained without the sample"
            found["suggested_label" + suffix] = Column(
                values=label.numpy(force=True), unit="1", source=source, kind="heuristic"
            )
    for name in members[0][0].self_scores:
        add(name, "", [problem.self_scores[name] for problem, _ in members], "nats", "diagnostic")
    reliable = torch.stack([result.reliable for _, result in members]).all(0)
    found["reliable"] = Column(
        values=reliable.numpy(force=True),
        unit="1",
        source="estimated relative error of the float64 solve <= 1e-6",
        kind="diagnostic",
    )
    return found
