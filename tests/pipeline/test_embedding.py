import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from infotorch import pipeline
from infotorch.errors import DataError, StoreError
from infotorch.measures import task_embedding
from infotorch.pipeline.embedding import file_name
from infotorch.task import Task
from tests.laws import assert_same, assert_same_bits


@pytest.fixture
def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    return Task(model), (torch.randn(10, 4).double(), torch.randint(0, 3, (10,)))


def embed(made, out=None, **options):
    calls = []

    def make():
        calls.append(1)
        return made

    return pipeline.embed_tasks({"a:b": make}, out=out, **{"probe_layers": ["0"], "batch_size": 4, **options})


def test_it_is_the_embedding_of_all_samples(made):
    task, data = made
    truth = task_embedding(task, data, probe_layers="0")
    told = []
    found, there = embed(made, progress=lambda *step: told.append(step))
    assert_same(found["a:b"].values, truth.values)
    assert found["a:b"].num_samples == 10 and there == () and told == [("tasks", 1, 1)]
    loader = DataLoader(TensorDataset(*data), batch_size=3)
    assert_same_bits(embed((task, loader))[0]["a:b"].values, found["a:b"].values)
    with pytest.raises(DataError, match="must not shuffle"):
        embed((task, DataLoader(TensorDataset(*data), shuffle=True)))


def test_what_is_there_is_read_until_anything_changes(made, tmp_path, monkeypatch):
    task, (x, y) = made
    out = tmp_path / "kept"
    first, there = embed(made, out)
    path = out / file_name("a:b")
    assert there == () and {p.name for p in out.iterdir()} == {path.name, ".lock"}
    monkeypatch.setattr("infotorch.pipeline.embedding.task_embedding", lambda *_, **__: pytest.fail("embedded again"))
    again, there = embed(made, out)
    assert there == ("a:b",) and again["a:b"].filters == first["a:b"].filters
    assert_same_bits(again["a:b"].values, first["a:b"].values)
    monkeypatch.undo()

    def changes(what, **options):
        found, there = embed(what, out, **options)
        assert there == ()
        assert embed(what, out, **options)[1] == ("a:b",)
        return found["a:b"].values

    assert not torch.equal(changes((task, (x + 1, y))), first["a:b"].values)
    changes((task, (x, (y + 1) % 3)))
    changes(made, balance=True)
    changes(made, labels="empirical")
    with torch.no_grad():
        task.model[2].bias[0] += 1
    changes(made)


def test_a_file_of_another_kind_is_left_alone(made, tmp_path):
    path = tmp_path / file_name("a:b")
    for text in ("{", "[]", json.dumps({"key": 1})[:-1], "{}"):
        path.write_text(text)
        with pytest.raises(StoreError, match="must be an embedding that this command wrote"):
            embed(made, tmp_path)
        assert path.read_text() == text


def test_files_have_names_of_their_own():
    assert file_name("a/b.py:c") != file_name("a-b.py:c") and file_name("../x") == file_name("../x")
    assert "/" not in file_name("../x:\n") and file_name("../x:\n")[0] != "."
    assert len(file_name("x" * 500)) < 80


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"store: .*file/out must be written; got 'not a directory' from the system"):
        pipeline.embed_tasks(
            {"a": lambda: pytest.fail("a task was made")}, out=tmp_path / "file" / "out", probe_layers=[]
        )
