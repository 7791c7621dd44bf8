"""Processes on one machine take different GPUs, and give them back however they end."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dglframer.common import gpu_lease
from dglframer.common.errors import UserError

GPUS = ["GPU-a", "GPU-b", "GPU-c"]
TAKE = """
import json, os, sys
from pathlib import Path
from dglframer.common.gpu_lease import take_gpu
gpu = take_gpu(json.loads(sys.argv[1]), Path(sys.argv[2]))
print(gpu, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


class Job:
    """A process that holds a GPU until its input ends."""

    def __init__(self, folder: Path, **environment: str):
        env = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE, json.dumps(GPUS), str(folder)],
            env={**env, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> list[str]:
        """What it took, and its CUDA_VISIBLE_DEVICES."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def job(tmp_path):
    jobs = []

    def start(**environment: str) -> Job:
        jobs.append(Job(tmp_path, **environment))
        return jobs[-1]

    yield start
    for one in jobs:
        one.kill()
        one.process.stdin.close()
        one.process.stdout.close()


def test_jobs_started_together_take_different_gpus_and_more_share_evenly(job):
    first = [job() for _ in range(3)]
    taken = [one.answer() for one in first]
    assert sorted(gpu for gpu, _ in taken) == GPUS
    assert all(gpu == visible for gpu, visible in taken)
    more = [job().answer()[0] for _ in range(3)]
    assert Counter(more) == Counter(GPUS)
    first[1].kill()
    assert job().answer()[0] == taken[1][0], "that of a killed process is free"


def test_a_given_device_is_left_alone(job):
    assert job(CUDA_VISIBLE_DEVICES="1").answer() == ["None", "1"]
    assert job(CUDA_VISIBLE_DEVICES="").answer() == ["None"]
    assert job(LOCAL_RANK="1").answer() == ["None", "None"]


def test_one_gpu_or_none_needs_no_lock(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_lease.take_gpu(["GPU-a"], tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_lease.installed_gpus() == []
    assert not list(tmp_path.iterdir()) and "CUDA_VISIBLE_DEVICES" not in os.environ


def test_names_as_nvidia_smi_lists_them():
    listed = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1a2b-3c)
  MIG 3g.40gb     Device  0: (UUID: MIG-77-aa)
  MIG 3g.40gb     Device  1: (UUID: MIG-77-bb)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-4d5e-6f)
"""
    assert gpu_lease.gpu_names(listed) == ["MIG-77-aa", "MIG-77-bb", "GPU-4d5e-6f"]
    assert gpu_lease.gpu_names("") == []


def test_the_folder_belongs_to_this_user(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_lease.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = gpu_lease.lock_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match="not a folder of this user"):
        gpu_lease.lock_folder()
