"""What a model predicts for: a crystal with its graph, or the reason why there is none."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dglframer.common.errors import Rejected
from dglframer.data.sources.structure_files import read_structure_file
from dglframer.structures.crystal import Crystal, Record, validate
from dglframer.structures.periodic_graph import PeriodicGraph, build_graph

Position = tuple[int, int]  # how many files are done, and how many structures of the next one

MAX_ITEMS = 1000  # of a chunk: failures have no edges, and are to be written as well


class Item(NamedTuple):
    """A structure of a file, and where to go on after it."""

    id: str
    path: str | None  # None: it is of no file
    next: Position
    crystal: Crystal | None = None
    graph: PeriodicGraph | None = None  # of the maximal cutoff of the models
    error: str | None = None

    @property
    def n_edges(self) -> int:
        return 0 if self.graph is None else len(self.graph.edges.src_E)


class Wanted(NamedTuple):
    """How files become items."""

    cutoff: float  # angstrom
    assume_periodic: bool = False


def prepared(record: Record, path: str | None, next: Position, wanted: Wanted) -> Item:
    """The item of a record."""
    try:
        crystal = validate(record)
        return Item(record.id, path, next, crystal, build_graph(crystal, wanted.cutoff))
    except Rejected as reason:
        return Item(record.id, path, next, error=str(reason))


def items_of_file(path: Path, id: str, k: int, n_done: int, wanted: Wanted) -> Iterator[Item]:
    """The items of file ``k`` after its first ``n_done``; an unreadable file is one with an error."""
    records = read_file(path, id, wanted.assume_periodic)
    for n, record in enumerate(islice(records, n_done, None), n_done + 1):
        yield prepared(record, str(path), (k, n), wanted)


def read_items(
    files: Sequence[Path], ids: Sequence[str], start: Position, wanted: Wanted
) -> Iterator[Item]:
    """The items of all files after ``start``, in order."""
    for k in range(start[0], len(files)):
        yield from items_of_file(files[k], ids[k], k, start[1] if k == start[0] else 0, wanted)


def read_file(path: Path, id: str, assume_periodic: bool) -> Iterator[Record]:
    """The records of one file."""
    if not path.is_file():
        yield Record(id, problem="no such file")
    elif path.suffix == ".parquet":
        from dglframer.data.sources.parquet import ParquetSource

        yield from ParquetSource(path, {}, assume_periodic).records()
    else:
        yield from read_structure_file(path, id, assume_periodic)


def chunks(items: Iterable[Item], edges_per_chunk: int) -> Iterator[list[Item]]:
    """Lists of at most ``edges_per_chunk`` edges, or of one crystal, and at most MAX_ITEMS items."""
    chunk: list[Item] = []
    n_edges = 0
    for item in items:
        too_many_edges = n_edges and n_edges + item.n_edges > edges_per_chunk
        if too_many_edges or len(chunk) >= MAX_ITEMS:
            yield chunk
            chunk, n_edges = [], 0
        chunk.append(item)
        n_edges += item.n_edges
    if chunk:
        yield chunk
