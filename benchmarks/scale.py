"""A million crystals through every stage: peak memory, time and disk of each, against 10,000 and 100,000.

    python benchmarks/scale.py --folder DIR [--sizes 10000 100000 1000000]

needs ../shared/data/mp_megnet.parquet and writes benchmarks/results/scale.json and the tables of
docs/measured/scale.md (``--page``: these alone, from the stored results). DIR keeps the files and, in
SIZE/stages.json, what each finished stage took: the same command goes on where it was stopped.

The crystals are one row of each formula with at most MAX_ATOMS atoms, strained in a different way in
each copy, so that clean finds no duplicate. An eighth is strained alike in all directions and keeps its
symmetry; the others are sheared. The stages run one after the other as a user runs them: as commands.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from default_run import ROOT, machine
from pages import fill
from scale_page import failures, rendered

SOURCE = ROOT.parent / "shared" / "data" / "mp_megnet.parquet"
TARGET = "formation_energy_per_atom"
RESULTS_FILE = ROOT / "benchmarks" / "results" / "scale.json"
PAGE = ROOT / "docs" / "measured" / "scale.md"
BEGIN, END = "<!-- tables: written by benchmarks/scale.py -->", "<!-- end of tables -->"
SIZES = (10_000, 100_000, 1_000_000)
MAX_ATOMS, CUTOFF, BATCH = 8, 4.0, 512
SYMMETRIC = 8  # one in so many crystals keeps its symmetry
VOLUMES, VOLUME_STEP = 32, 1.0206  # the clean stage takes volumes within 2 % for the same
SHEAR_33 = np.array([[0.05, 0.03, -0.02], [0.03, -0.04, 0.04], [-0.02, 0.04, -0.01]])
OTHER_33 = np.array([[-0.09, 0.07, 0.06], [0.07, 0.08, -0.05], [0.06, -0.05, 0.01]])
SHEARS = (SHEAR_33, -SHEAR_33, 1.9 * SHEAR_33, OTHER_33)  # one for each turn through the volumes
NETWORK = {"blocks": 1, "width": 16, "heads": 2, "feedforward": 32, "distance_bins": 16}
GROUP_ROWS = 10_000  # of the source file in memory at a time


def base_rows() -> pa.Table:
    """The first row of each reduced formula with at most MAX_ATOMS atoms, in a drawn order."""
    from dglframer.structures.symmetry import reduced_formula

    table = pq.read_table(SOURCE)
    first: dict[str, int] = {}
    for row, numbers in enumerate(table["atomic_numbers"].to_pylist()):
        if len(numbers) <= MAX_ATOMS:
            first.setdefault(reduced_formula(np.array(numbers)), row)
    order = np.random.default_rng(0).permutation(sorted(first.values()))
    return table.take(pa.array(order)).combine_chunks()


def strain(base: int, copy: int) -> np.ndarray:
    """[3, 3]: what the lattice of a base row is multiplied by in its copy of this number (below 128)."""
    volume, turn = (5 * base + copy) % VOLUMES, copy // VOLUMES
    shape_33 = np.eye(3)
    if (base + copy) % SYMMETRIC == 0:
        volume = (volume + 2 * turn) % VOLUMES
    else:
        shape_33 = shape_33 + SHEARS[turn]
        shape_33 /= np.linalg.det(shape_33) ** (1 / 3)
    result: np.ndarray = (0.8 * VOLUME_STEP**volume) ** (1 / 3) * shape_33
    return result


def source_tables(size: int) -> Iterator[pa.Table]:
    """The crystals in tables of GROUP_ROWS rows."""
    base = base_rows()
    lattice_R33 = np.array(base["lattice"].to_pylist()).reshape(-1, 3, 3)
    for start in range(0, size, GROUP_ROWS):
        rows = np.arange(start, min(start + GROUP_ROWS, size))
        part = base.take(pa.array(rows % len(base)))
        pairs = zip(rows % len(base), rows // len(base), strict=True)
        strains_G33 = np.array([strain(int(one), int(copy)) for one, copy in pairs])
        lattices_G9 = (lattice_R33[rows % len(base)] @ strains_G33).reshape(-1, 9)
        columns = {
            "id": pa.array([f"crystal-{row:09d}" for row in scattered(rows)]),
            "numbers": part["atomic_numbers"],
            "lattice": pa.array(list(lattices_G9), pa.list_(pa.float64())),
            "frac_coords": part["frac_coords"],
            TARGET: part[TARGET],
        }
        yield pa.table(columns)


def scattered(rows: np.ndarray) -> np.ndarray:
    """Numbers of ids in an order unlike that of the rows, each once: odd times a row, modulo 2**30."""
    return (rows.astype(np.int64) * 387_420_489) % 2**30


def make_source(size: int, path: Path) -> dict[str, float]:
    """Write the source file; not a stage."""
    wall, cpu = time.perf_counter(), time.process_time()
    tables = source_tables(size)
    first = next(tables)
    temporary = path.with_suffix(".tmp")
    with pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    temporary.rename(path)
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


# The peak of a process is the kernel's figure (ru_maxrss, the largest of it and its children). Pages of
# mapped files count there; what a process has of its own is looked at every fifth of a second.
RUN = """
import json, os, sys, time
def anonymous(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            kib = sum(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return kib + sum(map(anonymous, file.read().split()))
    except OSError:
        return 0
started = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
own, ended = 0, 0
while not ended:
    own = max(own, anonymous(pid))
    time.sleep(0.2)
    ended, status, usage = os.wait4(pid, os.WNOHANG)
with open(os.environ["MEASURED"], "w") as file:
    json.dump({"wall_s": time.perf_counter() - started, "status": status, "own_mib": own / 1024,
               "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}, file)
"""


def command(log: Path, *arguments: Any) -> dict[str, float]:
    """Run one verb; its wall and CPU seconds and its peak memory. What it says goes to ``log``."""
    verb = [sys.executable, "-m", "dglframer", *map(str, arguments)]
    measured = log.with_suffix(".measured")
    with open(log, "a", encoding="utf-8") as file:
        subprocess.run(
            [sys.executable, "-S", "-c", RUN, *verb],
            env={**os.environ, "MEASURED": str(measured)}, stdout=file, stderr=file, check=True,
        )  # fmt: skip
    result: dict[str, float] = json.loads(measured.read_text())
    measured.unlink()
    if result.pop("status"):
        sys.exit(f"{' '.join(verb)} failed: {log}")
    return result


def settings(source: Path) -> dict[str, Any]:
    """The configuration of every size."""
    training = {"epochs": 1, "batch_size": BATCH, "average_decay": None}
    return {
        "dataset": {"source": "parquet", "path": str(source), "targets": [TARGET]},
        "graphs": {"cutoff_angstrom": CUTOFF},
        "crystalframer": NETWORK,
        "training": training,
        "tune": {"trials": 0},
    }


def stages(folder: Path) -> dict[str, list[Any]]:
    """The verb and arguments of each stage; the graphs are made in parts, which are not listed here."""
    at = {name: folder / name for name in ("config.json", "download.json", "crystals.parquet")}
    at |= {name: folder / name for name in ("rejected.parquet", "checks.parquet", "split.parquet")}
    config = ["--config", at["config.json"]]
    crystals = ["--crystals", at["crystals.parquet"]]
    out = "--out"
    return {
        "download": ["download", *config, out, at["download.json"]],
        "crystals": ["crystals", *config, "--download", at["download.json"],
                     "--rejected", at["rejected.parquet"], out, at["crystals.parquet"]],
        "clean": ["clean", *config, *crystals, out, at["checks.parquet"]],
        "inspect": ["inspect", at["crystals.parquet"], "--rejected", at["rejected.parquet"],
                    "--checks", at["checks.parquet"], "--json", folder / "inspection.json",
                    "--html", folder / "inspection.html"],
        "split": ["split", *config, *crystals, "--rejected", at["rejected.parquet"],
                  out, at["split.parquet"]],
        "leakage": ["leakage", "--checks", at["checks.parquet"], "--split", at["split.parquet"],
                    out, folder / "leakage.json"],
        "graphs, parts": ["graphs", *config, *crystals, out, folder / "graphs"],
        "graphs, manifest": ["graphs", *config, *crystals, out, folder / "graphs"],
        "one epoch": ["train", *config, "--graphs", folder / "graphs",
                      "--split", at["split.parquet"], "--seed", 0, out, folder / "model"],
    }  # fmt: skip


def run(size: int, folder: Path, until: str | None = None) -> dict[str, Any]:
    """Every stage that has not ended before; returns what each took."""
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder / "stages.json"
    done: dict[str, Any] = json.loads(notes.read_text()) if notes.exists() else {"size": size}
    rows = done.setdefault("stages", {})

    def note(name: str, result: dict[str, Any], before: int) -> None:
        rows[name] = {**result, "disk_mb": (bytes_in(folder) - before) / 1e6}
        rows[name]["load"] = os.getloadavg()[0]
        notes.with_suffix(".tmp").write_text(json.dumps(done, indent=1))
        notes.with_suffix(".tmp").rename(notes)
        print(size, name, json.dumps(rows[name]), flush=True)

    source = folder / "source.parquet"
    if not source.exists():
        make_source(size, source)
    (folder / "config.json").write_text(json.dumps(settings(source)))
    for name, arguments in stages(folder).items():
        if name in rows:
            if name == until:
                return done
            continue
        before, log = bytes_in(folder), folder / f"{name.replace(', ', '-').replace(' ', '-')}.log"
        if name == "graphs, parts":
            note(name, in_parts(arguments, folder, log), before)
        else:
            note(name, {"processes": 1, **command(log, *arguments)}, before)
        if name == until:
            return done
    done["source_mb"] = source.stat().st_size / 1e6
    done |= counts(folder)
    return done


def alone(size: int, folder: Path) -> dict[str, Any]:
    """split, leakage and one part of the graphs, of tables that are written without crystals and clean.

    For a machine with little time. The space groups are drawn, and nothing is a duplicate.
    """
    from dglframer.data.crystals import crystals_schema
    from dglframer.graphs.shards import count_parts
    from dglframer.structures.symmetry import reduced_formula

    folder.mkdir(parents=True, exist_ok=True)
    notes = folder / "alone.json"
    if notes.exists():
        result: dict[str, Any] = json.loads(notes.read_text())
        return result
    table = pa.concat_tables(source_tables(size)).sort_by("id").combine_chunks()
    nothing, position = pa.array([""] * size), pa.array(np.arange(size))
    more = {"source": nothing, "split": nothing, "file_position": position, "date": nothing}
    columns = {**more, **dict(zip(table.column_names, table.columns, strict=True))}
    columns["lattice"] = columns["lattice"].cast(pa.list_(pa.float64(), 9))
    schema = crystals_schema([TARGET], {TARGET: "eV/atom"})
    crystals = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    pq.write_table(crystals, folder / "crystals.parquet", compression="zstd", row_group_size=1024)
    groups = np.random.default_rng(0).integers(1, 231, size).astype(np.int16)
    formulas = [reduced_formula(np.array(one)) for one in base_rows()["atomic_numbers"].to_pylist()]
    place = np.argsort(scattered(np.arange(size))) % len(formulas)
    described = {"id": table["id"], "formula": pa.array(formulas).take(pa.array(place))}
    doubts = dict.fromkeys(("duplicate_of", "unphysical", "disagreement", "dropped"), nothing)
    checks = {**described, "space_group": groups, **doubts}
    pq.write_table(
        pa.table(checks, metadata={"duplicates_searched": "yes"}), folder / "checks.parquet"
    )
    (folder / "config.json").write_text(json.dumps(settings(folder / "absent.parquet")))
    every, results = stages(folder), {}
    absent = ("--rejected", folder / "rejected.parquet")
    parts = count_parts(folder / "crystals.parquet")
    words = {
        "split": [one for one in every["split"] if one not in absent],
        "leakage": every["leakage"],
        "one part of the graphs": [*every["graphs, parts"], "--part", f"{parts}/{parts}"],
    }
    for name, arguments in words.items():
        results[name] = command(folder / "alone.log", *arguments)
        print("alone", size, name, json.dumps(results[name]), flush=True)
    result = {"size": size, "parts": parts, "stages": results}
    notes.write_text(json.dumps(result, indent=1))
    return result


def in_parts(arguments: list[Any], folder: Path, log: Path) -> dict[str, Any]:
    """The parts of the graphs one after the other, each by a process, as jobs of a cluster."""
    from dglframer.graphs.shards import count_parts

    parts = count_parts(folder / "crystals.parquet")
    finished = folder / "parts.jsonl"
    lines = finished.read_text().splitlines() if finished.exists() else []
    results = [json.loads(line) for line in lines]
    for part in range(len(results) + 1, parts + 1):
        results.append(command(log, *arguments, "--part", f"{part}/{parts}"))
        with open(finished, "a", encoding="utf-8") as file:
            file.write(json.dumps(results[-1]) + "\n")
    largest = {key: max(one[key] for one in results) for key in ("peak_mib", "own_mib")}
    total = {key: sum(one[key] for one in results) for key in ("wall_s", "cpu_s")}
    return {"processes": parts, **total, **largest}


def counts(folder: Path) -> dict[str, Any]:
    """What the files of a finished run hold."""
    manifest = json.loads((folder / "graphs" / "manifest.json").read_text())
    inspection = json.loads((folder / "inspection.json").read_text())
    computed = {key: manifest[key] for key in ("crystals", "atoms", "edges")}
    shares = {key: manifest[f"proper_{key}"] / manifest[key] for key in ("atoms", "edges")}
    return {
        **computed,
        "computed_share": shares,
        "shards": len(manifest["shards"]),
        "duplicates": inspection["duplicates"]["count"],
        "rejected": inspection["rejected"]["count"],
    }


def bytes_in(folder: Path) -> int:
    """The bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def symmetry_cost(count: int = 400) -> dict[str, Any]:
    """CPU milliseconds a crystal of what symmetry costs, with symmetry kept and without."""
    from dglframer.graphs.reduction import reduction
    from dglframer.structures.crystal import Crystal
    from dglframer.structures.orbits import find_orbits
    from dglframer.structures.periodic_graph import build_graph
    from dglframer.structures.symmetry import space_group

    base = base_rows().slice(0, count).to_pylist()
    found: dict[str, Any] = {"crystals": count}
    for name, copy in (("symmetric", 0), ("sheared", 1)):
        rows = []
        for k, row in enumerate(base):
            lattice_33 = np.array(row["lattice"]).reshape(3, 3) @ strain(-k * (copy == 0), copy)
            frac_N3 = np.array(row["frac_coords"]).reshape(-1, 3)
            rows.append((np.array(row["atomic_numbers"], np.int16), lattice_33, frac_N3))
        graphs = [build_graph(Crystal("", *row, {}), CUTOFF) for row in rows]
        for one in (*rows[:1],):  # compiled before the clock starts
            find_orbits(*one), reduction(graphs[0], "proper")
        found[name] = {
            "space group, in clean": timed(space_group, rows),
            "orbits, in graphs": timed(find_orbits, rows),
            "reduced graph, when decoded": timed(lambda one: reduction(one, "proper"), graphs),
        }
    return found


def timed(function: Any, items: list[Any]) -> float:
    """CPU milliseconds of a call; tuples are its arguments."""
    started = time.process_time()
    for item in items:
        function(*item) if isinstance(item, tuple) else function(item)
    return 1e3 * (time.process_time() - started) / len(items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "scale")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    some = "sizes of split, leakage and one part of the graphs alone"
    parser.add_argument("--alone", type=int, nargs="+", default=(), help=some)
    parser.add_argument("--until", help="the last stage to run; then nothing is written")
    parser.add_argument("--output", type=Path, default=RESULTS_FILE)
    parser.add_argument("--page", action="store_true", help="only write the page again")
    args = parser.parse_args()
    if not args.page:
        if not SOURCE.is_file():
            sys.exit(f"benchmarks/scale.py needs {SOURCE}")
        numbers: dict[str, Any] = {
            "machine": machine(), "max_atoms": MAX_ATOMS, "cutoff": CUTOFF, "network": NETWORK,
            "batch": BATCH, "symmetric": SYMMETRIC, "symmetry_ms": symmetry_cost(), "runs": [],
        }  # fmt: skip
        numbers["alone"] = [alone(size, args.folder / f"alone-{size}") for size in args.alone]
        for size in args.sizes:
            numbers["runs"].append(run(size, args.folder / str(size), args.until))
            if args.until:
                continue
            args.output.write_text(json.dumps(numbers, indent=1) + "\n")
    if args.until:
        return
    numbers = json.loads(args.output.read_text())
    print(rendered(numbers))
    if args.output == RESULTS_FILE:
        fill(PAGE, BEGIN, END, rendered(numbers))
    if failures(numbers):
        sys.exit("a stage is not flat or not linear")


if __name__ == "__main__":
    main()
