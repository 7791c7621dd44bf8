"""A Slurm on this machine, by hand: munged, slurmctld and two slurmd with fake GPUs; no systemd."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
# Jobs look here and nowhere else: the executor plugin takes SLURM_CONF out of their environment.
CONFIG = Path("/etc/slurm")

# The nodes claim cores and memory that the machine need not have, as the profile asks for a
# cluster's. An urgent job takes the place of others, which are requeued; requeued jobs wait until
# the credentials of their first start have expired (cred_expire), minutes unless it is set.
SLURM_CONF = """\
ClusterName=dglframertest
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/note_gpu
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=10
MinJobAge=3600
GresTypes=gpu
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[1]} CPUs=8 RealMemory=64000 Gres=gpu:2
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname={host} Port={ports[2]} CPUs=8 RealMemory=64000 Gres=gpu:1
PartitionName=cpu Nodes=n1,n2 PriorityTier=1 Default=YES
PartitionName=gpu Nodes=n1,n2 PriorityTier=1
PartitionName=urgent Nodes=n1,n2 PriorityTier=2
"""
# Slurm wants a device file per GPU, and does not look at what it is.
GRES_CONF = """\
NodeName=n1 Name=gpu File=/dev/null
NodeName=n1 Name=gpu File=/dev/zero
NodeName=n2 Name=gpu File=/dev/full
"""
# Runs at the start of each task with the environment that the task gets.
NOTE_GPU = """#!/bin/sh
/bin/echo "$SLURM_JOB_ID $SLURMD_NODENAME ${{CUDA_VISIBLE_DEVICES:-none}}" >> {folder}/gpus
"""


def why_not() -> str | None:
    """The reason why no Slurm can be started here, if there is one."""
    missing = [name for name in DAEMONS if not shutil.which(name, path=search_path())]
    if missing:
        return f"not installed: {' '.join(missing)} (docs/clusters.md names the packages)"
    if os.geteuid() != 0:
        return "only root can start Slurm's daemons"
    if (CONFIG / "slurm.conf").exists():
        return f"{CONFIG / 'slurm.conf'} exists: this machine belongs to a cluster"
    return None


def search_path() -> str:
    """PATH with the folders of daemons."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Job:
    """A line of squeue; ``comment`` holds the rule and its wildcards, times are ISO 8601."""

    id: str
    comment: str
    state: str
    node: str
    memory: str
    start: str
    end: str
    time_limit: str


@dataclass(frozen=True)
class Cluster:
    """A Slurm that runs."""

    folder: Path

    def jobs(self, comment: str = "") -> list[Job]:
        """All jobs so far whose comment is this, oldest first; without one, every job."""
        output = command("squeue", "--noheader", "--states=all", "--format=%i|%k|%T|%N|%m|%S|%e|%l")
        jobs = [Job(*line.split("|")) for line in output.splitlines()]
        chosen = [job for job in jobs if not comment or job.comment == comment]
        return sorted(chosen, key=lambda job: int(job.id))

    def gpus(self) -> dict[str, str]:
        """Job id to CUDA_VISIBLE_DEVICES of its step, `none` where it was not set."""
        lines = [line.split() for line in (self.folder / "gpus").read_text().splitlines()]
        return {job: gpus for job, _, gpus in lines}


def command(*words: str) -> str:
    """Run one of Slurm's commands; returns what it prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def wait_for(what, seconds: float = 600.0, each: float = 0.1):
    """The first true value that ``what()`` returns; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {seconds} s")
        time.sleep(each)
    return value


@contextmanager
def running_slurm() -> Iterator[Cluster]:
    """Start Slurm; its daemons and its configuration are gone afterwards."""
    # Not pytest's folder: the path of a socket must be short, and munged trusts no open parent.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    write_configuration(folder)
    daemons: list[subprocess.Popen] = []
    try:
        daemons.append(start(folder, "munged", *munge_options(folder)))
        wait_for((folder / "munge" / "socket").exists, 60)
        daemons.append(start(folder, "slurmctld", "-D", "-c"))
        daemons += [start(folder, "slurmd", "-D", "-N", node) for node in ("n1", "n2")]
        wait_for(lambda: states() == ["idle", "idle"], 60)
        yield Cluster(folder)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()
        for name in ("slurm.conf", "gres.conf"):
            (CONFIG / name).unlink()
        shutil.rmtree(folder)


def states() -> list[str]:
    """Those of the nodes; none while the controller does not answer."""
    words = ["sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%T"]
    return subprocess.run(words, capture_output=True, text=True).stdout.split()


def write_configuration(folder: Path) -> None:
    """Slurm's files in /etc/slurm, munge's key, and the prolog of tasks."""
    CONFIG.mkdir(exist_ok=True)
    text = SLURM_CONF.format(folder=folder, host=socket.gethostname(), ports=free_ports(3))
    (CONFIG / "slurm.conf").write_text(text)
    (CONFIG / "gres.conf").write_text(GRES_CONF)
    (folder / "note_gpu").write_text(NOTE_GPU.format(folder=folder))
    (folder / "note_gpu").chmod(0o755)
    (folder / "gpus").touch()
    (folder / "munge").mkdir()
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o400)


def munge_options(folder: Path) -> list[str]:
    """A munged of its own, beside one that the machine may have."""
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
    return ["--foreground", *(f"--{key}={folder}/munge/{name}" for key, name in files.items())]


def start(folder: Path, name: str, *options: str) -> subprocess.Popen:
    """A daemon in the foreground of a process group of its own."""
    path = shutil.which(name, path=search_path())
    assert path is not None
    with (folder / f"{name}.out").open("ab") as output:
        return subprocess.Popen(
            [path, *options], stdout=output, stderr=output, start_new_session=True
        )


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
