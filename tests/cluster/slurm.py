"""A Slurm on this machine, by hand: munged, slurmctld and two slurmd with fake GPUs; no systemd."""

import math
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

NAME = "dglframertest"
DAEMONS = ("munged", "slurmctld", "slurmd")
# Jobs look here and nowhere else: the executor plugin takes SLURM_CONF out of their environment.
CONFIG = Path("/etc/slurm")

# The nodes claim cores and memory that the machine need not have, as the profile asks for a
# cluster's. An urgent job takes the place of others, which are requeued; requeued jobs wait until
# the credentials of their first start have expired (cred_expire), minutes unless it is set.
SLURM_CONF = """\
ClusterName={name}
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
TaskProlog={folder}/task_starts
Epilog={folder}/job_has_ended
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
# The first runs before each task (a job's script is one, what srun starts in it another), with its
# environment; the second when all processes of a job have ended, before its GPUs are free again.
NOTES = {
    "task_starts": "start $(date +%s.%N) $SLURM_JOB_ID $SLURMD_NODENAME ${CUDA_VISIBLE_DEVICES:-none}",
    "job_has_ended": "end $(date +%s.%N) $SLURM_JOB_ID",
}


def why_not() -> str | None:
    """The reason why no Slurm can be started here, if there is one."""
    missing = [name for name in DAEMONS if not shutil.which(name, path=search_path())]
    if missing:
        return f"not installed: {' '.join(missing)} (docs/guide/clusters.md names the packages)"
    if os.geteuid() != 0:
        return "only root can start Slurm's daemons"
    if (CONFIG / "slurm.conf").exists():
        if f"ClusterName={NAME}\n" not in (CONFIG / "slurm.conf").read_text():
            return f"{CONFIG / 'slurm.conf'} exists: this machine belongs to a cluster"
        if " UP" in subprocess.run(["scontrol", "ping"], capture_output=True, text=True).stdout:
            return "slurmctld of another run of these tests is up"
    return None


def search_path() -> str:
    """PATH with the folders of daemons."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Job:
    """A line of squeue; ``comment`` holds the rule and its wildcards."""

    id: str
    comment: str
    name: str
    state: str
    node: str
    memory: str


@dataclass(frozen=True)
class Attempt:
    """A job as it ran once; ``gpus`` are CUDA_VISIBLE_DEVICES of its tasks, times since 1970."""

    job: str
    node: str
    gpus: frozenset[str]
    start: float
    end: float  # infinite until it has ended

    def overlaps(self, other: "Attempt") -> bool:
        """Whether both ran at some moment."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Cluster:
    """A Slurm that runs."""

    folder: Path

    def jobs(self, comment: str = "") -> list[Job]:
        """All jobs so far whose comment is this, oldest first; without one, every job."""
        output = command("squeue", "--noheader", "--states=all", "--format=%i|%k|%j|%T|%N|%m")
        jobs = [Job(*line.split("|")) for line in output.splitlines()]
        chosen = [job for job in jobs if not comment or job.comment == comment]
        return sorted(chosen, key=lambda job: int(job.id))

    def attempts(self) -> list[Attempt]:
        """All jobs that have run so far, requeued ones each time."""
        ended: list[Attempt] = []
        running: dict[str, Attempt] = {}
        for line in (self.folder / "notes").read_text().splitlines():
            what, seconds, job, *where = line.split()
            if what == "end":
                if job in running:  # not cancelled before its script began
                    ended.append(replace(running.pop(job), end=float(seconds)))
            else:
                node, gpus = where
                new = Attempt(job, node, frozenset(), float(seconds), math.inf)
                known = running.setdefault(job, new)
                running[job] = replace(known, gpus=known.gpus | {gpus})
        return [*ended, *running.values()]


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
    """Start Slurm; jobs, daemons and configuration are gone afterwards, on SIGTERM too."""
    # Not pytest's folder: the path of a socket must be short, and munged trusts no open parent.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    daemons: list[subprocess.Popen] = []
    try:
        write_configuration(folder)
        daemons.append(start(folder, "munged", *munge_options(folder)))
        wait_for((folder / "munge" / "socket").exists, 180)
        daemons.append(start(folder, "slurmctld", "-D", "-c"))
        daemons += [start(folder, "slurmd", "-D", "-N", node) for node in ("n1", "n2")]
        wait_for(lambda: states() == ["idle", "idle"], 180)
        yield Cluster(folder)
    except BaseException as error:
        error.add_note(last_lines(folder))
        raise
    finally:
        end_jobs()
        for daemon in reversed(daemons):
            end(daemon)
        for name in ("slurm.conf", "gres.conf"):
            (CONFIG / name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def last_lines(folder: Path) -> str:
    """What the daemons said last."""
    logs = [*sorted(folder.glob("*.log")), *sorted(folder.glob("*.out"))]
    return "\n".join(
        "\n".join([path.name, *path.read_text(errors="replace").splitlines()[-15:]])
        for path in logs
    )


def end_jobs() -> None:
    """Cancel what still runs (stopped processes too: Slurm lets them go on to die) and wait for it."""
    if subprocess.run(["scancel", "--user=root"], capture_output=True).returncode == 0:
        queue = ["squeue", "--noheader"]
        with suppress(TimeoutError):
            wait_for(lambda: not subprocess.run(queue, capture_output=True).stdout, 60)


def end(daemon: subprocess.Popen) -> None:
    """Ask it to end, and make it end if it does not."""
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def states() -> list[str]:
    """Those of the nodes; none while the controller does not answer."""
    words = ["sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%T"]
    return subprocess.run(words, capture_output=True, text=True).stdout.split()


def write_configuration(folder: Path) -> None:
    """Slurm's files in /etc/slurm, munge's key, and what runs around tasks."""
    folder.chmod(0o755)
    for name in ("state", "spool.n1", "spool.n2", "munge"):
        (folder / name).mkdir()
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o400)
    for name, note in NOTES.items():
        (folder / name).write_text(f'#!/bin/sh\necho "{note}" >> {folder}/notes\n')
        (folder / name).chmod(0o755)
    CONFIG.mkdir(exist_ok=True)
    here = {"name": NAME, "host": socket.gethostname(), "ports": free_ports(3)}
    (CONFIG / "slurm.conf").write_text(SLURM_CONF.format(folder=folder, **here))
    (CONFIG / "gres.conf").write_text(GRES_CONF)


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
