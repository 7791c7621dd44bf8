"""Reading structure files into records, by their ending (or the name POSCAR, CONTCAR)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dglframer.common.errors import DamagedFile, Rejected
from dglframer.common.text import is_utf8
from dglframer.data.sources import ase_file, cif, json_list, json_stream, poscar
from dglframer.data.sources.file_ids import (
    CIF,
    FRAMES,
    JSON,
    KNOWN,
    Item,
    ending,
    file_ids,
    is_poscar,
    numbered,
    without_ending,
)
from dglframer.structures.crystal import Record


def is_structure_file(path: Path) -> bool:
    """Whether the name is that of a file with structures."""
    return bool(ending(path)) or is_poscar(path)


def read_structure(path: Path) -> Record:
    """The structure of a file that has one; several are a problem."""
    (_, record), *others = numbered("", read_structure_file(path))
    problem = f"{1 + len(others)} structures in one file" if others else record.problem
    return replace(record, problem=problem)


def read_structures(paths: Sequence[Path]) -> Iterator[Record]:
    """Records of many files, in order, under ids that tell the files apart."""
    for path, id in zip(paths, file_ids(paths), strict=True):
        yield from read_structure_file(path, id)


def read_structure_file(
    path: Path, id: str | None = None, assume_periodic: bool = False
) -> Iterator[Record]:
    """The structures of a file as they stand: no primitive cell, no standard setting.

    A single one gets ``id`` (default: the name without its ending), several id-0, id-1, ..., unless
    they state their own. Whatever goes wrong becomes a record with a ``problem``: one bad file must
    not stop the others.
    """
    path = Path(path)
    id = without_ending(path.name) if id is None else id
    if not is_utf8(str(path)):  # the libraries that read files take no such path
        yield Record(id, problem="its path is not UTF-8")
    elif is_poscar(path):
        yield poscar.read_poscar(path, id)
    elif ending(path) in CIF:
        for name, record in numbered(id, cif.read_cif(path)):
            yield replace(record, id=name)
    elif ending(path) in FRAMES:
        for name, frame in numbered(id, with_end(ase_file.frames(path))):
            yield ase_file.record(frame, name, (), assume_periodic)
    elif ending(path) in JSON:
        for name, entry in numbered(id, with_end(json_stream.entries(path))):
            if isinstance(entry, Rejected):
                yield Record(name, problem=f"cannot be read: {entry}")
            else:
                yield json_list.record(json_list.own_entry(entry, name), (), assume_periodic)
    else:
        yield Record(id, problem=f"unknown ending: {KNOWN}")


def with_end(items: Iterable[Item]) -> Iterator[Item | Rejected]:
    """The items, and why there are no more of them if that is not the end of the file."""
    n_items = 0
    try:
        for item in items:
            n_items += 1
            yield item
    except (DamagedFile, OSError) as error:
        yield Rejected(str(error))
        return
    if not n_items:
        yield Rejected("no structure in it")
