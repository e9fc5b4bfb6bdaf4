import torch

from infotorch.blocks import Arena


def test_memory_is_kept_and_grows_to_the_largest():
    arena = Arena()
    large = arena.take("w", (4, 5), torch.float32)
    small = arena.take("w", (3, 2), torch.float32)
    assert small.shape == (3, 2) and small.is_contiguous() and small.data_ptr() == large.data_ptr()
    assert arena.nbytes == 80
    arena.take("w", (6, 5), torch.float32)
    assert arena.nbytes == 120


def test_names_and_dtypes_have_memory_of_their_own():
    arena = Arena()
    w, b = arena.take("w", (4,), torch.float32), arena.take("b", (4,), torch.float32)
    assert w.data_ptr() != b.data_ptr()
    assert arena.take("w", (4,), torch.float64).dtype == torch.float64
    assert arena.nbytes == 32 + 16


def test_nothing_takes_nothing():
    assert Arena().take("w", (0, 3), torch.float32).shape == (0, 3) and Arena().nbytes == 0
