"""A full and a read-only disk: each verb says so in one message, leaves no part of a file, and works later.

Real file systems: a tmpfs that is filled, or mounted read-only.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.crystals import TARGETS
from helpers.workflow import snakemake

from dglframer.cli import main as cli
from dglframer.common.files import write_json

SMALL = {"blocks": 1, "width": 8, "heads": 1, "feedforward": 8, "angle_bins": 4, "distance_bins": 4}
ONE = {"epochs": 1, "averaged_epochs": 0}
CONFIG = {
    "dataset": {"targets": list(TARGETS)},
    "crystalframer": SMALL,
    "training": ONE,
    "graphs": {"cutoff_angstrom": 3.0},
    "tune": {"trials": 1, "epochs": 1},
    "compare": {"variants": {"crystalframer": {"encoder": "crystalframer"}}},
    "seeds": [0],
    "nbody": {"budget": "smoke", "simulations": [8, 2, 2], "steps": 1, "models": ["egnn"]},
    "shapes": {"budget": "smoke", "objects": [1, 1, 1], "steps": 1, "models": ["deepset"]},
}
BYTES = 64 << 20


def can_mount() -> bool:
    """Whether this process may mount file systems: root, and not in a container without that right."""
    if os.getuid() != 0 or shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(tried, stderr=subprocess.DEVNULL).returncode == 0


pytestmark = pytest.mark.skipif(not can_mount(), reason="only root can mount a small file system")


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path):
        self.folder, self.filler = folder, folder / ".filler"
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs"]
        subprocess.run(["mount", *options, str(folder)], check=True)

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes."""
        self.filler.touch()
        os.truncate(self.filler, 0)
        free = os.statvfs(self.folder)
        with open(self.filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - left)

    def mend(self) -> None:
        """Make room and let everybody write."""
        subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)
        self.filler.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    one = Disk(tmp_path / "small")
    yield one
    subprocess.run(["umount", "--lazy", str(one.folder)], check=True)


@pytest.fixture
def run(monkeypatch, capfd):
    """A function that runs a verb and returns its status and what it said."""

    def run(words: str, **paths) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dglframer", *words.format(**paths).split()])
        try:
            status = cli.main()
        except Exception as error:
            status = f"{type(error).__name__}: {error}"
        return status, "".join(capfd.readouterr())

    return run


LEARN = "--config {i}/config.json --graphs {i}/graphs --split {i}/split.parquet --device cpu"
READ = "--config {i}/config.json --crystals {i}/crystals.parquet"
# verb and inputs, then what it writes, which later verbs read
VERBS = {
    "download": ("download --config {i}/config.json --out {o}/download.json", "download.json"),
    "crystals": (
        "crystals --config {i}/config.json --download {i}/download.json "
        "--rejected {o}/rejected.parquet --out {o}/made.parquet",
        "rejected.parquet made.parquet",
    ),
    "clean": (f"clean {READ} --out {{o}}/checks.parquet", "checks.parquet"),
    "inspect": (
        "inspect {i}/crystals.parquet --checks {i}/checks.parquet --json {o}/inspection.json "
        "--html {o}/inspection.html",
        "inspection.json inspection.html",
    ),
    "split": (f"split {READ} --out {{o}}/other.parquet", "other.parquet"),
    "leakage": (
        "leakage --checks {i}/checks.parquet --split {i}/split.parquet --out {o}/leakage.json",
        "leakage.json",
    ),
    "graphs": (f"graphs {READ} --out {{o}}/new", "new/manifest.json new/shard-00000.parquet"),
    "graphs --part": (f"graphs {READ} --part 1/1 --out {{o}}/part", "part/shard-00000.parquet"),
    "tune": (f"tune {LEARN} --out {{o}}/tune", "tune/best.json tune/trials.json"),
    "train": (
        f"train {LEARN} --seed 0 --out {{o}}/seed-0",
        "seed-0/model.json seed-0/model.safetensors seed-0/metrics.jsonl",
    ),
    "evaluate": (
        "evaluate --graphs {i}/graphs --split {i}/split.parquet --models {i}/seed-0 --device cpu "
        "--out {o}/evaluation",
        "evaluation/metrics.json evaluation/predictions.parquet evaluation/parity.svg",
    ),
    "report": (
        "report --config {i}/config.json --download {i}/download.json "
        "--crystals {i}/crystals.parquet --rejected {i}/rejected.parquet "
        "--checks {i}/checks.parquet --inspection {i}/inspection.json --split {i}/split.parquet "
        "--leakage {i}/leakage.json --graphs {i}/graphs --models {i}/seed-0 "
        "--evaluation {i}/evaluation --out {o}/report.html",
        "report.html",
    ),
    "predict": (
        "predict {i}/seed-0 {i}/crystals.parquet --device cpu --out {o}/p.csv",
        "p.csv",
    ),
    "predict --embed": (
        "predict {i}/seed-0 {i}/crystals.parquet --device cpu --out {o}/p.parquet "
        "--embed {o}/e.parquet",
        "p.parquet e.parquet",
    ),
    "compare-plan": (
        "compare-plan --config {i}/config.json --budget epochs --trained {i} --out {o}/plan",
        "plan/crystalframer.json",
    ),
    "config": ("config --check {i}/config.json --out {o}/checked.json", "checked.json"),
    "nbody simulate": (
        "nbody simulate --config {i}/config.json --cap norm --out {o}/data.safetensors",
        "data.safetensors",
    ),
    "nbody train": (
        "nbody train --config {i}/config.json --data {i}/data.safetensors --model egnn --frames 10 "
        "--seed 0 --device cpu --out {o}/egnn",
        "egnn/model.json egnn/curve.jsonl",
    ),
    "nbody evaluate": (
        "nbody evaluate --data {i}/data.safetensors --models {i}/egnn --device cpu "
        "--out {o}/evaluation.json",
        "evaluation.json",
    ),
    "shapes data": (
        "shapes data --config {i}/config.json --out {o}/objects.safetensors",
        "objects.safetensors",
    ),
    "shapes train": (
        "shapes train --config {i}/config.json --data {i}/objects.safetensors --model deepset "
        "--orientation rotated --seed 0 --device cpu --out {o}/deepset",
        "deepset/model.json deepset/curve.jsonl",
    ),
    "shapes evaluate": (
        "shapes evaluate --data {i}/objects.safetensors --models {i}/deepset --device cpu "
        "--out {o}/evaluation.json",
        "evaluation.json",
    ),
}


@pytest.fixture(scope="module")
def inputs(tiny_run, tmp_path_factory) -> Path:
    """A folder with what every verb reads, written by the verbs themselves."""
    root = tmp_path_factory.mktemp("inputs")
    for name in ("crystals.parquet", "split.parquet"):
        shutil.copy(tiny_run.root / name, root / name)
    shutil.copytree(tiny_run.graphs, root / "graphs")
    write_json(root / "config.json", CONFIG)
    for words, _ in VERBS.values():
        args = cli.parser().parse_args(words.format(i=root, o=root).split())
        args.run(args)
    return root


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_that_it_cannot_write_and_works_when_it_can(disk, run, inputs, verb):
    """Read-only, full, full after the first page; then mended."""
    words, outputs = VERBS[verb]
    paths = {"i": inputs, "o": disk.folder / "deep" / "results"}
    names = [Path(name) for name in outputs.split()]
    for reason, spoil in (
        ("the file system is read-only", disk.make_read_only),
        ("the disk is full", disk.fill),
        ("the disk is full", lambda: disk.fill(left=4096)),
    ):
        spoil()
        status, said = run(words, **paths)
        disk.mend()
        if reason == "the disk is full" and status == 0:
            continue  # what it writes fits into a page
        assert status == 2, (reason, status, said)
        (line,) = (line for line in said.splitlines() if line.startswith("dglframer: error: "))
        assert str(disk.folder) in line and reason in line and "MB free" in line
        assert "same command again" in line and "Traceback" not in said
        found = [path for path in disk.folder.rglob("*") if path.is_file()]
        assert not any(".tmp-" in path.name for path in found), found
        for name in names:  # a file that is there is whole
            if (paths["o"] / name).exists():
                assert (paths["o"] / name).stat().st_size > 0
    status, said = run(words, **paths)
    assert status == 0, said
    for name in names:
        assert (paths["o"] / name).stat().st_size > 0


@pytest.mark.parametrize("reason", ["full", "read-only"])
def test_no_room_for_the_decoded_graphs(disk, run, inputs, reason, tmp_path):
    """Graphs are decoded beside their folder, which may be on another disk than the model."""
    shutil.copytree(inputs / "graphs", disk.folder / "graphs")
    words = f"train {LEARN} --seed 0 --out {tmp_path}/model".replace("{i}/graphs", "{o}/graphs")
    disk.fill(left=4096) if reason == "full" else disk.make_read_only()
    status, said = run(words, i=inputs, o=disk.folder)
    disk.mend()
    assert status == 2 and reason in said and str(disk.folder / "cache") in said
    assert "Traceback" not in said and not list(disk.folder.glob("cache/*"))
    assert run(words, i=inputs, o=disk.folder)[0] == 0


@pytest.mark.slow
def test_the_workflow_goes_on_after_a_full_disk(disk):
    """Results and Snakemake's own state on it: whichever finds no room first says so."""
    disk.fill(200_000)
    stopped = snakemake(disk.folder, config=CONFIG, check=False)
    text = stopped.stdout + stopped.stderr
    assert stopped.returncode != 0 and "Traceback" not in text
    assert "the disk is full" in text or "No space left on device" in text, text
    disk.mend()
    go_on_to_the_end(disk.folder)


@pytest.mark.slow
def test_the_workflow_goes_on_after_its_results_had_no_room_or_were_read_only(tmp_path):
    """Results on a disk of their own: a job of ours fails, and says why."""
    folder = tmp_path / "work"
    folder.mkdir()
    disk = Disk(folder / "results")
    try:
        disk.make_read_only()
        stopped = snakemake(folder, config=CONFIG, check=False)
        text = stopped.stdout + stopped.stderr
        assert stopped.returncode != 0
        # Snakemake clears the place of an output before a job starts: it may be the first to say so.
        assert "the file system is read-only" in text or "Read-only file system" in text, text
        disk.mend()
        for left in (150_000, 400_000):
            disk.fill(left)
            stopped = snakemake(folder, config=CONFIG, check=False)
            text = stopped.stdout + stopped.stderr
            assert stopped.returncode != 0 and "Traceback" not in text, text
            assert "the disk is full" in text and "results/" in text, text
            disk.mend()
        go_on_to_the_end(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(disk.folder)], check=True)


def go_on_to_the_end(folder: Path) -> None:
    """The same command comes to its end, and what it left half written is gone."""
    snakemake(folder, "--unlock", config=CONFIG, check=False)
    snakemake(folder, "--rerun-incomplete", config=CONFIG)
    results = folder / "results"
    assert (results / "report.html").stat().st_size > 10_000
    assert not [path for path in results.rglob("*") if ".tmp-" in path.name]
    again = snakemake(folder, "--dry-run", config=CONFIG)
    assert "Nothing to be done" in again.stdout + again.stderr
