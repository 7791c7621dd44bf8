"""Graph shards on disk: planned by size, built one at a time, and listed in manifest.json last.

A graph folder holds shard-*.parquet (self-contained, edges included), manifest.json and, in built/, a
note on each finished shard. The note names the rows and settings of the shard, so that a build goes on
where an earlier one stopped. The rows of a shard depend on the crystals and the configuration alone:
any number of processes, each with a part of the shards, leave the same bytes.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dglframer.common.errors import DamagedFile
from dglframer.common.files import (
    check_keys,
    hash_of,
    read_json,
    remove_left_overs,
    sha256,
    write_json,
)
from dglframer.common.parquet import (
    RowReader,
    damaged_row_group,
    hash_of_table,
    parquet_file,
    read_parquet,
    write_parquet,
)
from dglframer.common.progress import progress
from dglframer.common.remote import RemotePath
from dglframer.config.data import GraphsConfig
from dglframer.data.crystals import crystal_rows, targets_of
from dglframer.graphs.reduction import computed_sizes
from dglframer.graphs.shard_table import shard_table
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

log = logging.getLogger(__name__)

FORMAT_VERSION = 2
# What a manifest counts: atoms and edges of the graphs, and those that are computed if equivalent atoms
# are computed once.
COUNTS = ("crystals", "atoms", "edges", "proper_atoms", "proper_edges", "all_atoms", "all_edges")
MANIFEST_KEYS = ("cutoff_angstrom", "targets", "shards", *COUNTS)
ROWS_PER_BLOCK = 8192  # no shard goes over a multiple of it
GROUPS_PER_PART = 8  # row groups of crystals.parquet: up to 8,192 crystals, some 10 s of work


def count_parts(crystals: Path) -> int:
    """The number of parts, a job each, in which to build the graphs of crystals.parquet."""
    with parquet_file(crystals) as file:
        return max(1, -(-file.num_row_groups // GROUPS_PER_PART))


def count_rows(crystals: Path) -> int:
    """The number of crystals in crystals.parquet."""
    with parquet_file(crystals) as file:
        return int(file.metadata.num_rows)


def write_graphs(
    crystals: Path, folder: Path, config: GraphsConfig, config_hash: str = ""
) -> dict[str, Any]:
    """Build the missing shards; write the manifest last and return it."""
    for part in (folder, folder / "built"):
        remove_left_overs(part)  # of killed processes; those that built parts have ended
    shards = build_shards(crystals, folder, config, config_hash)
    manifest = {
        "format_version": FORMAT_VERSION,
        "cutoff_angstrom": config.cutoff_angstrom,
        "targets": targets_of(crystals),
        **{key: sum(shard[key] for shard in shards) for key in COUNTS},
        "crystals_sha256": sha256(crystals),
        "config_hash": config_hash,
        "shards": shards,
    }
    current = {Path(shard["file"]).stem for shard in shards}
    for path in (*folder.glob("shard-*.parquet"), *folder.glob("built/shard-*.json")):
        if path.stem not in current:
            path.unlink()  # an earlier build had more shards
    write_json(folder / "manifest.json", manifest)
    return manifest


def build_shards(
    crystals: Path,
    folder: Path,
    config: GraphsConfig,
    config_hash: str = "",
    part: int = 1,
    parts: int = 1,
) -> list[dict[str, Any]]:
    """Build the shards of part ``part`` of ``parts``, one in memory at a time.

    A shard stays as it is if its note names the same rows and settings. Returns the manifest entries.
    """
    targets = targets_of(crystals)
    columns = ["id", "numbers", "lattice", "frac_coords", *targets]
    entries = []
    with RowReader(crystals) as reader, ExitStack() as bar:
        first_row, stop_row = ((part + k) * len(reader) // parts for k in (-1, 0))
        advance = bar.enter_context(progress("crystals", stop_row - first_row))
        for index, first, stop in plan_shards(reader, config, first_row, stop_row):
            rows = reader.read(first, stop, columns)
            path = folder / f"shard-{index:05d}.parquet"
            note = folder / "built" / f"{path.stem}.json"
            made_from = hash_of(
                [FORMAT_VERSION, config.cutoff_angstrom, config_hash, hash_of_table(rows)]
            )
            entry = finished(path, note, made_from)
            if entry is None:
                entry = build_shard(rows, path, config.cutoff_angstrom, targets)
                write_json(note, {"made_from": made_from, **entry})
                log.info("%(file)s: %(crystals)d crystals, %(atoms)d atoms, %(edges)d edges", entry)
            entries.append(entry)
            advance(stop - first_row)
    return entries


def build_shard(
    rows: pa.Table, path: Path, cutoff: float, targets: dict[str, str]
) -> dict[str, Any]:
    """Write the graphs of some rows of crystals.parquet; returns the shard's manifest entry."""
    labels = rows.select(list(targets)).to_pylist()
    crystals = zip(crystal_rows(rows), labels, strict=True)
    graphs = [build_graph(Crystal(*row, values), cutoff) for row, values in crystals]
    write_parquet(path, shard_table(graphs, targets))
    counts = {
        "crystals": len(graphs),
        "atoms": sum(len(graph.numbers_N) for graph in graphs),
        "edges": sum(len(graph.edges.src_E) for graph in graphs),
    }
    for group in ("proper", "all"):
        computed = [computed_sizes(graph, group) for graph in graphs]
        counts[f"{group}_atoms"], counts[f"{group}_edges"] = map(sum, zip(*computed, strict=True))
    return {"file": path.name, "sha256": sha256(path), **counts}


def finished(path: Path, note: Path, made_from: str) -> dict[str, Any] | None:
    """The manifest entry of a shard if it is whole and made from ``made_from``; else None."""
    try:
        entry = read_json(note, "made_from", "sha256")
    except DamagedFile:
        return None
    if entry.pop("made_from") != made_from or not path.is_file():
        return None
    return entry if sha256(path) == entry["sha256"] else None


def plan_shards(
    crystals: RowReader, config: GraphsConfig, first_row: int = 0, stop_row: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """(number, first row, last row + 1) of each shard that begins in a range of rows, block by block.

    A shard is closed before it has more crystals or more expected edges than the configuration
    allows, and before the next block of ROWS_PER_BLOCK rows. Shards of large frameworks therefore take
    no more time than others, and the plan of a range needs the rows of its own blocks alone.
    """
    n_rows = len(crystals)
    stop_row = n_rows if stop_row is None else stop_row
    for start in range(first_row // ROWS_PER_BLOCK * ROWS_PER_BLOCK, stop_row, ROWS_PER_BLOCK):
        rows = crystals.read(start, min(start + ROWS_PER_BLOCK, n_rows), ["numbers", "lattice"])
        for k, (first, stop) in enumerate(plan_block(rows, config)):
            if first_row <= start + first < stop_row:
                yield start + k, start + first, start + stop


def plan_block(rows: pa.Table, config: GraphsConfig) -> list[tuple[int, int]]:
    """(first row, last row + 1) of the shards of a block, counted from its first row."""
    plan = []
    first, edges = 0, 0.0
    for row, expected in enumerate(expected_edges(rows, config.cutoff_angstrom)):
        full = row - first == config.crystals_per_shard
        if row > first and (full or edges + expected > config.edges_per_shard):
            plan.append((first, row))
            first, edges = row, 0.0
        edges += expected
    return [*plan, (first, len(rows))]


def expected_edges(rows: pa.Table, cutoff: float) -> list[float]:
    """The edges that each crystal would have with evenly spread sites; for a molecule all pairs."""
    table = rows.combine_chunks()
    n_sites_G = pc.list_value_length(table["numbers"]).to_numpy()
    is_crystal_G = pc.is_valid(table["lattice"]).to_numpy()
    lattice_G33 = pc.list_flatten(table["lattice"]).to_numpy().reshape(-1, 3, 3)
    images_G = np.ones(len(table))  # a molecule has one
    images_G[is_crystal_G] = 4 / 3 * np.pi * cutoff**3 / np.abs(np.linalg.det(lattice_G33))
    edges_G: np.ndarray = n_sites_G * np.maximum(1, n_sites_G * images_G)
    return edges_G.tolist()


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a graph folder; raises DamagedFile if it is of another format or no manifest."""
    path = folder / "manifest.json"
    manifest: dict[str, Any] = read_json(path, "format_version")
    version = manifest["format_version"]
    if version != FORMAT_VERSION:
        raise DamagedFile(
            f"{path}: format {version}, this version of dglframer reads {FORMAT_VERSION}; run the "
            "graphs stage again"
        )
    check_keys(path, manifest, *MANIFEST_KEYS)
    return manifest


def read_shard(folder: Path, entry: dict[str, Any]) -> pa.Table:
    """One shard, verified against its sha256; raises DamagedFile naming it."""
    path = folder / entry["file"]
    if isinstance(path, RemotePath):  # fetched once
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() == entry["sha256"]:
            return pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    elif path.is_file() and sha256(path) == entry["sha256"]:
        return read_parquet(path)
    where = f", {damage}" if (damage := damaged_row_group(path)) else ""
    raise DamagedFile(
        f"{path}{where}: missing or not the bytes in the manifest; the graphs stage builds this "
        "shard alone again (snakemake --forcerun graphs)"
    )
