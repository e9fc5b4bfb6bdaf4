"""Pictures become numbers from 0 to 1, channels first, and every file that can't is named."""

import re
import sys

import numpy as np
import pytest
import torch

from infotorch.data.images import Images
from infotorch.errors import DataError, MissingExtraError
from tests.data.image_files import Image, drawn, file_of


def read(*files, mode=None):
    images = Images("read", len(files))
    for place, data in enumerate(files):
        images.put(place, data, f"file {place}", mode)
    return images


def test_pixels_over_255_are_the_numbers():
    got = read(file_of([[0, 255], [51, 102]]), file_of([[1, 2], [3, 4]]))
    assert got.x.dtype == torch.float32 and got.x.shape == (2, 1, 2, 2)
    truth = torch.tensor([[0, 255], [51, 102]], dtype=torch.float64) / 255
    assert torch.equal(got.x[0, 0], truth.float())
    assert np.array_equal(got.shown, [[[0, 255], [51, 102]], [[1, 2], [3, 4]]])


def test_channels_come_first_and_pictures_to_show_keep_them_last():
    pixels = drawn(2, 5, 7, 3)
    got = read(*map(file_of, pixels))
    assert torch.equal(got.x, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    assert np.array_equal(got.shown, pixels)


def test_large_pictures_are_shown_small():
    got = read(file_of(np.full((130, 65, 3), 9)))
    assert got.x.shape == (1, 3, 130, 65) and got.shown.shape == (1, 44, 22, 3) and (got.shown == 9).all()


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "TIFF", "WEBP", "PPM"])
def test_every_kind_of_file_is_as_pillow_decodes_it(kind, tmp_path):
    (tmp_path / "a").write_bytes(file_of(drawn(9, 6, 3), kind))
    truth = np.asarray(Image.open(tmp_path / "a").convert("RGB"), np.float64).transpose(2, 0, 1) / 255
    assert torch.equal(read((tmp_path / "a").read_bytes()).x[0], torch.from_numpy(truth).float())


def test_a_mode_converts():
    got = read(file_of(drawn(4, 4)), file_of(drawn(4, 4, 3)), mode="RGB")
    assert got.x.shape == (2, 3, 4, 4) and torch.equal(got.x[0, 0], got.x[0, 2])


WHOLE = file_of(drawn(8, 8, 3))
TURNED = Image.Exif()
TURNED[0x0112] = 6
BROKEN = {
    "no picture": (b"hello", "file 1 must be a whole picture; got \"bytes that Pillow can't identify\". Mend it, or"),
    "nothing": (b"", "file 1 must be a whole picture; got 'no bytes'. "),
    "half a PNG": (WHOLE[: len(WHOLE) // 2], "file 1 must be a whole picture; got "),
    "half a JPEG": (file_of(drawn(64, 64, 3), "JPEG")[:900], "file 1 must be a whole picture; got 'image file is"),
    "a hole in a PNG": (WHOLE[:60] + bytes(20) + WHOLE[80:], "file 1 must be a whole picture; got "),
    "alpha": (
        file_of(drawn(8, 8, 4)), "file 1 must be grayscale (L) or RGB with 8 bits a channel; got Pillow's mode RGBA. "
    ),
    "palette": (file_of(Image.fromarray(drawn(8, 8, 3)).quantize(4)), "got Pillow's mode P. Convert it, as image.conv"),
    "16 bits": (file_of(Image.fromarray(np.ones((8, 8), np.uint16))), "got Pillow's mode I;16. "),
    "a turned one": (
        file_of(drawn(8, 8, 3), "JPEG", exif=TURNED),
        "file 1 must be upright as it is stored, for readers differ on the Exif tag; got orientation 6. ",
    ),
    "another size": (
        file_of(drawn(8, 9, 3)), "pictures must have one size; got 9 x 8 in file 1 and 8 x 8 in file 0. Crop or resize"
    ),
    "grayscale": (
        file_of(drawn(8, 8)), "must be all grayscale or all RGB; got grayscale in file 1 and RGB in file 0. Convert"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_picture_that_cannot_be_taken_is_named(case):
    data, message = BROKEN[case]
    with pytest.raises(DataError, match="^read: .*" + re.escape(message)):
        read(WHOLE, data)


def test_rgb_among_grayscale_is_named_too():
    with pytest.raises(DataError, match="got RGB in file 1 and grayscale in file 0"):
        read(file_of(drawn(8, 8)), WHOLE)


def test_an_upright_tag_is_no_reason_to_refuse():
    upright = Image.Exif()
    upright[0x0112] = 1
    assert read(file_of(drawn(8, 8, 3), "JPEG", exif=upright)).x.shape == (1, 3, 8, 8)


def test_without_pillow_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r'read: needs PIL\.Image; .* Run: pip install "infotorch\[images\]"\.'):
        Images("read", 1)
