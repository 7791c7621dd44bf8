"""Configurations as files: what is read, keys that stand twice, and paths."""

import json

import pytest

from dglframer.common.errors import ConfigError
from dglframer.config import (
    Config,
    check_paths,
    hash_of_config,
    load_config,
    merged_config,
    override,
)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.yaml", "training: [1"),
        ("a.yaml", "training: {epochs: 0}"),
        ("a.yaml", "- 1"),
        ("a.yaml", "[" * 20_000),
        ("a.json", "[" * 200_000),
        ("a.json", "{"),
        ("a.yaml", b"\xff\xfe\x00"),
        ("a.yaml", None),
    ],
)
def test_unusable_file_is_named(tmp_path, file, text):
    path = tmp_path / file
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=file):
        load_config(path)


def test_load_keeps_defaults_of_absent_keys(tmp_path):
    (tmp_path / "a.yaml").write_text("training: {learning_rate: 1e-3}\n")  # YAML 1.1: a string
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "a.json").write_text(json.dumps(Config().model_dump(mode="json")))
    assert load_config(tmp_path / "a.yaml") == override(Config(), {"training.learning_rate": 1e-3})
    assert load_config(tmp_path / "empty.yaml") == load_config(tmp_path / "a.json") == Config()


TWICE = "seeds: [0]\ntraining:\n  epochs: 3\n  batch_size: 8\n  epochs: 4\n"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.yaml", TWICE, "lines 3 and 5 both set epochs"),
        ("a.yaml", "seeds: [0]\n\nseeds: [1]\n", "lines 1 and 3 both set seeds"),
        ("a.yaml", 'seeds: [0]\n"seeds": [0]\n', "lines 1 and 2 both set seeds"),
        ("a.yaml", "training: {epochs: 3, epochs: 4}", "lines 1 and 1 both set epochs"),
        ("a.json", '{"training": {"epochs": 3, "epochs": 4}}', "epochs stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=f"{file}: .*{message}"):
        load_config(tmp_path / file)


def test_anchors_and_merged_mappings_work_and_the_own_key_wins(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "crystalframer: &small {blocks: 2, width: 64}\n"
        "tune: {search: {crystalframer.width: &wide {choices: [64, 128]}}}\n"
        "tfn: {channels: 8}\nse3_transformer: {<<: {channels: 8, layers: 2}, layers: 1}\n"
    )
    config = load_config(tmp_path / "a.yaml")
    assert (config.crystalframer.blocks, config.crystalframer.width) == (2, 64)
    assert (config.se3_transformer.channels, config.se3_transformer.layers) == (8, 1)


OWN = "dataset: {{source: folder, path: {}, targets_csv: {}, targets: [e]}}\n"


def test_paths_are_relative_to_the_file_that_states_them(tmp_path, monkeypatch):
    folder = tmp_path / "project" / "settings"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "project")
    more = "split: {method: from_file, path: split.csv}\ntraining: {init_from: ../models/a}\n"
    (folder / "mine.yaml").write_text(OWN.format("../crystals", "/data/e.csv") + more)
    (tmp_path / "project" / "crystals").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for path in (folder / "mine.yaml", "project/settings/mine.yaml", "link/settings/mine.yaml"):
        config = load_config(path)
        assert config.dataset.path == str(tmp_path / "project" / "crystals")  # itself a link
        assert config.dataset.targets_csv == "/data/e.csv"
        assert config.split.path == str(folder / "split.csv")
        assert config.training.init_from == str(tmp_path / "project" / "models" / "a")
    (tmp_path / "resolved.json").write_text(json.dumps(config.model_dump(mode="json")))
    assert load_config(tmp_path / "resolved.json") == config


def test_a_path_of_several_files_is_relative_to_the_one_that_wins(tmp_path, monkeypatch):
    base, first, second = (tmp_path / name / "c.yaml" for name in ("base", "first", "second"))
    for path in (base, first, second):
        path.parent.mkdir()
    base.write_text("dataset: {path: null}\nsplit: {path: null}\n")
    first.write_text(OWN.format("mine", "e.csv"))
    second.write_text("dataset: {path: other}\nseeds: [3]\n")
    monkeypatch.chdir(tmp_path)
    merged = {
        "dataset": {"source": "folder", "path": "other", "targets_csv": "e.csv", "targets": ["e"]},
        "split": {"method": "from_file", "path": "s.csv"},  # from the command line
    }
    config = merged_config(merged, [first, second, base])
    assert config.dataset.path == str(tmp_path / "second" / "other")
    assert config.dataset.targets_csv == str(tmp_path / "first" / "e.csv")
    assert config.split.path == str(tmp_path / "s.csv")
    assert merged["dataset"]["path"] == "other"  # Snakemake's own values are left alone
    first.write_text(OWN.format("other", "e.csv"))  # the same text: the later file wins
    assert merged_config(merged, [first, second, base]).dataset.path == config.dataset.path
    assert merged_config(merged, []).dataset.path == str(tmp_path / "other")
    second.write_text("seeds: [3]\nseeds: [4]\n")
    with pytest.raises(ConfigError, match=r"second/c\.yaml: lines 1 and 2 both set seeds"):
        merged_config(merged, [first, second, base])


def test_a_moved_project_keeps_the_hash_of_its_configuration(tmp_path):
    hashes = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.yaml").write_text(OWN.format("mine", "e.csv"))
        hashes.add(hash_of_config(load_config(tmp_path / name / "c.yaml")))
    (tmp_path / "c.yaml").write_text(OWN.format("mine", "f.csv"))
    assert len(hashes) == 1 and hash_of_config(load_config(tmp_path / "c.yaml")) not in hashes


def test_a_named_file_that_is_not_there_is_told(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "c.yaml").write_text(OWN.format("mine", "e.csv"))
    with pytest.raises(ConfigError, match=r"dataset\.targets_csv: no such file .*e\.csv"):
        check_paths(load_config(tmp_path / "c.yaml"))
    (tmp_path / "e.csv").touch()
    check_paths(load_config(tmp_path / "c.yaml"))
