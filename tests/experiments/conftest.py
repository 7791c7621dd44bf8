"""What the tests of all experiments have in common."""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As the workflow trains; more only get in each other's way with operations this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
