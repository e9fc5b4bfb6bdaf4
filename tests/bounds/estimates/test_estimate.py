"""Estimates from arrays and from grids: goldens, laws, and what is refused."""

import pathlib

import numpy as np
import pytest
import torch

from infotorch import bounds
from infotorch.errors import ConfigError, DataError, ShapeError, StoreError
from tests.bounds.small_grids import made, nearest, threshold_pool

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def batch():
    with np.load(GOLDEN / "bounds/estimate_batch.npz") as file:
        return {name: file[name] for name in file.files}


def report_of(batch, **options):
    C = int(batch["C"])
    return bounds.from_predictions(batch["preds"], batch["masks"], batch["labels"], num_classes=C, **options)


@pytest.mark.parametrize(("id", "information", "value"), [
    ("fcmi", "mi_f", "bound_f"), ("ecmi", "mi_e", "bound_e"), ("ld", "mi_ld", "bound_ld"),
])  # fmt: skip
def test_goldens_of_a_batch(batch, id, information, value):
    found = report_of(batch, bounds=[id])[id]
    np.testing.assert_allclose(found.information, batch[information], rtol=0, atol=1e-12)
    assert found.value == pytest.approx(float(batch[value]), abs=1e-12)
    assert found.kind == "estimate"


def test_goldens_of_the_spread_and_of_the_gap(batch):
    found = report_of(batch)
    np.testing.assert_allclose(found["fcmi"].per_supersample, batch["bound_f_per_z"], rtol=0, atol=1e-12)
    assert found["fcmi"].std == pytest.approx(float(batch["bound_f_std"]), abs=1e-12)
    np.testing.assert_allclose(found.train_error, batch["train_err"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.test_error, batch["test_err"], rtol=0, atol=1e-12)
    assert found.gap == pytest.approx(float(batch["gap"]), abs=1e-12)


def test_golden_of_miller_madow(batch):
    found = report_of(batch, correction="miller_madow")
    np.testing.assert_allclose(found["fcmi"].information, batch["mi_miller_madow"], rtol=0, atol=1e-12)
    assert "one-sidedness is lost" in " ".join(found.warnings)


def test_the_two_columns_change_places_with_their_bit(batch):
    """Nothing changes when every pair is turned round."""
    turned = {
        **batch, "preds": batch["preds"][..., ::-1], "labels": batch["labels"][..., ::-1], "masks": 1 - batch["masks"]
    }  # fmt: skip
    ids = ["fcmi", "ecmi", "ld", "ld_flat", "kl"]
    assert str(report_of(turned, bounds=ids)) == str(report_of(batch, bounds=ids))


def test_classes_have_no_order(batch):
    renamed = np.array([2, 0, 1])
    other = {**batch, "preds": renamed[batch["preds"]], "labels": renamed[batch["labels"]]}
    assert report_of(other)["fcmi"].value == pytest.approx(report_of(batch)["fcmi"].value, abs=1e-12)


def test_subsets_are_looser_than_pairs(batch):
    two = {**batch, "preds": batch["preds"] % 2, "labels": batch["labels"] % 2, "C": 2}
    values = [report_of(two, m=m, bounds=["ecmi"])["ecmi"].value for m in (1, 2, 4)]
    assert values == sorted(values)
    assert report_of(two, m=3)["fcmi"].information.shape == (3, 13)  # 40 = 13 * 3 + 1: the rest is dropped


def test_a_grid_gives_what_its_arrays_give(tmp_path):
    grid = made(tmp_path)
    cells = [[grid.read(k1, k2).labels[0] for k2 in range(8)] for k1 in range(2)]
    ids = ("fcmi", "ecmi", "ld", "ld_flat", "kl")
    arrays = bounds.from_predictions(cells, grid.plan.masks, grid.pair_labels, num_classes=2, bounds=ids)
    found = bounds.estimate(tmp_path, bounds=ids)
    assert found.as_dict()["bounds"] == arrays.as_dict()["bounds"]
    assert bounds.estimate(grid, bounds=["interp"])["interp"].value > 0


def test_losses_stand_for_labels(tmp_path):
    """The 0/1 loss given as losses has the bounds of the labels."""
    x, y = threshold_pool()

    def train_fn(train, seed, extra):
        predict = nearest(x, y)(train, seed, extra)
        return lambda indices: (predict(indices) != y[indices]).astype(float)

    ids = ("ecmi", "ld", "kl")
    labels = bounds.estimate(made(tmp_path / "labels"), bounds=ids)
    with pytest.warns(UserWarning, match="all of them 0 or 1"):
        made(tmp_path / "losses", train_fn=train_fn)
    losses = bounds.estimate(tmp_path / "losses", bounds=ids)
    assert [losses[id].value for id in ids] == [labels[id].value for id in ids]
    assert losses.gap == labels.gap
    with pytest.raises(ConfigError, match=r"fcmi must have predicted labels; got runs that kept losses"):
        bounds.estimate(tmp_path / "losses")


def test_runs_that_kept_both_have_each_bound_of_its_own_loss(tmp_path):
    x, y = threshold_pool()

    def train_fn(train, seed, extra):
        predict = nearest(x, y)(train, seed, extra)
        return lambda indices: (predict(indices), 0.5 * (predict(indices) != y[indices]))

    found = bounds.estimate(made(tmp_path, train_fn=train_fn), bounds=["fcmi", "ecmi"])
    assert found["ecmi"].gap == pytest.approx(0.5 * found["fcmi"].gap)


def test_checkpoints_are_estimated_one_by_one(tmp_path):
    x, y = threshold_pool()

    def train_fn(train, seed, extra):
        assert extra.checkpoints == (1, 5)
        predict = nearest(x, y)(train, seed, extra)
        return lambda indices: np.stack([np.zeros(len(indices), int), predict(indices)])

    grid = made(tmp_path, train_fn=train_fn, checkpoints=[1, 5])
    first, last = (bounds.estimate(grid, checkpoint=each) for each in (1, None))
    assert first["fcmi"].value == 0
    assert last["fcmi"].value == bounds.estimate(made(tmp_path / "plain"))["fcmi"].value
    assert "after epoch 5" in str(last)
    with pytest.raises(ConfigError, match=r"checkpoint must be one of the run's; got 3, where there are 1, 5"):
        bounds.estimate(grid, checkpoint=3)


def test_a_partial_block_is_refused_or_said(tmp_path):
    grid = made(tmp_path)
    grid.cell_path(1, 5).unlink()
    with pytest.raises(StoreError, match=r"every block of 4 runs must be whole .* got 1 of 16 missing: \(k1=1, k2=5\)"):
        bounds.estimate(grid)
    found = bounds.estimate(grid, allow_partial=True)
    assert found.num_runs == (8, 7)
    assert "iid masks" in str(found)
    assert "1 of 16 planned runs are missing" in str(found)


def test_whole_blocks_are_enough(tmp_path):
    grid = made(tmp_path)
    for k1 in range(2):
        for k2 in range(4, 8):
            grid.cell_path(k1, k2).unlink()
    found = bounds.estimate(grid)
    assert (found.num_runs, found.mask_design) == ((4, 4), "balanced")


def test_a_plan_without_runs_is_refused(tmp_path):
    grid = made(tmp_path)
    for path in tmp_path.glob("cells/*/*.npz"):
        path.unlink()
    with pytest.raises(StoreError, match=r"there must be runs in .*; got a plan of 16 and none trained\. Call run"):
        bounds.estimate(grid)


@pytest.mark.parametrize(("options", "text"), [
    ({"bounds": ["fcmy"]}, "a bound must be one of 'fcmi', .* Did you mean 'fcmi'"),
    ({"bounds": "fcmi"}, r"bounds must be a list of at least one name; got 'fcmi'. Write bounds=\['fcmi'\]"),
    ({"bounds": []}, "bounds must be a list of at least one name"),
    ({"m": 0}, "m must be from 1 to n=40; got 0"),
    ({"m": 41}, "m must be from 1 to n=40; got 41"),
    ({"m": 2}, r"fcmi with m=2 must have two classes; got 3"),
    ({"m": 2, "bounds": ["ecmi", "ld"]}, "ld is of single pairs; got m=2. Use m=1, or fcmi or ecmi"),
    ({"m": 2, "bounds": ["ld_flat"]}, "ld_flat is of single pairs; got m=2"),
    ({"m": 2, "bounds": ["kl"]}, "kl is of single pairs; got m=2"),
    ({"bounds": ["interp"]}, "interp must have runs without a training error; got 0.102 in one supersample. Ask"),
    ({"correction": "james"}, "correction must be one of"),
])  # fmt: skip
def test_options_that_are_refused(batch, options, text):
    with pytest.raises(ConfigError, match=text):
        report_of(batch, **options)


@pytest.mark.parametrize(("changes", "error", "text"), [
    ({"preds": lambda p: p.astype(float)}, ConfigError, "predictions must be whole numbers; got float64. Convert"),
    ({"preds": lambda p: p + 1}, DataError, "predictions must be from 0 to 2; got 3 at"),
    ({"preds": lambda p: p[0]}, ShapeError, r"predictions must be \[K1, K2, n, 2\]; got \[12, 40, 2\]"),
    ({"masks": lambda p: p[:, :5]}, ShapeError, r"masks must be \[3, 12, 40\]"),
    ({"masks": lambda p: p * 2}, DataError, "masks must be from 0 to 1; got 2 at"),
    ({"labels": lambda p: p[..., 0]}, ShapeError, r"labels must be \[3, 40, 2\]"),
    ({"labels": lambda p: -p}, DataError, "labels must be from 0 to 2; got -"),
])  # fmt: skip
def test_arrays_that_are_refused(batch, changes, error, text):
    with pytest.raises(error, match=text):
        report_of({**batch, **{name: change(batch[name]) for name, change in changes.items()}})


@pytest.mark.parametrize(("flipped", "masks", "bound", "gap"), [
    (0.2, "balanced", (0.55, 0.78), (0.26, 0.39)),
    (0.0, "iid", (0, 0.1), (0, 0.05)),
])  # fmt: skip
def test_networks_on_fours_and_nines(tmp_path, flipped, masks, bound, gap):
    """64-64-2 networks by Adam, n = 75, 3 x 20 runs; with wrong labels they memorise, and it shows."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    rows = np.isin(digits.target, (4, 9))
    x, y = torch.tensor(digits.data[rows], dtype=torch.float32), (digits.target[rows] == 9).astype(int)
    wrong = np.random.default_rng(0).permutation(len(y))[: round(flipped * len(y))]
    y[wrong] = 1 - y[wrong]
    ensemble = bounds.mlp_ensemble(x, y, hidden=64, num_classes=2, optimizer="adam", lr=3e-3, batch_size=25, epochs=60)
    plan = bounds.plan(len(y), 75, 3, 20, masks=masks)
    grid = bounds.run(plan, None, tmp_path, labels=y, ensemble=ensemble, workers=1, probe=False)
    found = bounds.estimate(grid)
    assert bound[0] <= found["fcmi"].value <= bound[1]
    assert gap[0] <= found.gap <= gap[1]
    assert 1.5 <= found["fcmi"].value / found.gap <= 6


def test_one_sidedness_is_of_single_pairs(tmp_path):
    """With predictions that are the bits, m = 1 finds ln 2, and m = 2 too little, and says so."""
    predictions = np.zeros((2, 20, 12, 2), int)
    masks = bounds.plan(24, 12, 2, 20).masks
    predictions[..., 0] = masks
    labels = np.zeros((2, 12, 2), int)
    one, two = (bounds.from_predictions(predictions, masks, labels, num_classes=2, m=m) for m in (1, 2))
    np.testing.assert_allclose(one["fcmi"].information, np.log(2))
    assert two["fcmi"].information.mean() < 2 * np.log(2) - 0.01
    assert "one-sidedness" not in str(one) and "one-sidedness holds for single pairs alone" in " ".join(two.warnings)


def test_the_zero_one_loss_has_the_sharper_interp(tmp_path):
    grid = made(tmp_path)
    found = bounds.estimate(grid, bounds=["interp"])["interp"]
    mean = float(found.information.mean())
    assert found.value == pytest.approx(mean / np.log(2))


def test_independent_masks_are_one_block(tmp_path):
    grid = made(tmp_path, masks="iid", K2=7)
    assert bounds.estimate(grid).mask_design == "iid"
    grid.cell_path(0, 3).unlink()
    with pytest.raises(StoreError, match=r"every block of 7 runs must be whole"):
        bounds.estimate(grid)
