"""Models in one file: what goes in comes out, and nothing else is unpacked."""

import zipfile

import pytest
import torch
from helpers.paths import ROOT

from dglframer.cli import main as cli
from dglframer.common.errors import DamagedFile, UserError
from dglframer.networks.archive import unpacked, write_models
from dglframer.networks.model_directory import load_model
from dglframer.networks.named import load_place, places

STORED = ROOT / "tests" / "networks" / "models" / "format-4"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def seeds(tmp_path):
    """A folder of two seeds."""
    folder = tmp_path / "models"
    for seed in (0, 1):
        (folder / f"seed-{seed}").mkdir(parents=True)
        for name in ("model.json", "model.safetensors"):
            (folder / f"seed-{seed}" / name).write_bytes((STORED / name).read_bytes())
    return folder


def test_an_archive_gives_the_same_models(seeds, tmp_path):
    path = tmp_path / "mine.zip"
    assert write_models(seeds, path, "# mine\n") == 2
    first = path.read_bytes()
    found = places(str(path))
    assert [place.folder.name for place in found] == ["seed-0", "seed-1"]
    expected = load_model(STORED).network.state_dict()
    for place in found:
        weights = load_place(place).network.state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (found[0].folder.parent / "README.md").read_text() == "# mine\n"
    write_models(seeds, path, "# mine\n")
    assert path.read_bytes() == first  # no time in it
    assert unpacked(path) == found[0].folder.parent


def test_the_card_beside_the_models_goes_with_them(seeds, tmp_path, monkeypatch):
    words = ["dglframer", "export", "model", str(seeds), str(tmp_path / "mine.zip")]
    (tmp_path / "other.md").write_text("# other\n")
    (seeds / "card.md").write_text("# of the report\n")
    for more, text in (
        ([], "# of the report\n"),
        (["--card", str(tmp_path / "other.md")], "# other\n"),
    ):
        monkeypatch.setattr("sys.argv", words + more)
        assert cli.main() == 0
        with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
            assert archive.read("README.md").decode() == text


def test_a_damaged_model_is_not_packed(seeds, tmp_path):
    (seeds / "seed-1" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(DamagedFile, match=r"seed-1/model\.safetensors"):
        write_models(seeds, tmp_path / "mine.zip")
    assert not (tmp_path / "mine.zip").exists()
    with pytest.raises(UserError, match=r"must end in \.zip"):
        write_models(seeds, tmp_path / "mine.tar")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../seed-0/model.json"], "is no file of a model"),
        (["/etc/model.json"], "is no file of a model"),
        (["../model.json"], "is no file of a model"),
        (["seed-0/model.json", "seed-0/run.py"], r"'seed-0/run\.py' is no file of a model"),
        (["README.md"], "there is no model in it"),
    ],
)
def test_what_is_no_archive_of_models_is_refused(tmp_path, names, message):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    with pytest.raises(DamagedFile, match=message):
        unpacked(path)
    assert not (tmp_path / "cache").exists()


def test_what_is_no_zip_is_refused(tmp_path):
    path = tmp_path / "other.zip"
    path.write_bytes(b"no zip at all")
    with pytest.raises(DamagedFile, match="not a zip archive"):
        unpacked(path)
