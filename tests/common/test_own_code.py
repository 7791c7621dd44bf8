"""A command started by a workflow refuses to be other code than the workflow was read with."""

import json
import sys

import pytest

from dglframer.cli import main as cli
from dglframer.common import own_code
from dglframer.common.errors import UserError
from dglframer.common.version import __version__


@pytest.fixture
def exported(monkeypatch) -> str:
    """The hash of this code, exported as a workflow does."""
    monkeypatch.setenv(own_code.VARIABLE, "")
    own_code.export_code()
    return own_code.hash_of_code()


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The package in another folder, in the place of this one."""
    package = tmp_path / "dglframer"
    for name in ("cli/main.py", "report/templates/report.html.j2", "report/templates/__init__.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    monkeypatch.setattr(own_code, "PACKAGE", package)
    return package


def test_the_hash_is_of_names_and_contents_wherever_they_are(copied):
    first = own_code.hash_of_code()
    (copied / "cli" / "__pycache__").mkdir()
    (copied / "cli" / "__pycache__" / "main.pyc").touch()
    (copied / "cli" / "main.py~").touch()
    assert own_code.hash_of_code() == first
    (copied / "report" / "templates" / "report.html.j2").write_text("another page")
    second = own_code.hash_of_code()
    (copied / "cli" / "main.py").rename(copied / "cli" / "mine.py")
    assert len({first, second, own_code.hash_of_code()}) == 3


def is_refused() -> bool:
    """Whether a command of this package may not run here."""
    try:
        own_code.check_code()
    except UserError:
        return True
    return False


def test_without_a_workflow_nothing_is_compared(exported, copied, monkeypatch):
    assert is_refused(), "this is other code"
    monkeypatch.delenv(own_code.VARIABLE)
    assert not is_refused()


def test_the_same_folder_passes_although_it_was_edited(copied, monkeypatch):
    monkeypatch.setenv(own_code.VARIABLE, "")
    own_code.export_code()
    (copied / "cli" / "main.py").write_text("edited")
    assert not is_refused()
    monkeypatch.setattr(own_code, "PACKAGE", copied / "cli")
    assert is_refused(), "in another folder the edit counts"


def test_other_code_is_refused_before_its_arguments_are_read(exported, copied, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dglframer", "no-such-verb"])
    assert cli.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("dglframer: error: the workflow was read with the code in ")
    assert str(copied) in error and sys.prefix in error


def test_a_copy_of_the_same_code_passes(exported, copied, monkeypatch):
    assert is_refused()
    monkeypatch.setattr(own_code, "hash_of_code", lambda: exported)
    assert not is_refused()


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        (None, f"dglframer=={__version__}"),
        (
            {"url": "file:///w/dglframer.whl", "archive_info": {}},
            "dglframer @ file:///w/dglframer.whl",
        ),
        (
            {"url": "https://host/dglframer", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "git+https://host/dglframer@abc",
        ),
    ],
    ids=["index", "file", "repository"],
)
def test_what_pip_takes_to_install_it_again(monkeypatch, origin, wanted):
    class Distribution:
        def read_text(self, name):
            assert name == "direct_url.json"
            return json.dumps(origin) if origin else None

    monkeypatch.setattr(own_code.metadata, "distribution", lambda name: Distribution())
    assert own_code.requirement() == wanted
