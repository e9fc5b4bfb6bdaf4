"""Every bound with what it says, of what, under which assumption, and from where: the table ``BOUNDS``."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from infotorch.bounds.theory import closed_forms as forms
from infotorch.bounds.theory.bound import Bound

UNIT_LOSS = "loss in [0, 1]"
SUBGAUSSIAN = "σ-subgaussian loss (σ = 1/2 for a loss in [0, 1])"


def _bits(n: int, m: int) -> float:
    """The entropy of the m bits of a subset."""
    return m * math.log(2)


def _all_bits(n: int, m: int) -> float:
    return n * math.log(2)


def _one_bit(n: int, m: int) -> float:
    return math.log(2)


def _left_out(n: int, m: int) -> float:
    return math.log(n + 1)


F_CMI = "Harutyunyan et al., arXiv 2110.01584"
LIMITS = "Harutyunyan et al., arXiv 2205.06915"
E_CMI = "Steinke & Zakynthinou, arXiv 2001.09122; Hellström & Durisi, arXiv 2210.06511"
LOO = "Rammal et al., arXiv 2207.00581; constant derived here"

_ROWS = (
    Bound(
        id="xr",
        statement="√(2σ² I(W;S)/n)",
        of="expected gap",
        information="I(W;S)",
        assumption=SUBGAUSSIAN,
        source="Xu & Raginsky, arXiv 1705.07809",
        status="checked",
        note="Infinite where W is a continuous function of S; bu is never larger.",
        value=forms.whole_weight,
    ),
    Bound(
        id="subset",
        statement="E_u √(2σ² I(W;S_u)/m)",
        of="expected gap",
        information="I(W;S_u)",
        entries="subsets",
        assumption=SUBGAUSSIAN,
        source=F_CMI,
        status="checked",
        note="Grows with m: m = 1 is bu, the smallest; m = n is xr.",
        value=forms.weight,
    ),
    Bound(
        id="bu",
        statement="(1/n) Σ √(2σ² I(W;Z_i))",
        of="expected gap",
        information="I(W;Z_i)",
        entries="samples",
        assumption=SUBGAUSSIAN,
        source="Bu, Zou & Veeravalli, arXiv 1901.04609",
        status="checked",
        note="The smallest of its family; says nothing of the squared gap, which can be 1/4 where this is 0.",
        value=forms.weight_of_one,
    ),
    Bound(
        id="seeded",
        statement="E_{r,u} √(2σ² I(A(S,r);S_u)/m), the seed r fixed",
        of="expected gap",
        information="I(A(S,r);S_u), seeds in the place of Z",
        entries="subsets",
        assumption=SUBGAUSSIAN + ", a seed drawn apart from the data",
        source=F_CMI,
        status="recalled",
        note="For learners whose seed is known and kept; by a mean of roots, so not ordered against subset.",
        value=forms.weight,
    ),
    Bound(
        id="cmi",
        statement="E_{z,u} √(2 I^z(W;J_u)/m)",
        of="expected gap",
        information="I^z(W;J_u), or I(W;J|Z) with m = n",
        entries="subsets",
        ceiling=_bits,
        assumption=UNIT_LOSS,
        source="Steinke & Zakynthinou, arXiv 2001.09122; subsets: " + F_CMI,
        status="checked",
        note="Finite for every learner; grows with m. Weights see more than predictions: fcmi is never larger.",
        value=forms.supersample,
    ),
    Bound(
        id="fcmi",
        statement="E_{z,u} √(2 I^z(F_u;J_u)/m), F_u the predictions on the pairs of u",
        of="expected gap",
        information="I^z(F_u;J_u)",
        entries="subsets",
        ceiling=_bits,
        assumption=UNIT_LOSS,
        source=F_CMI,
        status="checked",
        note="The main bound: from predictions alone. m = 1 is the smallest, at most √(2 ln 2) = 1.177.",
        value=forms.supersample,
    ),
    Bound(
        id="ecmi",
        statement="E_{z,u} √(2 I^z(L_u;J_u)/m), L_u the losses on the pairs of u",
        of="expected gap",
        information="I^z(L_u;J_u)",
        entries="subsets",
        ceiling=_bits,
        assumption=UNIT_LOSS,
        source=E_CMI,
        status="checked",
        note="Losses see less than predictions: never larger than fcmi.",
        value=forms.supersample,
    ),
    Bound(
        id="ld",
        statement="E_z (1/n) Σ √(2 I^z(Δ_i;J_i)), Δ_i the loss difference of pair i",
        of="expected gap",
        information="I^z(Δ_i;J_i)",
        entries="samples",
        ceiling=_one_bit,
        assumption=UNIT_LOSS,
        source="Wang & Mao, arXiv 2302.02432",
        status="checked",
        note="The smallest of those with the supersample fixed: at most ecmi with m = 1.",
        value=forms.supersample_of_one,
    ),
    Bound(
        id="ld_flat",
        statement="(1/n) Σ √(2 I(Δ_i;J_i)), the supersample averaged inside the information",
        of="expected gap",
        information="I(Δ_i;J_i)",
        entries="samples",
        ceiling=_one_bit,
        assumption=UNIT_LOSS,
        source="Wang & Mao, arXiv 2302.02432",
        status="checked",
        note="One information a sample in place of one for each supersample; not ordered against ld.",
        value=forms.supersample_inside,
    ),
    Bound(
        id="kl",
        statement="the largest R in [r, 1] with d(r‖(r+R)/2) ≤ (1/n) Σ I(L_i;J_i|Z)",
        of="population risk",
        information="I(L_i;J_i|Z)",
        entries="samples",
        ceiling=_one_bit,
        assumption=UNIT_LOSS + "; r = train_risk is the expected train risk",
        source="Hellström & Durisi, arXiv 2210.06511",
        status="checked",
        note="Fast rate: at a small train risk the information enters without a root. Its mean over Z is taken first.",
        value=forms.fast_rate,
    ),
    Bound(
        id="interp",
        statement="2(1 - exp(-Ī)), Ī = (1/n) Σ I(L_i;J_i|Z); with zero_one at most Ī/ln 2",
        of="population risk",
        information="I(L_i;J_i|Z)",
        entries="samples",
        ceiling=_one_bit,
        assumption=UNIT_LOSS + ", expected train risk 0",
        source="Hellström & Durisi, arXiv 2210.06511; Wang & Mao, arXiv 2302.02432",
        status="checked",
        note="kl at train risk 0; for the 0/1 loss Ī/ln 2 is the smaller one up to the ceiling ln 2.",
        value=forms.interpolating,
    ),
    Bound(
        id="loo",
        statement="E_z ((n+1)/n) √(I^z(W;U)/2), U the one of n+1 points that is left out",
        of="expected gap",
        information="I^z(W;U)",
        ceiling=_left_out,
        assumption=UNIT_LOSS,
        source=LOO,
        status="checked",
        note="One index in place of n bits, so at most ln(n+1) nats; needs the law of the weights over it.",
        value=forms.leave_one_out,
    ),
    Bound(
        id="loo_f",
        statement="E_z ((n+1)/n) √(I^z(F;U)/2), F the predictions at all n+1 points",
        of="expected gap",
        information="I^z(F;U)",
        ceiling=_left_out,
        assumption=UNIT_LOSS,
        source=LOO,
        status="checked",
        note="Predictions see less than weights: never larger than loo.",
        value=forms.leave_one_out,
    ),
    Bound(
        id="weight2",
        statement="(4σ²/n)(I(W;S) + ln 3)",
        of="expected squared gap",
        information="I(W;S)",
        assumption=SUBGAUSSIAN,
        source=F_CMI,
        status="checked",
        note="ln(2)/2 would do in place of ln 3. Says more than the expected gap, but needs all of S.",
        value=forms.squared_weight,
    ),
    Bound(
        id="fcmi2",
        statement="(8/n)(I(F;J|Z) + 2), F all predictions",
        of="expected squared gap",
        information="I(F;J|Z)",
        ceiling=_all_bits,
        assumption=UNIT_LOSS,
        source=F_CMI,
        status="checked",
        note="Vacuous up to n = 16 at least; fcmi2_tight is always smaller.",
        value=forms.squared_supersample,
    ),
    Bound(
        id="fcmi2_tight",
        statement="inf_{0<c<1} (2/(nc))(I(F;J|Z) + ½ ln(1/(1-c)))",
        of="expected squared gap",
        information="I(F;J|Z)",
        ceiling=_all_bits,
        assumption=UNIT_LOSS,
        source="derived here",
        status="checked",
        note="1/n without information. No tens of runs estimate I(F;J|Z): for given or exact informations.",
        value=forms.squared_tight,
    ),
    Bound(
        id="pair2",
        statement="1/n + (1/n²) Σ_{i≠k} √(I(W;Z_i,Z_k)/2)",
        of="expected squared gap",
        information="I(W;Z_i,Z_k) of unordered pairs",
        entries="pairs",
        assumption=UNIT_LOSS,
        source=LIMITS + '; constant="sharp" derived here',
        status="checked",
        note='What pairs say and single samples cannot; constant="paper" has 2I under the root.',
        value=forms.squared_pairs,
    ),
    Bound(
        id="finite",
        statement="I(F;J|Z) ≤ ln|H|",
        of="information",
        assumption="size hypotheses",
        source="derived here",
        status="derived",
        note="Put min(value, n ln 2) into cmi or fcmi with m = n.",
        value=forms.finite,
    ),
    Bound(
        id="vc",
        statement="I(F;J|Z) ≤ max{(d+1) ln 2, d ln(2en/d)}",
        of="information",
        assumption="binary predictions of a class of VC dimension d",
        source=F_CMI,
        status="recalled",
        note="May exceed the ceiling n ln 2: put min(value, n ln 2) into fcmi with m = n.",
        value=forms.vc,
    ),
    Bound(
        id="stable",
        statement="2^{5/4} d^{1/4} √(γβ), β² ≥ E‖f(S,X_i) - f(S^(i),X_i)‖² for every i",
        of="expected gap",
        assumption="predictions in R^d; loss γ-Lipschitz in them and in [0, 1]",
        source=F_CMI + '; constant="sharp" derived here',
        status="recalled",
        note='The plain Lipschitz value γβ bounds the same, and is smaller wherever this is below 1. "paper": 2^{3/2}.',
        value=forms.stable,
    ),
    Bound(
        id="stable2",
        statement="32/n + 12^{3/2} √d γ √(2β² + nβ₁² + nβ₂²), β₁ at a test point, β₂ at another training point",
        of="expected squared gap",
        assumption="predictions in R^d; loss γ-Lipschitz in them and in [0, 1]; β, β₁, β₂ for every i",
        source=F_CMI,
        status="recalled",
        note="Vacuous up to n = 32. The derivation here gives 8√2 in place of 12^{3/2}.",
        value=forms.squared_stable,
    ),
    Bound(
        id="bagging",
        statement="stable with β k/n in place of β",
        of="expected gap",
        assumption="as stable; an average over all subsets of size k, or over some with each sample in k/n of them",
        source="derived here",
        status="derived",
        note="β is a member's. The plain Lipschitz value γβk/n is smaller wherever this one is below 1.",
        value=forms.bagged,
    ),
)

BOUNDS: Mapping[str, Bound] = MappingProxyType({bound.id: bound for bound in _ROWS})
"""Every bound by its id, in the order in which they are shown."""


def bounds_table() -> str:
    """``BOUNDS`` as a Markdown table, one row a bound."""
    head = ["id", "kind, of", "right-hand side", "needs", "options", "assumes", "status", "source", "note"]
    rows = [head, ["---"] * len(head)]
    for bound in BOUNDS.values():
        options = [name if name in bound.required else f"{name}=" for name in bound.options]
        rows.append(
            [
                f"`{bound.id}`",
                f"{bound.kind}, {bound.of}",
                bound.statement,
                bound.information or "–",
                ", ".join(f"`{name}`" for name in options) or "–",
                bound.assumption,
                bound.status,
                bound.source,
                bound.note,
            ]
        )
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
