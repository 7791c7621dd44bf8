"""One process per run directory: an advisory lock that dies with its holder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dglframer.common.errors import InUse


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``/lock; raises InUse, naming pid@host, if another process holds it.

    The kernel frees the lock of a killed process, so a lock is never left behind. The file itself
    stays: if it were removed, two processes could hold locks on different files of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise InUse(f"{folder} is in use by {holder}; this process leaves it alone") from None
        handle.truncate(0)
        handle.write(f"{os.getpid()}@{socket.gethostname()}\n")
        handle.flush()
        yield
