"""The site's generated pages, and that a link to nothing stops its build."""

import shutil
import subprocess
import sys

import pytest
from helpers.paths import ROOT

from dglframer.config import Config

sys.path.append(str(ROOT / "tools"))
import docs_pages


def test_the_configuration_page_has_every_key_with_its_default():
    page = docs_pages.configuration()
    for name, field in Config.model_fields.items():
        section = getattr(field.annotation, "model_fields", None)
        for key in section or [name]:
            assert f"| `{key}` |" in page, (name, key)
    assert "| `cutoff_angstrom` | `float` | `8.4` |" in page
    assert "| `path` | `str \\| None` | `null` |" in page


def test_the_page_of_commands_has_the_help_of_every_verb():
    page = docs_pages.commands()
    assert "## predict\n" in page and "usage: dglframer split [-h]" in page


@pytest.fixture
def checkout(tmp_path):
    """What a build reads."""
    for name in ("docs", "tools", "dglframer"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.name[0] != "." and path.name != "site" and not (tmp_path / path.name).exists():
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (None, None),
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](tuning.md#no-such-part)", "no-such-part"),
        ("[x](../../nothing.yaml)", "nothing.yaml"),
    ],
)
def test_a_link_to_nothing_stops_the_build(checkout, link, said):
    if link:
        with (checkout / "docs" / "guide" / "data.md").open("a") as page:
            page.write(f"\n{link}\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (link is None), done.stderr
    if link is None:
        assert (checkout / "site" / "reference" / "configuration.html").is_file()
        python = (checkout / "site" / "reference" / "python.html").read_text()
        assert "dglframer.interface.model.load" in python and "edges_per_batch" in python
    else:
        assert said in done.stderr
