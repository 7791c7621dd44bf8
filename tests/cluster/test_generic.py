"""The profile for any queueing system, with Slurm as the queueing system: the stages up to the graphs."""

import pytest
from cluster.driver import LONGEST_SECONDS, ROOT, log_of, started
from cluster.slurm import Job, command, running_slurm, wait_for, why_not
from helpers.same_bytes import assert_same_bytes

pytest.importorskip(
    "snakemake_executor_plugin_cluster_generic",
    reason="not installed: snakemake-executor-plugin-cluster-generic",
)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]
PROFILE = ROOT / "workflow" / "profiles" / "generic"
OFTEN = "--latency-wait 5 --seconds-between-status-checks 2"
GRAPHS = "results/graphs/manifest.json"


def test_a_cancelled_job_is_seen_and_tried_again(tmp_path):
    on_cluster, local = tmp_path / "cluster", tmp_path / "local"
    arguments = ["--profile", str(PROFILE), *OFTEN.split(), GRAPHS]
    with running_slurm() as cluster, started(local, "--cores", "1", GRAPHS) as reference:
        with started(on_cluster, *arguments) as driver:

            def running() -> list[Job]:
                jobs = cluster.jobs()
                return [job for job in jobs if "crystals" in job.name and job.state == "RUNNING"]

            command("scancel", wait_for(running)[0].id)
            assert driver.wait(LONGEST_SECONDS) == 0, log_of(on_cluster)
        assert reference.wait(LONGEST_SECONDS) == 0, log_of(local)
        states = [(job.name.split(".")[1], job.state) for job in cluster.jobs()]
    assert states == [
        ("download", "COMPLETED"),
        ("crystals", "CANCELLED"),
        ("crystals", "COMPLETED"),
        ("graphs", "COMPLETED"),
    ]
    assert_same_bytes(on_cluster / GRAPHS, local / GRAPHS)
