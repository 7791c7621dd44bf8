"""The profiles without a cluster (tests/cluster has one): what each rule would ask for."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from helpers.paths import ROOT

GPU_RULES = {
    "tune",
    "tune_worker",
    "train_seed",
    "compare_train",
    "curve_train",
    "nbody_train",
    "shapes_train",
}
PROFILES = ROOT / "workflow" / "profiles"


def settings_of(profile: str) -> dict:
    return yaml.safe_load((PROFILES / profile / "profile.v9+.yaml").read_text())


@pytest.mark.parametrize("profile", ["slurm", "generic", "workstation"])
def test_gpus_are_stated_by_the_profiles(profile):
    settings = settings_of(profile)
    assert settings["default-resources"]["gpu"] == 0
    asked = {rule: needs.get("gpu") for rule, needs in settings["set-resources"].items()}
    assert {rule for rule, number in asked.items() if number is not None} == GPU_RULES
    assert {asked[rule] for rule in GPU_RULES} == {1}


def test_the_profile_of_every_call_does_not_silence_that_of_a_cluster():
    """Snakemake takes default-resources of the workflow's profile instead of those of --profile."""
    assert "default-resources" not in settings_of("default")


def plan(folder, profile: str, *arguments: str) -> str:
    """What Snakemake plans with a profile, without running anything."""
    words = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    output = subprocess.run(
        [
            sys.executable,
            "-m",
            *words,
            "--profile",
            str(PROFILES / profile),
            "--dry-run",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    text = output.stdout + output.stderr
    assert output.returncode == 0, text
    return text


def jobs_of(text: str) -> list[tuple[str, dict[str, str]]]:
    """Rule and resources of every job of a plan."""
    found = re.findall(r"^(?:rule|checkpoint) (\w+):.*?resources: (.*?)$", text, re.M | re.S)
    return [
        (rule, dict(one.split("=") for one in resources.split(", "))) for rule, resources in found
    ]


def test_on_a_workstation_each_training_takes_one_of_the_gpus(tmp_path):
    text = plan(tmp_path, "workstation", "all", "--config", "seeds=[0, 1, 2, 3, 4, 5]")
    jobs = [(rule, needs) for rule, needs in jobs_of(text) if rule != "all"]
    assert [needs["gpu"] for rule, needs in jobs if rule == "train_seed"] == ["1"] * 6
    assert {needs["gpu"] for rule, needs in jobs if rule not in GPU_RULES} == {"0"}


def test_the_gpus_of_a_workstation_are_counted(tmp_path):
    """A rule of the same name in a small workflow: Snakemake says what it shares out."""
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: '0.txt', '1.txt'\n"
        "rule train_seed:\n    output: '{k}.txt'\n    shell: 'touch {output}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", str(PROFILES / "workstation")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0 and re.search(r"Provided resources: gpu=\D*4\b", text), text


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("all", "download crystals clean graphs tune tune_worker train_seed"),
        ("compare", "graphs compare_train compare_evaluate"),
        ("learning_curve", "graphs curve_train curve_evaluate"),
        ("nbody", "nbody_train"),
        ("shapes", "shapes_train"),
    ],
)
def test_tuning_and_training_ask_for_a_gpu_and_its_partition(tmp_path, target, rules):
    text = plan(tmp_path, "slurm", target, "--config", 'tune={"workers": 2}')
    asked = {rule: needs for rule, needs in jobs_of(text) if rule not in ("all", "nbody", "shapes")}
    assert set(rules.split()) <= asked.keys()
    for rule, resources in asked.items():
        wanted = ("gpu", "1") if rule in GPU_RULES else ("cpu", "0")
        assert (resources["slurm_partition"], resources["gpu"]) == wanted, rule
        assert int(resources["mem_mb"]) >= 2000 and int(resources["runtime"]) > 0, rule
