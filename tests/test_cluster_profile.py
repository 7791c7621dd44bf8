"""The Slurm profile without a Slurm (tests/cluster has one): what each rule would ask for."""

import os
import re
import subprocess
import sys

from conftest import ROOT

GPU_RULES = {"tune", "train_seed"}


def test_tuning_and_training_ask_for_a_gpu_and_its_partition(tmp_path):
    profile = ROOT / "workflow" / "profiles" / "slurm"
    words = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    output = subprocess.run(
        [sys.executable, "-m", *words, "--profile", str(profile), "--dry-run"],
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
        if rule != "all"
    }
    assert {"download", "crystals", "clean", "graphs", *GPU_RULES} <= asked.keys()
    for rule, resources in asked.items():
        wanted = ("gpu", "1") if rule in GPU_RULES else ("cpu", "0")
        assert (resources["slurm_partition"], resources.get("gpu", "0")) == wanted, rule
        assert int(resources["mem_mb"]) >= 2000 and int(resources["runtime"]) > 0, rule
