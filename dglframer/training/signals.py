"""Requests to stop: a signal is recorded, and the training ends where its state can be saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Slurm sends one of the first two before the time limit; Ctrl-C sends the third.
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """The name of the signal that asked to stop, or None."""

    signal: str | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Record the first signal of STOPPING; a second one of its kind acts as usual. Main thread only."""
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
