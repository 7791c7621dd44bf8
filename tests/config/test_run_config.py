"""The configuration of a run stays what it was when the run was started."""

import json
from pathlib import Path

import pytest

from dglframer.config import Config, load_config, override
from dglframer.config.run_config import freeze

EDITED = override(Config(), {"seeds": [7]})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {})


def read(*configs: Config, starts: bool) -> list[Path]:
    """The files of a process that reads the rules once for each configuration."""
    variables: set[str] = {"HOME"}
    files = []
    for config in configs:
        path, variable = freeze(config, variables, starts)
        variables.add(variable)
        files.append(path)
    assert len(variables) == 1 + len(configs)
    return files


def test_the_file_holds_the_configuration_with_its_defaults():
    (path,) = read(EDITED, starts=True)
    assert load_config(path) == EDITED
    assert json.loads(path.read_text())["training"]["epochs"] == Config().training.epochs


def test_other_settings_are_another_file_and_equal_ones_are_not_written_again():
    (first,) = read(Config(), starts=True)
    written = first.stat().st_mtime_ns
    assert read(EDITED, starts=True) != [first]
    assert read(Config(), starts=True) == [first]
    assert first.stat().st_mtime_ns == written
    assert load_config(first) == Config()


def test_a_job_has_the_configuration_with_which_its_run_was_started():
    """Each use of the rules its own, in their order, although the user has edited both."""
    started = read(Config(), EDITED, starts=True)
    edited = override(Config(), {"seeds": [8]})
    assert read(edited, edited, starts=False) == started


def test_a_run_that_a_job_starts_has_its_own():
    read(Config(), starts=True)
    (path,) = read(EDITED, starts=True)
    assert load_config(path) == EDITED


def test_a_job_that_cannot_see_the_file_writes_its_own():
    (path,) = read(EDITED, starts=True)
    path.unlink()
    (again,) = read(EDITED, starts=False)
    assert load_config(again) == EDITED
