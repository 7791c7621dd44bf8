"""Files that ASE reads: extxyz, xyz, xsf, trajectories, ASE databases, ..."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.data.sources.json_list import number
from dglframer.data.sources.own_file import OwnFile
from dglframer.structures.crystal import Record

if TYPE_CHECKING:
    import ase

ID_KEYS = ("id", "material_id", "jid")


class AseSource(OwnFile):
    """One file with many structures; labels are in ``info``, key-value pairs, or results."""

    name = "ase"

    def records(self) -> Iterator[Record]:
        """Structures in file order; raises DamagedFile where ASE cannot go on."""
        for k, (atoms, info) in enumerate(frames(self.path)):
            yield record(atoms, info, f"{self.path.stem}-{k}", self.targets)

    def unit(self, target: str) -> str:
        names = {name for _, info in islice(frames(self.path), 100) for name in info}
        if target not in names:
            raise ConfigError(f"{self.path} has no {target}; it has {', '.join(sorted(names))}")
        return self.units.get(target, "")


def frames(path: Path) -> Iterator[tuple["ase.Atoms", dict[str, Any]]]:
    """(Atoms, what is said of them) of each structure; raises DamagedFile."""
    import ase.db
    import ase.io

    try:
        if path.suffix == ".db":
            for row in ase.db.connect(path).select():
                yield row.toatoms(), {"id": row.unique_id} | row.key_value_pairs
            return
        for atoms in ase.io.iread(path, index=":"):
            yield atoms, {**(atoms.calc.results if atoms.calc else {}), **atoms.info}
    except Exception as error:  # parsers raise anything
        raise DamagedFile(f"{path}: ASE cannot read it ({type(error).__name__}: {error})") from None


def record(
    atoms: "ase.Atoms", info: Mapping[str, Any], name: str, targets: Sequence[str] = ()
) -> Record:
    """One structure: a molecule if it is periodic along no axis, a crystal if along all three."""
    id = next((str(info[key]) for key in ID_KEYS if key in info), name)
    labels = {target: number(info.get(target)) for target in targets}
    n_periodic = int(atoms.pbc.sum())
    if n_periodic in (1, 2):
        problem = f"periodic along {n_periodic} of 3 axes; give it a cell with vacuum and pbc T T T"
        return Record(id, problem=problem, labels=labels)
    if n_periodic == 0:
        return Record(id, atoms.get_chemical_symbols(), None, atoms.positions, labels)
    if atoms.cell.rank < 3:
        return Record(id, problem="cell without three independent vectors", labels=labels)
    frac_N3 = atoms.get_scaled_positions(wrap=False)
    return Record(id, atoms.get_chemical_symbols(), atoms.cell.array, frac_N3, labels)
