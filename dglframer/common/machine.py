"""Which machine this is, in words."""

import os
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The name of the processor."""
    if CPUINFO.exists():
        found = re.search(r"model name\s*: (.*)", CPUINFO.read_text(encoding="utf-8"))
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """Processor, cores that this process may use, version of Python."""
    available = getattr(os, "sched_getaffinity", None)
    cores = len(available(0)) if available else os.cpu_count()
    return f"{processor()}, {cores} cores, Python {platform.python_version()}"
