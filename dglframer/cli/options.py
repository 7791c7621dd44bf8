"""Options that several verbs share, and the function that adds a verb to the command line."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dglframer.common.remote import location

Option = tuple[str, dict[str, Any]]  # flag or name, arguments of argparse's add_argument
Verb = Callable[[argparse.Namespace], int | None]

CONFIG = ("--config", {"type": Path, "required": True, "help": "YAML or JSON configuration"})
OUT = ("--out", {"type": Path, "required": True, "help": "file or folder to write"})
GRAPHS = ("--graphs", {"type": location, "required": True, "help": "folder of graph shards"})
SPLIT = ("--split", {"type": location, "required": True, "help": "split.parquet"})
CRYSTALS = ("--crystals", {"type": location, "required": True, "help": "crystals.parquet"})
REJECTED = ("--rejected", {"type": Path, "required": True, "help": "rejected.parquet"})
CHECKS = ("--checks", {"type": location, "required": True, "help": "checks.parquet"})
DOWNLOAD = ("--download", {"type": Path, "required": True, "help": "download.json"})
THREADS = ("--threads", {"type": int, "default": 1, "help": "CPU threads (default 1)"})
DEVICE = ("--device", {"default": "auto", "help": "cpu, cuda, cuda:1, ... (default: auto)"})
MODEL_DIRS = ("--models", {"type": Path, "nargs": "+", "required": True, "help": "model folders"})
TUNED = ("--tuned", {"type": Path, "help": "best.json of the tune stage"})


def add_verb(verbs: Any, function: Verb, *options: Option) -> None:
    """Add the verb of a function: its name is the function's, its help is the docstring."""
    name = function.__name__.replace("_", "-")
    summary = function.__doc__
    one = verbs.add_parser(name, help=summary, description=summary)
    one.set_defaults(run=function)
    for flag, settings in options:
        one.add_argument(flag, **settings)


def name_and_value(text: str) -> tuple[str, str]:
    """The parts of NAME=VALUE; raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError
    return name, value
