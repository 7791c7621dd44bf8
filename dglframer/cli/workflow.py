"""The verb that says where the rules lie: beside a checkout's package, or inside an installed one."""

import argparse
from pathlib import Path
from typing import Any

from dglframer.cli.options import add_verb
from dglframer.common.errors import UserError
from dglframer.common.own_code import PACKAGE

WORKFLOW = PACKAGE / "workflow"  # in a checkout a link to the folder beside the package


def workflow(args: argparse.Namespace) -> None:
    """print the path of this package's Snakefile, for snakemake --snakefile"""
    print("\n".join(presets()) if args.presets else file_of(args.preset))


def presets() -> list[str]:
    """Names of the configurations that come with the rules."""
    return sorted(path.stem for path in (WORKFLOW / "presets").glob("*.yaml"))


def file_of(preset: str | None) -> Path:
    """The Snakefile, or a preset; raises UserError if there is none of that name."""
    if preset is not None and preset not in presets():
        raise UserError(f"{preset}: no such preset; there are {', '.join(presets())}")
    path = WORKFLOW / (f"presets/{preset}.yaml" if preset else "Snakefile")
    if not path.is_file():
        raise UserError(f"{path} is missing: this package was installed without its rules")
    return path.resolve()


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    preset = {"nargs": "?", "metavar": "PRESET", "help": "the path of this preset instead"}
    names = {"action": "store_true", "help": "list the names of the presets"}
    add_verb(verbs, workflow, ("preset", preset), ("--presets", names))
