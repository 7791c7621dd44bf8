"""Who runs a trial, and whether that worker still lives."""

import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any


@cache
def place() -> str:
    """Names the processes that this one can see: the boot of the machine and the pid namespace.

    Where the system does not tell, a name that no other process has.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"


def started(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks; None if there is none (or a zombie)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]


def lease_of_this_process() -> dict[str, Any]:
    """What is written beside a trial, again and again while it runs."""
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
    """Tells lost trials: at once where the worker's process can be seen, else after a silence.

    The silence is measured by the observer's clock alone; clocks of two machines are not compared.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.seen: dict[int, tuple[Any, float]] = {}

    def is_lost(self, trial: int, lease: dict[str, Any] | None) -> bool:
        """Whether the worker of a running trial is gone; ``lease``: what it wrote last, if ever.

        A process asks while it runs no trial: what it seems to run itself is lost as well.
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
