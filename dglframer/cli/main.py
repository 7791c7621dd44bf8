"""The command line: one verb per stage, each reading and writing files."""

import argparse
import gc
import logging
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from dglframer.cli import data as data_commands
from dglframer.cli import export, frames, learning_curve, nbody, shapes
from dglframer.cli import models as model_commands
from dglframer.cli import workflow as workflow_command
from dglframer.cli.options import add_verb
from dglframer.common.disk import cannot_write, place_of
from dglframer.common.errors import Interrupted, UserError
from dglframer.common.own_code import check_code, commit
from dglframer.common.version import __version__

log = logging.getLogger("dglframer")

SIGPIPE = 128 + signal.SIGPIPE  # the exit status of other programs before `| head -1`


def doctor(args: argparse.Namespace) -> int:
    """print versions, devices and folders, and how to mend problems"""
    if args.compile:
        from dglframer.attention.cpu.warm import compile_loops
        from dglframer.common.progress import progress

        with progress("compiling"):
            seconds = compile_loops()
        log.info("the loops for CPUs are compiled and cached (%.0f s)", seconds)
        return 0
    from dglframer.cli.doctor import examine

    return examine()


def config(args: argparse.Namespace) -> None:
    """print the default configuration, check one, or write the checkout's default files"""
    from dglframer.common.files import write_json
    from dglframer.config import check_paths, load_config
    from dglframer.config.yaml_files import default_yaml, write_config_files
    from dglframer.data.label_limits import warn_of_missing_units
    from dglframer.data.sources.catalogue import BY_NAME

    if args.write:
        write_config_files(Path.cwd())
    elif args.check:
        checked = load_config(args.check)
        check_paths(checked)
        log.info("%s is valid", args.check)
        if checked.dataset.source != "parquet":  # such a file may state units itself
            warn_of_missing_units(checked.dataset, BY_NAME[checked.dataset.source].targets)
        if args.out:
            write_json(args.out, checked.model_dump(mode="json"))
    elif args.out:
        raise UserError("--out writes the configuration that --check FILE names")
    else:
        print(default_yaml(), end="")


def completion(args: argparse.Namespace) -> None:
    """print a script that completes verbs, options and files in a shell"""
    try:
        import shtab
    except ImportError:
        raise UserError("completion needs the package shtab: pip install shtab") from None
    whole = parser()
    name_files(whole)
    print(shtab.complete(whole, args.shell))


def name_files(one: argparse.ArgumentParser) -> None:
    """Say of every argument that is a path that files complete it, for shtab."""
    from shtab import FILE

    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                name_files(verb)
        elif action.type is Path or action.dest == "inputs":
            action.complete = FILE  # type: ignore[attr-defined]


class Version(argparse.Action):
    """Print the version, with the commit where there is one."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        found = commit()
        print(f"dglframer {__version__}" + (f" (commit {found})" if found else ""))
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    main = argparse.ArgumentParser("dglframer", description="Crystal properties, predicted.")
    main.add_argument("--version", action=Version, nargs=0, help="show version and commit, and end")
    verbs = main.add_subparsers(required=True, metavar="VERB")
    data_commands.add_verbs(verbs)
    model_commands.add_verbs(verbs)
    frames.add_verbs(verbs)
    learning_curve.add_verbs(verbs)
    nbody.add_parser(verbs)
    shapes.add_parser(verbs)
    export.add_parser(verbs)
    workflow_command.add_verbs(verbs)
    compiled = {
        "action": "store_true",
        "help": "compile the loops for CPUs now, not at their first use",
    }
    add_verb(verbs, doctor, ("--compile", compiled))
    add_verb(
        verbs,
        config,
        ("--write", {"action": "store_true", "help": "write the defaults into the checkout"}),
        ("--check", {"type": Path, "metavar": "FILE", "help": "check a YAML or JSON file"}),
        ("--out", {"type": Path, "help": "write what was checked as JSON, with its defaults"}),
    )
    shell = {"choices": ("bash", "zsh", "tcsh"), "help": "docs/guide/command_line.md"}
    add_verb(verbs, completion, ("shell", shell))
    return main


def parse() -> argparse.Namespace | None:
    """The arguments; None if the help was asked for and nobody read all of it."""
    try:
        try:
            return parser().parse_args()
        finally:
            sys.stdout.flush()  # the help
    except BrokenPipeError:
        drop_output(sys.stdout)
        return None


def drop_output(stream: TextIO) -> None:
    """Send the rest of a stream nowhere; otherwise Python complains as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def main() -> int:
    """Entry point; a user error becomes one message and exit status 2 (or the error's own)."""
    try:
        check_code()  # first: other code may not know the arguments
        args = parse()
        return SIGPIPE if args is None else run(args)
    except UserError as error:
        print(f"dglframer: error: {error}", file=sys.stderr)
        return error.status


def command() -> int:
    """The program: ``main``, and no last search for garbage, which takes half a second with torch."""
    status = main()
    try:
        sys.stderr.flush()
    except BrokenPipeError:  # the log has no reader; Python would end with status 120
        drop_output(sys.stderr)
    gc.freeze()
    return status


def run(args: argparse.Namespace) -> int:
    """Run a verb; returns the exit status."""
    # Arrow's own allocator keeps some 80 MB of free memory; without it no stage is slower.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # torch's threads sleep while they have no work: they would take the cores from our own loops.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("matplotlib").setLevel(
        logging.WARNING
    )  # its search for fonts is no stage's news
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its messages hold URLs, also signed ones
    started = time.perf_counter()
    try:
        status = args.run(args) or 0
    except BrokenPipeError:
        if getattr(args, "out", None):  # a stage prints little: the broken pipe is another one
            raise
        drop_output(sys.stdout)
        return SIGPIPE
    except Interrupted as stopped:
        print(f"dglframer: {stopped}", file=sys.stderr)
        return stopped.status
    except (OSError, sqlite3.Error) as error:
        problem = cannot_write(error, place_of(error, getattr(args, "out", None) or Path.cwd()))
        if problem is None:
            raise
        raise problem from None
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output(sys.stdout)
        if not getattr(args, "out", None):  # what it printed is all that it does
            return SIGPIPE
    if getattr(args, "out", None) or getattr(args, "html", None):  # it has written files
        log.info("%s done in %.1f s", args.run.__name__, time.perf_counter() - started)
    return status


if __name__ == "__main__":
    sys.exit(command())
