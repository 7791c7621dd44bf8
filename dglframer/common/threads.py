"""How many threads compute: all, or one where the work is too little to wake the others.

Threads without work sleep (``OMP_WAIT_POLICY``), so that they cost nothing on a busy machine. To wake one
takes as long as a layer of some hundred rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

ROWS = 512  # fewer rows of a dense layer are computed by one thread
_all: ContextVar[int | None] = ContextVar("threads of the loops", default=None)


def thread_count() -> int:
    """The threads that loops of our own may use: torch's, as they were outside ``dense_layers``."""
    return _all.get() or torch.get_num_threads()


@contextmanager
def dense_layers(rows: int) -> Iterator[None]:
    """Let one thread compute torch's operations here if their matrices have few rows."""
    if rows >= ROWS:
        yield
        return
    with one_thread():
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let one thread compute torch's operations here; ``thread_count`` does not change."""
    count = torch.get_num_threads()
    token = _all.set(thread_count())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
        _all.reset(token)
