"""Jobs on one machine take different GPUs: a lock file for each, held as long as the process lives."""

import fcntl
import logging
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from dglframer.common.errors import UserError

log = logging.getLogger(__name__)

MAX_PROCESSES_PER_GPU = 64  # further ones take no lock
OWN_LOCKS: list[IO[str]] = []  # the locks of this process: closing a file would release it


def take_gpu(gpus: Sequence[str] | None = None, folder: Path | None = None) -> str | None:
    """Let this process see one GPU: a free one, or else one that few other processes use.

    Sets CUDA_VISIBLE_DEVICES and returns its value; call it before any use of CUDA. Does nothing
    if a queueing system or a person has set the variable, if torchrun numbers the GPUs, or if there
    is only one GPU.
    """
    if OWN_LOCKS or {"CUDA_VISIBLE_DEVICES", "LOCAL_RANK"} & set(os.environ):
        return None
    gpus = installed_gpus() if gpus is None else gpus
    if len(gpus) < 2:
        return None
    folder = folder or lock_folder()
    for n_others in range(MAX_PROCESSES_PER_GPU):
        for gpu in gpus:
            handle = open(folder / f"{gpu}.{n_others}", "w")  # noqa: SIM115  (kept open)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.close()
                continue
            OWN_LOCKS.append(handle)
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            log.info("GPU %s%s", gpu, f", shared with {n_others} others" if n_others else "")
            return gpu
    return None


def installed_gpus() -> list[str]:
    """The names of the GPUs, or of their MIG parts, as CUDA_VISIBLE_DEVICES takes them."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return gpu_names(listed.stdout)


def gpu_names(listed: str) -> list[str]:
    """The names in the output of ``nvidia-smi -L``; a divided GPU is listed by its parts alone."""
    names: list[str] = []
    whole = ""
    for name in re.findall(r"UUID: ((?:GPU|MIG)-[\w/-]+)", listed):
        if name.startswith("GPU"):
            whole = name
        elif whole in names:
            names.remove(whole)
        names.append(name)
    return names


def lock_folder() -> Path:
    """A folder for lock files that belongs to this user; raises UserError if another user made it."""
    folder = Path(tempfile.gettempdir()) / f"dglframer-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UserError(f"{folder} is not a folder of this user; remove it or set TMPDIR")
    return folder
