"""The reader of folders of pictures: one folder a class."""

import os
from pathlib import Path

import torch

from infotorch import errors
from infotorch.data.images import Images
from infotorch.data.samples import Samples, shown

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def read_folder(path: Path) -> Samples:
    """The pictures in a folder of class folders, as torchvision's ``ImageFolder`` numbers them.

    Class i is the i-th folder by sorted names (Python's order of str, so that "10" stands before "9"). Within a class
    come its own files, then those of its folders, by sorted paths; links are followed. Names that begin with a dot are
    left out, folders too, where ``ImageFolder`` counts such folders as classes. Pictures stay as they are stored,
    where ``ImageFolder`` makes all RGB.

    Args:
        path: A folder of class folders, with pictures of one size in them, all grayscale or all RGB: .jpg, .jpeg,
            .png, .ppm, .bmp, .pgm, .tif, .tiff or .webp. Files of other endings may lie beside the class folders, not
            in them.

    Returns:
        The samples, checked: x float32 [N, 1, H, W] or [N, 3, H, W] from 0 to 1, y int64 [N], ids the paths within the
        folder ("cat/7.png"), label_names the folders' names, images the pictures with at most 64 pixels on the long
        edge.

    Raises:
        DataError: No such folder, no class folder in it, one without pictures, a picture without class, a file that is
            no picture, is broken, or is of another size or kind than the first.
        MissingExtraError: There is no Pillow.
    """
    if not path.is_dir():
        got = "a file" if path.exists() else "nothing"
        raise errors.DataError(f"read: {path} must be a folder of class folders; got {got} there. Correct the path.")
    names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    classes = [name for name in names if (path / name).is_dir()]
    if not classes:
        raise errors.DataError(
            f"read: {path} must have a folder for each class; got {shown(', '.join(names)) if names else 'nothing'} in "
            f"it. Move the pictures of a class into a folder of its name, or give npy:{path} for x.npy and y.npy."
        )
    for name in names:
        if name.lower().endswith(ENDINGS) and name not in classes:
            raise errors.DataError(
                f"read: each picture must lie in the folder of its class; got {shown(str(path / name))} beside the "
                "class folders. Move it into one, or take it out."
            )
    files = [(label, file) for label, name in enumerate(classes) for file in _files(path / name)]
    images = Images("read", len(files))
    for place, (_, file) in enumerate(files):
        try:
            data = file.read_bytes()
        except OSError as error:
            raise errors.DataError(f"read: {file} must be readable; got {error.strerror}. Look at it.") from error
        images.put(place, data, str(file))
    return Samples(
        x=images.x,
        y=torch.tensor([label for label, _ in files]),
        ids=tuple(file.relative_to(path).as_posix() for _, file in files),
        label_names=tuple(classes),
        images=images.shown,
    )


def _files(folder: Path) -> list[Path]:
    """The pictures of one class, in order."""
    files = []
    for root, _, names in sorted(os.walk(folder, followlinks=True)):
        if any(part.startswith(".") for part in Path(root).relative_to(folder).parts):
            continue
        files += [Path(root, name) for name in sorted(names) if not name.startswith(".")]
    for file in files:
        if not file.name.lower().endswith(ENDINGS):
            raise errors.DataError(
                f"read: a class folder must hold pictures alone ({', '.join(ENDINGS)}); got {shown(str(file))}. "
                "Convert it, or take it out."
            )
    if not files:
        raise errors.DataError(
            f"read: each class must have at least one picture; got none in {folder}. Take the folder out, or fill it."
        )
    return files
