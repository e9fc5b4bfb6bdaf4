"""The kernels of limit, CPU and CUDA, against the truth on random rows: plain, and under the sanitizers."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from infotorch.ops import reference
from tests.emulate.driver import Call
from tests.emulate.programs import driver
from tests.emulate.test_driver import EXAMPLES
from tests.ops.limit_cases import assert_rows

DEVICES = ["cpu", "cuda"]
VARIANTS = ["plain", *(pytest.param(x, marks=pytest.mark.slow) for x in ("asan", "tsan"))]
# One logit, few classes for a thread, for a warp, for a block that keeps them and for one that reads some again, around
# the lanes of a vector; beyond ONE_THREAD only few samples.
CLASSES = [3, 1, 2, 5, 10, 11, 12, 16, 17, 21, 22, 23, 31, 33, 65, 512, 513, 1024, 1030, 6200, 12300]
SAMPLES = [2, 1, 3, 8, 15, 17, 33, 65]
ONE_THREAD = 33
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


@st.composite
def rows(draw):
    """Tensors and options of ``reference.limit``, and the key of the noise."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 1 << 32)))
    C, dtype = draw(st.sampled_from(CLASSES)), draw(st.sampled_from(DTYPES))
    N = draw(st.sampled_from(SAMPLES if C <= ONE_THREAD else SAMPLES[:3]))
    z, v = (torch.randn(N, C, generator=rng, dtype=torch.float64) * draw(st.sampled_from([2, 30])) for _ in range(2))
    if C > 2 and draw(st.booleans()):  # masked classes, never the first, at which labels point then
        z[:, 1 : C // 2 + 1] = v[:, C // 2 :] = -torch.inf
        labels = torch.zeros(N, dtype=torch.int64)
    else:
        labels = torch.randint(max(2, C), (N,), generator=rng)
    options = {
        "q": draw(st.sampled_from(["gaussian", "laplace", "ce"])),
        "beta": draw(st.sampled_from([0.0, 0.3, 10.0])),
    }
    labels[torch.rand(N, generator=rng) < 0.2] = -100
    target = labels
    if draw(st.booleans()):
        target = torch.rand(N, C, generator=rng, dtype=torch.float64)
        target = (target[:, 0] if C == 1 else target.softmax(1) * z.isfinite() * v.isfinite()).to(wide(dtype))
        target = target if C == 1 else target / target.sum(1, keepdim=True)
    elif draw(st.booleans()) and z.isfinite().all():
        options["label_smoothing"] = 0.1
    if C > 1 and draw(st.booleans()):
        options["weight"] = (torch.rand(C, generator=rng, dtype=torch.float64) + 0.1).to(wide(dtype))
    if C == 1 and draw(st.booleans()):
        options["pos_weight"] = 2.5
    if draw(st.booleans()):
        options["mask"] = torch.rand(N, generator=rng) < 0.7
    positions = draw(st.sampled_from([k for k in (1, 2, 5) if N % k == 0]))
    key = {"seed": draw(st.sampled_from([3, 2**64 - 1])), "step": 7, "ids": torch.randperm(N // positions)}
    noise = (key, positions) if options["q"] != "ce" and draw(st.booleans()) else None
    return (z.to(dtype), v.to(dtype), target), options, noise


def call_of(device, given_rows, seed, threads, odd):
    (z, v, target), options, noise = given_rows
    tensors = {"b": z, "a": v, "target": target}
    weight = options.get("weight")
    if "pos_weight" in options:
        weight = torch.tensor([options["pos_weight"]], dtype=wide(z.dtype))
    key, positions = ({"seed": 0, "step": 0, "ids": None}, 1) if noise is None else noise
    beside = {"weight": weight, "mask": options.get("mask"), "ids": key["ids"]}
    return Call(
        op="limit",
        device=device,
        tensors=tensors | {name: x for name, x in beside.items() if x is not None},
        options={
            "q": options["q"], "beta": options["beta"], "smoothing": options.get("label_smoothing", 0.0), "scale": 0.5,
            "positions": positions, "seed": key["seed"], "step": key["step"],
        },
        seed=seed,
        threads=threads,
        odd=odd,
    )  # fmt: skip


def results(raw, z, drawn):
    """What the entry returned, by name."""
    names = [
        "inject",
        "aux_grad",
        *(["sample"] if drawn else []),
        "match",
        "pen",
        "ce",
        "dist",
        "valid",
        "top",
        "aux_top",
    ]
    kinds = [z.dtype] * (len(names) - 7) + [wide(z.dtype)] * 4 + [torch.bool, torch.int64, torch.int64]
    parts = [torch.frombuffer(bytearray(x), dtype=kind) for x, kind in zip(raw, kinds, strict=True)]
    return {
        name: x.reshape(z.shape) if x.numel() > len(z) or name in names[:-7] else x
        for name, x in zip(names, parts, strict=True)
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_rows(variant, device):
    program = driver(variant)

    @settings(
        max_examples=2 * EXAMPLES[variant, device],
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if variant == "plain" else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(given_rows=rows(), seed=st.integers(1, 1 << 32), threads=st.integers(1, 4), odd=st.booleans())
    def one(given_rows, seed, threads, odd):
        (z, v, target), options, noise = given_rows
        got = results(program(call_of(device, given_rows, seed, threads, odd)), z, noise is not None)
        truth = reference.limit(z, v, target, **options)
        if noise is not None:
            key, positions = noise
            draw = reference.limit_noise(**key, num_classes=z.shape[1], kind=options["q"], positions=positions)
            truth["sample"] = truth["inject"] + 0.5 * draw * truth["valid"][:, None]
        assert_rows(got, truth, z.dtype, options["q"])

    one()
    assert program.close() == ""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("C", [1, 3, 30, 1030, 12300])
def test_a_row_without_a_target_says_so_alone(C, device):
    """Labels out of range, then probabilities that are none."""
    rng = torch.Generator().manual_seed(0)
    z, v = (torch.randn(6, C, generator=rng) for _ in range(2))
    labels = torch.tensor([0, max(2, C), -1, 1, -100, 2**40])
    soft = torch.full((6, C), 1 / C)
    soft[1, 0] += 0.01 if C > 1 else 0.5
    soft[2, 0] = -0.5
    soft[5] = torch.nan
    for target, bad in ((labels, [1, 2, 5]), (soft[:, 0] if C == 1 else soft, [1, 2, 5])):
        given_rows = ((z, v, target), {"q": "gaussian", "beta": 0.5}, None)
        got = results(driver("plain")(call_of(device, given_rows, 1, 2, False)), z, False)
        clean = target.clone()
        clean[bad] = 0 if target is labels else 1 / C
        truth = reference.limit(z, v, clean, beta=0.5)
        for name in ("match", "ce", "dist", "aux_grad"):
            assert got[name][bad].isnan().all()
            got[name][bad] = truth[name][bad].float()
        assert_rows(got, truth, torch.float32, "gaussian")


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "uniform", "words"])
@pytest.mark.parametrize("C", [1, 6, 8, 33])
def test_noise_is_that_of_the_truth_on_both_devices(C, kind):
    ids = torch.tensor([0, 5, -1, 2**62, 41])
    key = {"seed": 2**63 + 5, "step": 2**32 - 1, "ids": ids}
    truth = reference.limit_noise(**key, num_classes=C, kind=kind).double()
    for device in DEVICES:
        options = {"num_classes": C, "kind": kind, "seed": key["seed"], "step": key["step"]}
        (raw,) = driver("plain")(Call(op="limit_noise", device=device, tensors={"b": ids}, options=options))
        got = torch.frombuffer(bytearray(raw), dtype=torch.float64).reshape(truth.shape)
        if kind in ("uniform", "words"):
            assert torch.equal(got, truth)
        else:
            assert ((got - truth).abs() / (1 + truth.abs())).max() <= 1e-13


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("C", [1, 5, 20, 70, 1030, 12300])
@pytest.mark.parametrize("kind", ["labels", "weighted", "smooth", "soft"])
def test_no_bit_of_what_is_injected_depends_on_the_labels(C, device, kind):
    """On every path: rows in lanes, in a thread, a warp, a block. The draw around it, too."""
    rng = torch.Generator().manual_seed(0)
    N = 6
    z, v = (3 * torch.randn(N, C, generator=rng) for _ in range(2))
    options = {"q": "laplace", "beta": 10.0}
    if kind == "weighted" and C > 1:
        options["weight"] = torch.rand(C, generator=rng) + 0.1
    if kind == "smooth":
        options["label_smoothing"] = 0.1
    found = set()
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        target = torch.randint(max(2, C), (N,), generator=draw)
        if kind == "soft":
            target = torch.rand(N, C, generator=draw)
            target = target[:, 0] if C == 1 else target.softmax(1)
        noise = ({"seed": 3, "step": 7, "ids": torch.arange(N)}, 1)
        got = results(driver("plain")(call_of(device, ((z, v, target), options, noise), 1, 2, False)), z, True)
        found.add((got["inject"].numpy().tobytes(), got["sample"].numpy().tobytes()))
    assert len(found) == 1
