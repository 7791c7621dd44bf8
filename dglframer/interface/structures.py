"""Structures as people hold them in Python, one or many, made into what a model predicts for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dglframer.common.errors import Rejected, UserError
from dglframer.data.sources import ase_file, json_list
from dglframer.data.sources.file_ids import file_ids
from dglframer.evaluation.items import Item, Wanted, prepared
from dglframer.evaluation.reader_processes import read_in_processes
from dglframer.evaluation.structure_inputs import find_inputs
from dglframer.structures.crystal import Record

if TYPE_CHECKING:
    import ase
    import jarvis.core.atoms
    import pymatgen.core

    Structure: TypeAlias = (
        pymatgen.core.SiteCollection
        | ase.Atoms
        | jarvis.core.atoms.Atoms
        | Mapping[str, Any]
        | str
        | PathLike[str]
    )
    Structures: TypeAlias = Structure | Iterable[Structure]

# What tells a structure from other objects of a library.
LIBRARIES = {"pymatgen": "as_dict", "ase": "get_scaled_positions", "jarvis": "lattice_mat"}
KNOWN = (
    "give structures of pymatgen, Atoms of ASE or jarvis-tools, dictionaries of these, paths of files or "
    "folders, or a list of such"
)


def as_list(structures: "Structures") -> list[Any]:
    """One structure or several as a list; raises UserError for other objects."""
    if is_one(structures):
        return [structures]
    if isinstance(structures, Iterable):
        return list(structures)
    raise UserError(f"{type(structures).__name__} is no structure: {KNOWN}")


def is_one(value: Any) -> bool:
    """Whether the value is a single structure or path."""
    return isinstance(value, str | PathLike | Mapping) or library_of(value) is not None


def library_of(value: Any) -> str | None:
    """The library whose structure the value is, found without importing any."""
    for kind in type(value).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in LIBRARIES and hasattr(value, LIBRARIES[library]):
            return library
    return None


def items_of(
    structures: Sequence[Any], wanted: Wanted, workers: int, edges_per_batch: int
) -> Iterator[Item]:
    """The items of structures and of the files of paths, in order.

    Paths alone are read as on the command line, with its ids; ``workers`` processes read then. A
    structure that states no id gets its place in the list, from 0, and has no path.
    """
    if all(isinstance(one, str | PathLike) for one in structures):
        files = find_inputs([Path(one) for one in structures])
        yield from read_in_processes(
            files, file_ids(files), (0, 0), wanted, workers, edges_per_batch
        )
        return
    for k, one in enumerate(structures):
        if isinstance(one, str | PathLike):
            yield from items_of([one], wanted, 0, edges_per_batch)
        else:
            yield prepared(record_of(one, str(k), wanted.assume_periodic), None, (k, 1), wanted)


def record_of(structure: Any, id: str, assume_periodic: bool = False) -> Record:
    """The record of one structure of a library, or of its dictionary, under the id it states or ``id``.

    Whatever cannot be used becomes the record's ``problem``; raises UserError for other objects.
    """
    library = library_of(structure)
    if library == "ase":
        return ase_file.record(structure, id, (), assume_periodic)
    if library == "pymatgen":
        structure = structure.as_dict()
    elif library == "jarvis":
        structure = structure.to_dict()
    if not isinstance(structure, Mapping):
        raise UserError(f"{type(structure).__name__} is no structure: {KNOWN}")
    if {"numbers", "positions"} <= structure.keys():
        return ase_file.record(atoms_of(structure), id, (), assume_periodic)
    return json_list.record(json_list.own_entry(dict(structure), id), (), assume_periodic)


def atoms_of(values: Mapping[str, Any]) -> "ase.Atoms | Rejected":
    """ASE's Atoms of what their ``todict`` gives, or why they cannot be made."""
    import ase

    wanted = {name: values[name] for name in ("numbers", "positions", "info") if name in values}
    try:
        return ase.Atoms(cell=values.get("cell"), pbc=values.get("pbc"), **wanted)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        return Rejected(f"{type(error).__name__}: {error}")
