"""project: the format of its words, the truth, the golden case, the laws, the refusals."""

import json
import pathlib

import numpy as np
import pytest
import torch

from infotorch import _C
from infotorch.errors import ConfigError
from infotorch.ops import project, reference
from infotorch.ops.project import add_projections
from tests.laws import assert_same, assert_same_bits
from tests.ops import cases

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden/project.json").read_text())
# A k whose factors fit O and I, for shapes that have one beside 1.
KRON = [((4, 3, 8, 5), 40), ((3, 1, 33, 17), 64), ((2, 11, 67, 35), 1000), ((1, 300, 6, 9), 6), ((70, 1, 40, 33), 7)]
KRON += [((2, 20, 300, 150), 4096), ((3, 290, 40, 20), 11), ((2, 7, 1, 1), 1), ((3, 0, 4, 4), 6), ((0, 2, 4, 4), 6)]
KRON += [((2, 9, 0, 4), 4), ((2, 3, 600, 7), 2100)]
every_kind = pytest.mark.parametrize("kind", ["sjlt", "kron"])


@pytest.fixture
def rng(device):
    return torch.Generator(device).manual_seed(0)


@pytest.fixture
def threads():
    """Sets the number of threads; afterwards it is what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "counter, key, out",
    [
        ([0] * 4, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_its_authors_known_answers(counter, key, out):
    assert " ".join(f"{word:08x}" for word in _C.philox(*counter, key)) == out


def test_the_stream_begins_as_it_always_did():
    words = _C.sketch_words(2024, "conv1.weight", 0, 0, 8)
    assert " ".join(f"{word:08x}" for word in words) == (
        "eef5bd28 a768c49c 6d68fc03 bfefdda3 45c1cecd 136da9e7 6897fc7b c7a308c9"
    )


@pytest.mark.parametrize(
    "name, digest", [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)]
)
@pytest.mark.parametrize("draw", [0, 1, 2])
def test_the_counter_holds_place_draw_and_name(name, digest, draw):
    """FNV-1a's known answers are the counter's upper words; the draw is above 62 bits of place."""
    for block in (0, 5, 2**32 + 5, 2**62 - 1):
        words = _C.philox(block % 2**32, (block >> 32) + (draw << 30), digest % 2**32, digest >> 32, 77)
        assert tuple(_C.sketch_words(77, name, draw, 4 * block, 4)) == words


def test_the_stream_is_read_from_any_place():
    words = _C.sketch_words(1, "w", 2, 0, 30)
    assert (_C.sketch_words(1, "w", 2, 7, 20) == words[7:27]).all()


def test_normal_numbers_are_normal(device):
    """Their first four moments, within five standard errors, of a factor that a one-hot input shows row by row."""
    ids, b = torch.arange(400, device=device)[:, None], torch.ones(400, 1, 1, dtype=torch.float64, device=device)
    z = project(ids, b, k=100, seed=5, kind="kron", in_features=400).flatten() * 10
    z /= reference.normals(5, "", 2, 1).item()
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs(z.pow(power).mean() - moment) < 5 * (variance / z.numel()) ** 0.5


@pytest.mark.parametrize("k", [1, 7, 64, 1000])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [s for s in cases.SHAPES if s[2] * s[3] < 20000], ids=str)
def test_equals_the_einsum(shape, bias, k, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    options = {"k": k, "seed": 11, "name": "layer.weight", "bias": bias}
    out = project(a, b, **options)
    assert out.dtype == dtype
    assert_same(out, reference.project(a, b, **options))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape, k", KRON, ids=str)
def test_kron_equals_the_einsum(shape, k, bias, dtype, rng):
    a, b = cases.make_pair(*shape, rng, dtype)
    options = {"k": k, "seed": 2**64 - 1, "name": "ü\0", "bias": bias, "kind": "kron"}
    assert_same(project(a, b, **options), reference.project(a, b, **options))


@pytest.mark.parametrize("kind, k", [("sjlt", 1), ("sjlt", 64), ("kron", 1), ("kron", 20)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 12, 5), (3, 1, 40, 33), (2, 0, 12, 5), (0, 3, 12, 5)], ids=str)
def test_indices_equal_the_einsum(shape, bias, kind, k, dtype, rng):
    ids, b = cases.make_index_pair(*shape, rng, dtype)
    options = {"k": k, "seed": 0, "kind": kind, "bias": bias, "in_features": shape[2]}
    assert_same(project(ids, b, **options), reference.project(ids, b, **options))


@pytest.mark.parametrize("kind, k", [("sjlt", 100), ("kron", 15)])
@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_of_a_convolution_equals_the_einsum(options, kind, k, rng):
    a, b = cases.conv_pair(*cases.conv_case(options, rng))
    options = {"k": k, "seed": 8, "kind": kind, "bias": True, "t_dims": 2}
    assert_same(project(a, b, **options), reference.project(a, b, **options))


@pytest.mark.parametrize("T", [1, 3])
def test_a_table_of_several_pieces_equals_the_einsum(T, rng):
    """More elements than are numbered at once, and several partial sums for each bucket."""
    a, b = cases.make_pair(2, T, 1500, 1430, rng, torch.float32)
    options = {"k": 3, "seed": 1, "bias": True}
    assert_same(project(a, b, **options), reference.project(a, b, **options))


def test_golden(dtype, device):
    a, b, truth, with_bias = cases.golden("project", "a", "b", "project", "with_bias", dtype=dtype, device=device)
    assert torch.equal(project(a, b, k=4, seed=2024, name="w"), truth)
    assert torch.equal(project(a, b, k=4, seed=2024, name="w", bias=True), with_bias)


def test_golden_buckets_are_those_of_its_words():
    words = [int(word, 16) for word in GOLDEN["words"]]
    assert _C.sketch_words(2024, "w", 0, 0, 18).tolist() == words
    places = [f"{'-' if sign % 2 else '+'}{word * 4 >> 32}" for word, sign in zip(words[::2], words[1::2], strict=True)]
    assert places == GOLDEN["buckets"]


@every_kind
def test_is_linear(kind, rng):
    """The sketch of a weighted sum of gradients is the weighted sum of their sketches."""
    a, b = cases.make_pair(6, 5, 12, 9, rng)
    w = torch.randn(6, dtype=torch.float64, generator=rng, device=rng.device)
    total, rows = (
        reference.vjp(a, b, w),
        torch.eye(9, dtype=torch.float64, device=rng.device),
    )  # a pair whose gradient is `total`
    options = {"k": 36, "seed": 3, "name": "w", "kind": kind}
    assert_same(project(total[None], rows[None], **options)[0], w @ project(a, b, **options))


@every_kind
@pytest.mark.parametrize("T", [1, 4])
def test_inner_products_are_unbiased(kind, T, rng):
    """Their mean over seeds is the inner product, within five standard errors."""
    a, b = cases.make_pair(3, T, 8, 6, rng)
    got = torch.stack([p @ p.mT for p in (project(a, b, k=24, seed=s, kind=kind, bias=True) for s in range(1000))])
    error = got.mean(0) - reference.gram(a, b, bias=True)
    assert (error.abs() <= 5 * got.std(0) / 1000**0.5).all()


def test_inner_products_of_sjlt_are_as_exact_as_promised(rng):
    """Root mean square error over the product of norms: 1 / sqrt(k), and up to sqrt(2 / k) of a norm."""
    a, b = cases.make_pair(2, 1, 30, 20, rng)
    truth = reference.gram(a, b)
    sketches = [project(a, b, k=50, seed=seed) for seed in range(400)]
    error = torch.stack([p @ p.mT - truth for p in sketches]).square().mean(0).sqrt()
    norms = truth.diag().sqrt()
    assert (error / norms[:, None] / norms < 1.2 * (2 / 50) ** 0.5).all()


@every_kind
def test_bias_adds_the_sketch_of_the_bias_alone(kind, rng):
    a, b = cases.make_pair(3, 4, 12, 9, rng)
    options = {"k": 36, "seed": 3, "name": "w", "kind": kind}
    alone = project(torch.zeros_like(a), b, bias=True, **options)
    assert_same(project(a, b, bias=True, **options), project(a, b, **options) + alone)


@every_kind
def test_indices_are_one_hot_rows(kind, rng):
    ids, b = cases.make_index_pair(3, 4, 12, 9, rng)
    a = torch.nn.functional.one_hot(ids, 12).double()
    options = {"k": 36, "seed": 3, "name": "w", "kind": kind, "bias": True}
    assert_same(project(ids, b, in_features=12, **options), project(a, b, **options))


@every_kind
def test_seed_and_name_choose_the_sketch(kind, rng):
    a, b = cases.make_pair(1, 4, 12, 9, rng)

    def sketch(seed, name):
        return project(a, b, k=36, seed=seed, name=name, kind=kind)

    choices = [(0, ""), (1, ""), (2**32, ""), (2**63, ""), (0, "a"), (0, "b"), (0, "a\0"), (0, "ä")]
    sketches = [sketch(seed, name) for seed, name in choices]
    for n, (seed, name) in enumerate(choices):
        assert_same_bits(sketch(np.uint64(seed), name), sketches[n])
        assert all(not torch.allclose(sketches[n], other) for other in sketches[:n])


def test_no_sketch_shares_words_with_another_kind_or_side():
    streams = [_C.sketch_words(4, "w", draw, 0, 1000) for draw in range(3)]
    assert len(np.unique(np.concatenate(streams))) > 2990


@pytest.mark.parametrize("K", [1, 3, 10, 16, 17])
@pytest.mark.parametrize("T, I, O, k", cases.SKETCHED)
def test_added_projections_are_those_of_every_seed(T, I, O, k, K, dtype, device, rng):
    a, b = cases.make_seeded_pair(5, K, T, I, O, rng, dtype)
    options = {"seed": 3, "name": "w"}
    got = add_projections(torch.zeros(5, K, k, dtype=dtype, device=device), a, b, **options)
    want = torch.stack([project(a, one, k=k, **options) for one in b.unbind(1)], 1)
    assert torch.equal(got, want)
    before = torch.randn(got.shape, dtype=dtype, device=device, generator=rng)
    assert_same(add_projections(before.clone(), a, b, **options), before + want)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("T", [1, 7])
def test_added_projections_of_16_bits_are_widened(stored, T, rng):
    a, b = cases.make_seeded_pair(4, 5, T, 20, 9, rng, stored)
    out = torch.zeros(4, 5, 32, device=rng.device)
    wide = add_projections(out.clone(), a.float(), b.float(), seed=3)
    assert_same_bits(add_projections(out, a, b, seed=3), wide)


@pytest.mark.parametrize("options", cases.CONVS, ids=str)
def test_added_projections_of_a_convolution(options, dtype, rng):
    a, b = cases.conv_pair(*cases.conv_case(options, rng), dtype=dtype)
    b = torch.stack([b, -2 * b, b.flip(1)], 1)
    got = add_projections(torch.zeros(3, 3, 100, dtype=dtype, device=rng.device), a, b, seed=8, t_dims=2)
    want = [reference.project(a, one, k=100, seed=8, t_dims=2) for one in b.unbind(1)]
    assert_same(got, torch.stack(want, 1))


@pytest.mark.parametrize("k", [1, 64])
def test_added_projections_of_indices(k, dtype, rng):
    ids, b = cases.make_index_pair(4, 9, 12, 5, rng, dtype)
    b = torch.stack([b, 3 * b, b.flip(1)], 1)
    out = torch.zeros(4, 3, k, dtype=dtype, device=rng.device)
    add_projections(out, ids, b, seed=1, in_features=12)
    want = [project(ids, one, k=k, seed=1, in_features=12) for one in b.unbind(1)]
    assert torch.equal(out, torch.stack(want, 1))


@pytest.mark.parametrize("T", [1, 6])
def test_seeds_may_lie_anywhere(T, rng):
    """Samples within seeds, and one cotangent for all samples."""
    a, b = cases.make_seeded_pair(4, 3, T, 30, 8, rng, torch.float64)
    out = torch.zeros(4, 3, 50, dtype=torch.float64, device=rng.device)
    inside_out = b.transpose(0, 1).contiguous().transpose(0, 1)
    truth = add_projections(out.clone(), a, b, seed=1)
    assert_same_bits(add_projections(out.clone(), a, inside_out, seed=1), truth)
    same = add_projections(out.clone(), a, b[:1].expand(4, -1, -1, -1), seed=1)
    assert_same_bits(same, add_projections(out, a, b[:1].repeat(4, 1, 1, 1), seed=1))


@pytest.mark.parametrize("N, K, T, I, O", [(0, 3, 4, 5, 6), (4, 0, 4, 5, 6), (4, 3, 0, 5, 6), (4, 3, 4, 0, 6)], ids=str)
def test_nothing_adds_nothing(N, K, T, I, O, rng):
    a, b = cases.make_seeded_pair(N, K, T, I, O, rng, torch.float64)
    out = torch.ones(N, K, 7, dtype=torch.float64, device=rng.device)
    assert torch.equal(add_projections(out, a, b, seed=0), torch.ones_like(out))


def test_adding_passes_torchs_own_list(rng):
    a, b = cases.make_seeded_pair(2, 3, 4, 5, 6, rng, torch.float64)
    out = torch.zeros(2, 3, 7, dtype=torch.float64, device=rng.device)
    torch.library.opcheck(torch.ops.infotorch.project.add, (a, b, 3, "w", 1, None), {"out": out})


@pytest.mark.parametrize(
    "shape, b_shape, says",
    [
        ((2, 3, 7), (2, 4, 6), "project: b must be [N, K, T, O] and out [N, K, k]; got b [2, 4, 6] and out [2, 3, 7]."),
        ((6, 7), (2, 3, 4, 6), "project: b must be [N, K, T, O] and out [N, K, k]; got b [2, 3, 4, 6] and out [6, 7]."),
        ((2, 2, 7), (2, 3, 4, 6), "project: out must be [2, 3, 7]; got [2, 2, 7]. Allocate it with that shape."),
        ((2, 3, 0), (2, 3, 4, 6), "project: k must be 1 to 2^31; got 0."),
        ((2, 3, 7), (2, 3, 5, 6), "project: a and b must agree on N and T; got a [2, 4, 5] and b [2, 5, 6]."),
    ],
    ids=str,
)
def test_what_is_added_to_must_fit(shape, b_shape, says, rng):
    a = torch.zeros(2, 4, 5, device=rng.device)
    with pytest.raises(ValueError) as error:
        add_projections(torch.zeros(shape, device=rng.device), a, torch.zeros(b_shape, device=rng.device), seed=0)
    assert says in str(error.value)


@every_kind
@pytest.mark.parametrize("T, I, O, k", cases.SKETCHED)
def test_a_sample_does_not_depend_on_its_batch_nor_on_threads(T, I, O, k, kind, dtype, threads, rng):
    a, b = cases.make_pair(41, T, I, O, rng, dtype)
    k = min(k, 6) if kind == "kron" and I * O < 4000 else k
    options = {"k": k, "seed": 3, "kind": kind, "bias": kind == "sjlt"}
    truth = project(a, b, **options)
    for count in (1, 2, 3):
        threads(count)
        assert_same_bits(project(a, b, **options), truth)
        for n, samples in [(0, 1), (40, 1), (3, 2), (7, 8), (13, 19)]:
            here = slice(n, n + samples)
            assert_same_bits(project(a[here], b[here], **options), truth[here])


def test_a_sample_does_not_depend_on_rounds_of_samples(rng):
    """So many samples that their buckets aren't all held at once."""
    a, b = cases.make_pair(3300, 1, 360, 370, rng, torch.float32)
    options = {"k": 1000, "seed": 3}
    out = project(a, b, **options)
    for n in (0, 2963, 3299):
        assert_same_bits(project(a[n : n + 1], b[n : n + 1], **options), out[n : n + 1])


@every_kind
def test_a_sample_of_indices_does_not_depend_on_its_batch(kind, dtype, threads, rng):
    ids, b = cases.make_index_pair(41, 9, 50, 20, rng, dtype)
    options = {"k": 100, "seed": 3, "kind": kind, "bias": True, "in_features": 50}
    truth = project(ids, b, **options)
    threads(1)
    assert_same_bits(torch.cat([project(ids[n : n + 3], b[n : n + 3], **options) for n in range(0, 41, 3)]), truth)


@pytest.mark.parametrize("T", [1, 5])
@every_kind
def test_nan_stays_in_its_sample_and_its_buckets(kind, T, rng):
    a, b = cases.make_pair(20, T, 40, 30, rng)
    a[7, 0, 2] = torch.nan
    options = {"k": 400, "seed": 5, "kind": kind}
    out = project(a, b, **options)
    assert out.isnan().any(1).nonzero().flatten().tolist() == [7]
    reached = reference.project(a[7:8], b[7:8], **options).isnan() if kind == "kron" else None
    if reached is None:  # the truth's matrix product would spread it
        words = _C.sketch_words(5, "", 0, 0, 2 * 40 * 30).astype(np.int64)
        buckets = torch.from_numpy(words[0::2] * 400 >> 32).reshape(30, 40)[:, 2]
        reached = torch.zeros(1, 400, dtype=torch.bool).index_fill(1, buckets, True).to(out.device)
    assert torch.equal(out[7:8].isnan(), reached)


@pytest.mark.parametrize("kind, k", [("sjlt", 2**31), ("kron", 6)])
def test_no_samples_give_no_rows(kind, k, rng):
    assert project(*cases.make_pair(0, 3, 8, 5, rng), k=k, seed=0, kind=kind).shape == (0, k)


@pytest.mark.parametrize("T, I, O", [(1, 40, 30), (4, 40, 30), (3, 1500, 1430)])
def test_half_the_buckets_hold_the_sums_of_neighbours(T, I, O, rng):
    """floor(w 2k / 2^32) / 2 rounded down is floor(w k / 2^32): so sketches of millions can be checked."""
    a, b = cases.make_pair(2, T, I, O, rng)
    few = project(a, b, k=8, seed=0)
    for k in (2**10, 2**15, 2**21):
        assert_same(project(a, b, k=k, seed=0).reshape(2, 8, -1).sum(2), few)


def test_a_million_buckets_keep_all(rng):
    a, b = cases.make_pair(3, 4, 20, 10, rng)
    out = project(a, b, k=10**6, seed=0)  # no two of the 200 elements meet
    assert_same(out.square().sum(1), reference.norms(a, b))


@every_kind
def test_same_call_gives_the_same_bits(kind, dtype, rng):
    a, b = cases.make_pair(30, 40, 33, 70, rng, dtype)
    first = project(a, b, k=21, seed=1, kind=kind)
    assert all(torch.equal(project(a, b, k=21, seed=1, kind=kind), first) for _ in range(3))


@pytest.mark.parametrize(
    "options, says",
    [
        ({"k": 0}, "project: k must be 1 to 2^31; got 0. Choose the number of values to keep of each gradient."),
        ({"k": -3}, "project: k must be 1 to 2^31; got -3. Choose"),
        ({"k": 2**31 + 1}, "project: k must be 1 to 2^31; got 2147483649. Choose"),
        ({"kind": "dense"}, "project: kind must be 'sjlt' or 'kron'; got 'dense'. Leave it out for 'sjlt'."),
        (
            {"kind": "kron", "k": 37},
            "project: k of kind 'kron' must be a product of two factors, one up to O = 5 and one up to I = 8; got 37. "
            "Pass k = 35, the nearest, or kind='sjlt'.",
        ),
        ({"kind": "kron", "k": 1009}, "one up to O = 5 and one up to I = 8; got 1009. Pass k = 40, the nearest"),
        ({"kind": "kron", "k": 2**31 - 1, "bias": True}, "one up to I = 8; got 2147483647. Pass k = 40, the nearest"),
    ],
    ids=str,
)
def test_options_must_fit(options, says, rng):
    a, b = cases.make_pair(4, 3, 8, 5, rng)
    with pytest.raises(ValueError) as error:
        project(a, b, **{"k": 4, "seed": 0} | options)
    assert says in str(error.value)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_must_fit_64_bits(seed, rng):
    with pytest.raises(ConfigError) as error:
        project(*cases.make_pair(4, 3, 8, 5, rng), k=4, seed=seed)
    assert str(error.value) == f"project: seed must be 0 to 2^64 - 1; got {seed}. Take it modulo 2^64."
