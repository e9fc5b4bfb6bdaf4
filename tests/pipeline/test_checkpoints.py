"""Scoring along checkpoints: each as if it were alone, the model as it was, resumable, with refusals by name."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from infotorch import Task, UniqueInformation, pipeline, score_checkpoints, store
from infotorch.errors import ConfigError, InfotorchError, NumericsError, StoreError
from tests.store.test_writer import contents

N, C = 20, 3
MEASURES = [UniqueInformation(l2=0.1), "loss", "el2n"]


def network(seed=0, width=6):
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, C)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype, generator=rng))
        model[1].running_mean.copy_(torch.randn(width, generator=rng))
    return model


def data():
    rng = torch.Generator().manual_seed(9)
    return torch.randn(N, 4, dtype=torch.float64, generator=rng), torch.randint(0, C, (N,), generator=rng)


def states(count=3):
    return [network(seed).state_dict() for seed in range(1, count + 1)]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "ckpt"
    place.mkdir()
    for step, state in zip((2, 10, 1), states(), strict=True):
        torch.save(state, place / f"step-{step}.pt")
    (place / "log.txt").write_text("no checkpoint")
    return place


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_each_checkpoint_scores_as_it_does_alone_and_the_model_is_as_it_was():
    model = network()
    before = bits(model)
    found = score_checkpoints(Task(model), data(), MEASURES, states())
    assert same(bits(model), before) and found.names == ("checkpoint-0", "checkpoint-1", "checkpoint-2")
    for place, table in enumerate(found.tables):
        want = pipeline.score(Task(network(place + 1)), data(), MEASURES)
        assert list(table.columns) == list(want.columns)
        for name, column in want.columns.items():
            np.testing.assert_array_equal(table[name].values, column.values)


def test_means_are_those_of_an_ensemble():
    found = score_checkpoints(Task(network()), data(), [UniqueInformation(l2=0.1)], states()).to_scores()
    models = [network(seed) for seed in (1, 2, 3)]
    want = pipeline.score(Task(network()), data(), UniqueInformation(l2=0.1, models=models))
    for name in ("unique_information_weights", "unique_information_weights_stderr", "own_residual"):
        np.testing.assert_allclose(found[name].values, want[name].values, rtol=1e-12)


def test_files_states_and_modules_are_the_same_checkpoints(folder):
    task = Task(network())
    want = score_checkpoints(task, data(), "loss", states())["loss"]
    by_folder = score_checkpoints(task, data(), "loss", folder)
    assert by_folder.names == ("step-1", "step-2", "step-10")  # by number
    np.testing.assert_array_equal(by_folder["loss"], want[[2, 0, 1]])
    by_glob = score_checkpoints(task, data(), "loss", f"{folder}/step-[12].pt")
    assert by_glob.names == ("step-1", "step-2")
    by_name = score_checkpoints(task, data(), "loss", {"b": network(1), "a": folder / "step-10.pt"})
    assert by_name.names == ("b", "a")
    np.testing.assert_array_equal(by_name["loss"], want[:2])
    torch.save({"state": states()[0], "epoch": 3}, folder / "step-2.pt")
    torch.save({"state": states()[1], "epoch": 4}, folder / "step-10.pt")
    nested = score_checkpoints(task, data(), "loss", [folder / "step-2.pt", folder / "step-10.pt"], key="state")
    np.testing.assert_array_equal(nested["loss"], want[:2])


def test_runs_are_kept_one_a_checkpoint_and_one_of_the_means(folder, tmp_path):
    out = tmp_path / "run"
    found = score_checkpoints(Task(network()), data(), MEASURES, folder, out=out, shard_size=8)
    assert sorted(p.name for p in out.iterdir()) == ["step-1", "step-10", "step-2", "trajectory"]
    for name, table in zip(found.names, found.tables, strict=True):
        run = store.open(out / name)
        assert run.finished and run.manifest["command"]["checkpoint"] == name
        np.testing.assert_array_equal(run.scores()["el2n"].values, table["el2n"].values)
    means = store.open(out / "trajectory")
    np.testing.assert_array_equal(means.scores()["loss_change"].values, found.change("loss"))
    assert means.notes()["trajectory"]["checkpoints"] == list(found.names)
    assert means.samples()["label"].to_pylist() == data()[1].tolist()


def test_the_run_of_the_means_has_the_options_of_the_others(tmp_path):
    options = {"shard_size": 8, "batch_size": 5, "memory_limit": 2**30}
    score_checkpoints(Task(network()), data(), "loss", states(2), out=tmp_path / "run", **options)
    for name in ("checkpoint-0", "checkpoint-1", "trajectory"):
        manifest = store.open(tmp_path / "run" / name).manifest
        assert {option: manifest["command"]["score"][option] for option in options} == options, name
        assert manifest["shard_size"] == 8


class Killed(BaseException):
    pass


def test_a_killed_call_goes_on_where_it_was_with_the_same_bytes(folder, tmp_path):
    """The task's own weights don't matter: they may be drawn anew at each start."""
    calls = []

    def kill(stage, done, total):
        calls.append(stage)
        if stage == "step-2: loss":
            raise Killed

    model = network()
    before = bits(model)
    with pytest.raises(Killed):
        score_checkpoints(Task(model), data(), MEASURES, folder, out=tmp_path / "a", progress=kill)
    assert same(bits(model), before)
    first = contents(tmp_path / "a" / "step-1")
    told = []
    score_checkpoints(
        Task(network(7)), data(), MEASURES, folder, out=tmp_path / "a", progress=lambda *step: told.append(step[0])
    )
    score_checkpoints(Task(network(8)), data(), MEASURES, folder, out=tmp_path / "b")
    assert contents(tmp_path / "a" / "step-1") == first
    assert not [stage for stage in told if stage.startswith("step-1:")]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    again = score_checkpoints(Task(network(9)), data(), MEASURES, folder, out=tmp_path / "b")  # finished: read
    assert again.names == ("step-1", "step-2", "step-10")


def test_a_checkpoint_that_changed_is_refused_on_its_run(folder, tmp_path):
    score_checkpoints(Task(network()), data(), "loss", folder, out=tmp_path / "run")
    torch.save(network(5).state_dict(), folder / "step-2.pt")
    with pytest.raises(StoreError, match="parameters"):
        score_checkpoints(Task(network()), data(), "loss", folder, out=tmp_path / "run")


def test_features_stay_for_every_checkpoint(tmp_path):
    measure = UniqueInformation(form="primal", dim=8, l2=0.1)
    kept = {"features": tmp_path / "features", "fidelity": 0}
    score_checkpoints(Task(network()), data(), measure, states(2), out=tmp_path / "a", **kept)
    assert sorted(p.name for p in (tmp_path / "features").iterdir()) == ["checkpoint-0", "checkpoint-1"]


def spoilt(change):
    state = states(1)[0]
    change(state)
    return [states(1)[0], state]


def other(**changes):
    return lambda state: state.update(changes)


@pytest.mark.parametrize(
    "checkpoints, error, says",
    [
        (lambda: spoilt(lambda s: s.pop("2.bias")), StoreError,
         r"model at 'checkpoint-1' must be the network of the checkpoint, where 2\.bias is absent; got \[3\]"),
        (lambda: spoilt(other(extra=torch.ones(2))), StoreError, r"where extra is \[2\]; got absent"),
        (lambda: [network(1).state_dict(), network(2, width=7).state_dict()], StoreError,
         r"where 0\.weight is \[7, 4\]; got \[6, 4\]"),
        (lambda: spoilt(lambda s: s["2.bias"].fill_(torch.nan)), NumericsError,
         r"weights must be finite; got nan in '2\.bias' of 'checkpoint-1'\. Leave this checkpoint out"),
        (lambda: states(1), ConfigError, "at least two checkpoints; got 1. Use score for one"),
        (lambda: [], ConfigError, "at least two checkpoints; got 0"),
        (lambda: states(1)[0], ConfigError, "must be a file, a state dict or a module; got Tensor as '0.weight'"),
        (lambda: [states(1)[0], {"model": states(1)[0]}], StoreError,
         "'checkpoint-1' must be a state dict; got a dict of 'model'. Save model.state_dict"),
        (lambda: {"../a": states(1)[0], "b": states(1)[0]}, ConfigError, r"names of folders .*; got '\.\./a'"),
        (lambda: {"trajectory": states(1)[0], "b": states(1)[0]}, ConfigError, "not 'trajectory'; got 'trajectory'"),
        (lambda: ["a/x.pt", "b/x.pt"], ConfigError, "names of checkpoints must differ.*; got 'x'"),
        (lambda: "nowhere/*.pt", ConfigError, "must hold checkpoints; got no files that match"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_checkpoints_are_refused_before_any_work(checkpoints, error, says):
    model = network()
    before = bits(model)
    with pytest.raises(error, match=says):
        score_checkpoints(
            Task(model), data(), "loss", checkpoints(), progress=lambda *_: pytest.fail("scoring was begun")
        )
    assert same(bits(model), before)


def test_files_that_are_none_are_refused(folder, tmp_path):
    task = Task(network())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"got no files ending in \.pt, \.pth, \.ckpt, \.bin\. Check the path"):
        score_checkpoints(task, data(), "loss", tmp_path / "empty")
    for content in (b"", b"text", b"(hello\n", b"G", b"U\x13U\x04\xcc" + bytes(20)):
        (folder / "step-2.pt").write_bytes(content)
        with pytest.raises(StoreError, match=r"step-2\.pt must be a file of torch\.save, with tensors alone"):
            score_checkpoints(task, data(), "loss", folder)
    torch.save(network(), folder / "step-2.pt")  # code
    with pytest.raises(StoreError, match=r"step-2\.pt must be a file of torch\.save, with tensors alone"):
        score_checkpoints(task, data(), "loss", folder)
    torch.save({"model": states()[0]}, folder / "step-2.pt")
    with pytest.raises(StoreError, match="'step-1' must have the key 'net'"):
        score_checkpoints(task, data(), "loss", folder, key="net")


def test_the_models_own_tensors_are_no_checkpoint():
    """A list of state dicts that were never copied is of one network, the last."""
    model = network()
    with pytest.raises(ConfigError, match=r"must be copies, .*; got its own '0\.weight' as that of 'checkpoint-1'"):
        score_checkpoints(Task(model), data(), "loss", [states()[0], model.state_dict()])
    found = score_checkpoints(Task(model), data(), "loss", [model, copy.deepcopy(model)])
    assert found.change().tolist() == [0.0] * N


def test_an_error_at_a_checkpoint_names_it_and_restores_the_model():
    model = network()
    before = bits(model)
    huge = spoilt(lambda state: state["2.weight"].fill_(1e308))
    with pytest.raises(NumericsError, match=r"This is at checkpoint 'checkpoint-1'"):
        score_checkpoints(Task(model), data(), MEASURES[:1], huge)
    assert same(bits(model), before)


def test_measures_with_networks_of_their_own_are_refused():
    measure = UniqueInformation(l2=0.1, models=[network(1), network(2)])
    with pytest.raises(InfotorchError, match="measures must look at the task's own network; got 'unique_information'"):
        score_checkpoints(Task(network()), data(), measure, states())
