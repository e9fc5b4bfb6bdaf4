"""Fixtures that every test may ask for."""

import os
import pathlib

import pytest
import torch

from infotorch import _C
from tests import ahead


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("ahead") is not None)


def pytest_collection_finish(session):
    for item in session.items if not session.config.option.collectonly else ():
        for mark in item.iter_markers("ahead"):
            ahead.soon(*mark.args)


def pytest_sessionfinish():
    ahead.stop()


@pytest.fixture(params=[torch.float32, torch.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


@pytest.fixture
def gpu():
    """The current CUDA device."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    if not _C.build["cuda_archs"]:
        pytest.skip("built without CUDA kernels")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    return request.getfixturevalue("gpu") if request.param == "cuda" else torch.device("cpu")


@pytest.fixture
def rng():
    """What tests draw from; what they draw lies on its device."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets, from INFOTORCH_DATA."""
    folder = os.environ.get("INFOTORCH_DATA")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("no real data: INFOTORCH_DATA names no folder")
    return pathlib.Path(folder)
