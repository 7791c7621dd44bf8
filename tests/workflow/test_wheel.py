"""A wheel, installed on a clean place: the program, its data and the rules work far from any checkout."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT
from helpers.workflow import SMALL_RUN, copy_checkout

from dglframer import __version__

CONFIG = SMALL_RUN | {"seeds": [3], "tune": {"trials": 0}}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with a wheel and a source archive, built from a copy of the checkout without git."""
    checkout = copy_checkout(tmp_path_factory.mktemp("source"))
    code = (
        "from setuptools import build_meta as backend\n"
        "print(backend.build_sdist('dist'), backend.build_wheel('dist'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return checkout / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The programs of a new environment with the wheel; the packages it needs are those of this one."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (packages,) = home.glob("lib/python3*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--quiet", wheel], check=True)
    return home / "bin"


def run(installed: Path, folder: Path, *words: str) -> str:
    """What a program of the environment prints, started in ``folder``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{installed}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [installed / words[0], *words[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def files_of(*folders: str) -> set[str]:
    """The files of the checkout in these folders that belong to the package."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_wheel_and_source_archive_hold_the_package_its_data_and_the_rules(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.name == f"dglframer-{__version__}-py3-none-any.whl"
    inside = {f"dglframer/{name}" for name in files_of("workflow")}
    inside |= files_of("dglframer")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert inside <= names and "dglframer/workflow/rules/models.smk" in inside
    assert {name.partition("/")[0] for name in names} == {
        "dglframer",
        f"dglframer-{__version__}.dist-info",
    }
    with tarfile.open(source) as archive:
        stored = {name.partition("/")[2] for name in archive.getnames()}
    assert inside <= stored


def test_the_program_is_the_installed_one(installed, tmp_path):
    assert run(installed, tmp_path, "dglframer", "--version") == f"dglframer {__version__}\n"
    assert "--presets" in run(installed, tmp_path, "dglframer", "workflow", "--help")
    where = Path(run(installed, tmp_path, "dglframer", "workflow").strip())
    assert where == installed.parent.joinpath(*where.parts[-6:]) and where.is_file()
    models = run(installed, tmp_path, "dglframer", "models")
    assert "formation_energy" in models and "band_gap" in models
    presets = run(installed, tmp_path, "dglframer", "workflow", "--presets").split()
    assert "paper" in presets
    path = run(installed, tmp_path, "dglframer", "workflow", "paper").strip()
    assert yaml.safe_load(Path(path).read_text())["training"]


def in_folder(folder: Path, config: dict) -> list[str]:
    """The words that run the installed rules with this configuration in a folder."""
    (folder / "mine.json").write_text(json.dumps(config))
    return ["python", "-m", "snakemake", "--cores", "2", "--configfile", "mine.json"]


def test_the_rules_of_the_installed_package_run(installed, tmp_path):
    """Up to the download; what comes after compiles the loops anew (below)."""
    words = in_folder(tmp_path, CONFIG)
    where = run(installed, tmp_path, "dglframer", "workflow").strip()
    made = ["results/download.json", "results/config.json"]
    run(installed, tmp_path, *words, "--snakefile", where, "--", *made)
    assert all((tmp_path / name).is_file() for name in made)
    config = json.loads((tmp_path / "results" / "config.json").read_text())
    assert config["seeds"] == [3] and config["training"]["averaged_epochs"] == 1
    assert config["cleaning"], "defaults are filled in"
    assert (tmp_path / "results" / "logs" / "download.txt").stat().st_size > 0
    plan = run(installed, tmp_path, *words, "--snakefile", where, "--dry-run")
    assert re.search(r"^train_seed +1$", plan, re.M) and re.search(r"^report +1$", plan, re.M)


@pytest.mark.slow
def test_the_rules_of_the_installed_package_go_to_the_end(installed, tmp_path):
    words = in_folder(tmp_path, CONFIG)
    where = run(installed, tmp_path, "dglframer", "workflow").strip()
    run(installed, tmp_path, *words, "--snakefile", where)
    model = tmp_path / "results" / "models" / "seed-3" / "model.json"
    assert json.loads(model.read_text())["history"]["seed"] == 3
    assert (tmp_path / "results" / "report.html").stat().st_size > 10_000


def test_a_module_of_the_installed_package(installed, tmp_path):
    """As docs/guide/module.md says it."""
    text = (
        "import dglframer\nfrom pathlib import Path\n\n"
        "module crystals:\n"
        '    snakefile: Path(dglframer.__file__).parent / "workflow" / "Snakefile"\n'
        f"    config: {CONFIG!r}\n"
        '    prefix: "mine"\n\n'
        "use rule * from crystals as crystals_*\n"
    )
    (tmp_path / "Snakefile").write_text(text)
    words = ["python", "-m", "snakemake", "--cores", "1"]
    run(installed, tmp_path, *words, "mine/results/config.json")
    assert json.loads((tmp_path / "mine/results/config.json").read_text())["seeds"] == [3]


def test_what_pip_takes_to_install_it_again(installed, built, tmp_path):
    code = "from dglframer.common.own_code import requirement; print(requirement())"
    (wheel,) = built.glob("*.whl")
    assert run(installed, tmp_path, "python", "-c", code) == f"dglframer @ {wheel.as_uri()}\n"
