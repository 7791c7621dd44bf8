"""Bars on a terminal; in files and pipes nothing but the lines of the log, and no colours."""

import os
import pty
import re
import subprocess
import sys

import pytest
from helpers.paths import ROOT

WORK = """
import logging
import sys
import time
from dglframer.common.progress import progress, tracked

logging.basicConfig(level=sys.argv[1], format="%(message)s")
for number in tracked(range(3), "shards", 3):
    logging.info("a line of shard %d", number)
    with progress("inside", 2) as advance:
        advance(1, "half done")
        time.sleep(0.15)
logging.info("a line at the end")
print("result")
"""
ESCAPE, COLOUR = "\x1b", re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")


def seen(on_terminal, level="INFO", **variables):
    """(standard output, standard error) of WORK, whose standard error may be a terminal."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100", **variables}
    command = [sys.executable, "-c", WORK, level]
    if not on_terminal:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout, done.stderr
    ours, theirs = pty.openpty()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 4096):
            chunks.append(chunk)
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    output = child.communicate()[0].decode()
    assert child.returncode == 0
    return output, b"".join(chunks).decode()


def test_a_terminal_sees_bars_with_the_log_above_them():
    output, error = seen(on_terminal=True)
    assert output == "result\n"
    assert "shards" in error and "inside" in error and "half done" in error
    assert COLOUR.search(error)
    lines = re.split(r"[\r\n]|\x1b\[[0-9;?]*[a-zA-Z]", error)
    wanted = [*(f"a line of shard {k}" for k in range(3)), "a line at the end"]
    assert [line for line in lines if line in wanted] == wanted


def test_a_pipe_gets_the_log_alone():
    output, error = seen(on_terminal=False)
    assert output == "result\n"
    assert error.split("\n") == [
        *(f"a line of shard {k}" for k in range(3)),
        "a line at the end",
        "",
    ]


@pytest.mark.parametrize(
    ("level", "variables"), [("INFO", {"TERM": "dumb"}), ("WARNING", {"TERM": "xterm"})]
)
def test_no_bar_on_a_terminal_that_cannot_move_it_nor_where_the_log_is_quiet(level, variables):
    _, error = seen(True, level, **variables)
    assert ESCAPE not in error and "shards" not in error


def test_no_color_has_bars_without_colours():
    _, error = seen(True, NO_COLOR="1")
    assert "shards" in error and not re.search(r"\x1b\[[0-9;]*3[0-9]", error)


def test_the_bar_is_not_loaded_for_a_pipe():
    code = "import sys\n" + WORK + "print('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "INFO"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("False\n")
