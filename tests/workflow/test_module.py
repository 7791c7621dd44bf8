"""The rules as a module of another folder's Snakefile: of a checkout, and of a tag of a repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fake_conda import FakeConda
from helpers.paths import ROOT
from helpers.workflow import SMALL_RUN, copy_checkout, merged, plain_command

from dglframer import __version__

RULES = f'"{ROOT / "workflow" / "Snakefile"}"'
QUICK = merged(SMALL_RUN, {"seeds": [7], "tune": {"trials": 0}})


def module(snakefile: str, *more: str, name: str = "dglframer", rules: str = "*") -> str:
    """A module statement, and the use of its rules."""
    lines = "".join(f"    {line}\n" for line in (f"snakefile: {snakefile}", *more))
    return f"module {name}:\n{lines}\nuse rule * from {name} as {rules}\n\n"


def run(folder: Path, *arguments: str, check: bool = True, **how) -> str:
    """What Snakemake prints in ``folder``, whose Snakefile is there."""
    settings = {**plain_command(folder, *arguments), **how}
    done = subprocess.run(**settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


def jobs(output: str) -> dict[str, int]:
    """Rules and counts of a dry run."""
    table = output.split("Job stats:\n")[1].split("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def commands(output: str) -> list[str]:
    """The commands that a run or a dry run printed."""
    return re.findall(r"dglframer .*", output)


@pytest.fixture
def quick(tmp_path) -> str:
    """The lines of a module that give it the quick configuration."""
    (tmp_path / "quick.json").write_text(json.dumps({"x": QUICK}))
    return 'config: config["x"]'


@pytest.fixture
def prefixed(tmp_path, quick) -> Path:
    """A folder whose Snakefile uses the rules with a prefix that needs quoting."""
    text = 'configfile: "quick.json"\n\n' + module(RULES, quick, 'prefix: "my crystals"')
    (tmp_path / "Snakefile").write_text(text)
    return tmp_path


def test_a_module_with_a_prefix_trains_a_model_below_it(prefixed):
    model = "my crystals/results/models/seed-7/model.json"
    run(prefixed, model, "my crystals/results/config.json")
    assert {path.name for path in prefixed.iterdir()} == {
        ".snakemake",
        "Snakefile",
        "quick.json",
        "my crystals",
    }
    results = prefixed / "my crystals" / "results"
    assert json.loads((prefixed / model).read_text())["history"]["seed"] == 7
    config = json.loads((results / "config.json").read_text())
    assert config["seeds"] == [7] and config["crystalframer"]["width"] == 16
    assert config["dataset"]["source"] == "jarvis_minerals", "defaults are filled in"
    assert len(list((results / "checkpoints" / "seed-7").glob("*/epoch-*"))) > 0
    assert " done in " in (results / "logs" / "train-seed-7.txt").read_text()
    assert "Nothing to be done" in run(prefixed, model, "--dry-run")


@pytest.mark.slow
def test_a_module_with_a_prefix_runs_to_the_end(prefixed):
    run(prefixed)
    results = prefixed / "my crystals" / "results"
    assert (results / "report.html").stat().st_size > 10_000
    run(prefixed, "--report", "report.zip")
    assert "Nothing to be done" in run(prefixed, "--dry-run")


@pytest.mark.parametrize(
    "target",
    [
        "all",
        "compare",
        "learning_curve",
        "nbody",
        "shapes",
        "my crystals/results/graphs/built/1-of-2",
    ],
)
def test_every_command_keeps_to_the_prefix(prefixed, target):
    found = commands(run(prefixed, target, "--dry-run", "--printshellcmds"))
    assert found
    for command in found:
        outside = re.sub(r"'my crystals/results/[^']*'", "", command)
        assert "results" not in outside, command


def test_paths_of_the_configuration_have_no_prefix(tmp_path):
    """They are files of the user's, and the commands read them as they are given."""
    (tmp_path / "mine.csv").write_text("id,split\n")
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "pretrained").mkdir(exist_ok=True)
        (tmp_path / "pretrained" / name).touch()
    changes = {
        "split": {"method": "from_file", "path": "mine.csv"},
        "training": {"init_from": "pretrained"},
    }
    config = f"config: {merged(QUICK, changes)!r}"
    (tmp_path / "Snakefile").write_text(module(RULES, config, 'prefix: "crystals"'))
    output = run(tmp_path, "--dry-run")
    assert re.search(rf"rejected\.parquet, ({re.escape(str(tmp_path))}/)?mine\.csv\n", output)
    given = rf"({re.escape(str(tmp_path))}/)?pretrained"  # not below the prefix
    assert re.search(rf"rule train_seed:\n    input: .* {given}/model\.json, {given}/", output)


def test_two_modules_stand_beside_each_other(tmp_path):
    """Each with its own configuration; the default target is that of the folder."""
    parts = [
        module(
            RULES,
            f"config: {merged(QUICK, {'seeds': [seed]})!r}",
            f'prefix: "{name}"',
            name=name,
            rules=f"{name}_*",
        )
        for name, seed in (("one", 1), ("two", 2))
    ]
    wanted = ["one/results/config.json", "two/results/config.json"]
    (tmp_path / "Snakefile").write_text(f"rule mine:\n    input: {wanted}\n\n" + "".join(parts))
    run(tmp_path)
    seeds = [json.loads((tmp_path / path).read_text())["seeds"] for path in wanted]
    assert seeds == [[1], [2]]
    assert not (tmp_path / "one" / "results" / "crystals.parquet").exists()
    found = jobs(run(tmp_path, "--dry-run", "one_all", "two_train"))
    assert {"one_report", "one_train_seed", "two_train_seed"} <= found.keys()
    assert "two_report" not in found


def test_a_module_without_a_prefix_does_what_the_checkout_does(tmp_path):
    """The folder is as Snakedeploy makes it; config/config.yaml is the checkout's."""
    (tmp_path / "workflow").mkdir()
    text = 'configfile: "config/config.yaml"\n\n' + module(RULES, "config: config")
    (tmp_path / "workflow" / "Snakefile").write_text(text)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    here = jobs(run(tmp_path, "--dry-run"))
    there = jobs(run(tmp_path, "--dry-run", "--snakefile", str(ROOT / "Snakefile")))
    assert here == there and here["train_seed"] == 2
    run(tmp_path, "results/config.json", "--config", "seeds=[3]")
    assert json.loads((tmp_path / "results" / "config.json").read_text())["seeds"] == [3]


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_a_module_that_is_given_no_configuration_has_that_of_the_checkout(tmp_path, snakefile):
    (tmp_path / "Snakefile").write_text(module(f'"{ROOT / snakefile}"'))
    run(tmp_path, "results/config.json", "--config", "seeds=[3]")
    config = json.loads((tmp_path / "results" / "config.json").read_text())
    assert config["seeds"] == [3] and config["training"]["epochs"] == 60


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


needs_git = pytest.mark.skipif(not shutil.which("git"), reason="no git")


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with the tag v1 of this checkout, on which work has gone on."""
    folder = tmp_path / "repository"
    folder.mkdir()
    copy_checkout(folder)
    git(folder, "init", "--quiet", ".")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one")
    git(folder, "tag", "v1")
    for path in (folder / "workflow").rglob("*"):
        if path.is_file():
            path.write_text("raise SystemExit('not the tag')\n")
    git(folder, "commit", "--quiet", "--all", "--message", "two")
    return folder


def tagged(kind: str, repository: Path, tmp_path: Path) -> tuple[str, str, dict[str, str]]:
    """What a Snakefile says for the tag, what pip is told, and the variables that keep it offline."""
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    if kind == "gitfile":
        snakefile = f'gitfile("{repository}", path="workflow/Snakefile", tag="v1")'
        return snakefile, f"git+{repository.as_uri()}@v1", cache
    bare, url = tmp_path / "bare.git", "https://github.com/someone/dglframer"
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(bare))
    redirected = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{bare.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
        "GITHUB_TOKEN": "",
    }
    snakefile = 'github("someone/dglframer", path="workflow/Snakefile", tag="v1")'
    return snakefile, f"git+{url}@v1", cache | redirected


@needs_git
@pytest.mark.parametrize("kind", ["gitfile", "github"])
def test_a_tag_of_a_repository_is_a_module(tmp_path, repository, quick, kind):
    """Its rules run, and environments that Snakemake makes install the tag."""
    snakefile, requirement, variables = tagged(kind, repository, tmp_path)
    text = 'configfile: "quick.json"\n\n' + module(snakefile, quick, 'prefix: "crystals"')
    (tmp_path / "Snakefile").write_text(text)
    conda = FakeConda(tmp_path / "conda")
    settings = plain_command(tmp_path)["env"] | variables
    run(tmp_path, "crystals/results/split.parquet", env=settings)
    assert (tmp_path / "crystals" / "results" / "split.parquet").is_file()
    assert "total" in run(tmp_path, "--dry-run", env=settings)
    made = "crystals/results/config.json"
    run(tmp_path, "--use-conda", made, env=conda.first_on_path(settings))
    assert json.loads((tmp_path / made).read_text())["seeds"] == [7]
    assert conda.installs() == [requirement]


@needs_git
def test_the_rules_of_another_release_are_refused(tmp_path, repository):
    git(repository, "checkout", "--quiet", "v1")
    version = repository / "dglframer" / "common" / "version.py"
    version.write_text(version.read_text().replace(__version__, "0.0.1"))
    git(repository, "commit", "--quiet", "--all", "--message", "older")
    git(repository, "tag", "v0")
    snakefile = f'gitfile("{repository}", path="workflow/Snakefile", tag="v0")'
    (tmp_path / "Snakefile").write_text(module(snakefile))
    output = run(tmp_path, "--dry-run", check=False)
    assert f"@v0, but dglframer {__version__} is imported from {ROOT}" in output


def test_the_rules_of_a_second_checkout_are_refused(tmp_path):
    """The first one's package is imported already."""
    (tmp_path / "other").mkdir()
    other = copy_checkout(tmp_path / "other")
    parts = [
        module(f'"{folder}/workflow/Snakefile"', f'prefix: "{name}"', name=name, rules=f"{name}_*")
        for name, folder in (("one", ROOT), ("two", other))
    ]
    (tmp_path / "Snakefile").write_text("".join(parts))
    output = run(tmp_path, "--dry-run", check=False)
    assert f"rules are of {other}, but dglframer" in output
    assert "one workflow has one dglframer" in output


def test_snakemake_without_the_package_says_what_is_missing(tmp_path):
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Block())
from snakemake.cli import main
sys.argv[0] = "snakemake"
main()
"""
    words = ["--cores", "1", "--dry-run", "--snakefile", str(ROOT / "Snakefile")]
    output = run(tmp_path, check=False, args=[sys.executable, "-c", code, *words])
    assert "No module named 'pyarrow'" in output
    assert f'pip install "{ROOT}"' in output
    assert not os.listdir(tmp_path)
