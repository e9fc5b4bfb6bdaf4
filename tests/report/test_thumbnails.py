"""Pictures: re-encoded, within their share of the page, and which are alike."""

import base64
import io

import numpy as np
import PIL.Image

from infotorch.report import thumbnails as module
from infotorch.report.thumbnails import data_uri, nearest, thumbnails


def decoded(uri):
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def noise(N, side, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (N, side, side, 3), dtype=np.uint8))


def test_a_small_picture_keeps_every_pixel():
    (pixels,) = noise(1, 28)
    assert np.array_equal(decoded(data_uri(pixels, 96)), pixels)


def test_a_large_picture_is_reduced_to_the_side():
    assert decoded(data_uri(np.zeros((300, 200), np.uint8), 96)).shape == (96, 64)


def test_pictures_that_fit_are_not_reduced():
    images = noise(5, 20)
    made = thumbnails(images, range(5), 2)
    assert made.side is None and made.left_out == 0
    assert np.array_equal(decoded(made.uris[4]), images[4])


def test_pictures_are_reduced_until_they_fit(monkeypatch):
    monkeypatch.setattr(module, "REST_BYTES", 60_000)
    made = thumbnails(noise(40, 64), range(40), 4)
    assert made.side in module.SIDES and made.side < 64 and made.left_out == 0
    assert sum(len(made.uris[i]) for i in range(4, 40)) <= 60_000
    assert decoded(made.uris[0]).shape[0] == 64


def test_what_does_not_fit_at_the_smallest_side_is_left_out_and_counted(monkeypatch):
    monkeypatch.setattr(module, "REST_BYTES", 5_000)
    made = thumbnails(noise(40, 64), range(40), 0)
    assert made.left_out == 40 - len(made.uris) > 0
    assert set(made.uris) == set(range(len(made.uris)))


def test_samples_without_picture_have_none():
    made = thumbnails([None, *noise(1, 8)], range(2), 1)
    assert list(made.uris) == [1]


def test_nearest_equals_brute_force():
    images = noise(30, 12)
    flat = np.stack(images).reshape(30, -1).astype(float)
    distance = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(-1))
    np.fill_diagonal(distance, np.inf)
    for i, near in nearest(images).items():
        assert [j for j, _ in near] == np.argsort(distance[i])[:4].tolist()
        assert np.allclose([d for _, d in near], np.sort(distance[i])[:4], atol=1e-6)


def test_identical_pictures_have_distance_zero():
    images = noise(6, 40)
    images[5] = images[2].copy()
    assert nearest(images)[2][0] == (5, 0.0)


def test_pictures_of_different_sizes_have_no_neighbours():
    assert nearest([*noise(2, 8), *noise(2, 9)]) == {}
