"""Threads of torch's operations and of our own loops."""

import pytest
import torch

from dglframer.common.threads import ROWS, dense_layers, one_thread, thread_count


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_few_rows_are_the_work_of_one_thread_of_torch():
    with dense_layers(ROWS - 1):
        assert (torch.get_num_threads(), thread_count()) == (1, 3)
    assert (torch.get_num_threads(), thread_count()) == (3, 3)


def test_many_rows_are_the_work_of_all():
    with dense_layers(ROWS):
        assert (torch.get_num_threads(), thread_count()) == (3, 3)


def test_the_threads_come_back_after_an_error_and_from_inside():
    with pytest.raises(ZeroDivisionError), dense_layers(1), one_thread():
        assert (torch.get_num_threads(), thread_count()) == (1, 3)
        _ = 1 // 0
    assert (torch.get_num_threads(), thread_count()) == (3, 3)
