"""How the rules are written: one command each, a flag on each line, nothing a shell could misread."""

import re

import pytest
from helpers.paths import ROOT
from helpers.workflow import snakemake

FILES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
TEXT = "\n".join(path.read_text() for path in FILES)
COMMANDS = [
    re.findall(r'^ {12}"(.*)",$', body, re.MULTILINE)
    for body in re.findall(r"^    shell:\n        command\(\n(.*?)^        \)", TEXT, re.M | re.S)
]
PATHS = re.findall(r"^    (?:output|log|benchmark):\n((?:        .*\n)+)", TEXT, re.MULTILINE)
(CONSTRAINTS,) = re.findall(r"^wildcard_constraints:\n((?:    .*\n)+)", TEXT, re.MULTILINE)
ALLOWED = dict(re.findall(r'(\w+)=r?"(.*)",', CONSTRAINTS))


def test_every_shell_is_a_command_with_one_flag_on_each_line():
    assert len(COMMANDS) == TEXT.count("    shell:\n") > 15
    for verb, *flags in COMMANDS:
        assert re.fullmatch(r"dglframer [a-z -]+( \{input\.\w+:q\})?", verb), verb
        for flag in flags:
            assert re.fullmatch(r"--[a-z-]+ [^ ]+|\{params\.checks:q\}", flag), flag


def test_every_field_of_a_command_is_quoted():
    fields = re.findall(r"\{([^}]*)\}", "\n".join(word for words in COMMANDS for word in words))
    assert len(fields) > 80
    assert [name for name in fields if name != "threads" and not name.endswith(":q")] == []
    (end,) = re.findall(r'return " "\.join\(words\) \+ "(.*)"', TEXT)
    assert re.findall(r"\{([^}]*)\}", end) == ["log:q"]


def test_every_entry_of_the_report_has_a_caption_a_category_and_a_label_of_its_own():
    """`snakemake --report` shows the labels: no two entries of a category look alike."""
    entries = re.findall(r"report\(\n\s+\"(results/[^\"]+)\",\n(.*?)\n\s+\),?\n", TEXT, re.S)
    assert len(entries) == len(re.findall(r"\breport\(\n", TEXT)) > 5
    shown = set()
    for path, settings in entries:
        (caption,) = re.findall(r'caption="\.\./report/(\w+\.rst)"', settings)
        assert (ROOT / "workflow" / "report" / caption).read_text().strip(), path
        (category,) = re.findall(r'category="([^"]+)"', settings)
        (what,) = re.findall(r'labels=\{"what": "([^"]+)", "format": "[^"]+"\}', settings)
        shown.add((category, what))
    assert len(shown) == len(entries)
    assert {path for path, _ in entries} >= {
        "results/report.html",
        "results/evaluation/metrics.json",
        "results/evaluation/parity.svg",
    }


def test_commands_name_no_file_of_their_own():
    """A path in a command would miss the prefix of a module."""
    assert [words for words in COMMANDS if any("results" in word for word in words)] == []


def test_every_wildcard_is_constrained_to_what_needs_no_quotes():
    names = {name for block in PATHS for name in re.findall(r"(?<!\{)\{(\w+)\}", block)}
    names |= set(re.findall(r"\{wildcards\.(\w+)", TEXT))
    assert names == ALLOWED.keys()
    for name, allowed in ALLOWED.items():
        for text in ("$(touch X)", "0;touch X", "0 1", "../0", "0/1", "'0'", "`x`", "a\nb", ""):
            assert not re.fullmatch(allowed, text), (name, text)


@pytest.mark.parametrize(
    "target",
    [
        "results/models/seed-$(touch X)/model.json",
        "results/tune/worker-1;touch X;.json",
        "results/graphs/built/1-of-`touch X`",
        "results/compare/epochs/$(touch X)/evaluation/metrics.json",
        "results/nbody/$(touch X)/data.safetensors",
        "results/nbody/norm/models/egnn-10-frames-seed-$(touch X)/model.json",
        "results/shapes/models/tfn-$(touch X)-seed-0/model.json",
    ],
)
def test_a_wildcard_is_no_command(tmp_path, target):
    done = snakemake(tmp_path, target, check=False)
    assert done.returncode != 0 and "No rule to produce" in done.stdout + done.stderr
    assert not (tmp_path / "X").exists() and not (tmp_path / "results").exists()
