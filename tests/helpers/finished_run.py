"""A run of the workflow from end to end, without a network and as a guest, for tests that look at it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from helpers.crystals import Run
from helpers.workflow import command_line

# Nobody but this process and its children can be reached.
NO_NETWORK = """
import socket
def connect(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(f"no network in this test: {address}")
    return plain(self, address)
plain, socket.socket.connect = socket.socket.connect, connect
"""

# As `nobody`, who may read every file (the interpreter or the checkout may lie in a folder of root's)
# and write none of ours. Without no_setuid_fixup, os.access would deny what open allows.
GUEST = """
setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs
--inh-caps=+dac_read_search --ambient-caps=+dac_read_search --securebits=+no_setuid_fixup
""".split()
can_be_a_guest = (
    os.getuid() == 0
    and shutil.which(GUEST[0]) is not None
    and subprocess.call([*GUEST, "true"], stderr=subprocess.DEVNULL) == 0
)


def run_once(root: Path, tiny_run: Run) -> Path:
    """The folder in ``root``, with a name that needs quoting, in which the workflow has run once.

    It ran without a network and, where the tests run as root, as a user who owns the folder and
    cannot write anywhere in the checkout.
    """
    folder, blocker = root / "results here", root / "blocker"
    for path in (folder, blocker):
        path.mkdir()
    (blocker / "sitecustomize.py").write_text(NO_NETWORK)
    settings = command_line(folder)
    path = os.pathsep.join(filter(None, [str(blocker), os.environ.get("PYTHONPATH")]))
    settings["env"] |= {"PYTHONPATH": path, "HOME": str(root)}
    # The first process compiles the kernels and the others load them, which by numba differs in the
    # last bits: a first training, of a few crystals, leaves the workflow to the others.
    shutil.copytree(tiny_run.root, root / "tiny")
    inputs = "--config changes.json --graphs ../tiny/graphs --split ../tiny/split.parquet --seed 0"
    first = [sys.executable, "-m", "dglframer", "train", *inputs.split(), "--out", "../first"]
    if can_be_a_guest:
        subprocess.run(["chown", "-R", "nobody:nogroup", root], check=True)
    for command in (first, settings["args"]):
        settings["args"] = [*GUEST, *command] if can_be_a_guest else command
        done = subprocess.run(**settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder
