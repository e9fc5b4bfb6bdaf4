"""Golden cases of limit, and how close its rows must be to the truth."""

import pathlib

import numpy as np
import torch

from infotorch.ops import reference

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/limit"
CASES = sorted(path.stem for pattern in ("rows_*", "binary_*", "extreme_*") for path in GOLDEN.glob(pattern + ".npz"))
# Of numbers relative to 1 + |truth|, by the dtype that is computed in; results in 16 bits are off by one unit more.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-6}
# Of numbers of any size, relative to 1 + the largest of inject + the largest of aux_grad in the batch.
ROUNDING = {torch.float64: 1e-10, torch.float32: 5e-6}
UNIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
SMALLEST = {torch.bfloat16: 0.0, torch.float16: 2.0**-24}  # steps of subnormal numbers, where they aren't tiny


def golden(name, dtype=torch.float64):
    """Arguments of ``limit``, its options, and the values it must give."""
    case = dict(np.load(GOLDEN / f"{name}.npz"))
    z, v, y = (torch.from_numpy(case[key]) for key in ("z", "v", "y"))
    options = {"q": str(case["q"]), "beta": float(case["beta"]), "label_smoothing": float(case.get("smoothing", 0))}
    if case.get("has_weight"):
        options["weight"] = torch.from_numpy(case["weight"]).to(dtype)
    if "pos_weight" in case:
        options["pos_weight"] = float(case["pos_weight"])
    wanted = ("inject", "aux_grad", "match", "pen", "ce", "dist", "valid", "label_grad")
    wanted = {key: torch.from_numpy(case[key]) for key in wanted if key in case}
    return (z.to(dtype), v.to(dtype), y.to(dtype) if y.is_floating_point() else y), options, wanted


def assert_close(got, want, tolerance):
    """Relative to 1 + |want|, the goldens' own rule; infinities are equal, and nothing is NaN."""
    assert got.shape == want.shape, f"{tuple(got.shape)} is not {tuple(want.shape)}"
    got, want = got.double(), want.double()
    excess = torch.where(got == want, 0, (got - want).abs() / (1 + want.abs()))
    assert (excess <= tolerance).all(), f"{excess.max():.1e} exceeds {tolerance:.0e}"


def assert_rows(got, truth, dtype, q, *, strict=False):
    """Rows by name, of logits of ``dtype``. The sign of a match that nearly is one is in no aux_grad of float32.

    Each number is as close as the largest of the batch allows, or, where ``strict``, as the goldens ask.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    near = (truth["label_grad"] - truth["inject"]).abs() < 1e-6
    largest = sum(float(truth[name].abs().amax()) for name in ("inject", "aux_grad") if near.numel())
    for name, x in got.items():
        want = truth[name]
        if x.dtype in (torch.bool, torch.int64):
            assert torch.equal(x, want)
            continue
        if name == "aux_grad" and q == "laplace" and wide == torch.float32:
            keep = ~near.any(-1) if near.dim() > 1 else ~near
            x, want = x[keep], want[keep]
        if x.dtype in UNIT:
            error, size = (x.double() - want.double()).abs(), want.double().abs()
            allowed = UNIT[x.dtype] * size + SMALLEST[x.dtype]
            allowed += TOLERANCE[wide] * (1 + size) if strict else ROUNDING[wide] * (1 + largest)
            assert (error <= allowed).all(), f"{name}: off by {(error / allowed).max():.2f} of what is allowed"
        else:
            assert_close(x, want, TOLERANCE[wide] if strict else ROUNDING[wide] * (1 + largest))


def logits(rng, *size, dtype=torch.float64):
    return [torch.randn(size, dtype=torch.float64, generator=rng, device=rng.device).to(dtype) for _ in range(2)]


def labels(rng, *size, below):
    return torch.randint(below, size, generator=rng, device=rng.device)


def by_name(rows):
    return {name: x for name, x in rows._asdict().items() if x is not None}


def assert_true(rows, z, v, target, **options):
    truth = reference.limit(z, v, target, **options)
    assert_rows(by_name(rows), truth, z.dtype, options.get("q", "gaussian"))
