"""Sources of crystals. A source names verified local files and reads them into records.

To add one: write a class with the attributes and methods of ``Source`` in a module of its own, and
name it in ``open_source`` and in ``config.DatasetConfig.source``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from dglframer.config import DatasetConfig
from dglframer.crystals import Record
from dglframer.errors import ConfigError, DamagedFile
from dglframer.files import read_json, sha256


class Source(Protocol):
    """What the pipeline needs to know of a data set."""

    name: str
    licence: str
    citation: str

    def files(self) -> list[Path]:
        """Local files that hold the data, fetched if need be."""
        ...

    def notes(self) -> list[str]:
        """Sentences for the report: what of the files is not part of the data set, and why."""
        ...

    def records(self) -> Iterator[Record]:
        """Every record, in a fixed order, one at a time."""
        ...

    def unit(self, target: str) -> str:
        """Unit of a target; raises ConfigError if the source does not have it."""
        ...


def open_source(dataset: DatasetConfig) -> Source:
    """The source that the config names."""
    from dglframer.sources import folder, jarvis_minerals, parquet

    if dataset.source == "jarvis_minerals":
        return jarvis_minerals.JarvisMinerals(dataset.targets)
    assert dataset.path is not None
    if dataset.source == "parquet":
        return parquet.ParquetSource(Path(dataset.path), dict(dataset.target_units))
    assert dataset.targets_csv is not None
    return folder.FolderSource(
        Path(dataset.path), Path(dataset.targets_csv), dict(dataset.target_units)
    )


def describe(source: Source) -> dict[str, Any]:
    """download.json: where the data are, byte for byte, and whose they are."""
    files = source.files()
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise ConfigError(f"no such file: {', '.join(missing)}")
    return {
        "source": source.name,
        "licence": source.licence,
        "citation": source.citation,
        "notes": source.notes(),
        "files": [
            {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in files
        ],
    }


def verify(description: Path) -> None:
    """Raise DamagedFile if a file listed in download.json has changed since."""
    for entry in read_json(description)["files"]:
        path = Path(entry["path"])
        if not path.is_file() or sha256(path) != entry["sha256"]:
            raise DamagedFile(f"{path}: changed or gone since the download stage; run it again")
