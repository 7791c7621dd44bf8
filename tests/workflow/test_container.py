"""The container's recipe without building it: its files, versions and commands."""

import re
import shlex

from helpers.paths import ROOT
from packaging.specifiers import SpecifierSet

from dglframer.cli.main import parser

RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
LINES = [line.split(None, 1) for line in RECIPE.splitlines() if line and line[0] != "#"]


def test_every_instruction_is_docker_s():
    assert {word for word, _ in LINES} <= {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "CMD"}
    assert LINES[0][0] == "FROM"


def test_the_python_is_a_supported_one():
    version = re.search(r"FROM python:([\d.]+)-slim", RECIPE).group(1)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert SpecifierSet(re.search(r'requires-python = "(.*)"', project).group(1)).contains(version)


def test_what_is_copied_exists_and_is_not_left_out():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [path for word, rest in LINES if word == "COPY" for path in rest.split()[:-1]]
    assert "requirements.lock" in sources and "." in sources
    assert all((ROOT / path).exists() for path in sources)
    needed = ["dglframer", "workflow", "Snakefile", "envs", "config.yaml", "pyproject.toml"]
    assert not {*sources, *needed} & set(ignored)


def test_it_installs_as_make_env_does():
    """torch alone has another index; the lock has hashes; then the checkout, and the loops."""
    steps = [part.strip() for word, rest in LINES if word == "RUN" for part in rest.split("&&")]
    pins = re.findall(r"^torch==\S+$", (ROOT / "requirements-torch.txt").read_text(), re.M)
    assert len(pins) == 1
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = [step.replace(" --no-cache-dir", "") for step in steps if step.startswith("pip")]
    assert commands[0] == (
        'pip install --index-url "$TORCH_INDEX" "$(grep \'^torch==\' requirements-torch.txt)"'
    )
    for command in commands[1:]:
        assert command.replace("pip ", "$(PIP) ", 1) in makefile, command
    verbs = [shlex.split(step)[1:] for step in steps if step.startswith("dglframer")]
    assert verbs == [["doctor", "--compile"]]
    assert parser().parse_args(verbs[0]).compile
