"""From crystals to batches: speed, memory and size, beside pymatgen and jarvis-tools, in one run.

    python benchmarks/graphs.py [--quick]

needs ../shared/data/mp_megnet.parquet (crystals of the MEGNet benchmark) and writes
benchmarks/results/graphs.json and the tables of docs/measured/shards.md (``--page``: these alone).
Each package searches neighbours in passes of its own, as a stage would, and the sets of edges are compared.
The stages run as a user runs them: as commands, parts of the graphs two at a time, each process's CPU time
and peak memory read when it ends; once more through Snakemake. The 10x data set is the same rows ten
times under new ids. ``--quick`` takes 300 rows, which says nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from default_run import ROOT, machine
from graphs_search import CUTOFF, SOURCE, TARGET, building, shard_steps
from pages import fill
from speed_tables import table

from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import EpochShuffle, batches, prefetched
from dglframer.graphs.shards import count_parts, read_manifest

RESULTS_FILE = ROOT / "benchmarks" / "results" / "graphs.json"
PAGE = ROOT / "docs" / "measured" / "shards.md"
BEGIN, END = "<!-- tables: written by benchmarks/graphs.py -->", "<!-- end of tables -->"
CORES = 2


def replicate(copies: int, rows: int | None, path: Path) -> None:
    """The data set ``copies`` times, ids made new, a thousand rows in memory at a time."""
    source = pq.ParquetFile(SOURCE)
    with pq.ParquetWriter(path, source.schema_arrow, compression="zstd") as writer:
        for copy in range(copies):
            left = rows or source.metadata.num_rows
            for batch in source.iter_batches(1024):
                part = pa.Table.from_batches([batch]).slice(0, left)
                if not len(part):
                    break
                left -= len(part)
                ids = pa.array(
                    [f"{id}-{copy}" for id in part["material_id"].to_pylist()], pa.string()
                )
                writer.write_table(part.set_column(0, "material_id", ids))


def stages(source: Path, folder: Path) -> dict[str, Any]:
    """Run download, crystals and graphs as commands; wall and CPU seconds and peak MiB of each."""
    config = write_config(source, folder)
    inputs = ["--config", config, "--crystals", folder / "crystals.parquet"]
    graphs = ["graphs", *inputs, "--out", folder / "graphs"]
    download = folder / "download.json"
    tables = ["--rejected", folder / "rejected.parquet", "--out", folder / "crystals.parquet"]
    results = {
        "download": [command("download", "--config", config, "--out", download)],
        "crystals": [command("crystals", "--config", config, "--download", download, *tables)],
    }
    parts = count_parts(folder / "crystals.parquet")
    started = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        arguments = [[*graphs, "--part", f"{part + 1}/{parts}"] for part in range(parts)]
        results["graphs, parts"] = list(pool.map(lambda one: command(*one), arguments))
    parts_wall = time.perf_counter() - started
    results["graphs, manifest"] = [command(*graphs)]
    rows = [
        {
            "stage": name,
            "processes": len(runs),
            "wall_s": parts_wall if name == "graphs, parts" else runs[0]["wall_s"],
            "cpu_s": sum(run["cpu_s"] for run in runs),
            "peak_mib": max(run["peak_mib"] for run in runs),
        }
        for name, runs in results.items()
    ]
    manifest = read_manifest(folder / "graphs")
    shards = list((folder / "graphs").glob("shard-*.parquet"))
    return {
        "crystals": manifest["crystals"],
        "edges": manifest["edges"],
        "shards": len(shards),
        "wall_s": sum(row["wall_s"] for row in rows),
        "cpu_s": sum(row["cpu_s"] for row in rows),
        "shard_bytes_per_crystal": sum(path.stat().st_size for path in shards)
        / manifest["crystals"],
        "stages": rows,
    }


# A process inherits the peak of the one that starts it: this one is small.
RUN = """
import json, os, sys, time
started = time.perf_counter()
devnull = os.open(os.devnull, os.O_WRONLY)
actions = [(os.POSIX_SPAWN_DUP2, devnull, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(pid, 0)
print(json.dumps({"wall_s": time.perf_counter() - started, "status": status,
                  "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}))
"""


def command(*arguments: Any) -> dict[str, float]:
    """Run one verb; its wall and CPU seconds and the peak of its resident memory."""
    verb = [sys.executable, "-m", "dglframer", *map(str, arguments)]
    output = subprocess.run(
        [sys.executable, "-S", "-c", RUN, *verb], stdout=subprocess.PIPE, check=True
    )
    result = json.loads(output.stdout)
    if result["status"]:
        raise SystemExit(f"{' '.join(verb)} failed")
    return result


def write_config(source: Path, folder: Path) -> Path:
    dataset = {"source": "parquet", "path": str(source), "targets": [TARGET]}
    (folder / "config.json").write_text(json.dumps({"dataset": dataset}))
    return folder / "config.json"


def by_snakemake(source: Path, folder: Path) -> float:
    """Wall seconds of the workflow from the source's file to the manifest."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", CORES]
    arguments += ["--configfile", write_config(source, folder), "--quiet", "all"]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "snakemake", "results/graphs/manifest.json", *map(str, arguments)],
        check=True, env={**os.environ, "PATH": path}, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - started


def reading(graphs: Path, batch_size: int = 64) -> dict[str, Any]:
    """Decoding, and an epoch of batches in order and shuffled: wall and CPU seconds."""
    rows = [timed("decode once", lambda: [GraphDataset(graphs)])]
    dataset = GraphDataset(graphs)
    for name, shuffle in (
        ("epoch, in order, first", None),
        ("epoch, in order", None),
        ("epoch, shuffled", EpochShuffle(len(dataset), 0)),
    ):
        rows.append(timed(name, lambda shuffle=shuffle: batches(dataset, batch_size, shuffle)))
    cache = sum(array.nbytes for array in dataset.arrays.values())
    return {"batch": batch_size, "bytes_per_crystal": cache / len(dataset), "rows": rows}


def timed(name: str, iterate: Callable[[], Any]) -> dict[str, Any]:
    """Wall and CPU seconds of going through what ``iterate`` returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in iterate():
        pass
    return {
        "what": name,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
    }


def waiting(graphs: Path, steps: int, batch_size: int = 64) -> dict[str, Any]:
    """Share of the time of training steps (default model, CPU) that is spent waiting for a batch."""
    from dglframer.config.networks import CrystalFramerConfig
    from dglframer.networks.crystalframer import CrystalFramer

    dataset = GraphDataset(graphs)
    dataset = GraphDataset(graphs, dataset.ids[:: len(dataset) // (steps * batch_size)])
    network = CrystalFramer(CrystalFramerConfig()).draw(0)
    waited: list[float] = []
    started = time.perf_counter()
    source = waits(prefetched(batches(dataset, batch_size), torch.device("cpu")), waited)
    for batch in source:
        network(batch).abs().mean().backward()
    total = time.perf_counter() - started
    return {
        "steps": len(waited),
        "batch": batch_size,
        "seconds": total,
        "share": sum(waited) / total,
    }


def waits(source: Iterator[Any], waited: list[float]) -> Iterator[Any]:
    """The source's items; adds how long each was waited for."""
    while True:
        started = time.perf_counter()
        item = next(source, None)
        if item is None:
            return
        waited.append(time.perf_counter() - started)
        yield item


def measure(quick: bool) -> dict[str, Any]:
    """Everything, in the order of the tables."""
    rows = 300 if quick else None
    numbers: dict[str, Any] = {
        "machine": machine(), "cores": CORES, "quick": quick, "cutoff": CUTOFF,
        "load_before": os.getloadavg()[0], "building": building(5 if quick else 60),
        "shard": shard_steps(20 if quick else 1024),
    }  # fmt: skip
    scratch = Path(os.environ.get("TMPDIR", tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        numbers["pipeline"] = []
        for copies in (1, 10):
            folder = Path(name) / f"{copies}x"
            folder.mkdir()
            replicate(copies, rows, folder / "source.parquet")
            run = {"copies": copies, **stages(folder / "source.parquet", folder)}
            numbers["pipeline"].append(run)
            print(json.dumps(run), flush=True)
            if copies == 1:
                numbers["reading"] = reading(folder / "graphs")
                numbers["waiting"] = waiting(folder / "graphs", 1 if quick else 12)
                (Path(name) / "snakemake").mkdir()
                numbers["snakemake_wall_s"] = by_snakemake(
                    folder / "source.parquet", Path(name) / "snakemake"
                )
                print(json.dumps(numbers), flush=True)
    return numbers


def rendered(numbers: dict[str, Any]) -> str:
    """Every table."""
    quick = " Quick: the sizes mean nothing." if numbers["quick"] else ""
    found = numbers["building"]
    same = "no crystal has other edges" if not found["crystals_with_other_edges"] else (
        f"{found['crystals_with_other_edges']} crystals HAVE OTHER EDGES"
    )  # fmt: skip
    parts = [
        f"Measured by benchmarks/graphs.py on {numbers['machine']}, load before "
        f"{numbers['load_before']:.2f}.{quick} CPU seconds count the work of a process, whatever "
        "else the machine does.",
        table(
            f"Neighbours within {numbers['cutoff']} A, one thread, CPU time",
            ["search", "crystals per second", "its time / that of dglframer"],
            lines(found["rows"], "search crystals_per_second ratio"),
        ),
        f"{found['crystals']} crystals of {found['atoms_mean']:.0f} atoms and "
        f"{found['edges_mean']:.0f} edges on average; {same} by one package than by another "
        "(those within 1e-6 A of the cutoff aside).",
    ]
    parts.append(
        table(
            "One shard of 1,024 crystals", ["step", "CPU, s"], lines(numbers["shard"], "step cpu_s")
        )
    )
    for run in numbers["pipeline"]:
        title = (
            f"From the source's file to finished shards: {run['crystals']:,} crystals, "
            f"{run['edges'] / 1e6:.0f} million edges, {run['shards']} shards"
        )
        parts.append(table(
            title, ["stage", "processes", "wall, s", "CPU, s", "largest process, MiB"],
            lines([*run["stages"], {"stage": "all", "processes": "", "peak_mib": None, **run}],
                  "stage processes wall_s cpu_s peak_mib"),
        ))  # fmt: skip
    size = numbers["pipeline"][0]["shard_bytes_per_crystal"]
    read, wait = numbers["reading"], numbers["waiting"]
    parts += [
        f"Through Snakemake with {numbers['cores']} cores: {numbers['snakemake_wall_s']:.0f} s. "
        f"A crystal takes {size:.0f} bytes in a shard and {read['bytes_per_crystal']:.0f} decoded.",
        table(
            f"Reading, batches of {read['batch']}", ["what", "wall, s", "CPU, s"],
            lines(read["rows"], "what wall_s cpu_s"),
        ),
        f"Of {wait['steps']} training steps of {wait['batch']} crystals, {wait['share']:.1%} of the "
        "time was spent waiting for a batch.",
    ]  # fmt: skip
    return "\n\n".join(parts)


def lines(rows: Sequence[dict[str, Any]], keys: str) -> list[list[Any]]:
    return [[row[key] for key in keys.split()] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few rows: a test of this script")
    parser.add_argument("--output", type=Path, default=RESULTS_FILE)
    parser.add_argument("--page", action="store_true", help="only write the page again")
    args = parser.parse_args()
    if not args.page:
        if not SOURCE.is_file():
            sys.exit(f"benchmarks/graphs.py needs {SOURCE}")
        torch.set_num_threads(CORES)
        args.output.write_text(json.dumps(measure(args.quick), indent=1) + "\n")
    numbers = json.loads(args.output.read_text())
    print(rendered(numbers))
    if not numbers["quick"]:
        fill(PAGE, BEGIN, END, rendered(numbers))


if __name__ == "__main__":
    main()
