"""A folder of class folders: the classes, places and ids that torchvision's ImageFolder gives."""

import re

import numpy as np
import pytest
import torch

from infotorch.data.folder import read_folder
from infotorch.data.readers import read
from infotorch.errors import DataError
from tests.data.image_files import drawn, file_of

FILES = ["b/9.png", "b/10.PNG", "b/z/1.jpg", "b/a/2.png", "a/x.png", "B/x.png", "10/x.png", "9/x.png"]
IDS = ["10/x.png", "9/x.png", "B/x.png", "a/x.png", "b/10.PNG", "b/9.png", "b/a/2.png", "b/z/1.jpg"]


@pytest.fixture
def folder(tmp_path):
    """Eight pictures of five classes, 6 x 5."""
    for seed, name in enumerate(FILES):
        put(tmp_path / "pets" / name, drawn(5, 6, 3, seed=seed))
    return tmp_path / "pets"


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file_of(pixels, "JPEG" if path.suffix == ".jpg" else "PNG"))


def test_classes_places_and_ids(folder):
    got = read_folder(folder)
    assert got.label_names == ("10", "9", "B", "a", "b") and list(got.ids) == IDS
    assert got.y.tolist() == [0, 1, 2, 3, 4, 4, 4, 4] and got.y.dtype == torch.int64
    for place, name in enumerate(IDS[:-1]):  # the last is a lossy JPEG
        pixels = drawn(5, 6, 3, seed=FILES.index(name))
        truth = pixels.astype(np.float64).transpose(2, 0, 1) / 255
        assert torch.equal(got.x[place], torch.from_numpy(truth).float())
        assert np.array_equal(got.images[place], pixels)


def test_a_path_that_is_a_folder_and_the_name_before_a_colon_mean_the_same(folder, tmp_path):
    assert read(folder).digest() == read(f"folder:{folder}").digest()
    folder.rename(tmp_path / "pets.npz")
    assert len(read(tmp_path / "pets.npz")) == 8


def test_hidden_files_links_and_what_lies_beside_the_classes(folder):
    before = read_folder(folder).digest()
    (folder / "README.md").write_text("pets")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "a/.DS_Store").write_bytes(b"x")
    put(folder / "a/.thumbs/small.png", drawn(2, 2))
    assert read_folder(folder).digest() == before
    (folder / "c").symlink_to(folder / "a")
    assert read_folder(folder).ids[-1] == "c/x.png"


def test_grayscale_has_one_channel(tmp_path):
    put(tmp_path / "a/1.png", drawn(4, 4))
    got = read_folder(tmp_path)
    assert got.x.shape == (1, 1, 4, 4) and got.images.shape == (1, 4, 4)


def test_written_mnist_is_mnist(data_folder, tmp_path):
    with np.load(data_folder / "mnist.npz") as file:
        x, y = file["x_test"][:40], file["y_test"][:40]
    for place, (pixels, label) in enumerate(zip(x, y, strict=True)):
        put(tmp_path / f"{label}/{place:02}.png", pixels)
    got, order = read_folder(tmp_path), np.lexsort((np.arange(40), y))
    assert torch.equal(got.x[:, 0], torch.from_numpy((x[order].astype(np.float64) / 255).astype(np.float32)))
    assert [got.label_names[label] for label in got.y] == [str(label) for label in y[order]]


def without_classes(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


MISUSES = {
    "an empty folder": (without_classes, "must have a folder for each class; got nothing in it. Move the pictures"),
    "an empty class": (lambda f: (f / "c").mkdir(), "each class must have at least one picture; got none in {f}/c. "),
    "a class of hidden files": (
        lambda f: ((f / "c").mkdir(), (f / "c/.x.png").touch()), "got none in {f}/c. Take the folder out, or fill it."
    ),
    "a picture without class": (
        lambda f: put(f / "x.png", drawn(5, 6, 3)), "each picture must lie in the folder of its class; got '{f}/x.png' "
    ),
    "a file of another kind": (
        lambda f: (f / "a/list.txt").touch(), "a class folder must hold pictures alone (.jpg, .jpeg, .png, .ppm, .bmp, "
    ),
    "a broken picture": (lambda f: (f / "a/y.png").write_bytes(b"x"), "{f}/a/y.png must be a whole picture; got "),
    "another size": (
        lambda f: put(f / "a/y.png", drawn(6, 5, 3)), "one size; got 5 x 6 in {f}/a/y.png and 6 x 5 in {f}/10/x.png. "
    ),
    "grayscale among RGB": (
        lambda f: put(f / "a/y.png", drawn(5, 6)), "got grayscale in {f}/a/y.png and RGB in {f}/10/x.png. Convert them"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSES)
def test_what_cannot_be_read_is_named(folder, case, monkeypatch):
    spoil, message = MISUSES[case]
    monkeypatch.chdir(folder.parent)  # so that messages show whole paths
    spoil(folder)
    with pytest.raises(DataError, match="^read: .*" + re.escape(message.format(f="pets"))):
        read("folder:pets")


def test_a_file_and_nothing_are_no_folder(folder):
    with pytest.raises(DataError, match=r"must be a folder of class folders; got a file there\. Correct the path\."):
        read_folder(folder / "a/x.png")
    with pytest.raises(DataError, match="got nothing there"):
        read_folder(folder / "none")


def test_a_folder_of_arrays_says_how_to_read_it(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(
        DataError, match=re.escape("got 'x.npy' in it. Move") + ".*" + re.escape(f"give npy:{tmp_path}")
    ):
        read(tmp_path)
