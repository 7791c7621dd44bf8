"""jarvis_minerals: JARVIS-DFT crystals that jarvis-tools carries as mineral prototypes.

The structures come from the installed jarvis-tools, the labels and the canonical split from the
table in ``dglframer/data/sources/minerals`` (see the README there for their origin).
"""

import csv
import importlib.util
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dglframer.common.errors import ConfigError
from dglframer.data.sources.catalogue import BY_NAME
from dglframer.data.sources.json_list import jarvis_atoms
from dglframer.structures.crystal import Record

LABELS = Path(__file__).parent / "minerals" / "labels.csv"

ROW = BY_NAME["jarvis_minerals"]

# column of the canonical split of each target's benchmark
SPLIT_COLUMNS = {
    "formation_energy_peratom": "split",
    "optb88vdw_bandgap": "split",
    "optb88vdw_total_energy": "split",
    "mbj_bandgap": "split_mbj_bandgap",
    "ehull": "split_ehull",
    "bulk_modulus_kv": "split_elastic",
    "shear_modulus_gv": "split_elastic",
}


class JarvisMinerals:
    """About 500 crystals of 1 to 100 atoms with OptB88vdW labels of JARVIS-DFT."""

    name, licence, citation = ROW.name, ROW.licence, ROW.citation

    def __init__(self, targets: Sequence[str]):
        for target in targets:
            self.unit(target)
        self.split_column = SPLIT_COLUMNS[targets[0]]

    def files(self) -> list[Path]:
        return [structures_file(), LABELS]

    def notes(self) -> list[str]:
        entries = list(all_entries())
        foreign = sum(not id.startswith("JVASP-") for id, _ in entries)
        return [
            f"{foreign} of the {len(entries)} mineral entries of jarvis-tools carry Materials "
            "Project ids and have no JARVIS-DFT label: they are not part of this data set."
        ]

    def records(self) -> Iterator[Record]:
        with open(LABELS, newline="", encoding="utf-8") as handle:
            rows = {row["id"]: row for row in csv.DictReader(handle)}
        for id, atoms in all_entries():
            if id.startswith("JVASP-"):
                yield self.record(id, atoms, rows.get(id, {}))

    def record(self, id: str, atoms: dict[str, Any], row: dict[str, str]) -> Record:
        """One entry; jarvis-tools keeps Cartesian coordinates here (``cartesian: true``)."""
        labels = {name: float(row[name]) for name in ROW.targets if row.get(name)}
        return Record(id, *jarvis_atoms(atoms), labels, row.get(self.split_column, ""))

    def unit(self, target: str) -> str:
        if target not in ROW.targets:
            raise ConfigError(
                f"jarvis_minerals has no target {target}; it has {', '.join(ROW.targets)}"
            )
        return ROW.targets[target]


def structures_file() -> Path:
    """The zip inside the installed jarvis-tools (found without importing the package)."""
    spec = importlib.util.find_spec("jarvis")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the data set jarvis_minerals needs the package jarvis-tools")
    return Path(spec.submodule_search_locations[0]) / "core" / "mineral_name_prototype.json.zip"


def all_entries() -> Iterator[tuple[str, dict[str, Any]]]:
    """(id, atoms) of each mineral; the file maps a prototype to [name, descriptor, id, atoms]s."""
    with zipfile.ZipFile(structures_file()) as archive:
        prototypes = json.loads(archive.read("mineral_name_prototype.json"))
    for entries in prototypes.values():
        for _name, _descriptor, id, atoms in entries:
            yield id, atoms
