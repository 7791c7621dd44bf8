"""The Materials Project's client against a server on loopback that speaks its protocol."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from helpers import loopback
from helpers.crystals import reasons_by_id
from helpers.paths import ROOT

from dglframer.common.errors import ConfigError, NetworkError, UserError
from dglframer.common.files import read_json
from dglframer.config import parse_config
from dglframer.config.data import MaterialsProjectConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import describe, materials_project, open_source

KEY = "k3y" + "A1b2C3d4E5f6G7h8J9k0LmNpQrStU"
PER_PAGE = 5


def document(k: int) -> dict:
    """A cubic crystal: even ones are NaCl, odd ones LiF."""
    symbols = ["Na", "Cl"] if k % 2 == 0 else ["Li", "F"]
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": [0.5 * i] * 3}
        for i, symbol in enumerate(symbols)
    ]
    return {
        "material_id": f"mp-{k:04d}",
        "structure": {"lattice": {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]}, "sites": sites},
        "deprecated": False,
        "last_updated": "2025-02-14T00:00:00",
        "band_gap": k / 100,
        "bulk_modulus": {"vrh": 50.0 + k, "voigt": 51.0, "reuss": 49.0} if k % 3 else None,
        "energy_above_hull": (k % 10) / 50,
        "nsites": 2 + k % 5,
        "elements": symbols,
    }


class Api:
    """/heartbeat and /materials/summary/ with filters, pages, sorting, fields and keys."""

    def __init__(self):
        self.documents = [document(k) for k in reversed(range(30))]
        self.version = "2026.02.01"
        self.asked: list[dict[str, str]] = []  # the queries that had a page
        self.paths: list[str] = []
        self.fail: dict[int, int] = {}  # page -> status
        self.fail_for_ever = False
        self.refuse: bytes | None = None
        self.shorten = 0

    def answer(self, handler):
        parts = urlsplit(handler.path)
        self.paths.append(parts.path)
        if parts.path == "/heartbeat":
            known = {"db_version": self.version, "access_controlled_batch_ids": []}
            return loopback.send_json(handler, known | {"version": "0.87.0"})
        if parts.path != "/materials/summary/":
            return loopback.send_json(handler, {"detail": "Not Found"}, 404)
        if self.refuse is not None or handler.headers.get("x-api-key") != KEY:
            said = self.refuse or b'{"message": "Invalid authentication credentials"}'
            return loopback.send(handler, 401 if self.refuse is None else 403, said)
        query = dict(parse_qsl(parts.query))
        page = int(query.get("_page", 0))
        if page:
            self.asked.append(query)
        if page in self.fail:
            said = {"detail": f"internal error, X-API-KEY {KEY}"}
            status = self.fail[page] if self.fail_for_ever else self.fail.pop(page)
            return loopback.send_json(handler, said, status)
        found = sorted(filter(lambda one: self.fits(one, query), self.documents), key=by_id)
        limit = int(query.get("_per_page") or query.get("_limit", 100))
        skip = (page - 1) * limit if page else int(query.get("_skip", 0))
        fields = query.get("_fields", "material_id").split(",")
        data = [{name: one[name] for name in fields} for one in found[skip : skip + limit]]
        data = data[: len(data) - self.shorten] if page else data
        loopback.send_json(handler, {"data": data, "meta": {"total_doc": len(found)}})

    @staticmethod
    def fits(one: dict, query: dict[str, str]) -> bool:
        def words(name):
            return set(query.get(name, "").split(",")) - {""}

        return (
            words("elements") <= set(one["elements"])
            and not words("exclude_elements") & set(one["elements"])
            and int(query.get("nsites_min", 0))
            <= one["nsites"]
            <= int(query.get("nsites_max", 999))
            and one["energy_above_hull"] <= float(query.get("energy_above_hull_max", 9))
            and (query.get("deprecated") != "False" or one["deprecated"] is not True)
            and one.get("batch_id") != query.get("batch_id_not_eq", "none")
        )


def by_id(one: dict) -> str:
    return one["material_id"]


@pytest.fixture(scope="module")
def quick_client():
    """The client lists the fields it knows anew for every field of every page; once will do."""
    from mp_api.client.routes.materials.summary import SummaryRester

    known = SummaryRester.available_fields.fget(SummaryRester)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SummaryRester, "available_fields", known)
        yield


@pytest.fixture
def api(quick_client, tmp_path, monkeypatch):
    held = Api()
    with loopback.running(held.answer) as server:
        monkeypatch.setenv("MP_API_ENDPOINT", server.url)
        monkeypatch.setenv("MP_API_KEY", KEY)
        monkeypatch.setenv("DGLFRAMER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(materials_project, "PAGE", PER_PAGE)
        yield held


def opened(targets=("band_gap",), offline=False, local=(), **query):
    config = parse_config(
        {
            "dataset": {"source": "materials_project", "targets": targets},
            "materials_project": query,
        }
    )
    return open_source(config.dataset, config.materials_project, offline, local)


def pages(api) -> list[int]:
    return [int(query["_page"]) for query in api.asked]


def contents(source) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in source.files()}


def test_query_reaches_the_server_and_documents_become_crystals(api):
    query = {"elements": ["Na"], "exclude_elements": ["F"], "sites_min": 2, "sites_max": 4}
    source = opened(("band_gap", "bulk_modulus.vrh"), hull_energy_max_ev_per_atom=0.1, **query)
    description = describe(source)
    (asked, *_) = api.asked
    assert {name: asked[name] for name in asked if not name.startswith("_")} == {
        "elements": "Na",
        "exclude_elements": "F",
        "nsites_min": "2",
        "nsites_max": "4",
        "energy_above_hull_max": "0.1",
        "deprecated": "False",
        "batch_id_not_eq": "gnome_r2scan_statics",
    }
    expected = [k for k in range(0, 30, 2) if k % 5 <= 2 and (k % 10) / 50 <= 0.1]
    assert pages(api) == list(range(1, -(-len(expected) // PER_PAGE) + 1))
    rejections = Rejections()
    crystals = list(validated(source.records(), source.targets, rejections))
    assert [one.id for one in crystals] == [f"mp-{k:04d}" for k in expected]
    assert len(rejections) == 0  # every third has no modulus, and its gap
    without = [one.id for one in crystals if one.labels.get("bulk_modulus.vrh") is None]
    assert without == [f"mp-{k:04d}" for k in expected if k % 3 == 0]
    one = next(one for one in crystals if one.id not in without)
    k = int(one.id[3:])
    assert one.labels == {"band_gap": k / 100, "bulk_modulus.vrh": 50.0 + k}
    assert (list(one.numbers_N), one.date) == ([11, 17], "2025-02-14T00:00:00")
    assert source.unit("bulk_modulus.vrh") == "GPa"
    assert "Database version 2026.02.01" in description["notes"][0]
    assert description["files"][0]["path"].endswith("query.json")


def test_count_and_search_ask_the_same(api):
    """The client's two ways to say a query must not drift apart."""
    opened(elements=["Na", "Cl"], sites_max=3, hull_energy_max_ev_per_atom=0.05).files()
    known = read_json(next(materials_project.cache_folder().glob("*/*/*/query.json")))
    asked = {name: text for name, text in api.asked[0].items() if not name.startswith("_")}
    assert {name: str(value) for name, value in known["criteria"].items()} == asked


# T6: a query that breaks goes on where it stopped


def test_broken_query_fetches_only_the_rest_and_gives_the_same_bytes(api, tmp_path, monkeypatch):
    api.documents = [document(k) for k in range(200)]
    api.fail[7] = 500
    with pytest.raises(NetworkError, match=r"status code 500(.|\n)*run again to go on") as error:
        opened().files()
    assert KEY not in str(error.value) and "(the key)" in str(error.value)
    assert pages(api) == [1, 2, 3, 4, 5, 6, 7]
    api.asked.clear()
    resumed = contents(opened())
    assert pages(api) == list(range(7, 41))
    monkeypatch.setenv("DGLFRAMER_CACHE", str(tmp_path / "another cache"))
    assert contents(opened()) == resumed and len(resumed) == 41


def test_busy_server_is_asked_again_by_the_client(api):
    api.fail = {2: 429, 3: 502, 4: 504}
    assert len(list(opened().records())) == 30


def test_whole_answer_is_not_asked_for_again(api):
    opened().files()
    api.asked.clear()
    opened().files()
    assert pages(api) == []


def test_new_version_of_the_database_is_asked_anew(api):
    first = opened().files()
    api.version, api.documents = "2026.03.01", api.documents[:-1]
    api.asked.clear()
    # the client keeps an endpoint's heartbeat for the life of the process
    from mp_api.client.core.client import _Rester

    _Rester._get_heartbeat_info.cache_clear()
    second = opened().files()
    assert pages(api) == list(range(1, 7)) and set(first).isdisjoint(second)
    assert read_json(second[0])["database_version"] == "2026.03.01"


def test_database_that_changes_meanwhile_is_noticed(api):
    api.shorten = 1
    with pytest.raises(NetworkError, match="page 1 has 4 documents instead of 5"):
        opened().files()


def test_more_fields_need_no_new_query_when_targets_change(api):
    both = ["band_gap", "energy_above_hull"]
    opened(("band_gap",), fields=both).files()
    api.asked.clear()
    source = opened(("energy_above_hull",), fields=both)
    assert len(list(source.records())) == 30 and pages(api) == []


def test_deprecated_and_repeated_entries_are_rejected_with_their_reasons(api):
    api.documents = [document(k) for k in (1, 2, 2, 3, 4, 5)]
    api.documents[3]["deprecated"] = "yes"  # a server whose filter lets one through
    rejections = Rejections()
    crystals = list(validated(opened().records(), ["band_gap"], rejections))
    assert [one.id for one in crystals] == ["mp-0001", "mp-0002", "mp-0004", "mp-0005"]
    assert reasons_by_id(rejections) == {
        "mp-0002": "repeated id",
        "mp-0003": "deprecated by the Materials Project",
    }


def test_disordered_structure_is_rejected(api):
    api.documents = [document(0)]
    api.documents[0]["structure"]["sites"][0]["species"][0]["occu"] = 0.5
    (record,) = opened().records()
    assert "partial occupancy" in record.problem


def test_offline_and_later_stages_open_no_connection(api, monkeypatch):
    files = opened().files()
    monkeypatch.delenv("MP_API_KEY")
    monkeypatch.setattr("socket.socket", None)
    assert opened(offline=True).files() == files
    assert len(list(opened(local=files).records())) == 30
    with pytest.raises(NetworkError, match=r"offline, and .* holds no answer"):
        opened(offline=True, elements=["Na"]).files()


def test_query_that_finds_nothing_is_an_error(api):
    with pytest.raises(UserError, match=r"has nothing for .*Xe"):
        opened(elements=["Xe"]).files()


def test_unknown_elements_and_targets_are_named(api):
    with pytest.raises(ConfigError, match="no element Xx"):
        opened(elements=["Xx"])
    with pytest.raises(ConfigError, match="no target gap; it has formation_energy_per_atom"):
        opened(("gap",))
    assert MaterialsProjectConfig(elements=("Na",)).elements == ("Na",)


# T5: the key


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (None, "wants a key: get a key at https://next-gen.materialsproject.org/api"),
        ("", "wants a key"),
        ("abcdefGHIJKL1234", r"holds 16 characters .*\(keys of 16 belonged to the API before"),
        (KEY + "\n", "holds 33 characters and a key is 32 letters and digits"),
        ("-" * 32, "holds 32 characters and a key is 32 letters and digits"),
        ("Z" * 32, r"refuses the key in MP_API_KEY \(status 401: .*Invalid authentication"),
    ],
)
def test_unusable_key_is_said_at_once_and_nothing_is_downloaded(api, monkeypatch, key, words):
    if key is None:
        monkeypatch.delenv("MP_API_KEY")
    else:
        monkeypatch.setenv("MP_API_KEY", key)
    started = time.monotonic()
    with pytest.raises(UserError, match=words) as error:
        opened().files()
    assert time.monotonic() - started < 2
    assert not key or key.strip() not in str(error.value)
    assert api.paths == (["/materials/summary/"] if "refuses" in words else [])


def test_blocked_client_is_told_what_the_server_says_without_the_key(api):
    api.refuse = b"403 Forbidden - Your user agent is blocked; sent " + KEY.encode()
    with pytest.raises(UserError, match=r"status 403: .*user agent is blocked; sent .the key"):
        opened().files()


def test_nobody_there_is_an_error(api, monkeypatch):
    monkeypatch.setenv("MP_API_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r":9/materials/summary/: ConnectError"):
        opened().files()


def test_absent_client_is_named(api, monkeypatch):
    monkeypatch.setattr(materials_project.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'dglframer\[mp\]'"):
        opened().files()


def everything_under(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("failing", [False, True])
def test_key_is_in_no_file_log_or_argument(api, tmp_path, failing):
    """A verbose run of the workflow, and a stage that fails with a server's message about the key."""
    if failing:
        api.fail[1] = 500
    dataset = {"source": "materials_project", "targets": ["band_gap"]}
    run = tmp_path / "run"
    run.mkdir()
    (run / "changes.json").write_text(json.dumps({"dataset": dataset}))
    command = "dglframer download --config changes.json --out download.json"
    if not failing:
        command = "snakemake --cores 1 --verbose --printshellcmds --configfile changes.json"
        command += f" --snakefile {ROOT / 'Snakefile'} --directory {run} results/download.json"
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=run,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
    )
    written = everything_under(run) + everything_under(tmp_path / "cache")
    assert KEY.encode() not in written and KEY not in done.stdout + done.stderr
    assert (done.returncode != 0) == failing, done.stderr
    assert "(the key)" in done.stderr if failing else b"2026.02.01" in written
