"""A JSON list of entries, one a crystal: jarvis-tools' ``atoms`` or pymatgen's ``structure``.

Lists are read an entry at a time. (ijson would do that as well, but refuses NaN, which Python's own
writer puts into such files.)
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.data.sources.archives import open_member
from dglframer.data.sources.own_file import OwnFile
from dglframer.structures.crystal import Record

CHUNK = 1 << 20  # characters read at once
LARGEST_ENTRY = 1 << 26  # characters; more is a damaged file
ID_KEYS = ("jid", "id", "material_id", "entry_id", "_oqmd_entry_id")
MISSING = (None, "", "na")  # JARVIS writes "na"


class JsonSource(OwnFile):
    """Your own list: an id, ``atoms`` or ``structure``, and targets in each entry.

    An entry may be a pymatgen structure itself; its targets are then in ``properties``, and its id,
    if there is none, is made from its place in the list.
    """

    name = "json"

    def records(self) -> Iterator[Record]:
        """Entries in file order."""
        for k, entry in enumerate(entries(self.path)):
            yield record(own_entry(entry, f"{self.path.stem}-{k}"), self.targets)

    def unit(self, target: str) -> str:
        first = [own_entry(entry, "") for entry in islice(entries(self.path), 100)]
        if all(found(entry, target) is None for entry in first):
            keys = sorted({key for entry in first for key in entry})
            raise ConfigError(f"{self.path} has no {target}; it has {', '.join(keys)}")
        return self.units.get(target, "")


def entries(path: Path, member: str | None = None) -> Iterator[dict[str, Any]]:
    """The entries of a JSON file, or of the JSON file in a zip archive, one at a time."""
    with open_json(path, member) as stream:
        yield from read_list(stream, path)


@contextmanager
def open_json(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    """The bytes of the JSON, whether it is zipped or not."""
    with open_member(path, member) if zipfile.is_zipfile(path) else open(path, "rb") as stream:
        yield stream


def read_list(stream: IO[bytes], path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, with one of them in memory at a time.

    Raises DamagedFile naming ``path`` where it is no such list, or ends early.
    """
    decoder = json.JSONDecoder()
    text = io.TextIOWrapper(stream, encoding="utf-8-sig")
    buffer, start, n_read = "", 0, 0

    def more() -> bool:
        nonlocal buffer, start
        new = text.read(max(CHUNK, len(buffer) - start))
        buffer, start = buffer[start:] + new, 0
        return bool(new)

    def next_sign() -> str:
        nonlocal start
        while True:
            rest = buffer[start : start + 64].lstrip()
            if rest:
                start = buffer.index(rest[0], start)
                return rest[0]
            start = min(start + 64, len(buffer))
            if start == len(buffer) and not more():
                return ""

    def wrong(what: str) -> DamagedFile:
        return DamagedFile(f"{path}: no JSON list of objects ({what} after {n_read} entries)")

    try:
        if next_sign() != "[":
            raise wrong("it does not begin with [")
        start += 1
        while next_sign() != "]":
            if n_read:
                if next_sign() != ",":
                    raise wrong(f"{next_sign() or 'the end'} for a comma")
                start += 1
            if next_sign() != "{":
                raise wrong(f"{next_sign() or 'the end'} for an object")
            while True:
                try:
                    entry, start = decoder.raw_decode(buffer, start)
                    break
                except json.JSONDecodeError as error:
                    if len(buffer) - start > LARGEST_ENTRY or not more():
                        raise wrong(str(error)) from None
            n_read += 1
            yield entry
    except UnicodeDecodeError as error:
        raise wrong(str(error)) from None


def record(entry: Mapping[str, Any], targets: Sequence[str]) -> Record:
    """One entry with the labels of the targets; what cannot be read carries its problem."""
    id = next((str(entry[key]) for key in ID_KEYS if entry.get(key) is not None), "")
    labels = {name: number(found(entry, name)) for name in targets}
    date = entry.get("last_updated")
    known: dict[str, Any] = {"labels": labels, "date": None if date is None else str(date)}
    try:
        if "atoms" in entry:
            return Record(id, *jarvis_atoms(entry["atoms"]), **known)
        if "structure" in entry:
            return Record(id, *pymatgen_structure(entry["structure"]), **known)
    except (KeyError, TypeError, ValueError, IndexError, np.linalg.LinAlgError) as error:
        return Record(id, problem=f"cannot be read: {type(error).__name__} {error}", **known)
    return Record(id, problem="neither atoms nor structure", **known)


def own_entry(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """An entry of a list of pymatgen structures in the form of the others."""
    if "sites" not in entry:
        return entry
    return {"id": name} | (entry.get("properties") or {}) | {"structure": entry}


def jarvis_atoms(atoms: Mapping[str, Any]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(symbols, lattice_33, frac_N3) of a jarvis-tools Atoms dictionary."""
    lattice_33 = np.array(atoms["lattice_mat"], dtype=np.float64)
    coords_N3 = np.array(atoms["coords"], dtype=np.float64)
    frac_N3 = coords_N3 @ np.linalg.inv(lattice_33) if atoms["cartesian"] else coords_N3
    return atoms["elements"], lattice_33, frac_N3


def pymatgen_structure(structure: Mapping[str, Any]) -> tuple[list[str], Any, list[Any]]:
    """(symbols, lattice or None, coordinates) of a pymatgen Structure or Molecule dictionary."""
    sites = structure["sites"]
    if any(len(site["species"]) != 1 or site["species"][0]["occu"] != 1 for site in sites):
        raise ValueError("partial occupancy (disordered structure)")
    symbols = [site["species"][0]["element"] for site in sites]
    if "lattice" not in structure:
        return symbols, None, [site["xyz"] for site in sites]
    return symbols, structure["lattice"]["matrix"], [site["abc"] for site in sites]


def found(entry: Mapping[str, Any], name: str) -> Any:
    """The value under a key, or under a path of keys with dots (``bulk_modulus.vrh``)."""
    if name in entry or "." not in name:
        return entry.get(name)
    first, _, rest = name.partition(".")
    inner = entry.get(first)
    return found(inner, rest) if isinstance(inner, Mapping) else None


def number(value: Any) -> Any:
    """None for a missing value, the number that a text holds, else the value for validation."""
    if isinstance(value, str):
        value = value.strip()
        if value in MISSING:
            return None
        try:
            return float(value)
        except ValueError:
            return value
    return value
