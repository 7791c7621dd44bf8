"""`--use-conda` with a stand-in for conda: the environments, and whose code is in them."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers.fake_conda import FakeConda
from helpers.paths import ROOT
from helpers.workflow import command_line, copy_checkout, plain_command

from dglframer import __version__

CONFIG = "results/config.json"


@pytest.fixture
def conda(tmp_path) -> FakeConda:
    return FakeConda(tmp_path / "conda")


def run(conda: FakeConda, settings: dict) -> subprocess.CompletedProcess:
    """Run a command line of Snakemake, with both of its outputs as one."""
    environment = conda.first_on_path(settings["env"])
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(**{**settings, "env": environment}, **how)


def test_both_environments_are_made_and_rules_run_in_them(conda, tmp_path):
    """The environment files arrive unchanged, and the checkout is installed in both."""
    arguments = ("--use-conda", "results/tune/best.json")
    done = run(conda, command_line(tmp_path, *arguments, config={"seeds": [0]}))
    assert done.returncode == 0, done.stdout
    made = list((tmp_path / ".snakemake" / "conda").glob("*/environment.yaml"))
    expected = {
        (ROOT / "workflow" / "envs" / name).read_text() for name in ("data.yaml", "model.yaml")
    }
    assert {path.read_text() for path in made} == expected
    assert conda.installs() == [f"-e {ROOT}"] * 2
    assert (tmp_path / "results" / "tune" / "best.json").is_file()


def test_without_conda_afterwards_only_the_software_has_changed(conda, tmp_path):
    """Snakemake's own rule: another environment is a reason to run again, unless one says otherwise."""
    done = run(conda, command_line(tmp_path, "--use-conda", CONFIG))
    assert done.returncode == 0, done.stdout
    again = run(conda, command_line(tmp_path, "--dry-run", CONFIG)).stdout
    assert re.search("reason: Software environment definition has changed", again, re.I), again
    triggers = "--rerun-triggers code input mtime params".split()
    ignored = run(conda, command_line(tmp_path, "--dry-run", CONFIG, *triggers)).stdout
    assert "Nothing to be done" in ignored


def in_checkout(checkout: Path, folder: Path, *arguments: str) -> dict:
    """The command line for the rules of another checkout, run in ``folder``."""
    folder.mkdir(exist_ok=True)
    where = ["--snakefile", str(checkout / "Snakefile"), "--directory", str(folder)]
    settings = plain_command(folder, *where, *arguments)
    del settings["env"]["PYTHONPATH"]  # each environment has its own code
    return settings


@pytest.fixture
def other(tmp_path, monkeypatch) -> Path:
    """Another checkout, whose code differs in a comment."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "other").mkdir()
    checkout = copy_checkout(tmp_path / "other")
    with (checkout / "dglframer" / "graphs" / "batch.py").open("a") as file:
        file.write("# another line\n")
    return checkout


def test_a_shared_environment_does_not_run_the_code_of_another_checkout(conda, other, tmp_path):
    arguments = f"--use-conda --conda-prefix {tmp_path / 'shared'} {CONFIG}".split()
    first = run(conda, in_checkout(ROOT, tmp_path / "one", *arguments))
    assert first.returncode == 0, first.stdout
    second = run(conda, in_checkout(other, tmp_path / "two", *arguments))
    assert second.returncode != 0
    wanted = (
        f"dglframer: error: the workflow was read with the code in {other}/dglframer, and this command "
        f"is other code, in {ROOT}/dglframer"
    )
    assert wanted in second.stdout and "--conda-prefix" in second.stdout
    assert conda.installs() == [f"-e {ROOT}"], "the environment was not shared, so nothing is shown"
    arguments = f"--use-conda --conda-prefix {tmp_path / 'own'} {CONFIG}".split()
    third = run(conda, in_checkout(other, tmp_path / "two", *arguments))
    assert third.returncode == 0, third.stdout
    assert conda.installs()[1:] == [f"-e {other}"]


def test_without_conda_the_command_must_be_of_the_checkout_too(conda, other, tmp_path):
    settings = in_checkout(other, tmp_path / "two", CONFIG)
    settings["env"]["PYTHONPATH"] = str(ROOT)  # what the command finds, as in another .venv
    done = run(conda, settings)
    assert done.returncode != 0 and "this command is other code" in done.stdout


def test_the_same_code_elsewhere_is_the_same(conda, tmp_path, other):
    """As where the environment installed the tag that the checkout is at."""
    twin = tmp_path / "twin"
    twin.mkdir()
    settings = in_checkout(copy_checkout(twin), tmp_path / "two", CONFIG)
    settings["env"]["PYTHONPATH"] = str(ROOT)
    done = run(conda, settings)
    assert done.returncode == 0, done.stdout
    assert json.loads((tmp_path / "two" / CONFIG).read_text())["seeds"] == [0, 1]


def test_environments_of_another_release_are_others():
    """Snakemake finds an environment by the text of its files: the version is part of it.

    Each environment has its own copy of the script. A link would not do: rules of a tag are fetched file by
    file, and a link comes as the path that it holds.
    """
    scripts = {path.read_text() for path in (ROOT / "workflow" / "envs").glob("*.post-deploy.sh")}
    (script,) = scripts
    assert f"\n# dglframer {__version__}\n" in script
