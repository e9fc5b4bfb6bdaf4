"""Duplicates of a data set, put in on purpose, are found by their features, with names, groups and labels."""

import dataclasses
import re

import numpy as np
import pyarrow.parquet
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import infotorch
from infotorch.curation.duplicates import components, duplicates
from infotorch.errors import ConfigError, DataError, ShapeError, StoreError
from tests.curation.doubles import kept, noisy, samples

MEASURE = infotorch.UniqueInformation(form="primal", dim=64, l2=0.1)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run with features of 40 samples: 35 and 36 are samples 2 and 3 again, 37 nearly 4, 36 with another label."""
    folder = tmp_path_factory.mktemp("runs")
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 6, generator=rng), torch.randint(0, 3, (40,), generator=rng)
    x[35], x[36], x[37] = x[2], x[3], x[4] + 1e-3
    y[35], y[36], y[37] = y[2], (y[3] + 1) % 3, y[4]
    torch.manual_seed(0)
    task = infotorch.Task(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).eval())
    data = samples(y, label_names=("cat", "dog", "eel"))
    data = infotorch.Samples(x=x, y=y, ids=data.ids, label_names=data.label_names)
    infotorch.score(task, data, MEASURE, out=folder / "run", features=folder / "features", fidelity=0, batch_size=16)
    return folder, data, task


def test_what_was_put_in_is_found(scored):
    folder, data, _ = scored
    found = duplicates(folder / "features", folder / "run", threshold=0.9999)
    assert sorted(map(tuple, found.pairs.tolist())) == [(2, 35), (3, 36), (4, 37)]
    differ = {tuple(pair): bool(wrong) for pair, wrong in zip(found.pairs.tolist(), found.labels_differ, strict=True)}
    assert differ == {(2, 35): False, (3, 36): True, (4, 37): False}
    assert [group.tolist() for group in found.groups] == [[2, 35], [3, 36], [4, 37]]
    assert found.redundant.tolist() == [35, 36, 37] and found.num_samples == 40 and len(found) == 3
    inputs = duplicates(data.x, data, threshold=1)
    assert sorted(map(tuple, inputs.pairs.tolist())) == [(2, 35), (3, 36)] and inputs.exact.all()


def test_cosines_are_those_of_the_tangent_kernel(scored):
    """Rows of features are Jacobian rows here in all but a sketch, so their products are traces of kernel blocks."""
    folder, data, task = scored
    with torch.no_grad():
        kernel = infotorch.ntk(task, data.x).values  # [N, C, N, C]
    trace = torch.einsum("ncmc->nm", kernel).numpy()
    norms = np.sqrt(np.diag(trace))
    cosine = trace / norms[:, None] / norms
    found = duplicates(folder / "features", threshold=0.97)
    c = cosine[found.pairs[:, 0], found.pairs[:, 1]]
    assert len(found) >= 3
    np.testing.assert_array_less(np.abs(found.similarity - c), 4 * (1 - c**2) / 8 + 1e-6)


def test_the_table_names_both_samples(scored, tmp_path):
    folder, data, _ = scored
    found = duplicates(folder / "features", folder / "run", threshold=0.9999)
    row = next(row for row in found.table().to_pylist() if row["index_a"] == 3)
    assert row | {"similarity": 1.0} == {
        "group": 1, "similarity": 1.0, "exact": row["exact"], "index_a": 3, "id_a": "s3",
        "label_a": data.label_names[data.y[3]], "index_b": 36, "id_b": "s36", "label_b": data.label_names[data.y[36]],
        "labels_differ": True,
    }  # fmt: skip
    assert pyarrow.parquet.read_table(found.write(tmp_path / "a.parquet")).equals(found.table())
    bare = duplicates(np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert bare.table().to_pylist() == [
        {"group": 0, "similarity": 1.0, "exact": True, "index_a": 0, "id_a": "0", "index_b": 1, "id_b": "1"}
    ]
    assert bare.labels_differ is None


def test_targets_of_several_numbers_are_compared_whole():
    rows, soft = torch.ones(3, 2), samples([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    found = duplicates(rows, soft)
    assert dict(zip(map(tuple, found.pairs.tolist()), found.labels_differ.tolist(), strict=True)) == {
        (0, 1): False, (0, 2): True, (1, 2): True
    }  # fmt: skip


def test_components_are_those_of_repeated_joining(rng):
    pairs = torch.randint(0, 60, (40, 2), generator=rng).numpy()
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    groups = {i: {i} for i in range(60)}
    for a, b in pairs.tolist():
        joined = groups[a] | groups[b]
        for i in joined:
            groups[i] = joined
    truth = {tuple(sorted(group)) for group in groups.values() if len(group) > 1}
    found = components(pairs)
    assert {tuple(group.tolist()) for group in found} == truth and len(found) == len(truth)
    assert [len(group) for group in found] == sorted(map(len, found), reverse=True)
    assert components(np.zeros((0, 2), np.int64)) == ()


def test_no_duplicates_are_an_answer(tmp_path):
    found = duplicates(torch.eye(4), samples([0, 1, 0, 1]))
    assert len(found) == 0 and found.groups == () and found.redundant.tolist() == []
    assert found.write(tmp_path / "a.jsonl").read_text() == "" and len(found.labels_differ) == 0


def test_large_data_sets_are_refused_before_any_work(monkeypatch):
    values = torch.zeros(70_000, 1).expand(70_000, 100)
    text = (
        "samples must be at most 65,536, since all pairs are compared; got 70,000, for 4.9e+11 flops. Raise max_samples"
    )
    with pytest.raises(ConfigError, match=re.escape(text)):
        duplicates(values)
    with pytest.raises(ConfigError, match=r"samples must be at most 2, .*; got 3"):
        duplicates(torch.eye(3), max_samples=2)
    assert len(duplicates(torch.eye(3), max_samples=3)) == 0
    assert len(duplicates(torch.tensor([[1.0], [2.0], [1.0]]), max_samples=2, threshold=1)) == 1


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_is_a_cosine_above_zero(threshold):
    with pytest.raises(ConfigError, match=re.escape(f"threshold must be in (0, 1]; got {threshold!r}")):
        duplicates(torch.eye(3), threshold=threshold)


def test_what_does_not_belong_together_is_refused(scored, tmp_path):
    folder, data, _ = scored
    with pytest.raises(DataError, match="samples must be those of the rows, 4; got 3"):
        duplicates(torch.eye(4), samples([0, 1, 2]))
    with pytest.raises(StoreError, match=r"must be of 3 samples; got rows 0 to 39 in part-00000\.json, for 0 to 2"):
        duplicates(folder / "features", samples([0, 1, 2]))
    with pytest.raises(StoreError, match=r"must be of these samples; got inputs '.*' there, '.*' here"):
        duplicates(folder / "features", samples(data.y))
    assert len(duplicates(folder / "features", data, threshold=0.9999)) == 3
    table, known, _ = noisy(40)
    other = kept(tmp_path / "other", table, known)
    assert len(duplicates(folder / "features", other).ids) == 40  # a run that says nothing of its network
    torch.manual_seed(1)
    task = infotorch.Task(nn.Linear(6, 3).eval())
    infotorch.score(task, data, "loss", out=tmp_path / "foreign")
    with pytest.raises(StoreError, match=r"must be of this run; got parameters '.*' there, '.*' here"):
        duplicates(folder / "features", tmp_path / "foreign")
    with pytest.raises(StoreError, match=r"must be a folder of features; got no manifest\.json in it"):
        duplicates(tmp_path, folder / "run")
    for bad in (torch.tensor(1.0), torch.zeros(0, 3), torch.zeros(2, 2, dtype=torch.complex64)):
        with pytest.raises(ShapeError, match=r"rows must be real numbers \[N, \.\.\.\], at least one; got"):
            duplicates(bad)


@pytest.mark.parametrize("stream", [False, True])
def test_features_of_a_sample_that_was_edited_since_are_refused(tmp_path, scored, stream):
    """Sample 30 is none of those whose outputs a run knows by their digest."""
    _, data, task = scored
    x = data.x.clone()
    for name in "AB":
        given = infotorch.data.streamed(TensorDataset(x.clone(), data.y)) if stream else (x, data.y)
        infotorch.score(
            task, given, MEASURE, out=tmp_path / name, features=tmp_path / "features", fidelity=0, batch_size=16
        )
        if name == "A":
            assert (5, 30) not in set(map(tuple, duplicates(tmp_path / "features", tmp_path / "A").pairs.tolist()))
            x[30] = x[5]
    assert (5, 30) in set(map(tuple, duplicates(tmp_path / "features", tmp_path / "B").pairs.tolist()))
    with pytest.raises(StoreError, match="must be of these samples; got inputs"):
        duplicates(tmp_path / "features", tmp_path / "A")


def test_features_of_fewer_samples_in_the_same_folder_are_theirs(tmp_path, scored, monkeypatch):
    _, data, task = scored
    monkeypatch.setattr("infotorch.pipeline.streaming.PART_BYTES", 1)
    for num in (40, 20):
        infotorch.score(
            task, (data.x[:num], data.y[:num]), MEASURE,
            out=tmp_path / str(num), features=tmp_path / "features", fidelity=0, batch_size=16,
        )  # fmt: skip
    assert duplicates(tmp_path / "features", tmp_path / "20").num_samples == 20
    for samples_of in (tmp_path / "40", None):
        with pytest.raises(StoreError, match=r"must be of 40 samples; got rows 16 to 19 in part-00001\.json"):
            duplicates(tmp_path / "features", samples_of)


def test_features_of_an_ensemble_are_of_one_of_its_networks(tmp_path, scored):
    folder, data, task = scored
    models = []
    for seed in (5, 6):
        torch.manual_seed(seed)
        models.append(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).eval())
    measure = dataclasses.replace(MEASURE, models=models)
    infotorch.score(task, data, measure, out=tmp_path / "run", features=tmp_path / "features", fidelity=0)
    first = duplicates(tmp_path / "features", tmp_path / "run", threshold=0.9)
    second = duplicates(tmp_path / "features" / "network-1", tmp_path / "run", threshold=0.9)
    assert not np.array_equal(first.similarity, second.similarity) and len(first) >= 3 <= len(second)
    models[0] = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).eval()
    measure = dataclasses.replace(MEASURE, models=models)
    infotorch.score(task, data, measure, out=tmp_path / "other", features=tmp_path / "others", fidelity=0)
    with pytest.raises(StoreError, match=r"must be of this run; got parameters '.*' there, '\S*' or '\S*' here"):
        duplicates(tmp_path / "others", tmp_path / "run")
    with pytest.raises(StoreError, match="must be of this run; got parameters"):  # those of the task's own network
        duplicates(folder / "features", tmp_path / "run")
