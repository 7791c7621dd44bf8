"""Leases: which worker runs a trial, and whether its process is still alive."""

import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any


@cache
def place() -> str:
    """A name for the processes that this one can see: boot id of the machine and pid namespace.

    If the system does not state them, the name is one that no other process has.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"


def started(pid: int) -> str | None:
    """The start time of a process in the kernel's ticks; None if it is gone or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]


def lease_of_this_process() -> dict[str, Any]:
    """The lease that a worker writes to its trial, and renews while the trial runs."""
    pid = os.getpid()
    time_of_beat = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return {
        "host": socket.gethostname(),
        "place": place(),
        "pid": pid,
        "started": started(pid),
        "renewed": f"{time_of_beat} {time.monotonic_ns()}",
    }


class Watch:
    """Finds lost trials: at once if the worker's process can be seen, else after ``seconds`` of silence.

    The silence is measured by the clock of this process; clocks of two machines are not compared.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.seen: dict[int, tuple[Any, float]] = {}

    def is_lost(self, trial: int, lease: dict[str, Any] | None) -> bool:
        """Whether the worker of a running trial is gone; ``lease`` is the last that it wrote, or None.

        This process runs no trial when it asks. A trial under its own pid is therefore lost, too.
        """
        if lease is not None and lease["place"] == place():
            pid = lease["pid"]
            return pid == os.getpid() or started(pid) != lease["started"]
        renewed, now = lease and lease["renewed"], time.monotonic()
        last, since = self.seen.setdefault(trial, (renewed, now))
        if last != renewed:
            self.seen[trial] = (renewed, now)
            return False
        return now - since > self.seconds
