"""Ids for files: the name without its ending, with folders in front where names repeat."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import TypeVar

Item = TypeVar("Item")

POSCAR_NAMES = ("POSCAR", "CONTCAR")
CIF = (".cif", ".mcif")
POSCAR = (".vasp", ".poscar", ".contcar")
FRAMES = (".extxyz", ".xyz", ".xsf", ".traj", ".db")  # these may hold several structures
JSON = (".json", ".jsonl")
ENDINGS = (*CIF, *POSCAR, *FRAMES, *JSON)
GZIP = ".gz"
BINARY = (".traj", ".db")  # not read from gzip
KNOWN = (
    f"read are {', '.join(ENDINGS)} (all but {' and '.join(BINARY)} also with {GZIP}), and names "
    f"that begin with {' or '.join(POSCAR_NAMES)}"
)


def ending(path: PurePath) -> str:
    """The known ending of a name in small letters, without .gz; "" if it has none."""
    name = path.name.lower()
    unpacked = name.removesuffix(GZIP)
    suffix = PurePath(unpacked).suffix
    if suffix not in ENDINGS or (unpacked != name and suffix in BINARY):
        return ""
    return suffix


def is_poscar(path: PurePath) -> bool:
    """Whether the file is a POSCAR by its ending or, without a known ending, by its name."""
    return ending(path) in POSCAR or (
        not ending(path) and path.name.upper().startswith(POSCAR_NAMES)
    )


def without_ending(name: str) -> str:
    """A file's name without .gz and a known ending; POSCAR_0.25 has none."""
    known = ending(PurePath(name))
    if not known and not name.upper().startswith(POSCAR_NAMES):
        return name
    if name.lower().endswith(GZIP):
        name = name[: -len(GZIP)]
    return name[: len(name) - len(known)]


def file_ids(paths: Sequence[Path], root: Path | None = None) -> list[str]:
    """An id for each path: the shortest end of the path, without the ending, that no other has.

    ``a.cif`` is ``a``; ``run1/CONTCAR`` and ``run2/CONTCAR`` keep their folders, ``a.cif`` and
    ``a.vasp`` of one folder their endings. Only a path that is given twice has its id twice. Folders
    above ``root``, which holds all paths, are no part of an id.
    """
    above = 0 if root is None else len(Path(os.path.abspath(root)).parts)
    parts = [Path(os.path.abspath(path)).parts[above:] for path in paths]
    short = [(*folders, without_ending(name)) for *folders, name in parts]
    depth = [1] * len(paths)  # how many of the last parts the id has
    while True:
        ids = [one[-n:] for one, n in zip(short, depth, strict=True)]
        n_names = Counter(id for id, _ in set(zip(ids, short, strict=True)))
        shared = [k for k, id in enumerate(ids) if n_names[id] > 1 and depth[k] < len(short[k])]
        if not shared:
            break
        for k in shared:
            depth[k] += 1
    n_files = Counter(one for one, _ in set(zip(short, parts, strict=True)))
    for k, path in enumerate(parts):
        if n_files[short[k]] > 1:  # a.cif and a.vasp
            ids[k] = path[-depth[k] :]
    return ["/".join(id) for id in ids]


def numbered(id: str, items: Iterable[Item]) -> Iterator[tuple[str, Item]]:
    """(id, item) for a single item, (id-0, item), (id-1, item), ... for several."""
    items = iter(items)
    first = list(islice(items, 2))
    if len(first) == 1:
        yield id, first[0]
        return
    for k, item in enumerate(chain(first, items)):
        yield f"{id}-{k}", item
