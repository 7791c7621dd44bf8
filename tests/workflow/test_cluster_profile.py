"""The profiles without a cluster (tests/cluster has one): what each rule would ask for."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from helpers.paths import ROOT

GPU_RULES = {"tune", "tune_worker", "train_seed", "compare_train", "curve_train", "nbody_train"}
PROFILES = ROOT / "workflow" / "profiles"


def settings_of(profile: str) -> dict:
    return yaml.safe_load((PROFILES / profile / "profile.v9+.yaml").read_text())


@pytest.mark.parametrize("profile", ["slurm", "generic"])
def test_gpus_are_stated_by_the_profiles(profile):
    settings = settings_of(profile)
    assert settings["default-resources"]["gpu"] == 0
    asked = {rule: needs.get("gpu") for rule, needs in settings["set-resources"].items()}
    assert {rule for rule, number in asked.items() if number is not None} == GPU_RULES
    assert {asked[rule] for rule in GPU_RULES} == {1}


def test_the_profile_of_every_call_does_not_silence_that_of_a_cluster():
    """Snakemake takes default-resources of the workflow's profile instead of those of --profile."""
    assert "default-resources" not in settings_of("default")


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("all", "download crystals clean graphs tune tune_worker train_seed"),
        ("compare", "graphs compare_train compare_evaluate"),
        ("learning_curve", "graphs curve_train curve_evaluate"),
        ("nbody", "nbody_train"),
    ],
)
def test_tuning_and_training_ask_for_a_gpu_and_its_partition(tmp_path, target, rules):
    profile = PROFILES / "slurm"
    workers = ["--config", 'tune={"workers": 2}']
    words = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    output = subprocess.run(
        [sys.executable, "-m", *words, "--profile", str(profile), "--dry-run", target, *workers],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    text = output.stdout + output.stderr
    assert output.returncode == 0, text
    jobs = re.findall(r"^(?:rule|checkpoint) (\w+):.*?resources: (.*?)$", text, re.M | re.S)
    asked = {
        rule: dict(one.split("=") for one in resources.split(", "))
        for rule, resources in jobs
        if rule not in ("all", "nbody")
    }
    assert set(rules.split()) <= asked.keys()
    for rule, resources in asked.items():
        wanted = ("gpu", "1") if rule in GPU_RULES else ("cpu", "0")
        assert (resources["slurm_partition"], resources["gpu"]) == wanted, rule
        assert int(resources["mem_mb"]) >= 2000 and int(resources["runtime"]) > 0, rule
