"""A shell completes verbs, options and files by the script that the program prints."""

import shutil
import subprocess
import sys

import pytest

from dglframer.cli import main as program

pytest.importorskip("shtab", reason="shtab is not installed")


def script(monkeypatch, capsys, shell):
    monkeypatch.setattr(sys, "argv", ["dglframer", "completion", shell])
    assert program.main() == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pred", "predict"),
        ("export mat", "matbench"),
        ("predict --cov", "--coverage"),
        ("split --config mi", "mine.yaml"),
        ("predict formation_energy mi", "mine.yaml"),
    ],
)
def test_bash_completes(monkeypatch, capsys, tmp_path, words, offered):
    (tmp_path / "completion.bash").write_text(script(monkeypatch, capsys, "bash"))
    (tmp_path / "mine.yaml").touch()
    typed = words.split()
    ask = (
        f"source completion.bash; COMP_WORDS=(dglframer {words}); COMP_CWORD={len(typed)}; "
        '_shtab_dglframer; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    bash = shutil.which("bash")
    done = subprocess.run([bash, "-c", ask], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == [offered], done.stderr


def test_zsh_gets_a_script_of_its_own(monkeypatch, capsys):
    assert script(monkeypatch, capsys, "zsh").startswith("#compdef dglframer")
