"""The files that pin versions agree with each other."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SUPPORTED = ("3.11", "3.12")


def requirements(file: str) -> list[tuple[Requirement, str]]:
    """The requirements of a pip file, each with the options (hashes) that follow it."""
    logical_lines = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = []
    for line in map(str.strip, logical_lines):
        if line and not line.startswith("#"):
            requirement, dashes, options = line.partition("--")
            found.append((Requirement(requirement), dashes + options))
    return found


def pins(python: str) -> dict[str, str]:
    """Name → version of all that is installed for one Python version on Linux x86-64."""
    environment = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    found: dict[str, str] = {}
    for file in ("requirements.lock", "requirements-torch.txt"):
        for requirement, _ in requirements(file):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                name = canonicalize_name(requirement.name)
                assert name not in found, f"{name} is pinned twice for Python {python}"
                (pin,) = requirement.specifier
                assert pin.operator == "==", requirement
                found[name] = pin.version
    return found


@pytest.mark.parametrize("file", ["data.yaml", "model.yaml"])
def test_conda_environments_pin_what_the_lock_pins(file):
    environment = yaml.safe_load((ROOT / "workflow" / "envs" / file).read_text(encoding="utf-8"))
    python, pip, packages = environment["dependencies"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert (python, pip) == ("python=3.11", "pip")
    locked = pins("3.11")
    for line in packages["pip"]:
        requirement = Requirement(line)
        version = locked[canonicalize_name(requirement.name)]
        assert str(requirement.specifier) == f"=={version}", line


def test_hooks_before_a_commit_pin_what_the_lock_pins():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))[
        "repos"
    ]
    lines = [line for hook in repository["hooks"] for line in hook["additional_dependencies"]]
    found = {
        requirement.name: str(requirement.specifier) for requirement in map(Requirement, lines)
    }
    assert {"ruff", "snakefmt"} <= set(found)
    locked = pins("3.11")
    assert found == {name: f"=={locked[canonicalize_name(name)]}" for name in found}


@pytest.mark.parametrize("python", SUPPORTED)
def test_lock_satisfies_every_direct_dependency(python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environment = {"python_version": python, "python_full_version": f"{python}.7"}
    locked = pins(python)
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for line in chain.from_iterable(groups):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), line


def test_every_locked_requirement_carries_a_hash():
    for requirement, options in requirements("requirements.lock"):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", options), requirement


def test_lock_leaves_torch_and_its_cuda_companions_out():
    companions = re.compile(r"torch|triton|pytorch-triton|cuda-.*|nvidia-.*")
    for requirement, _ in requirements("requirements.lock"):
        assert not companions.fullmatch(canonicalize_name(requirement.name)), requirement
