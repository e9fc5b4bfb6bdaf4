"""SupervisionTrace: rows by the formula, at the right steps, and refused in words."""

import copy
import math
import re

import pytest
import torch

from infotorch import Task, supervision_complexity
from infotorch.errors import ConfigError, DataError, NumericsError, ShapeError
from infotorch.train import SupervisionTrace, TeacherPath, distill
from tests.laws import assert_same_bits
from tests.train.distillation.golden import batches, sgd, teachers
from tests.train.problems import mlp, samples, weights

RIDGE = 0.3
COLUMNS = ["step", "target", "tau", "ridge", "quad", "complexity", "adjusted", "unit_adjusted", "alignment", "trace",
           "residual_norm"]  # fmt: skip


def numbers(K, r, ridge):
    """The formulas of the measure, by a dense solve: K [N, C, N, C], r [N, C]."""
    N, C = r.shape
    K, r = K.reshape(N * C, N * C), r.reshape(-1)
    ridged = K + ridge * torch.eye(N * C, dtype=K.dtype)
    quad, trace, size = r @ torch.linalg.solve(ridged, r), ridged.trace(), r.norm()
    return {
        "quad": quad, "complexity": quad.sqrt(), "adjusted": (quad * trace).sqrt() / N,
        "unit_adjusted": (quad * trace / (size**2 * N)).sqrt(), "alignment": r @ K @ r / (K.norm() * size**2),
        "trace": trace, "residual_norm": size, "ridge": ridge,
    }  # fmt: skip


def jacobian_kernel(net, x):
    """K [N, C, N, C] by torch's own Jacobians."""
    named = dict(net.named_parameters())
    J = torch.func.jacrev(lambda p: torch.func.functional_call(net, p, x))(named)
    flat = torch.cat([J[name].flatten(2) for name in named], 2)
    return torch.einsum("ncp,mep->ncme", flat, flat)


@pytest.fixture
def held_out(rng):
    x, y, _ = samples(rng, N=5)
    return x, torch.eye(4, dtype=torch.float64)[y]


@pytest.mark.parametrize("f0", ["student", "zero", "tensor"])
def test_rows_are_those_of_the_formula(f0, held_out, rng):
    """At steps 0, 3, 6 and the last, 7, of the student as it was then, in eval mode, at the training's temperature."""
    x, labels = held_out
    modules, nets, tau = teachers(), [], 2.0
    start = torch.full((5, 4), 0.25, dtype=torch.float64) if f0 == "tensor" else f0
    trace = SupervisionTrace((x, labels), {"labels": labels, "now": "teacher"}, every=3, ridge=RIDGE, f0=start)
    student = mlp(dropout=0.5)

    def keep(moment):
        copied = mlp()
        copied.load_state_dict(moment.student.state_dict())
        nets.append((copied, moment.checkpoint))

    distill(
        student, batches(rng), sgd(student), teacher=TeacherPath(modules), tau=tau, steps=7, callbacks=[trace, keep]
    )
    assert [(row["step"], row["target"]) for row in trace.rows] == [
        (step, name) for step in (0, 3, 6, 7) for name in ("labels", "now")
    ]
    for row in trace.rows:
        net, j = nets[row["step"]]
        with torch.no_grad():
            p = labels if row["target"] == "labels" else (modules[j].eval()(x) / tau).softmax(1)
            s = (net(x) / tau).softmax(1)
        r = p - {"student": s, "zero": 0.0, "tensor": 0.25}[f0]
        expected = numbers(jacobian_kernel(net, x).detach(), r, RIDGE)
        assert list(row) == COLUMNS and row["tau"] == tau
        for name in COLUMNS[3:]:
            assert row[name] == pytest.approx(float(expected[name]), rel=1e-9), name


def test_training_is_the_same_with_it(held_out, rng):
    """Nothing is drawn, no mode and no gradient is left behind, with dropout and BatchNorm."""
    x, labels = held_out
    found = []
    for callbacks in ([], [SupervisionTrace(x, labels, every=1, ridge=1.0, f0="zero")]):
        torch.manual_seed(0)
        student = mlp(dropout=0.4, norm=True)
        distill(student, batches(torch.Generator().manual_seed(1)), sgd(student), teacher=mlp(9), steps=4,
                callbacks=callbacks)  # fmt: skip
        found.append(student.state_dict())
    for name, value in found[0].items():
        assert_same_bits(value, found[1][name])


def test_rows_come_back_with_a_checkpoint(held_out, rng, tmp_path):
    x, labels = held_out
    data = batches(rng)

    def run(file, steps_to_live=None):
        trace = SupervisionTrace(x, labels, every=2, ridge=1.0, f0="zero")

        def die(moment):
            if moment.step == steps_to_live:
                raise KeyboardInterrupt

        student = mlp()
        distill(student, data, sgd(student), teacher=mlp(9), steps=6, callbacks=[trace, die], checkpoint=file,
                checkpoint_every=1)  # fmt: skip
        return trace.rows

    whole = run(tmp_path / "a.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b.pt", 5)
    assert run(tmp_path / "b.pt") == whole and [row["step"] for row in whole] == [0, 2, 4, 6]


def test_misuse(held_out):
    x, labels = held_out
    good = {"every": 1, "ridge": 1.0, "f0": "student"}
    for targets, options, error, text in [
        (labels, {"every": 0}, ConfigError, "every must be a whole number of at least 1; got 0"),
        (labels, {"ridge": -1.0}, ConfigError, "ridge must be finite and at least 0; got -1.0"),
        (labels, {"ridge": math.nan}, ConfigError, "ridge must be finite and at least 0; got nan"),
        (labels, {"f0": "studnet"}, ConfigError, "f0 must be one of .* got 'studnet'. Did you mean 'student'"),
        ({"a": "teachr"}, {}, ConfigError, r"targets\['a'\] must be one of 'teacher'; got 'teachr'"),
        ({}, {}, ConfigError, "targets must name at least one; got none"),
        (labels[:3], {}, ShapeError, r"targets\['targets'\] must be \[N, C\], N = 5; got \[3, 4\]"),
        (labels, {"f0": labels[0]}, ShapeError, r"f0 must be \[N, C\], N = 5; got \[4\]"),
        (1.0005 * labels, {}, DataError, r"rows of targets\['targets'\] must sum to 1 .*; got 1.0005"),
        (2 * labels, {}, DataError, r"rows of targets\['targets'\] must sum to 1 with f0='student'; got 2"),
        (labels / 0, {}, DataError, r"targets\['targets'\] must be finite; got nan"),
    ]:
        with pytest.raises(error, match=f"^SupervisionTrace: {text}"):
            SupervisionTrace(x, targets, **{**good, **options})


def test_misuse_that_a_training_shows(held_out, rng, tmp_path):
    x, labels = held_out

    def run(trace, teacher=None, student=None, data=None):
        student = student or mlp()
        distill(student, data or batches(rng), sgd(student), teacher=teacher or mlp(9), steps=1, callbacks=[trace])

    narrow = SupervisionTrace(x, labels[:, :1], every=1, ridge=1.0, f0="zero")
    with pytest.raises(ShapeError, match=r"targets must be \[N, C\] = \[5, 4\], a column .*; got \[5, 1\]"):
        run(narrow)
    TeacherPath.record(mlp(9), 1, tmp_path, dtype="float32", what="logits", data=x)
    with pytest.raises(ConfigError, match=r"a callback that runs the teacher needs its weights; got stored logits"):
        run(SupervisionTrace(x, "teacher", every=1, ridge=1.0, f0="zero"), TeacherPath(tmp_path))
    student = mlp()
    with torch.no_grad():
        student[0].weight[0, 0] = math.nan
    with pytest.raises(NumericsError):
        run(SupervisionTrace(x, labels, every=1, ridge=1.0, f0="zero"), student=student)
    assert len(weights(student)) == 4


def test_rows_are_those_of_the_report(held_out, rng):
    """Of targets of any dtype, as ``supervision_complexity`` has them of the same student."""
    x, labels = held_out
    trace = SupervisionTrace(x, labels.int(), every=1, ridge=RIDGE, f0="zero")
    student = mlp()
    want = supervision_complexity(Task(copy.deepcopy(student).eval()), x, labels, f0="zero", tau=3.0, ridge=RIDGE)
    distill(student, batches(rng), sgd(student), teacher=mlp(9), tau=3.0, steps=1, callbacks=[trace])
    assert trace.rows[0] == {"step": 0, **want.rows()[0]} and student.training


def test_no_residual_leaves_its_ratios_unknown_and_the_training_goes_on(held_out, rng):
    """A student that starts as its teacher."""
    x, _ = held_out
    student = mlp(9)
    trace = SupervisionTrace(x, "teacher", every=1, ridge=RIDGE, f0="student")
    distill(student, batches(rng), sgd(student), teacher=mlp(9), steps=1, callbacks=[trace])
    first, last = trace.rows
    assert (first["quad"], first["residual_norm"], first["unit_adjusted"], first["alignment"]) == (0, 0, None, None)
    assert last["step"] == 1 and list(first) == COLUMNS


def test_a_student_in_float32_needs_a_ridge_above_its_noise(held_out, rng):
    x, labels = held_out
    student = mlp(dtype=torch.float32)
    data = [(x.float(), y, ids) for x, y, ids in batches(rng)]
    trace = SupervisionTrace(x.float(), labels, every=1, ridge=1e-6, f0="zero")
    with pytest.raises(NumericsError, match="for a kernel from float32; got 1e-06"):
        distill(student, data, sgd(student), teacher=mlp(9, dtype=torch.float32), steps=1, callbacks=[trace])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": None}, "data must be inputs, a tensor or a dict of them, or (inputs, labels); got NoneType"),
        ({"data": "x"}, "data must be inputs, a tensor or a dict of them, or (inputs, labels); got str"),
        ({"data": []}, "data must be inputs, a tensor or a dict of them, or (inputs, labels); got list"),
        ({"ridge": None}, "ridge must be a number; got NoneType"),
        ({"ridge": "a"}, "ridge must be a number; got str"),
        ({"f0": None}, "f0 must be one of"),
        ({"f0": [1]}, "f0 must be one of"),
        ({"targets": None}, "targets['targets'] must be one of 'teacher'; got None"),
        ({"targets": {"a": [1]}}, "targets['a'] must be one of 'teacher'"),
        ({"every": "2"}, "every must be a whole number of at least 1"),
    ],
)
def test_wrong_types_are_told(changes, words):
    given = {"data": torch.ones(2, 3), "targets": torch.eye(2), "every": 1, "ridge": 0.1, "f0": "zero"} | changes
    with pytest.raises((ConfigError, DataError), match=re.escape(words)):
        SupervisionTrace(given.pop("data"), given.pop("targets"), **given)
