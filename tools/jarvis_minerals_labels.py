"""Write or check dglframer/data/sources/minerals/labels.csv.

    python tools/jarvis_minerals_labels.py [--wheel PATH.whl] [--check]

The ids come from the mineral file of the installed jarvis-tools, the labels and splits from the
jarvis-leaderboard wheel. Both are pinned by sha256. README.md beside the CSV explains the columns.
"""

import argparse
import csv
import hashlib
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

WHEEL = "jarvis-leaderboard==2024.10.30"
WHEEL_SHA256 = "62cd3012987e83880583801a5ed46c0b999781505f246d91554cde6fd62d81ff"
MINERALS_SHA256 = "c3e2d3ef366f1289976e7fb6845a6833d232b2cb2df0aab68f3c23491753097f"  # 2026.6.12
MEMBER = "jarvis_leaderboard/benchmarks/AI/SinglePropertyPrediction/dft_3d_{}.json.zip"
TARGET = Path(__file__).parents[1] / "dglframer" / "data" / "sources" / "minerals" / "labels.csv"
SPLITS = ("train", "val", "test")
SPLIT_COLUMNS = {  # split column -> the labels that share this split
    "split": ("formation_energy_peratom", "optb88vdw_bandgap", "optb88vdw_total_energy"),
    "split_mbj_bandgap": ("mbj_bandgap",),
    "split_ehull": ("ehull",),
    "split_elastic": ("bulk_modulus_kv", "shear_modulus_gv"),
}
LABELS = [label for labels in SPLIT_COLUMNS.values() for label in labels]
Labels = dict[str, tuple[float, str]]  # id -> (value, split or splits joined by "+")


def read_pinned(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file, or stop if they are not the pinned ones."""
    if not path.is_file():
        sys.exit(f"no such file: {path}")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"{path.name}: sha256 is {found}, expected {sha256}")
    print(f"read {path.name}: {len(data)} bytes, sha256 as pinned")
    return data


def read_zipped_json(data: bytes) -> dict[str, Any]:
    """Parse the only member of a zip file held in memory."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def read_wheel(path: Path | None) -> bytes:
    """Return the leaderboard wheel, downloaded with pip if no path is given."""
    if path is not None:
        return read_pinned(path, WHEEL_SHA256)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        if subprocess.run([*command, "--dest", folder, WHEEL]).returncode:
            sys.exit(f"pip could not download {WHEEL}; fetch it by hand and pass --wheel")
        return read_pinned(next(Path(folder).glob("*.whl")), WHEEL_SHA256)


def read_mineral_ids() -> list[str]:
    """Return the distinct JVASP ids of the mineral file, sorted by their number."""
    path = Path(str(files("jarvis") / "core" / "mineral_name_prototype.json.zip"))
    minerals = read_zipped_json(read_pinned(path, MINERALS_SHA256))
    every = [entry[2] for entries in minerals.values() for entry in entries]
    jvasp = [jid for jid in every if re.fullmatch(r"JVASP-\d+", jid)]
    ids = sorted(set(jvasp), key=lambda jid: int(jid.removeprefix("JVASP-")))
    print(
        f"read {len(every)} minerals; skipped {len(every) - len(jvasp)} without a JVASP id and "
        f"{len(jvasp) - len(ids)} repeated ids; kept {len(ids)} ids"
    )
    return ids


def merge_splits(label: str, splits: dict[str, dict[str, float]]) -> Labels:
    """Join train, val and test; an id may be in several only if its value is the same in all."""
    merged: Labels = {}
    for split in SPLITS:
        for jid, number in splits[split].items():
            value, names = merged.get(jid, (float(number), ""))
            if value != number or not math.isfinite(value):  # NaN and infinity stop here too
                sys.exit(f"{label}: {jid} has values {value} and {number} ({split})")
            merged[jid] = (value, f"{names}+{split}" if names else split)
    return merged


def make_row(jid: str, tables: dict[str, Labels]) -> dict[str, str]:
    """Return the CSV row of one id; what is missing is left out."""
    row = {label: repr(tables[label][jid][0]) for label in LABELS if jid in tables[label]}
    for column, labels in SPLIT_COLUMNS.items():
        names = {tables[label][jid][1] if jid in tables[label] else "" for label in labels}
        if len(names) > 1:
            sys.exit(f"{jid}: {', '.join(labels)} do not share one split: {sorted(names)}")
        row[column] = names.pop()
    return {"id": jid, **row}


def make_csv(wheel: bytes, ids: list[str]) -> bytes:
    """Return the CSV file of every id that has at least one label."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        raw = {label: read_zipped_json(archive.read(MEMBER.format(label))) for label in LABELS}
    tables = {label: merge_splits(label, splits) for label, splits in raw.items()}
    rows = [make_row(jid, tables) for jid in ids if any(jid in tables[lab] for lab in LABELS)]
    print(f"{len(rows)} rows; skipped, no label:", sorted(set(ids) - {row["id"] for row in rows}))
    for label in LABELS:
        print(f"{label}: {sum(label in row for row in rows)} of {len(tables[label])} labelled ids")
    for column in SPLIT_COLUMNS:
        print(f"{column}: {dict(Counter(row[column] or '(none)' for row in rows))}")
    text = io.StringIO()
    writer = csv.DictWriter(text, ["id", *LABELS, *SPLIT_COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("ascii")


def write_file(data: bytes) -> None:
    """Replace the CSV in one step, so that a crash leaves the old file whole."""
    partial = TARGET.with_name(TARGET.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, TARGET)


def main() -> None:
    """Read the two sources, then write the CSV or compare it with the committed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"wheel of {WHEEL}; default: pip download")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    options = parser.parse_args()
    data = make_csv(read_wheel(options.wheel), read_mineral_ids())
    if not options.check:
        write_file(data)
    elif not TARGET.is_file() or TARGET.read_bytes() != data:
        sys.exit(f"{TARGET.name} differs from what this script would write")
    print(f"{'checked' if options.check else 'wrote'} {TARGET.name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
