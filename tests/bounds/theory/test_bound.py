"""What a bound says of itself."""

import pytest

from infotorch.bounds.theory.bound import NOT_THIS_RUN
from infotorch.bounds.theory.statements import BOUNDS
from infotorch.table import KINDS


def test_a_bound_in_words():
    assert str(BOUNDS["kl"]) == (
        "kl: bound of the population risk: the largest R in [r, 1] with d(r‖(r+R)/2) ≤ (1/n) Σ I(L_i;J_i|Z)\n"
        "  needs: I(L_i;J_i|Z) (a number, [U] or [Z, U]), nats; from an estimate it is an estimate\n"
        "  assumes: loss in [0, 1]; r = train_risk is the expected train risk\n"
        "  source: Hellström & Durisi, arXiv 2210.06511; checked\n"
        "  note: Fast rate: at a small train risk the information enters without a root. "
        "Its mean over Z is taken first."
    )


@pytest.mark.parametrize("id", BOUNDS)
def test_its_kind_is_named_and_the_gap_of_one_run_disclaimed(id):
    words = str(BOUNDS[id])
    assert words.startswith(f"{id}: bound of the ") and BOUNDS[id].kind in KINDS
    assert (f"{id} {NOT_THIS_RUN}" in words) == (BOUNDS[id].of == "expected gap")


def test_options_are_those_of_the_function():
    assert BOUNDS["stable"].options == ("d", "gamma", "beta", "constant")
    assert BOUNDS["stable"].required == ("d", "gamma", "beta")
    assert BOUNDS["subset"].options == ("n", "m", "sigma") and BOUNDS["subset"].required == ("n",)
    assert BOUNDS["ld"].options == BOUNDS["ld"].required == ("n",)


def test_shapes_of_an_information():
    assert BOUNDS["fcmi"].shapes == BOUNDS["ld_flat"].shapes == "a number, [U] or [Z, U]"
    assert BOUNDS["xr"].shapes == BOUNDS["loo"].shapes == "a number, [1] or [Z, 1]"


@pytest.mark.parametrize("id", BOUNDS)
def test_fields_agree(id):
    """Only an information has entries and a ceiling, and where the loss is in [0, 1] nothing takes a sigma."""
    bound = BOUNDS[id]
    assert ("m" in bound.options) == (bound.entries == "subsets")
    assert ("sigma" in bound.options) == ("subgaussian" in bound.assumption)
    assert (bound.trivial is None) == (bound.of == "information")
    if not bound.information:
        assert not bound.entries and bound.ceiling is None
