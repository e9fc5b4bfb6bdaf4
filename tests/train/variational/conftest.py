"""What holds for every test of this room."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Steps as small as these wait for each other on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
