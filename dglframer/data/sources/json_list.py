"""JSON of crystals: entries with jarvis-tools' ``atoms`` or pymatgen's ``structure``, or bare ones."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dglframer.common.errors import ConfigError, DamagedFile, Rejected
from dglframer.data.sources.file_ids import without_ending
from dglframer.data.sources.json_stream import entries
from dglframer.data.sources.labels import number
from dglframer.data.sources.own_file import OwnFile
from dglframer.data.sources.periodicity import structure_record
from dglframer.structures.crystal import Record

ID_KEYS = ("jid", "id", "material_id", "entry_id", "_oqmd_entry_id")


class JsonSource(OwnFile):
    """Your own list: an id, ``atoms`` or ``structure``, and targets in each entry.

    An entry may be a structure itself; the targets of pymatgen's are then in ``properties``. An entry
    without an id gets one from its place in the file.
    """

    name = "json"

    def records(self) -> Iterator[Record]:
        """Entries in file order."""
        for k, entry in enumerate(entries(self.path)):
            named = own_entry(entry, f"{without_ending(self.path.name)}-{k}")
            yield record(named, self.targets, self.assume_periodic)

    def unit(self, target: str) -> str:
        first = [own_entry(entry, "") for entry in islice(entries(self.path), 100)]
        key = target.partition(".")[0]
        if not any(target in entry or key in entry for entry in first):
            keys = sorted({key for entry in first for key in entry})
            raise ConfigError(f"{self.path} has no {target}; it has {', '.join(keys)}")
        return self.units.get(target, "")


def holds_structures(path: Path) -> bool:
    """Whether the first entry of a JSON file has a structure; a damaged file may have some."""
    try:
        first = next(entries(path), {})
    except DamagedFile:
        return True
    return bool({"atoms", "structure"} & own_entry(first, "").keys())


def record(
    entry: Mapping[str, Any], targets: Sequence[str], assume_periodic: bool = False
) -> Record:
    """One entry with the labels of the targets; what cannot be read carries its problem."""
    id = stated_id(entry)
    labels = {name: number(found(entry, name)) for name in targets}
    date = entry.get("last_updated")
    known: dict[str, Any] = {"labels": labels, "date": None if date is None else str(date)}
    try:
        if "atoms" in entry:
            atoms = entry["atoms"]
            species, lattice_33, frac_N3 = jarvis_atoms(atoms)
            pbc = atoms.get("pbc", True)
        elif "structure" in entry:
            structure = entry["structure"]
            species = pymatgen_species(structure["sites"])
            if "lattice" not in structure:  # a Molecule
                coords_N3 = [site["xyz"] for site in structure["sites"]]
                return Record(id, species, None, coords_N3, **known)
            lattice_33 = np.array(structure["lattice"]["matrix"], dtype=np.float64)
            frac_N3 = np.array([site["abc"] for site in structure["sites"]], dtype=np.float64)
            pbc = structure["lattice"].get("pbc", True)
        else:
            return Record(id, problem="neither atoms nor structure", **known)
    except Rejected as reason:
        return Record(id, problem=str(reason), **known)
    except (KeyError, TypeError, ValueError, IndexError, np.linalg.LinAlgError) as error:
        return Record(id, problem=f"cannot be read: {type(error).__name__} {error}", **known)
    return structure_record(id, species, lattice_33, frac_N3, pbc, assume_periodic, **known)


def own_entry(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """An entry in the form of JARVIS, and under ``name`` if it states no id.

    It may be a pymatgen structure or the atoms of jarvis-tools alone.
    """
    if "sites" in entry:
        entry = (entry.get("properties") or {}) | entry | {"structure": entry}
    elif "lattice_mat" in entry:
        entry = entry | {"atoms": entry}
    return entry if stated_id(entry) else entry | {ID_KEYS[0]: name}


def stated_id(entry: Mapping[str, Any]) -> str:
    """The id that an entry states; "" if it states none."""
    stated = (str(entry[key]).strip() for key in ID_KEYS if entry.get(key) is not None)
    return next(filter(None, stated), "")


def jarvis_atoms(atoms: Mapping[str, Any]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(symbols, lattice_33, frac_N3) of a jarvis-tools Atoms dictionary."""
    lattice_33 = np.array(atoms["lattice_mat"], dtype=np.float64)
    coords_N3 = np.array(atoms["coords"], dtype=np.float64)
    frac_N3 = coords_N3 @ np.linalg.inv(lattice_33) if atoms["cartesian"] else coords_N3
    return atoms["elements"], lattice_33, frac_N3


def pymatgen_species(sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """The element of each site; raises Rejected for a site that is not of one element alone."""
    if any(len(site["species"]) != 1 or site["species"][0]["occu"] != 1 for site in sites):
        raise Rejected("partial occupancy (disordered structure)")
    return [site["species"][0]["element"] for site in sites]


def found(entry: Mapping[str, Any], name: str) -> Any:
    """The value under a key, or under a path of keys with dots (``bulk_modulus.vrh``)."""
    if name in entry or "." not in name:
        return entry.get(name)
    first, _, rest = name.partition(".")
    inner = entry.get(first)
    return found(inner, rest) if isinstance(inner, Mapping) else None
