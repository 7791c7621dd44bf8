"""The command line: quick, helpful, and one message for what the user can mend."""

import json
import os
import re
import resource
import subprocess
import sys
from typing import get_args

import pyarrow.parquet as pq
import pytest
from helpers.crystals import TARGETS, TINY_CUTOFF
from helpers.paths import ROOT

from dglframer.cli import main as cli
from dglframer.common.files import sha256, write_json
from dglframer.config.data import DatasetConfig

VERBS = (
    "sources download crystals clean inspect split leakage init graphs tune train evaluate"
    " compare-plan compare report predict models import-checkpoint frames curve-splits"
    " learning-curve nbody shapes export workflow doctor config completion"
).split()


def loaded(code: str, modules: str) -> list[str]:
    """Which of ``modules`` a fresh Python has loaded after ``code``."""
    check = f"\nimport sys\nprint('\\n', [m for m in {modules.split()} if m in sys.modules])"
    command = [sys.executable, "-c", code + check]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return eval(done.stdout.splitlines()[-1])


def test_help_is_quick():
    """In seconds of the CPU, which do not count how long other processes had it."""
    seconds = []
    for _ in range(3):
        before = seconds_of_children()
        command = [sys.executable, "-m", "dglframer", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(seconds_of_children() - before)
    assert "predict" in done.stdout
    assert 0 < min(seconds) < 0.3


def seconds_of_children() -> float:
    """CPU time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom dglframer.cli.main import main\nsys.argv = ['dglframer', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    heavy = "torch dgl pymatgen snakemake numpy pyarrow numba pydantic matplotlib optuna jarvis"
    assert loaded(code, heavy) == []


def test_arrow_gives_back_the_memory_it_does_not_need():
    code = (
        "import sys\nfrom dglframer.cli.main import main\nsys.argv = ['dglframer', 'config']\nmain()\n"
        "import pyarrow\nprint(pyarrow.default_memory_pool().backend_name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "system"


@pytest.mark.parametrize("words", ["sources", "config", "--help", "predict --help", "--version"])
def test_output_that_nobody_reads_ends_the_verb_quietly(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dglframer", *words.split()]
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}  # else argparse passes over the error itself
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=buffered, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_training_needs_no_chemistry_library_and_no_workflow_engine():
    modules = "graphs.dataset training.run training.checkpoints tuning.tune evaluation.evaluate"
    code = "import " + ", ".join(f"dglframer.{module}" for module in modules.split())
    assert loaded(code, "pymatgen snakemake jarvis spglib") == []


def test_data_stages_do_not_need_torch():
    code = "import dglframer.structures.periodic_graph, dglframer.data.sources.folder, dglframer.data.split"
    assert loaded(code, "torch dgl snakemake jarvis") == []


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs the command line and gives (status, output, error output)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dglframer", *map(str, arguments)])
        try:
            status = cli.main()
        except SystemExit as exit:
            status = exit.code
        return (status, *capsys.readouterr())

    return run


def test_help_lists_every_verb(run):
    status, out, _ = run("--help")
    assert status == 0
    listed = [
        line.split()[0]
        for line in out.splitlines()
        if line.startswith("    ") and line[4:5].strip()
    ]
    assert listed == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_verb_explains_itself_and_its_options(run, verb):
    status, out, _ = run(verb, "--help")
    assert status == 0
    sub = cli.parser()._subparsers._group_actions[0].choices[verb]
    what = sub.get_default("run") or getattr(cli, verb)  # a module: it has verbs of its own
    assert " ".join(what.__doc__.split()) in " ".join(out.split())
    assert all(action.help for action in sub._actions)


def test_version_is_printed(run):
    from dglframer import __version__

    status, text, _ = run("--version")
    assert status == 0 and re.fullmatch(
        rf"dglframer {__version__}( \(commit [0-9a-f]{{7,}}\+?\))?\n", text
    )


def test_the_commit_is_that_of_the_checkout(tmp_path):
    from dglframer.common import own_code

    assert own_code.commit(tmp_path) == ""  # installed: no repository
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert head.stdout.startswith(own_code.commit(tmp_path)) and len(own_code.commit(tmp_path)) >= 7
    (tmp_path / "file").write_text("two")
    assert own_code.commit(tmp_path).endswith("+")


def test_config_prints_the_defaults(run):
    from dglframer.config.yaml_files import default_yaml

    assert run("config")[:2] == (0, default_yaml())


@pytest.mark.parametrize(("text", "status"), [("seeds: [7]\n", 0), ("seed: 7\n", 2)])
def test_config_check_tells_by_its_status(run, tmp_path, text, status):
    (tmp_path / "mine.yaml").write_text(text)
    result = run("config", "--check", tmp_path / "mine.yaml")
    assert result[0] == status
    if status:
        assert_one_message(result, "mine.yaml", "unknown key seed (did you mean seeds?)")


@pytest.fixture
def stages(tiny_run, tmp_path):
    """The command line of each data stage, on the tiny crystals as a Parquet data set."""
    settings = {
        "dataset": {"source": "parquet", "path": str(tiny_run.crystals), "targets": TARGETS},
        "graphs": {"cutoff_angstrom": TINY_CUTOFF, "crystals_per_shard": 5},
    }
    write_json(tmp_path / "config.json", settings)
    config = ("--config", tmp_path / "config.json")
    crystals, out = tmp_path / "crystals.parquet", "--out"
    rejected = ("--rejected", tmp_path / "rejected.parquet")
    download = tmp_path / "download.json"
    return {
        "download": ("download", *config, out, download),
        "crystals": ("crystals", *config, "--download", download, *rejected, out, crystals),
        "split": ("split", *config, "--crystals", crystals, out, tmp_path / "split.parquet"),
        "graphs": ("graphs", *config, "--crystals", crystals, out, tmp_path / "graphs"),
    }


def test_data_stages_give_what_the_functions_give(run, stages, tiny_run, tmp_path):
    for stage, arguments in stages.items():
        status, _, error = run(*arguments)
        assert (stage, status) == (stage, 0), error
    assert sha256(tmp_path / "split.parquet") == sha256(tiny_run.split)
    assert pq.read_metadata(tmp_path / "rejected.parquet").num_rows == 0
    for entry in tiny_run.manifest["shards"]:
        assert sha256(tmp_path / "graphs" / entry["file"]) == entry["sha256"]


def assert_one_message(result, *words):
    """Status 2 and a single message; an exception would have escaped from main()."""
    status, _, error = result
    assert status == 2
    assert error.count("dglframer: error: ") == 1 and "Traceback" not in error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "config.json"),
        ("{", "not valid|Expecting"),
        ('{"trainin": {}}', "did you mean training?"),
        ('{"dataset": {"targets": ["gap"]}}', "formation_energy_peratom"),
        ('{"dataset": {"source": "parquet", "path": "nowhere"}}', "nowhere"),
        ('{"dataset": {"source": "folder", "path": ".", "targets_csv": "none.csv"}}', "none.csv"),
    ],
)
def test_wrong_config_is_one_message(run, stages, tmp_path, text, word):
    for stage in ("download", "crystals"):
        write_json(tmp_path / "download.json", {"files": []})
        (tmp_path / "config.json").unlink(missing_ok=True)
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        result = run(*stages[stage])
        assert_one_message(result)
        assert any(part in result[2] for part in word.split("|"))
    assert not (tmp_path / "crystals.parquet").exists()


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("crystals", "download.json"),
        ("split", "crystals.parquet"),
        ("graphs", "crystals.parquet"),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_absent_or_damaged_input_is_one_message(run, stages, tmp_path, stage, file, content):
    if content is not None:
        (tmp_path / file).write_bytes(content)
    assert_one_message(run(*stages[stage]), file)


@pytest.mark.parametrize(("largest", "status"), [(0.25, 2), (0.5, 0)])
def test_too_many_rejected_records_stop_but_leave_the_reasons(
    run, stages, tiny_run, tmp_path, largest, status
):
    table = pq.read_table(tiny_run.crystals)
    labels = [float("inf")] * 4 + table[TARGETS[0]].to_pylist()[4:]
    column = table.schema.get_field_index(TARGETS[0])
    pq.write_table(table.set_column(column, TARGETS[0], [labels]), tmp_path / "source.parquet")
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["dataset"] |= {
        "path": str(tmp_path / "source.parquet"),
        "max_rejected_fraction": largest,
    }
    write_json(tmp_path / "config.json", settings)
    run(*stages["download"])
    result = run(*stages["crystals"])
    rejected = pq.read_table(tmp_path / "rejected.parquet")
    assert rejected["reason"].to_pylist() == [f"label {TARGETS[0]} is inf"] * 4
    if status:
        assert_one_message(
            result, "4 of 12 labelled records were rejected", "max_rejected_fraction allows 25.0%"
        )
    assert result[0] == status
    assert (tmp_path / "crystals.parquet").exists() == (status == 0)


@pytest.mark.parametrize("verb", ["train", "tune"])
def test_damaged_graphs_are_one_message(run, stages, tiny_run, tmp_path, verb):
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "manifest.json").write_text("{")
    arguments = ["--config", tmp_path / "config.json", "--graphs", tmp_path / "graphs"]
    arguments += ["--split", tiny_run.split, "--out", tmp_path / "out", "--device", "cpu"]
    arguments += ["--seed", 0] if verb == "train" else []
    assert_one_message(run(verb, *arguments), "manifest.json")


@pytest.mark.parametrize("arguments", [(), ("trian",), ("split",), ("train", "--seed", "one")])
def test_wrong_arguments_are_status_2(run, arguments):
    status, _, error = run(*arguments)
    assert status == 2 and "usage: dglframer" in error


def test_sources_are_listed_for_people_and_programs(run):
    status, out, _ = run("sources")
    assert status == 0
    assert "dft_3d_2021: 55723" in out and "formation_energy_peratom [eV/atom]" in out
    status, out, _ = run("sources", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == set(get_args(DatasetConfig.model_fields["source"].annotation))
    assert rows["megnet"]["targets"]["e_form"] == "eV/atom"
    assert all(row["size"] and row["licence"] and row["citation"] for row in rows.values())
    documented = (ROOT / "docs" / "guide" / "data.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in documented for name in rows)
