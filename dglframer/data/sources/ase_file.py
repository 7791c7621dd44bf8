"""Files that ASE reads: extxyz, xyz, xsf, trajectories, ASE databases, ..."""

import re
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dglframer.common.errors import ConfigError, DamagedFile, Rejected
from dglframer.data.sources.file_ids import ending, without_ending
from dglframer.data.sources.labels import number
from dglframer.data.sources.own_file import OwnFile
from dglframer.data.sources.periodicity import structure_record
from dglframer.data.sources.text import read_text
from dglframer.data.sources.xyz_frames import ID_KEYS, xyz_frames
from dglframer.structures.crystal import Record

if TYPE_CHECKING:
    import ase

SQLITE = b"SQLite format 3\0"
HEAVY_HYDROGEN = re.compile(r"^(\s*)[DT](?=\s)", re.MULTILINE)  # of which ASE knows nothing


class AseSource(OwnFile):
    """One file with many structures; labels are in ``info``, key-value pairs, or results."""

    name = "ase"

    def records(self) -> Iterator[Record]:
        """Structures in file order; raises DamagedFile where ASE cannot go on."""
        for k, frame in enumerate(frames(self.path)):
            name = f"{without_ending(self.path.name)}-{k}"
            yield record(frame, name, self.targets, self.assume_periodic)

    def unit(self, target: str) -> str:
        first = list(islice(frames(self.path), 100))
        names = {name for frame in first if not isinstance(frame, Rejected) for name in said(frame)}
        if first and all(isinstance(frame, Rejected) for frame in first):
            raise DamagedFile(f"{self.path}: no structure of it can be read ({first[0]})")
        if target not in names:
            raise ConfigError(f"{self.path} has no {target}; it has {', '.join(sorted(names))}")
        return self.units.get(target, "")


def frames(path: Path) -> Iterator["ase.Atoms | Rejected"]:
    """Each structure as Atoms, with its labels in ``info`` and results, or why it cannot be read.

    Raises DamagedFile where it cannot be told where the next one begins.
    """
    readers = {".extxyz": xyz_frames, ".xyz": xyz_frames, ".traj": images, ".db": rows}
    try:
        yield from readers.get(ending(path), any_format)(path)
    except DamagedFile:
        raise
    except Exception as error:  # parsers raise anything
        raise DamagedFile(f"{path}: ASE cannot read it ({type(error).__name__}: {error})") from None


def images(path: Path) -> Iterator["ase.Atoms | Rejected"]:
    """The images of a trajectory."""
    from ase.io.trajectory import TrajectoryReader

    with TrajectoryReader(str(path)) as trajectory:
        for k in range(len(trajectory)):
            try:
                yield trajectory[k]
            except Exception as error:  # anything
                yield Rejected(f"{type(error).__name__}: {error}")


def rows(path: Path) -> Iterator["ase.Atoms"]:
    """The rows of a database, key-value pairs in ``info``."""
    import ase.db

    with open(path, "rb") as file:
        if file.read(len(SQLITE)) != SQLITE:  # ASE would make a database of an empty file
            raise DamagedFile(f"{path}: no SQLite database")
    for row in ase.db.connect(str(path)).select():
        atoms = row.toatoms()
        atoms.info = dict(row.key_value_pairs)
        yield atoms


def any_format(path: Path) -> Iterator["ase.Atoms | Rejected"]:
    """What ASE finds in a file of another format."""
    import ase.io
    from ase.io.formats import filetype

    if ending(path) == ".xsf":
        text = HEAVY_HYDROGEN.sub(r"\1H", read_text(path))
        yield from ase.io.iread(StringIO(text), index=":", format="xsf")
    elif filetype(str(path)) == "extxyz":
        yield from xyz_frames(path)
    else:
        yield from ase.io.iread(str(path), index=":", do_not_split_by_at_sign=True)


def said(atoms: "ase.Atoms") -> dict[str, Any]:
    """What a file says of a structure."""
    return {**(atoms.calc.results if atoms.calc else {}), **atoms.info}


def record(
    frame: "ase.Atoms | Rejected",
    name: str,
    targets: Sequence[str] = (),
    assume_periodic: bool = False,
) -> Record:
    """One structure under the id that it states, or ``name``."""
    if isinstance(frame, Rejected):
        return Record(name, problem=f"cannot be read: {frame}")
    info = said(frame)
    stated = (info[key] for key in ID_KEYS if info.get(key) is not None)
    id = next(filter(None, (str(id).strip() for id in stated if np.size(id) == 1)), name)
    labels = {target: number(info.get(target)) for target in targets}
    species, rank = frame.get_chemical_symbols(), frame.cell.rank
    if rank == 0 and not frame.pbc.any():
        return Record(id, species, None, frame.positions, labels)
    if rank < 3:
        axes = f"periodic along {int(frame.pbc.sum())} of 3 axes"
        problem = f"cell without three independent vectors, {axes}"
        return Record(id, problem=problem, labels=labels)
    frac_N3 = frame.get_scaled_positions(wrap=False)
    return structure_record(
        id, species, frame.cell.array, frac_N3, frame.pbc, assume_periodic, labels=labels
    )
