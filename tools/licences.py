"""The licences of every package in requirements.lock and requirements-torch.txt, from their own metadata.

python tools/licences.py writes requirements.licences.csv; it needs an environment made by `make env`.
A package that is not installed here (for another system or Python) keeps the row it has.
"""

import csv
import io
import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "requirements.licences.csv"
LOCKS = ("requirements.lock", "requirements-torch.txt")
COLUMNS = ("package", "version", "licence")
UNKNOWN = "not installed where this list was made"
MAX_LENGTH = 60  # of a licence's name; some packages put the whole text there


def locked() -> list[tuple[str, str]]:
    """Name and version of each package of the lock, sorted."""
    found = set()
    for name in LOCKS:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                requirement = Requirement(line.partition("--hash")[0].partition(" #")[0].strip())
                (pin,) = requirement.specifier
                found.add((canonicalize_name(requirement.name), pin.version))
    return sorted(found)


def licence_of(name: str, version: str) -> str | None:
    """The licence that the installed package states; None if this version is not installed."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    if found.version.partition("+")[0] != version:
        return None
    about = found.metadata
    if stated := about.get("License-Expression"):
        return stated
    classes = [
        one.split(" :: ")[-1] for one in about.get_all("Classifier") or () if "License ::" in one
    ]
    names = [one for one in classes if one != "OSI Approved"]
    if names:
        return " or ".join(names)
    text = re.sub(r"\s+", " ", about.get("License") or "").strip()
    if text:
        return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH].rstrip()} ..."
    return "not stated in its metadata"


def table(before: str) -> str:
    """The list as CSV; ``before`` is the one to take rows from for packages that are not installed."""
    old = {
        (row["package"], row["version"]): row["licence"]
        for row in csv.DictReader(io.StringIO(before))
    }
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, version in locked():
        licence = licence_of(name, version) or old.get((name, version), UNKNOWN)
        writer.writerow((name, version, licence))
    return out.getvalue()


def main() -> None:
    """Write the list anew."""
    before = LIST.read_text(encoding="utf-8") if LIST.exists() else ""
    LIST.write_text(table(before), encoding="utf-8")


if __name__ == "__main__":
    main()
