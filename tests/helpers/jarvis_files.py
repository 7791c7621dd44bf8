"""A file as JARVIS has it on figshare, with a few hundred entries."""

import io
import json
import random
import zipfile

from dglframer.data.sources.jarvis import jarvis_file

FILE_ID, MEMBER = jarvis_file("dft_3d_2021")
TARGET = "formation_energy_peratom"


def atoms(k: int) -> dict:
    """Rocksalt of a lattice constant of its own."""
    half = 2.5 + k / 100
    lattice = [[0, half, half], [half, 0, half], [half, half, 0]]
    facts = {"elements": ["Na", "Cl"], "coords": [[0, 0, 0], [half] * 3], "cartesian": True}
    return {"lattice_mat": lattice, **facts}


def jarvis_list(n: int = 400) -> list[dict]:
    """Entries as JARVIS writes them, with "na", NaN, text and a repeated id."""
    rows = [
        {"jid": f"JVASP-{k}", "atoms": atoms(k), TARGET: k / n, "ehull": "na"} for k in range(n)
    ]
    rows[3][TARGET] = "na"
    rows[4][TARGET] = float("nan")
    rows[5][TARGET] = "-1.25"
    rows[6]["jid"] = "JVASP-2"
    noise = random.Random(0)
    return [row | {"desc": [noise.random() for _ in range(20)]} for row in rows]


def zipped(members: dict[str, bytes | str]) -> bytes:
    """The bytes of a zip archive; the same for the same members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


DATA = zipped({MEMBER: json.dumps(jarvis_list())})
