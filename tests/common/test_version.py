"""The version is the same wherever it stands, and the changelog begins with it."""

import re
import tomllib

import yaml
from helpers.paths import ROOT

from dglframer import __version__
from dglframer.config import Config
from dglframer.config.stages import STAGES, stage_settings


def test_every_place_has_the_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    scripts = sorted((ROOT / "workflow" / "envs").glob("*.post-deploy.sh"))
    tags = re.findall(
        r"@v([\d.]+\d)|tag=\"v([\d.]+\d)", (ROOT / "docs/guide/module.md").read_text()
    )
    assert len(scripts) == 2 and len(tags) == 3
    for script in scripts:
        assert f"\n# dglframer {__version__}\n" in script.read_text(), script
    assert {one or other for one, other in tags} == {__version__}


def test_the_changelog_begins_with_it():
    first = re.search(
        r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert first and first[1] == __version__


def test_results_do_not_depend_on_it():
    """A new version alone makes no stage run again."""
    config = Config()
    for stage in STAGES:
        assert __version__ not in str(stage_settings(config, stage)), stage
