"""The list of licences is that of the lock, and no package is under the GPL alone."""

import csv
import runpy

import pytest
from helpers.paths import ROOT


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(ROOT / "tools" / "licences.py"))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with open(ROOT / "requirements.licences.csv", newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_every_locked_package_is_in_the_list_with_its_version(script, rows):
    listed = [(row["package"], row["version"]) for row in rows]
    assert listed == script["locked"](), "run: python tools/licences.py"
    assert len(listed) > 100 and ("torch" in dict(listed)) and ("dgl" in dict(listed))


def test_licences_are_those_that_the_installed_packages_state(script, rows):
    """A row that nobody could fill in where the list was made may be known here."""
    known = [row for row in rows if row["licence"] != script["UNKNOWN"]]
    here = {
        (name, version): script["licence_of"](name, version) for name, version in script["locked"]()
    }
    assert len(known) > 150
    for row in known:
        assert here[row["package"], row["version"]] in (None, row["licence"]), row


def test_no_package_is_under_the_gpl_alone(rows):
    """The LGPL is a library's; several licences joined by "or" leave a choice."""
    strict = [
        row["package"]
        for row in rows
        if any("GPL" in licence.replace("LGPL", "") for licence in row["licence"].split(" AND "))
        and " or " not in row["licence"].lower()
    ]
    assert strict == []
