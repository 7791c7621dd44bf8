"""The doctor finds nothing here, and says what to do where something is missing."""

import importlib.metadata
import os
import subprocess
import sys

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


def test_the_loops_for_cpus_are_compiled_into_the_cache(tmp_path):
    """The second process finds them: it compiles nothing."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "DGLFRAMER_SIMD_LANES": "8"}
    command = [sys.executable, "-m", "dglframer", "doctor", "--compile"]
    stored = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert "are compiled and cached" in done.stderr
        stored.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")})
    assert {path.name.split("-")[0] for path in stored[0]} >= {
        "atoms.make_forward.locals.forward",
        "atoms.make_backward.locals.backward",
    }
    assert stored[1] == stored[0]
