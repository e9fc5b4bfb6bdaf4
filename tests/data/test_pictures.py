"""Pictures of samples: bytes that a person recognizes, small enough for a page."""

import numpy as np
import pytest
import torch

from infotorch.data.pictures import pictures_of, thumbnails


@pytest.mark.parametrize(("channels", "shape"), [(1, (2, 5, 6)), (3, (2, 5, 6, 3))])
def test_the_range_of_the_data_becomes_0_to_255(channels, shape):
    x = torch.linspace(-1, 1, 2 * channels * 30).reshape(2, channels, 5, 6)
    images = pictures_of(x)
    assert images.shape == shape and images.dtype == np.uint8 and images.flags.c_contiguous
    assert images.min() == 0 and images.max() == 255
    assert images[0, 0, 0].min() == 0 and images[1, -1, -1].max() == 255


def test_bytes_stay_as_they_are():
    x = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(torch.from_numpy(pictures_of(x)), x.permute(0, 2, 3, 1))


def test_equal_inputs_are_black():
    assert not pictures_of(torch.full((2, 1, 4, 4), 3.0)).any()


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 8), (3, 2, 8, 8), (3, 1, 3, 8), (3, 1, 8, 8, 8)])
def test_other_shapes_have_no_pictures(shape):
    assert pictures_of(torch.zeros(shape)) is None


def test_small_pictures_are_kept():
    images = np.zeros((2, 64, 10), np.uint8)
    assert thumbnails(images) is images


@pytest.mark.parametrize("shape", [(2, 65, 10), (2, 128, 128, 3), (1, 10, 1000), (1, 129, 127, 3)])
def test_the_long_edge_has_at_most_64_pixels(shape):
    small = thumbnails(np.full(shape, 9, np.uint8))
    assert max(small.shape[1:3]) <= 64 and min(small.shape[1:3]) >= 1 and small.shape[3:] == shape[3:]
    assert (small == 9).all()


def test_a_block_becomes_its_rounded_mean():
    images = np.array([[[0, 1, 10, 20], [2, 3, 30, 41]]], np.uint8)
    assert thumbnails(images, longest=2).tolist() == [[[2, 25]]]  # 1.5 and 25.25
