"""Sources of crystals. A source names verified local files and reads them into records.

To add one: write a class with the attributes and methods of ``Source`` in a module of its own, and
name it in ``open_source``, in ``catalogue.ROWS`` and in ``config.SourceName``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.common.files import read_json, sha256
from dglframer.common.remote import RemotePath, location, size_of
from dglframer.config.data import DatasetConfig, MaterialsProjectConfig
from dglframer.data.sources.catalogue import JARVIS_NAMES
from dglframer.structures.crystal import Record


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


def open_source(
    dataset: DatasetConfig,
    query: MaterialsProjectConfig | None = None,
    offline: bool = False,
    local: Sequence[Path] = (),
) -> Source:
    """The source that the config names.

    ``offline``: it opens no connection. ``local``: what an earlier download brought; nothing is
    fetched then.
    """
    from dglframer.data.sources import (
        ase_file,
        folder,
        jarvis,
        jarvis_minerals,
        json_list,
        parquet,
        qm9,
    )

    path = None if dataset.path is None else location(dataset.path)
    if isinstance(path, RemotePath) and dataset.source != "parquet":
        raise ConfigError(f"dataset.path: {path}: of the sources only parquet reads object storage")
    assume_periodic = dataset.periodicity == "assume_periodic"
    targets, units = dataset.targets, dict(dataset.target_units)
    if dataset.source == "jarvis_minerals":
        return jarvis_minerals.JarvisMinerals(targets)
    if dataset.source in JARVIS_NAMES:
        known = local[0] if local else path
        return jarvis.JarvisSource(dataset.source, targets, units, known, offline)
    if dataset.source == "materials_project":
        from dglframer.data.sources.materials_project import MaterialsProject

        asked = query or MaterialsProjectConfig()
        return MaterialsProject(targets, units, asked, offline, local)
    if dataset.source == "qm9":
        return qm9.Qm9(targets)
    assert path is not None
    if dataset.source == "json":
        return json_list.JsonSource(path, targets, units, assume_periodic)
    if dataset.source == "ase":
        return ase_file.AseSource(path, targets, units, assume_periodic)
    if dataset.source == "parquet":
        return parquet.ParquetSource(path, units, assume_periodic)
    table = None if dataset.targets_csv is None else Path(dataset.targets_csv)
    return folder.FolderSource(path, table, targets, units, assume_periodic)


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
            {"path": str(path), "bytes": size_of(path), "sha256": sha256(path)} for path in files
        ],
    }


def verify(description: Path) -> list[Path]:
    """The files listed in download.json; raises DamagedFile if one has changed since."""
    files = []
    for entry in read_json(description, "files")["files"]:
        path = location(entry["path"])
        if not path.is_file() or sha256(path) != entry["sha256"]:
            raise DamagedFile(f"{path}: changed or gone since the download stage; run it again")
        files.append(path)
    return files
