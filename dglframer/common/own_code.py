"""Which code this is: a workflow says with which it was read, and its commands refuse to be another.

Two checkouts that share a ``--conda-prefix`` share its environments, and an environment holds the code
of the checkout that made it.
"""

import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from dglframer.common.errors import UserError
from dglframer.common.version import __version__

PACKAGE = Path(__file__).resolve().parents[1]
VARIABLE = (
    "DGLFRAMER_CODE"  # what a workflow exports to its commands: hash_of_code(), a space, PACKAGE
)
FILES = (
    "**/*.py",
    "**/templates/*",
    "**/scripts/**/*.js",
    "**/minerals/*",
    "pretrained/**/*.json",
    "pretrained/**/*.safetensors",
)


def hash_of_code() -> str:
    """sha256 of the package's files and their names, wherever it is installed."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in FILES for path in PACKAGE.glob(pattern)}):
        name = path.relative_to(PACKAGE).as_posix()
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def commit(checkout: Path = PACKAGE.parent) -> str:
    """The commit of a checkout, of this package's if none is given, with a + if files differ; else ""."""
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return found.stdout.strip()


def requirement() -> str:
    """What pip takes to install this package again: the address it came from, else its name and version.

    The address is in direct_url.json, which pip writes (PEP 610).
    """
    found = metadata.distribution("dglframer").read_text("direct_url.json")
    origin = json.loads(found) if found else {}
    url = origin.get("url", "")
    if commit_id := origin.get("vcs_info", {}).get("commit_id"):
        return f"{origin['vcs_info']['vcs']}+{url}@{commit_id}"
    return f"dglframer @ {url}" if url else f"dglframer=={__version__}"


def code() -> str:
    """The version, and the commit of a checkout."""
    return f"{__version__} {commit()}".strip()


def export_code() -> None:
    """Make this package the one that commands started from here must be."""
    os.environ[VARIABLE] = f"{hash_of_code()} {PACKAGE}"


def check_code() -> None:
    """Raise UserError if a workflow runs this command and was read with other code.

    The same folder is always the same code: who edits a checkout while its workflow runs means to.
    """
    expected, _, folder = os.environ.get(VARIABLE, "").partition(" ")
    if expected and Path(folder) != PACKAGE and expected != hash_of_code():
        raise UserError(
            f"the workflow was read with the code in {folder}, and this command is other code, "
            f"in {PACKAGE}, of the environment {sys.prefix}. An environment that --use-conda made holds "
            "the code of the checkout or tag that made it: remove it, or give another --conda-prefix. "
            "Otherwise activate the environment of the workflow's checkout."
        )
