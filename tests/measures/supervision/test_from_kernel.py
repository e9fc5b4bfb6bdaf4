"""Supervision complexity of a matrix: goldens, brute force, its laws, and every refusal."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infotorch import complexity_from_kernel, kernel_alignment
from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from tests.measures.supervision.golden import numbers, sets

MEASURES = ("quad", "complexity", "trace", "adjusted", "unit_adjusted", "alignment")


@pytest.mark.parametrize("place", range(len(numbers("exact")["cases"])))
def test_exact_cases(place):
    case = numbers("exact")["cases"][place]
    ridge = float(eval(case["ridge"]))
    for y in (case["y"], [[v] for v in case["y"]]):
        report = complexity_from_kernel(case["K"], y, ridge=ridge)
        for name, key in (("quad", "quad_float"), ("adjusted", "adjusted"), ("unit_adjusted", "unit_adjusted")):
            assert getattr(report, name) == pytest.approx(case[key], rel=1e-13)


@pytest.mark.parametrize("place", range(2))
def test_golden_measures(place):
    own, known = sets()[place]
    for key, want in known["measures"].items():
        target, start, ridge = (part.rpartition("=")[2] for part in key.split("|"))
        r = own[f"target_{target}"] - (own["f0"] if start == "True" else 0)
        report = complexity_from_kernel(own["K"], r, ridge=float(ridge))
        rtol = 1e-8 if float(ridge) == 0 else 1e-9
        for name in MEASURES:
            assert getattr(report, name) == pytest.approx(want[name], rel=rtol), (key, name)
        assert report.norm**2 == pytest.approx(want["rkhs_norm_sq_with_K"], rel=rtol)
        assert report.residual <= max(100 * want["residual"], 1e-12)


def test_golden_brackets():
    own = [arrays for arrays, _ in sets()]
    for case in numbers("lanczos")["cases"]:
        K, r = own[case["set"]]["K"], own[case["set"]][f"target_{case['target']}"]
        for want in case["brackets"]:
            options = {"ridge": case["ridge"], "solver": "lanczos", "tol": 0.0, "max_iter": want["k"]}
            report = complexity_from_kernel(K, r, **options)
            assert report.lower == pytest.approx(want["lower"], rel=1e-6)
            assert report.upper == pytest.approx(want["upper"], rel=1e-6)
            assert report.lower <= case["exact"] * (1 + 1e-12) and case["exact"] <= report.upper * (1 + 1e-12)
            assert report.iterations <= want["k"] and report.residual is None and report.solver == "lanczos"


@pytest.mark.parametrize("place", range(2))
def test_complexity_rises_along_a_kernel_flow(place):
    own, known = sets()[place]
    values, vectors = torch.linalg.eigh(own["K"])
    y = vectors.mT @ own["target_onehot"].flatten()
    before = 0.0
    for want in known["kernel_flow_onehot"]:
        f = (vectors @ ((1 - (-want["t"] * values).exp()) * y)).view(own["target_onehot"].shape)
        assert float(f.square().sum()) == pytest.approx(want["sq_norm"], rel=1e-9)
        for ridge, key in ((0.0, "quad"), (1e-3, "quad_plus_ridge1e3")):
            assert complexity_from_kernel(own["K"], f, ridge=ridge).quad == pytest.approx(want[key], rel=1e-9)
        assert want["quad"] > before
        before = want["quad"]


def problem(N=7, C=3, seed=0, rank=None):
    rng = torch.Generator().manual_seed(seed)
    J = torch.randn(N * C, rank or 3 * N * C, dtype=torch.float64, generator=rng)
    return J @ J.mT, torch.randn(N, C, dtype=torch.float64, generator=rng)


def brute_force(K, r, ridge):
    """Every measure from NumPy's solve, one formula a line."""
    N, C = r.shape
    A, v = K.numpy() + ridge * np.eye(N * C), r.numpy().ravel()
    a = np.linalg.solve(A, v)
    quad, square = v @ a, v @ v
    return {
        "quad": quad, "complexity": np.sqrt(quad), "trace": np.trace(A), "residual_norm": np.sqrt(square),
        "adjusted": np.sqrt(quad * np.trace(A)) / N, "unit_adjusted": np.sqrt(quad * np.trace(A) / (square * N)),
        "alignment": v @ K.numpy() @ v / (np.linalg.norm(K.numpy()) * square), "ridge": ridge,
        "norm": np.sqrt(a @ K.numpy() @ a), "lower": quad, "upper": quad,
        "kernel_trace": np.trace(K.numpy()), "max_diagonal": K.numpy().diagonal().max(),
    }  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"spectrum": True}, {"solver": "cholesky"}], ids=str)
@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_all_measures_equal_brute_force(options, ridge):
    K, r = problem()
    report = complexity_from_kernel(K, r, ridge=ridge, **options)
    for name, want in brute_force(K, r, ridge).items():
        assert getattr(report, name) == pytest.approx(want, rel=1e-10), name
    assert report.solver == ("eigh" if options.get("spectrum") else "cholesky") and report.residual < 1e-12
    assert (report.N, report.C, report.kernel, report.fixed_kernel) == (7, 3, "full", True)


def test_lanczos_brackets_the_same_measures():
    K, r = problem()
    report = complexity_from_kernel(K, r, ridge=0.1, solver="lanczos", tol=1e-10)
    want = brute_force(K, r, 0.1)
    for name in MEASURES:
        assert getattr(report, name) == pytest.approx(want[name], rel=1e-9), name
    assert report.norm >= want["norm"] and report.lower <= want["quad"] * (1 + 1e-12) <= report.upper * (1 + 1e-9)


def test_targets_and_ridges_share_one_factor_and_equal_each_alone():
    K, r = problem()
    _, other = problem(seed=5)
    ridges = [1e-2, 0.5, 3.0]
    several = complexity_from_kernel(K, {"a": r, "b": other}, ridge=ridges)
    assert list(several) == ["a", "b"] and len(several) == 2 and "a" in several
    for name, target in (("a", r), ("b", other)):
        for place, ridge in enumerate(ridges):
            alone = complexity_from_kernel(K, target, ridge=ridge)
            for measure in ("quad", "complexity", "trace", "adjusted", "unit_adjusted", "ridge", "norm"):
                found = getattr(several[name], measure)
                assert found.shape == (3,) and found[place] == pytest.approx(getattr(alone, measure), rel=1e-10)
    assert len(several.rows()) == 6
    assert several.rows()[4] == several["b"].rows("b")[1] and several.rows()[4]["target"] == "b"
    with pytest.raises(ConfigError, match="a target must be one of 'a', 'b'; got 'c'"):
        several["c"]


def test_a_relative_ridge_is_in_units_of_the_mean_of_the_diagonal():
    K, r = problem()
    mean = float(K.trace()) / len(K)
    absolute, relative = (complexity_from_kernel(K, r, **o) for o in ({"ridge": 0.3 * mean}, {"ridge_rel": 0.3}))
    assert relative.quad == pytest.approx(absolute.quad, rel=1e-13) and relative.ridge == pytest.approx(0.3 * mean)


def test_the_spectrum_is_that_of_the_kernel():
    K, r = problem()
    report = complexity_from_kernel(K, r, ridge=0.1, spectrum=True)
    values, vectors = np.linalg.eigh(K.numpy())
    shares = (vectors.T @ r.numpy().ravel())[::-1] ** 2
    np.testing.assert_allclose(report.eigenvalues, values[::-1], rtol=1e-10)
    np.testing.assert_allclose(report.cumulative_alignment, np.cumsum(shares) / shares.sum(), rtol=1e-10)
    assert report.cumulative_alignment[-1] == pytest.approx(1.0) and "21" not in str(report.alignment)


def test_a_kernel_may_have_four_axes_or_be_an_array_or_float32():
    K, r = problem()
    want = complexity_from_kernel(K, r, ridge=1.0)
    for form in (K.view(7, 3, 7, 3), K.numpy(), K.numpy().tolist()):
        assert complexity_from_kernel(form, r.numpy(), ridge=1.0).quad == want.quad
    assert complexity_from_kernel(K.float(), r, ridge=1.0).quad == pytest.approx(want.quad, rel=1e-5)


def test_no_residual_has_no_complexity():
    K, r = problem()
    for options in ({}, {"solver": "lanczos"}):
        report = complexity_from_kernel(K, 0 * r, ridge=1.0, **options)
        assert report.quad == report.complexity == report.adjusted == report.upper == report.residual_norm == 0
        assert math.isnan(report.unit_adjusted) and math.isnan(report.alignment)
        assert report.rows()[0]["unit_adjusted"] is None


def test_it_reads_as_a_diagnostic():
    K, r = problem()
    assert str(complexity_from_kernel(K, r, ridge=1.0)).startswith("7 samples, 3 outputs, by cholesky (diagnostic)\n")


random_problem = st.builds(problem, N=st.integers(1, 5), C=st.integers(1, 3), seed=st.integers(0, 99))
ridges = st.sampled_from([1e-3, 0.1, 2.0])


@settings(max_examples=25, deadline=None)
@given(random_problem, ridges, st.integers(0, 99))
def test_permuting_samples_or_classes_changes_nothing(made, ridge, seed):
    (K, r), rng = made, torch.Generator().manual_seed(seed)
    N, C = r.shape
    n, c = torch.randperm(N, generator=rng), torch.randperm(C, generator=rng)
    permuted = K.view(N, C, N, C)[n][:, c][:, :, n][..., c]
    got = complexity_from_kernel(permuted, r[n][:, c], ridge=ridge)
    want = complexity_from_kernel(K, r, ridge=ridge)
    for name in MEASURES:
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(random_problem)
def test_it_falls_in_the_ridge_from_its_value_without_one(made):
    K, r = made
    quads = complexity_from_kernel(K, r, ridge=[0.0, 1e-9, 1e-3, 1.0, 10.0]).quad
    assert quads[0] == pytest.approx(quads[1], rel=1e-6) and (np.diff(quads[1:]) < 0).all()


@settings(max_examples=25, deadline=None)
@given(random_problem, ridges)
def test_another_sample_never_lowers_it(made, ridge):
    K, r = made
    N, C = r.shape
    if N > 1:
        fewer = complexity_from_kernel(K[:-C, :-C], r[:-1], ridge=ridge).quad
        assert fewer <= complexity_from_kernel(K, r, ridge=ridge).quad * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(random_problem, ridges, st.floats(1e-3, 1e3))
def test_scales_of_kernel_and_targets(made, ridge, a):
    K, r = made
    one = complexity_from_kernel(K, r, ridge=ridge)
    scaled, louder = complexity_from_kernel(a * K, r, ridge=a * ridge), complexity_from_kernel(K, a * r, ridge=ridge)
    assert scaled.adjusted == pytest.approx(one.adjusted, rel=1e-9)
    assert scaled.quad == pytest.approx(one.quad / a, rel=1e-9)
    assert louder.complexity == pytest.approx(a * one.complexity, rel=1e-9)
    assert louder.unit_adjusted == pytest.approx(one.unit_adjusted, rel=1e-9)
    assert 0 <= one.alignment <= 1 + 1e-12


def test_random_directions_are_at_least_root_C_on_average():
    K, _ = problem(N=6, C=2)
    eye = torch.eye(12, dtype=torch.float64).view(12, 6, 2)
    reports = complexity_from_kernel(K, {str(i): r for i, r in enumerate(eye)}, ridge=0.1)
    assert np.mean([each.unit_adjusted**2 for each in reports.values()]) >= 2
    flat = complexity_from_kernel(3 * torch.eye(12, dtype=torch.float64), eye[0], ridge=0.1)
    assert flat.unit_adjusted**2 == pytest.approx(2, rel=1e-12)


def test_alignment_is_that_of_the_report():
    K, r = problem()
    assert kernel_alignment(K, r) == pytest.approx(complexity_from_kernel(K, r, ridge=1.0).alignment, rel=1e-13)
    assert kernel_alignment(r.reshape(-1, 1) @ r.reshape(1, -1), r) == pytest.approx(1.0)
    with pytest.raises(DataError, match="kernel_alignment: targets must not be all zero"):
        kernel_alignment(K, 0 * r)


BAD = {
    "no ridge": ({}, ConfigError, "exactly one of ridge and ridge_rel must be given; got none"),
    "both": ({"ridge": 1.0, "ridge_rel": 1.0}, ConfigError, "exactly one of ridge and ridge_rel .* got both"),
    "negative": ({"ridge": -1.0}, ConfigError, "ridge must be finite and at least 0; got -1.0"),
    "nan ridge": ({"ridge_rel": math.nan}, ConfigError, "ridge_rel must be finite and at least 0; got nan"),
    "true": ({"ridge": True}, ConfigError, "ridge must be finite and at least 0; got True"),
    "text": ({"ridge": "1"}, ConfigError, "ridge must be finite and at least 0; got '1'"),
    "no ridges": ({"ridge": []}, ConfigError, "ridge must hold a number; got none"),
    "solver": ({"ridge": 1.0, "solver": "cholesk"}, ConfigError, "solver must be one of .*Did you mean 'cholesky'"),
    "tol": ({"ridge": 1.0, "tol": -1.0}, ConfigError, "tol must be at least 0 and finite; got -1.0"),
    "word for tol": ({"ridge": 1.0, "tol": "a"}, ConfigError, "tol must be at least 0 and finite; got 'a'"),
    "max_iter": ({"ridge": 1.0, "max_iter": 0}, ConfigError, "max_iter must be a whole number of at least 1; got 0"),
    "spectrum": ({"ridge": 1.0, "solver": "lanczos", "spectrum": True}, ConfigError, "a factor.*; got solver"),
    "ridge 0": ({"ridge": 0.0, "solver": "lanczos"}, ConfigError, "ridge=0 need a factorisation"),
    "several": ({"ridge": [1.0, 2.0], "solver": "lanczos"}, ConfigError, "several ridges"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_refused(name):
    options, kind, words = BAD[name]
    K, r = problem(N=2, C=2)
    with pytest.raises(kind, match=f"supervision_complexity: .*{words}"):
        complexity_from_kernel(K, r, **options)


def changed(K, place, value):
    K = K.clone()
    K[place] = value
    return K


K4, R4 = problem(N=2, C=2)
BAD_DATA = {
    "nan in K": (changed(K4, (1, 2), math.nan), R4, DataError, r"got nan in row 1 \(sample 0\), column 2"),
    "inf in K": (changed(K4, (3, 3), math.inf), R4, DataError, "K must be finite; got inf in row 3"),
    "nan in r": (K4, changed(R4, (1, 0), math.nan), DataError, r"targets must be finite; got \[nan, .* at sample 1"),
    "not symmetric": (changed(K4, (0, 1), 9.0), R4, DataError, "must be symmetric; got a largest"),
    "empty": (K4[:0, :0], R4[:0], DataError, r"targets must hold a sample and an output; got \[0, 2\]"),
    "no targets": (K4, {}, DataError, "targets must hold at least one; got an empty dict"),
    "labels": (K4, torch.tensor([0, 1]), DataError, "must be float32 or float64; got int64.*one_hot"),
    "another C": (K4, R4[:, :1], ShapeError, r"K must be \[N\*C, N\*C\] = \[2, 2\].*got \[4, 4\]"),
    "three axes": (K4, R4[None], ShapeError, r"targets must be \[N, C\]; got \[1, 2, 2\]"),
    "two shapes": (K4, {"a": R4, "b": R4[:1]}, ShapeError, r"one shape; got \[1, 2\] for 'b' beside \[2, 2\]"),
    "zero K": (0 * K4, R4, NumericsError, "K must be positive semi-definite and not zero"),
    "words": ("K", R4, DataError, "K must be a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_refused(name):
    K, r, kind, words = BAD_DATA[name]
    with pytest.raises(kind, match=f"supervision_complexity: .*{words}"):
        complexity_from_kernel(K, r, ridge=1.0)


@pytest.mark.parametrize("options", [{}, {"spectrum": True}, {"solver": "lanczos"}], ids=str)
def test_a_negative_eigenvalue_is_refused_also_where_the_ridge_is_above_it(options):
    K, r = problem()
    values, vectors = torch.linalg.eigh(K)
    values[0] = -0.5
    with pytest.raises(NumericsError, match="K must be positive semi-definite; got an eigenvalue"):
        complexity_from_kernel((vectors * values) @ vectors.mT, r, ridge=1.0, **options)


def test_a_singular_kernel_needs_a_ridge():
    K, r = problem(rank=4)
    words = r"K must be numerically positive definite for ridge=0; got lambda_min/lambda_max=.*\. Pass ridge > 0\."
    for ridge in (0.0, [1.0, 0.0]):
        with pytest.raises(NumericsError, match=words):
            complexity_from_kernel(K, r, ridge=ridge)
    assert complexity_from_kernel(K, r, ridge=1e-3).quad > 0


@pytest.mark.parametrize("options", [{}, {"spectrum": True}, {"solver": "lanczos"}], ids=str)
def test_a_kernel_in_float32_needs_a_ridge_above_its_noise(options):
    K, r = problem()
    largest = float(torch.linalg.eigvalsh(K)[-1])
    with pytest.raises(NumericsError, match="at least 1e-05 of the largest eigenvalue for a kernel from float32"):
        complexity_from_kernel(K.float(), r, ridge=0.5e-5 * largest, **options)
    assert complexity_from_kernel(K.float(), r, ridge=1.1e-5 * largest, **options).quad > 0


def test_the_ridge_that_is_advised_is_taken():
    K, r = problem()
    mean = float(torch.diagonal(K).mean())
    twice = torch.cat([torch.cat([K, K]), torch.cat([K, K])], 1)  # singular: every sample is there two times
    for matrix, residual, unit in ((K.float(), r, 1.0), (twice, torch.cat([r, -r]), 2.0)):
        for name, scale in (("ridge", 1.0), ("ridge_rel", 1 / mean)):
            with pytest.raises(NumericsError, match=rf"Raise {name} to") as found:
                complexity_from_kernel(matrix, residual, **{name: 1e-14 * unit * scale})
            advised = float(re.search(r"Raise \w+ to ([\d.e+-]+\d)", str(found.value))[1])
            assert complexity_from_kernel(matrix, residual, **{name: advised}).quad > 0


def test_a_kernel_too_large_for_a_factor_is_for_lanczos(monkeypatch):
    monkeypatch.setattr("infotorch.measures.supervision.solve.LARGEST", 20)
    K, r = problem()
    words = r"at most N\*C = 20 rows; got 21. Pass solver='lanczos'"
    for options in ({"ridge": 1.0, "solver": "cholesky"}, {"ridge": 1.0, "spectrum": True}, {"ridge": 0.0}):
        with pytest.raises(ConfigError, match=words):
            complexity_from_kernel(K, r, **options)
    assert complexity_from_kernel(K, r, ridge=1.0).solver == "lanczos"


def test_the_noise_of_float32_is_that_of_the_kernel_and_not_of_the_residual():
    K, r = torch.diag(torch.tensor([1.0, 1e-7, 1e-7])), torch.tensor([[0.0], [1.0], [1.0]])
    for solver in ("cholesky", "lanczos"):
        with pytest.raises(NumericsError, match="at least 1e-05 of the largest eigenvalue for a kernel from float32"):
            complexity_from_kernel(K, r, ridge=1e-7, solver=solver)


def test_a_residual_that_the_kernel_maps_to_zero_is_bracketed():
    report = complexity_from_kernel([[1.0, 1.0], [1.0, 1.0]], [[1.0], [-1.0]], ridge=1.0, solver="lanczos")
    assert report.lower <= 2 <= report.upper and report.quad == pytest.approx(2, rel=1e-12)
