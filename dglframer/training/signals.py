"""Requests to stop: a signal is noted, and the work ends where its state can be saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# A queue's notice before the time is up (slurm sends either), and Ctrl-C.
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """The name of the signal that asked to stop, if any."""

    signal: str | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note the first signal of STOPPING; the same signal again acts as usual. (Main thread only.)"""
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in STOPPING}

    def note(number: int, frame: Any) -> None:
        request.signal = signal.Signals(number).name
        signal.signal(number, before[signal.Signals(number)])

    for number in STOPPING:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
