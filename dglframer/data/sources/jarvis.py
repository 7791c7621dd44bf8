"""JARVIS data sets on figshare: dft_3d_2021, dft_3d, megnet, oqmd_3d_no_cfid.

Which file holds a data set stands in the table of the installed jarvis-tools. Its downloader is not
used: it checks no status, size or hash, and leaves half a file behind.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from dglframer.common.errors import ConfigError, NetworkError
from dglframer.data.sources.catalogue import BY_NAME
from dglframer.data.sources.downloads import RemoteFile, fetch, get_json
from dglframer.data.sources.json_list import record
from dglframer.data.sources.json_stream import list_entries
from dglframer.structures.crystal import Record

FIGSHARE = "https://api.figshare.com/v2"
PAGE = 100  # files of an article listed at once


class JarvisSource:
    """One of the data sets, from figshare, from the cache, or from a file of yours."""

    def __init__(
        self,
        name: str,
        targets: Sequence[str],
        units: dict[str, str],
        path: Path | None = None,
        offline: bool = False,
    ):
        row = BY_NAME[name]
        assert row.article is not None
        self.name, self.licence, self.citation = row.name, row.licence, row.citation
        self.article, self.known_units = row.article, row.targets
        self.targets, self.units, self.path, self.offline = targets, units, path, offline
        for target in targets:
            self.unit(target)
        self.file_id, self.member = jarvis_file(name)

    def files(self) -> list[Path]:
        """The file, downloaded if need be; raises NetworkError, DamagedFile."""
        if self.path is None:
            name = f"figshare-{self.file_id}-{self.member}.zip"
            return [fetch(name, self.locate, self.offline)]
        if not self.path.is_file():
            raise ConfigError(f"dataset.path: no file {self.path}")
        return [self.path]

    def locate(self, client: httpx.Client) -> RemoteFile:
        return figshare_file(client, self.article, self.file_id)

    def notes(self) -> list[str]:
        return [
            f"{self.member}, file {self.file_id} of figshare article {self.article}."
            if self.path is None
            else f"Read from {self.path}, a file of yours, as {self.name}."
        ]

    def records(self) -> Iterator[Record]:
        """Entries in file order."""
        (path,) = self.files()
        for entry in list_entries(path, self.member):
            yield record(entry, self.targets)

    def unit(self, target: str) -> str:
        """Unit of a target; a field that the catalogue does not know needs one in the config."""
        if target in self.units:
            return self.units[target]
        if target not in self.known_units:
            raise ConfigError(
                f"{self.name} has no target {target}; it has {', '.join(self.known_units)} "
                "(any other field of the file needs its unit in dataset.target_units)"
            )
        return self.known_units[target]


def jarvis_file(name: str) -> tuple[int, str]:
    """(figshare's file id, the JSON file inside) of a data set, by the table of jarvis-tools."""
    try:
        from jarvis.db.figshare import get_db_info
    except ImportError:
        raise ConfigError(f"the data set {name} needs the package jarvis-tools") from None
    url, member = get_db_info()[name][:2]
    return int(url.rsplit("/", 1)[-1]), member


def figshare_api() -> str:
    """Base URL of figshare's API, or of a mirror: $DGLFRAMER_FIGSHARE_API."""
    return os.environ.get("DGLFRAMER_FIGSHARE_API", FIGSHARE).rstrip("/")


def figshare_file(client: httpx.Client, article: int, file_id: int) -> RemoteFile:
    """URL, size and md5 of a file of an article, in its newest version or an older one.

    The files come from the API, too: figshare's ndownloader asks programs for a browser's challenge.
    """
    api = figshare_api()
    base = f"{api}/articles/{article}"
    try:
        for listing in listings(client, base):
            for file in listing:
                if file["id"] == file_id and not file.get("is_link_only"):
                    stated = file.get("computed_md5") or file["supplied_md5"]
                    return RemoteFile(f"{api}/file/download/{file_id}", file["size"], stated)
    except (KeyError, TypeError) as error:
        raise NetworkError(f"{base}: an answer of another form than figshare's ({error})") from None
    raise NetworkError(f"{base}: no version of this article holds the file {file_id}")


def listings(client: httpx.Client, base: str) -> Iterator[list[dict]]:
    """The files of an article, page by page, then those of its versions from the newest back."""
    page = 1
    while files := get_json(client, f"{base}/files?page={page}&page_size={PAGE}"):
        yield files
        if len(files) < PAGE:
            break
        page += 1
    versions = get_json(client, f"{base}/versions")
    for version in sorted((one["version"] for one in versions), reverse=True):
        yield get_json(client, f"{base}/versions/{version}")["files"]
