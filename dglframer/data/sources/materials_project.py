"""The Materials Project, asked live through its client mp-api, page by page.

Every page is a file in the cache, so that a query that broke goes on where it stopped. The key comes
from $MP_API_KEY and is given to the client alone: no file, argument, message or log holds it.
"""

import importlib.util
import logging
import os
import re
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import httpx

from dglframer.common.errors import ConfigError, NetworkError, UserError
from dglframer.common.files import (
    canonical_json,
    hash_of,
    read_json,
    sha256,
    write_json,
    write_text,
)
from dglframer.common.progress import tracked
from dglframer.config.data import MaterialsProjectConfig
from dglframer.data.sources.catalogue import BY_NAME
from dglframer.data.sources.downloads import SILENCE_SECONDS, cache_folder, one_process, open_client
from dglframer.data.sources.json_list import record
from dglframer.data.sources.json_stream import list_entries
from dglframer.structures.crystal import Record

log = logging.getLogger(__name__)

ROW = BY_NAME["materials_project"]
ENDPOINT = "https://api.materialsproject.org"
PAGE = 1000  # documents of one request; the server allows no more
ALWAYS = ("material_id", "structure", "deprecated", "last_updated")
GET_A_KEY = "get a key at https://next-gen.materialsproject.org/api and set MP_API_KEY to it"


class MaterialsProject:
    """The materials that a query finds. ``local``: files of an earlier download, instead of asking."""

    name, licence, citation = ROW.name, ROW.licence, ROW.citation

    def __init__(
        self,
        targets: Sequence[str],
        units: dict[str, str],
        query: MaterialsProjectConfig,
        offline: bool = False,
        local: Sequence[Path] = (),
    ):
        self.targets, self.units, self.query = targets, units, query
        self.offline, self.local = offline, list(local)
        for target in targets:
            self.unit(target)
        wanted = {name.partition(".")[0] for name in (*targets, *query.fields)}
        self.fields = sorted(wanted | set(ALWAYS))
        asked = [endpoint(), self.fields, criteria(query), PAGE]
        self.folder = cache_folder() / "materials_project" / hash_of(asked)[:16]

    def files(self) -> list[Path]:
        """query.json and the pages; raises UserError for a key that is missing or refused."""
        if not self.local:
            folder = self.newest() if self.offline else self.ask()
            pages = read_json(folder / "query.json", "pages")["pages"]
            self.local = [folder / "query.json", *(folder / page["file"] for page in pages)]
        return self.local

    def newest(self) -> Path:
        """The whole answer that came last; raises NetworkError if there is none."""
        whole = list(self.folder.glob("*/query.json"))
        if not whole:
            raise NetworkError(f"offline, and {self.folder} holds no answer to this query")
        return max(whole, key=lambda path: path.stat().st_mtime).parent

    def ask(self) -> Path:
        """The folder of the answer, with those pages fetched that are not there yet."""
        key = api_key()
        check_accepted(key)
        if importlib.util.find_spec("mp_api") is None:
            raise ConfigError(
                "the source materials_project needs the package mp-api: pip install 'dglframer[mp]'"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with one_process(self.folder / "query"):
            try:
                return self.ask_with(key)
            except UserError:
                raise
            except Exception as error:  # the client raises anything, and may say what was sent
                text = f"{type(error).__name__}: {error}".replace(key, "(the key)")
                raise NetworkError(
                    f"{endpoint()}: {text}\nThe pages that have come are kept: run again to go on"
                ) from None

    def ask_with(self, key: str) -> Path:
        """Fetch what is missing; query.json, which lists the pages, is written last."""
        from mp_api.client import MPRester

        with MPRester(
            key, endpoint=f"{endpoint()}/", use_document_model=False, mute_progress_bars=True
        ) as client:
            summary, version = client.materials.summary, client.db_version
            total = int(summary.count(criteria(self.query)))
            if not total:
                raise UserError(f"the Materials Project has nothing for {criteria(self.query)}")
            folder = self.folder / f"{version}-{total}"
            log.info("Materials Project %s: %d documents; %s", version, total, folder)
            paths = [folder / f"page-{k:05d}.json" for k in range(ceil(total / PAGE))]
            for k, path in enumerate(tracked(paths, "pages", len(paths))):
                if path.is_file():
                    continue
                documents = summary.search(
                    **arguments(self.query),
                    fields=self.fields,
                    num_chunks=1,
                    chunk_size=PAGE,
                    _page=k + 1,
                    _sort_fields="material_id",
                )
                check_page(documents, k, min(PAGE, total - k * PAGE))
                write_text(path, "[" + ",\n".join(map(canonical_json, documents)) + "]\n")
                log.info("page %d of %d", k + 1, len(paths))
        known = {
            "endpoint": endpoint(),
            "database_version": version,
            "documents": total,
            "criteria": criteria(self.query),
            "fields": self.fields,
            "pages": [{"file": path.name, "sha256": sha256(path)} for path in paths],
        }
        write_json(folder / "query.json", known)
        return folder

    def notes(self) -> list[str]:
        known = read_json(self.files()[0], "criteria", "database_version", "documents")
        asked = canonical_json(known["criteria"])
        return [
            f"Database version {known['database_version']}: {known['documents']} documents for {asked}.",
            "Deprecated materials and those of GNoMe, which may not be used commercially, are not "
            "asked for.",
        ]

    def records(self) -> Iterator[Record]:
        """Documents in order of material_id."""
        for page in self.files()[1:]:
            for document in list_entries(page):
                one = record(document, self.targets)
                if document.get("deprecated"):
                    one = Record(one.id, problem="deprecated by the Materials Project")
                yield one

    def unit(self, target: str) -> str:
        """Unit of a target; a field that the catalogue does not know needs one in the config."""
        if target in self.units:
            return self.units[target]
        if target not in ROW.targets:
            raise ConfigError(
                f"materials_project has no target {target}; it has {', '.join(ROW.targets)} (any "
                "other number of the summary needs its unit in dataset.target_units)"
            )
        return ROW.targets[target]


def endpoint() -> str:
    """Base URL of the API: the client's own $MP_API_ENDPOINT, or the public one."""
    return (os.environ.get("MP_API_ENDPOINT") or ENDPOINT).rstrip("/")


def criteria(query: MaterialsProjectConfig) -> dict[str, Any]:
    """The query in the server's words, which the client's ``count`` takes."""
    words = {
        "elements": ",".join(query.elements) or None,
        "exclude_elements": ",".join(query.exclude_elements) or None,
        "nsites_min": query.sites_min,
        "nsites_max": query.sites_max,
        "energy_above_hull_max": query.hull_energy_max_ev_per_atom,
        "deprecated": False,
        "batch_id_not_eq": "gnome_r2scan_statics",
    }
    return {name: value for name, value in words.items() if value is not None}


def arguments(query: MaterialsProjectConfig) -> dict[str, Any]:
    """The same query as arguments of the client's ``search``."""
    return {
        "elements": list(query.elements) or None,
        "exclude_elements": list(query.exclude_elements) or None,
        "num_sites": (query.sites_min, query.sites_max),
        "energy_above_hull": (None, query.hull_energy_max_ev_per_atom),
        "deprecated": False,
        "include_gnome": False,
    }


def api_key() -> str:
    """The key in $MP_API_KEY; raises UserError, without a word of it, if it cannot be one."""
    key = os.environ.get("MP_API_KEY", "")
    if not key:
        raise UserError(f"the Materials Project wants a key: {GET_A_KEY}")
    if not re.fullmatch("[A-Za-z0-9]{32}", key):
        legacy = " (keys of 16 belonged to the API before this one)" if len(key) == 16 else ""
        raise UserError(
            f"MP_API_KEY holds {len(key)} characters and a key is 32 letters and digits{legacy}: "
            f"{GET_A_KEY}"
        )
    return key


def check_accepted(key: str) -> None:
    """One small request, before the client is loaded; raises UserError if the key is refused."""
    url = f"{endpoint()}/materials/summary/"
    try:
        with open_client() as client:
            answer = client.get(
                url,
                params={"_limit": 1, "_fields": "material_id", "deprecated": False},
                headers={"X-API-KEY": key},
                timeout=SILENCE_SECONDS,
            )
    except httpx.HTTPError as error:
        raise NetworkError(f"{url}: {type(error).__name__}: {error}") from None
    if answer.status_code in (401, 403):
        said = answer.text[:200].replace(key, "(the key)")
        raise UserError(
            f"the Materials Project refuses the key in MP_API_KEY (status {answer.status_code}: "
            f"{said}): {GET_A_KEY}"
        )


def check_page(documents: Sequence[Any], k: int, expected: int) -> None:
    """Raise NetworkError unless a page has as many documents as the count promised."""
    if len(documents) != expected:
        raise NetworkError(
            f"page {k + 1} has {len(documents)} documents instead of {expected}: the database "
            "changed while it was read; run again"
        )
