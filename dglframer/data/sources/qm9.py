"""QM9: small organic molecules of the package qm9pack, an extra (`pip install dglframer[qm9]`).

The tables are read from the installed package without importing it: its own reader needs a part of
setuptools that is gone, and loads everything at once.
"""

import csv
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from dglframer.common.errors import ConfigError
from dglframer.data.sources.catalogue import BY_NAME
from dglframer.data.sources.labels import number
from dglframer.structures.crystal import Record

ROW = BY_NAME["qm9"]


class Qm9:
    """130,831 molecules of up to 29 atoms (H, C, N, O, F), B3LYP/6-31G(2df,p)."""

    name, licence, citation = ROW.name, ROW.licence, ROW.citation

    def __init__(self, targets: Sequence[str]):
        self.targets = targets
        for target in targets:
            self.unit(target)
        self.folder = data_folder()

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("qm9_part*.csv"))

    def notes(self) -> list[str]:
        return [
            "Molecules: no lattice, graphs without images. The 3,054 molecules of QM9 whose "
            "geometry did not converge are not in the package."
        ]

    def records(self) -> Iterator[Record]:
        """Rows in file order."""
        for path in self.files():
            with open(path, newline="", encoding="utf-8") as handle:
                for row in csv.DictReader(handle):
                    yield self.record(row)

    def record(self, row: dict[str, str]) -> Record:
        """One molecule; positions in angstrom."""
        id = row["XYZ_file"].removesuffix(".xyz")
        labels = {target: number(row[target]) for target in self.targets}
        try:
            flat = [float(word) for word in items(row["XYZ_Ang"])]
        except ValueError as error:
            return Record(id, problem=f"cannot be read: {error}", labels=labels)
        positions = [flat[k : k + 3] for k in range(0, len(flat), 3)]
        return Record(id, items(row["Elements"]), None, positions, labels)

    def unit(self, target: str) -> str:
        if target not in ROW.targets:
            raise ConfigError(f"qm9 has no target {target}; it has {', '.join(ROW.targets)}")
        return ROW.targets[target]


def items(text: str) -> list[str]:
    """The words of a printed Python list, nested or not, quoted or not."""
    return [word.strip() for word in text.translate(str.maketrans("", "", "[]'")).split(",")]


def data_folder() -> Path:
    """The tables in the installed package; raises ConfigError if it is not there."""
    spec = importlib.util.find_spec("qm9pack")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "the data set qm9 needs the package qm9pack: pip install 'dglframer[qm9]'"
        )
    return Path(spec.submodule_search_locations[0]) / "data"
