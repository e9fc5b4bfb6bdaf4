"""Pictures from the bytes of image files, in one tensor."""

import io
import struct
import zlib

import numpy as np
import torch
from torch import Tensor

from infotorch import errors
from infotorch.data.pictures import thumbnails
from infotorch.data.samples import shown

MODES = {"L": "grayscale", "RGB": "RGB"}
UPRIGHT = (None, 1)
ORIENTATION = 0x0112  # the tag of Exif 2.32, section 4.6.4


class Images:
    """Room for N pictures of one size, filled one by one.

    A picture is what Pillow decodes, of an animation the first frame.

    Args:
        where: The function that messages name.
        num_images: N.

    Raises:
        MissingExtraError: There is no Pillow.
    """

    def __init__(self, where: str, num_images: int) -> None:
        self._where, self._num_images = where, num_images
        self._library = errors.require(where, "PIL.Image", "images")
        self._first = ""
        self._shape: tuple[int, ...] = ()
        self._x: np.ndarray
        self._shown: np.ndarray

    @property
    def x(self) -> Tensor:
        """Float32 [N, 1, H, W] of grayscale pictures, [N, 3, H, W] of RGB ones, from 0 to 1."""
        return torch.from_numpy(self._x)

    @property
    def shown(self) -> np.ndarray:
        """Pictures to show, at most 64 pixels on the long edge: uint8 [N, h, w] or [N, h, w, 3]."""
        return self._shown

    def put(self, place: int, data: bytes, name: str, mode: str | None = None) -> None:
        """Fills ``place`` with the picture in ``data``.

        Args:
            place: The sample's place, from 0.
            data: The bytes of an image file.
            name: What messages call it.
            mode: Pillow's mode to convert it to; as the file has it where ``None``.

        Raises:
            DataError: A broken file; neither grayscale nor RGB; turned by an Exif tag; of another size or kind than the
                first.
        """
        pixels = self._pixels(data, name, mode)  # [H, W] or [H, W, 3]
        if not self._shape:
            self._first, self._shape = name, pixels.shape
            small = thumbnails(pixels[None])[0]
            H, W, *C = pixels.shape
            self._x = np.empty((self._num_images, *(C or [1]), H, W), np.float32)
            self._shown = np.empty((self._num_images, *small.shape), np.uint8)
        if pixels.ndim != len(self._shape):
            kinds = [list(MODES.values())[len(shape) - 2] for shape in (pixels.shape, self._shape)]
            raise errors.DataError(
                f"{self._where}: pictures must be all grayscale or all RGB; got {kinds[0]} in {name} and {kinds[1]} in "
                f"{self._first}. Convert them to one of the two."
            )
        if pixels.shape != self._shape:
            sizes = [f"{shape[1]} x {shape[0]}" for shape in (pixels.shape, self._shape)]
            raise errors.DataError(
                f"{self._where}: pictures must have one size; got {sizes[0]} in {name} and {sizes[1]} in "
                f"{self._first}. Crop or resize them to one."
            )
        channels_first = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
        np.divide(channels_first, 255, out=self._x[place], dtype=np.float32)
        self._shown[place] = thumbnails(pixels[None])[0]

    def _pixels(self, data: bytes, name: str, mode: str | None) -> np.ndarray:
        library = self._library
        try:
            with library.open(io.BytesIO(data)) as image:
                image.load()
                orientation = image.getexif().get(ORIENTATION)
                image = image.convert(mode) if mode else image
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            struct.error,
            zlib.error,
            library.DecompressionBombError,
        ) as e:
            got = str(e) if data else "no bytes"
            got = "bytes that Pillow can't identify" if isinstance(e, library.UnidentifiedImageError) and data else got
            raise errors.DataError(
                f"{self._where}: {name} must be a whole picture; got {shown(got)}. Mend it, or leave it out."
            ) from e
        if orientation not in UPRIGHT:
            raise errors.DataError(
                f"{self._where}: {name} must be upright as it is stored, for readers differ on the Exif tag; got "
                f"orientation {orientation}. Save it anew with PIL.ImageOps.exif_transpose."
            )
        if image.mode not in MODES:
            raise errors.DataError(
                f"{self._where}: {name} must be grayscale (L) or RGB with 8 bits a channel; got Pillow's mode "
                f'{image.mode}. Convert it, as image.convert("RGB").save(path).'
            )
        return np.asarray(image)
