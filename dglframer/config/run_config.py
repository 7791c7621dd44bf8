"""The configuration of a run of the workflow: a file that no other run changes, and that its jobs find."""

import os
from collections.abc import Collection
from pathlib import Path

from dglframer.common.files import hash_of, write_json
from dglframer.config import Config

FOLDER = Path(".snakemake", "dglframer")
VARIABLE = "DGLFRAMER_CONFIG_"


def freeze(config: Config, variables: Collection[str], starts: bool) -> tuple[Path, str]:
    """Write ``config`` with its defaults; returns the file, and the variable that names it to jobs.

    The file is named by the hash of what it holds: runs with other settings, dry runs too, have others.
    Jobs on other machines read the rules again, and the user's configuration, which may have been edited:
    they find the file of the process that ``starts`` the run. ``variables`` are those of the workflow so
    far, which may have used these rules already, as a module.
    """
    values = config.model_dump(mode="json")
    own = FOLDER / f"config-{hash_of(values)[:16]}.json"
    variable = VARIABLE + str(sum(name.startswith(VARIABLE) for name in variables))
    given = own if starts else Path(os.environ.get(variable, own))
    path = given if given.is_file() else own  # a machine may not see the folder of the run
    if not path.is_file():
        write_json(path, values)
    os.environ[variable] = str(path)
    return path, variable
