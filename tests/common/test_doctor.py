"""The doctor finds nothing here, and says what to do where something is missing."""

import importlib.metadata

import pytest

from dglframer.cli import doctor


def test_a_sound_environment(capsys):
    assert doctor.examine() == 0
    printed = capsys.readouterr().out
    assert "nothing wrong" in printed
    for name in doctor.PACKAGES:
        assert f"{name:<14}{importlib.metadata.version(name)}" in printed


def test_a_missing_package(capsys, monkeypatch):
    def version(name):
        if name == "pyarrow":
            raise importlib.metadata.PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert doctor.examine() == 1
    assert "pip install pyarrow" in capsys.readouterr().out


def test_another_python(capsys, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 13, 0))
    assert doctor.examine() == 1
    assert "3.11 and 3.12 only" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["", "s3cret-key-of-thirty-two-letters"])
def test_the_key_is_never_shown(capsys, monkeypatch, key):
    monkeypatch.setenv("MP_API_KEY", key)
    doctor.examine()
    printed = capsys.readouterr().out
    assert ("MP_API_KEY    set" in printed) == bool(key)
    assert "s3cret" not in printed
