"""A teacher's path as it is read."""

import shutil

import numpy as np
import pytest
import torch

from infotorch.errors import ConfigError, DataError, NumericsError, StoreError
from infotorch.train import TeacherPath
from infotorch.train.batch import batch_of
from tests.laws import assert_same_bits
from tests.train.distillation.golden import teachers
from tests.train.problems import mlp, samples, weights

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """Three checkpoints of weights, every second step."""
    model = mlp()
    recording = TeacherPath.record(model, 2, tmp_path / "path", dtype="float64")
    for _ in range(4):
        with torch.no_grad():
            model[0].weight.add_(1.0)
        recording.step()
    return tmp_path / "path"


def test_modules_are_the_checkpoints():
    modules = teachers()
    path = TeacherPath(modules)
    assert len(path) == 4 and path.module(2) is modules[2] and not path.stored


def test_a_module_predicts_in_eval_mode_and_is_put_back(rng):
    x, y, ids = samples(rng)
    teacher = mlp(dropout=0.5, norm=True)
    teacher[3].eval()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    t = TeacherPath([teacher]).predicted("here", 0, batch_of("here", (x, y, ids)), CPU)
    assert not t.requires_grad and teacher.training and teacher[0].training and not teacher[3].training
    for name, value in teacher.state_dict().items():
        assert_same_bits(value, before[name])
    assert_same_bits(t, teacher.eval()(x).detach())


def test_the_template_of_a_folder_stays_as_it_is(folder):
    model = mlp(3)
    before = weights(model)
    path = TeacherPath(folder, model=model)
    assert path.module(2)[0].weight[0, 0] == mlp()[0].weight[0, 0] + 4
    assert_same_bits(weights(path.module(0))[0], weights(mlp())[0])
    for mine, old in zip(weights(model), before, strict=True):
        assert_same_bits(mine, old)


def test_a_folder_of_plain_state_dicts_will_do(folder):
    (folder / "path.json").unlink()
    path = TeacherPath(str(folder), model=mlp(3))
    assert path.steps == [0, 2, 4]


def test_a_digest_tells_teachers_apart(folder, tmp_path, rng):
    copy = shutil.copytree(folder, tmp_path / "copy")
    digests = [TeacherPath(place, model=mlp()).digest() for place in (folder, copy)]
    assert digests[0] == digests[1]
    state = torch.load(copy / "step-00000002.pt", weights_only=True)
    torch.save(state | {"0.bias": state["0.bias"] + 1e-9}, copy / "step-00000002.pt")
    assert TeacherPath(copy, model=mlp()).digest() != digests[0]
    assert TeacherPath([mlp()]).digest() == TeacherPath([mlp()]).digest() != TeacherPath([mlp(1)]).digest()
    x = torch.randn(5, 6, generator=rng).double()
    for name, model in (("a", mlp()), ("b", mlp()), ("c", mlp(1))):
        TeacherPath.record(model, 1, tmp_path / name, dtype="float32", what="logits", data=x)
    a, b, c = (TeacherPath(tmp_path / name).digest() for name in "abc")
    assert a == b != c


def test_checkpoints_that_are_missing_or_broken(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "a")
    (copy / "step-00000004.pt").unlink()
    with pytest.raises(StoreError, match=r"^TeacherPath: .* every checkpoint of its manifest; got no step-00000004.pt"):
        TeacherPath(copy, model=mlp())
    copy = shutil.copytree(folder, tmp_path / "b")
    (copy / "path.json").unlink()
    (copy / "step-00000002.pt").rename(copy / "step-00000003.pt")
    with pytest.raises(StoreError, match="got 4 in place of 6"):
        TeacherPath(copy, model=mlp())
    copy = shutil.copytree(folder, tmp_path / "c")
    whole = (copy / "step-00000002.pt").read_bytes()
    (copy / "step-00000002.pt").write_bytes(whole[:-100])
    with pytest.raises(StoreError, match=r"step-00000002.pt must be a checkpoint of a teacher, a state dict"):
        TeacherPath(copy, model=mlp())
    torch.save([1, 2], copy / "step-00000002.pt")
    with pytest.raises(StoreError, match=r"step-00000002.pt must be a state dict; got list"):
        TeacherPath(copy, model=mlp())
    torch.save({"module": mlp()}, copy / "step-00000002.pt")
    with pytest.raises(StoreError, match=r"step-00000002.pt must be a checkpoint of a teacher"):
        TeacherPath(copy, model=mlp())


def test_other_classes_are_refused_at_once(folder):
    text = r"^TeacherPath: model must be the network of the checkpoint, where 3.weight is \[4, 8\]; got \[7, 8\]"
    with pytest.raises(StoreError, match=text):
        TeacherPath(folder, model=mlp(C=7))


def test_misuse(folder, tmp_path):
    for source, got in [([], "none"), (["a"], "str"), (3, "int"), (None, "none")]:
        with pytest.raises(ConfigError, match=f"^TeacherPath: source must be modules, .* got {got}"):
            TeacherPath(source)
    with pytest.raises(ConfigError, match=r"^TeacherPath: a folder of weights needs a module for them; got none"):
        TeacherPath(folder)
    with pytest.raises(StoreError, match=r"^TeacherPath: .*nowhere must be a folder of checkpoints; got none"):
        TeacherPath(tmp_path / "nowhere")
    path = TeacherPath(folder, model=mlp())
    for j in (-1, 3):
        with pytest.raises(ConfigError, match=rf"^TeacherPath: a checkpoint must lie in 0..2; got {j}"):
            path.module(j)
    with pytest.raises(ConfigError, match=r"^TeacherPath.logits: the path must hold logits; got weights"):
        path.logits(0, [0])


@pytest.fixture
def stored(tmp_path, rng):
    x, y, ids = samples(rng)
    TeacherPath.record(mlp(), 1, tmp_path / "stored", dtype="float64", what="logits", data=x)
    return TeacherPath(tmp_path / "stored"), (x, y, ids)


def test_stored_logits_take_the_place_of_the_teacher(stored):
    path, (x, y, ids) = stored
    rows = torch.tensor([7, 0, 23])
    t = path.predicted("here", 0, batch_of("here", (x[rows], y[rows], ids[rows])), CPU)
    torch.testing.assert_close(t, mlp()(x[rows]).detach(), rtol=1e-12, atol=1e-12)


def test_stored_logits_refuse_what_they_are_not_of(stored, tmp_path):
    path, (x, y, ids) = stored
    with pytest.raises(DataError, match=r"^here: stored logits need the samples' indices; got a batch without"):
        path.predicted("here", 0, batch_of("here", (x, y)), CPU)
    augmented = x.clone()
    augmented[5] += 1e-9
    with pytest.raises(
        DataError, match=r"^here: inputs must be those .* got another sample 5. Leave data augmentation"
    ):
        path.predicted("here", 0, batch_of("here", (augmented, y, ids)), CPU)
    with pytest.raises(DataError, match=r"another sample 2"):
        path.predicted("here", 0, batch_of("here", (x, y, torch.tensor([0, 2, 1, *range(3, 24)]))), CPU)
    with pytest.raises(DataError, match=r"^TeacherPath.logits: indices must lie in 0..23; got 0..24"):
        path.logits(0, [0, 24])
    with pytest.raises(DataError, match=r"indices must lie in 0..23; got -1..0"):
        path.logits(0, [0, -1])
    with pytest.raises(ConfigError, match=r"^TeacherPath.module: the path must hold weights; got logits"):
        path.module(0)
    marks = tmp_path / "stored" / "inputs.npy"
    whole = marks.read_bytes()
    for content, got in ((whole[:-8], "'"), (whole[:20], "'"), (b"", "'No data left in file'")):
        marks.write_bytes(content)
        with pytest.raises(StoreError, match=rf"^TeacherPath: .*inputs.npy must be uint64 \[24\]; got {got}"):
            TeacherPath(tmp_path / "stored")
    np.save(marks, np.zeros(23, np.uint64))
    with pytest.raises(StoreError, match=r"inputs.npy must be uint64 \[24\]; got uint64 \[23\]. Restore it"):
        TeacherPath(tmp_path / "stored")
    marks.write_bytes(whole)
    data = tmp_path / "stored" / "logits.bin"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(StoreError, match=r"logits.bin must have 768 bytes; got 760"):
        TeacherPath(tmp_path / "stored")


def test_a_file_that_changed_since_it_was_recorded_is_refused_when_its_turn_comes(folder):
    first, last = (folder / f"step-0000000{step}.pt" for step in (0, 4))
    kept = last.read_bytes()
    last.write_bytes(first.read_bytes())
    path = TeacherPath(folder, model=mlp(3).double())
    path.module(1)
    with pytest.raises(StoreError, match=r"step-00000004.pt must be as it was recorded; got another file\. Restore"):
        path.module(2)
    last.write_bytes(kept)
    path.module(2)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    """Of a teacher that is recorded, and of files that somebody else wrote; a mask may be infinite."""
    model = mlp()
    model.register_buffer("mask", torch.full((2, 2), -float("inf")).triu(1))
    TeacherPath.record(model, 1, tmp_path / "masked", dtype="float32")
    TeacherPath(tmp_path / "masked", model=model).module(0)
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match=r"got nan in '0.weight' of the teacher after 0 steps"):
        TeacherPath.record(model, 1, tmp_path / "path", dtype="float32")
    (tmp_path / "plain").mkdir()
    torch.save(model.state_dict(), tmp_path / "plain/step-00000000.pt")
    with pytest.raises(NumericsError, match=r"TeacherPath: .* got nan in '0.weight' of checkpoint 0"):
        TeacherPath(tmp_path / "plain", model=model).module(0)


def test_files_that_are_newer_than_the_manifest_will_do(folder):
    """As a recorder leaves them that is killed between a file and the manifest."""
    shutil.copy(folder / "step-00000000.pt", folder / "step-00000006.pt")
    path = TeacherPath(folder, model=mlp(3).double())
    assert len(path) == 4
    path.module(3)
