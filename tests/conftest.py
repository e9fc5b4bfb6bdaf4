"""Fixtures that every test may ask for."""

import os
import pathlib

import pytest
import torch


@pytest.fixture(params=[torch.float32, torch.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets, from INFOTORCH_DATA."""
    folder = os.environ.get("INFOTORCH_DATA")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("no real data: INFOTORCH_DATA names no folder")
    return pathlib.Path(folder)
