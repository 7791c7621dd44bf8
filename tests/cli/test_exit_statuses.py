"""The documented exit statuses are those of the program, and each is met."""

import os
import re
import signal
import subprocess
import sys
import types

import pytest
from helpers.paths import ROOT

from dglframer.cli import main as program
from dglframer.common.errors import (
    CannotWrite,
    ConfigError,
    DamagedFile,
    HeldOut,
    Interrupted,
    InUse,
    NetworkError,
    TrainingFailed,
    UserError,
)


def documented() -> dict[int, str]:
    """Status → what it means, of docs/guide/command_line.md."""
    page = (ROOT / "docs" / "guide" / "command_line.md").read_text(encoding="utf-8")
    return {int(k): text for k, text in re.findall(r"^\| (\d+) \| (.+?) \|$", page, re.MULTILINE)}


def test_the_page_has_every_status():
    statuses = {UserError.status, InUse.status, Interrupted.status, program.SIGPIPE}
    assert set(documented()) == {0, 1, *statuses} == {0, 1, 2, 3, 75, 128 + signal.SIGPIPE}


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (None, 0),
        *((kind("a word"), 2) for kind in (UserError, ConfigError, DamagedFile, CannotWrite)),
        *((kind("a word"), 2) for kind in (NetworkError, TrainingFailed, HeldOut)),
        (OSError(28, "No space left on device", "a word"), 2),
        (InUse("a word"), 3),
        (Interrupted("a word"), 75),
        (BrokenPipeError(), 141),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_a_verb_that_ends_so_has_the_status(monkeypatch, capfd, raised, status):
    def verb(args):
        if raised is not None:
            raise raised

    monkeypatch.setattr(program, "parse", lambda: types.SimpleNamespace(run=verb))
    monkeypatch.setattr(program, "drop_output", lambda stream: None)
    assert program.main() == status and status in documented()
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert ("a word" in error) == (status in (2, 3, 75))


def test_a_verb_s_own_status_is_the_program_s(monkeypatch):
    monkeypatch.setattr(program, "parse", lambda: types.SimpleNamespace(run=lambda args: 1))
    assert program.main() == 1


def test_a_word_that_is_no_verb_has_the_status_of_a_mistake(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dglframer", "predikt"])
    with pytest.raises(SystemExit) as left:
        program.main()
    assert left.value.code == 2 and "predikt" in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    def verb(args):
        raise ZeroDivisionError

    monkeypatch.setattr(program, "parse", lambda: types.SimpleNamespace(run=verb))
    with pytest.raises(ZeroDivisionError):  # Python prints it and ends with status 1
        program.main()


@pytest.mark.parametrize(("out", "status"), [("files", 0), (None, 141)])
def test_output_that_nobody_reads_is_no_error_of_a_verb_that_writes_files(out, status):
    script = f"""
import argparse, sys
from dglframer.cli import main as program
verb = argparse.Namespace(run=lambda args: print("a table"), out={out!r})
program.main = lambda: program.run(verb)
sys.exit(program.command())
"""
    read, write = os.pipe()
    os.close(read)
    output = {"stdout": write, "stderr": write, "env": os.environ | {"PYTHONUNBUFFERED": ""}}
    done = subprocess.run([sys.executable, "-c", script], **output, check=False)
    os.close(write)
    assert done.returncode == status
