"""What the CPU computes does not depend on how many threads compute it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.same_bytes import assert_same_bytes

from dglframer.common.device import pick_device
from dglframer.common.errors import UserError

PRODUCTS = """
import torch
from dglframer.common.device import settle_mkl

settle_mkl()
generator = torch.Generator().manual_seed(0)
pairs = [
    (torch.randn(n, k, generator=generator), torch.randn(k, m, generator=generator))
    for n, k, m in ((3000, 96, 130), (77, 64, 16), (513, 200, 48), (1000, 48, 7))
]
def products(threads):
    torch.set_num_threads(threads)
    return [out for a, b in pairs for out in (a @ b, torch.bmm(a.T[None], (a @ b)[None]))]
one = products(1)
print(sum(not torch.equal(p, q) for n in (2, 3, 4) for p, q in zip(one, products(n))))
"""


def flags() -> set[str]:
    """Those of an Intel CPU; of another, for which MKL promises nothing, none."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    if not any("GenuineIntel" in line for line in lines):
        return set()
    return set(next(line for line in lines if line.startswith("flags")).split())


def limited_to(instructions: str) -> dict[str, str]:
    """The environment for a process whose MKL keeps to these, and has been told nothing else."""
    inherited = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    return inherited | {"MKL_ENABLE_INSTRUCTIONS": instructions}


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512"])
def test_products_do_not_depend_on_threads(instructions):
    def differing(**more: str) -> int:
        words = [sys.executable, "-c", PRODUCTS]
        done = subprocess.run(
            words, env=limited_to(instructions) | more, stdout=subprocess.PIPE, check=True
        )
        return int(done.stdout)

    assert differing() == 0
    if instructions == "AVX2" and "avx2" in flags():  # products of sizes that show it
        assert differing(MKL_CBWR="OFF") > 0


def test_a_training_does_not_depend_on_threads(tiny_run, tmp_path):
    """MKL is told to keep to AVX2, with which it cuts more products by the number of threads.

    (It heeds that on Intel's processors alone. On AMD's three threads give other last bits.)
    """
    others = ("2", "3") if "avx2" in flags() else ("2",)
    config = tmp_path / "config.json"
    training = {"epochs": 2, "averaged_epochs": 1, "batch_size": 5}
    config.write_text(json.dumps({"crystalframer": {"blocks": 2}, "training": training}))
    for threads in ("1", *others):
        out = tmp_path / threads
        train = f"-m dglframer train --seed 0 --config {config} --graphs {tiny_run.graphs}"
        more = ["--split", str(tiny_run.split), "--out", str(out), "--threads", threads]
        subprocess.run(
            [sys.executable, *train.split(), *more],
            env=limited_to("AVX2"),
            check=True,
        )
    for other in others:
        assert_same_bytes(*(tmp_path / n / "model.safetensors" for n in ("1", other)))


@pytest.mark.parametrize("name", ["gpu", "cuda:", "CPU", "", "cuda:x", "meta"])
def test_an_unknown_device_is_named(name):
    with pytest.raises(
        UserError, match=f"--device {name}: no such device; there are auto, cpu, cuda"
    ):
        pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match=f"--device {name}: no GPU can be used here"):
        pick_device(name)


def test_a_gpu_with_too_large_a_number_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="--device cuda:2: there are 2 GPUs"):
        pick_device("cuda:2")
