"""limit: the golden values, the truth, the laws, the refusals."""

import pathlib

import numpy as np
import pytest
import torch

from infotorch.ops import reference

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/limit"
CASES = sorted(path.stem for pattern in ("rows_*", "binary_*", "extreme_*") for path in GOLDEN.glob(pattern + ".npz"))


def golden(name):
    """Arguments of ``limit``, its options, and the values it must give."""
    case = dict(np.load(GOLDEN / f"{name}.npz"))
    given = {key: torch.from_numpy(case[key]) for key in ("z", "v", "y")}
    options = {"q": str(case["q"]), "beta": float(case["beta"]), "label_smoothing": float(case.get("smoothing", 0))}
    if case.get("has_weight"):
        options["weight"] = torch.from_numpy(case["weight"])
    if "pos_weight" in case:
        options["pos_weight"] = float(case["pos_weight"])
    wanted = ("inject", "aux_grad", "match", "pen", "ce", "dist", "valid", "label_grad")
    return tuple(given.values()), options, {key: torch.from_numpy(case[key]) for key in wanted if key in case}


def assert_golden(got, want, tolerance):
    """Relative to 1 + |want|, the goldens' own rule."""
    assert got.shape == want.shape
    excess = (got.double() - want.double()).abs() / (1 + want.double().abs())
    assert (excess <= tolerance).all(), f"{excess.max():.1e} exceeds {tolerance:.0e}"


@pytest.mark.parametrize("name", CASES)
def test_the_truth_gives_the_golden_values(name):
    args, options, wanted = golden(name)
    rows = reference.limit(*args, **options)
    for key, want in wanted.items():
        assert_golden(rows[key], want, 1e-10)


def test_the_truth_of_the_noise_gives_the_golden_values():
    case = np.load(GOLDEN / "noise.npz")
    ids = torch.from_numpy(case["ids"].astype(np.int64))
    key = {"seed": int(case["seed"]), "step": int(case["step"]), "ids": ids}
    assert (reference.limit_noise(**key, num_classes=8, kind="words").numpy() == case["words"]).all()
    assert (reference.limit_noise(**key, num_classes=6, kind="uniform").numpy() == case["uniforms"]).all()
    for kind in ("gaussian", "laplace"):
        assert_golden(reference.limit_noise(**key, num_classes=6, kind=kind), torch.from_numpy(case[kind]), 1e-13)
