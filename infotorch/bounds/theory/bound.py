"""What a bound is: its statement, what it needs and assumes, and the function that computes it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from infotorch.table import Kind

Quantity = Literal["expected gap", "expected squared gap", "population risk", "information"]
"""What a bound is of. The gap is test minus train: R(W) - r_S(W)."""

Status = Literal["checked", "derived", "recalled"]
"""``checked``: holds on learning problems that the tests enumerate. ``derived``: the derivation stands in
``closed_forms``. ``recalled``: the paper's statement, not read again; its constant follows from a derivation here."""

NOT_THIS_RUN = "bounds the expected gap over training sets, not the gap of this run"
"""What is printed next to every bound of the expected gap."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One bound: its statement, and the function that computes its right-hand side."""

    id: str
    """The name by which ``formula`` knows it."""
    statement: str
    """The right-hand side, in one line."""
    of: Quantity
    """What it bounds."""
    assumption: str
    """What must hold besides independent samples."""
    source: str
    """Authors and arXiv number; ``derived here`` where the proof is in ``closed_forms``."""
    status: Status
    """How far it was checked."""
    note: str
    """How tight it is, and when another one is better."""
    value: Callable[..., float]
    """The right-hand side; its keyword-only parameters are options of the id."""
    information: str = ""
    """Which information it needs, in nats; empty where none."""
    entries: Literal["samples", "subsets", "pairs", ""] = ""
    """What U counts: the n samples, subsets of size m, or the n(n-1)/2 unordered pairs; empty where U is 1."""
    ceiling: Callable[[int, int], float] | None = None
    """The most nats that the information can have, of (n, m); ``None`` where it has no ceiling."""
    kind: Kind = "bound"
    """A bound where its information is exact; with an estimated information, its value is an estimate."""

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The options of ``value``."""
        return {name: p for name, p in inspect.signature(self.value).parameters.items() if p.kind is p.KEYWORD_ONLY}

    @property
    def options(self) -> tuple[str, ...]:
        """All options that the id takes; n belongs to every information, whose shape and ceiling it sets."""
        return tuple(self.parameters if not self.information else {"n": None, **self.parameters})

    @property
    def required(self) -> tuple[str, ...]:
        """The options without a default; ``formula`` has those of m and sigma."""
        optional = {name for name, p in self.parameters.items() if p.default is not p.empty} | {"m", "sigma"}
        return tuple(name for name in self.options if name not in optional)

    @property
    def shapes(self) -> str:
        """The shapes that its information may have."""
        U = "U" if self.entries else "1"
        return f"a number, [{U}] or [Z, {U}]"

    @property
    def trivial(self) -> float | None:
        """From where on it says nothing of a loss in [0, 1]; ``None`` for an information, where it is n ln 2."""
        return None if self.of == "information" else 1.0

    def __str__(self) -> str:
        """The statement with its kind, and what it doesn't say."""
        lines = [f"{self.id}: {self.kind} of the {self.of}: {self.statement}"]
        if self.information:
            lines.append(f"  needs: {self.information} ({self.shapes}), nats; from an estimate it is an estimate")
        lines.append(f"  assumes: {self.assumption}")
        lines.append(f"  source: {self.source}; {self.status}")
        lines.append(f"  note: {self.note}")
        return "\n".join([*lines, f"  {self.id} {NOT_THIS_RUN}"] if self.of == "expected gap" else lines)
