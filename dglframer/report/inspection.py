"""The summary of a dataset: plain data, shown in the terminal, as JSON and as a page.

Structures are read a batch at a time; a few numbers of each crystal stay in memory.
"""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import UserError
from dglframer.common.files import write_text
from dglframer.common.parquet import parquet_batches, read_parquet
from dglframer.common.transforms import apply
from dglframer.common.version import __version__
from dglframer.data.crystals import STRUCTURE_COLUMNS, crystal_rows, targets_of, transforms_of
from dglframer.structures.symmetry import SYSTEMS, system_of

EXAMPLES = 20  # ids listed of each kind; counts are over all
BINS = 30  # of a histogram

# The rows of the drawn periodic table; . is a gap, the last two rows are the f block.
PERIODIC_TABLE = [
    row.split()
    for row in (
        "H . . . . . . . . . . . . . . . . He",
        "Li Be . . . . . . . . . . B C N O F Ne",
        "Na Mg . . . . . . . . . . Al Si P S Cl Ar",
        "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr",
        "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe",
        "Cs Ba La Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn",
        "Fr Ra Ac . . . . . . . . . . . . . . .",
        ". . . Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu .",
        ". . . Th Pa U Np Pu Am Cm Bk Cf . . . . . .",
    )
]


def inspect(crystals: Path, rejected: pa.Table | None, checks: pa.Table) -> dict[str, Any]:
    """The summary of crystals.parquet and checks.parquet, and of rejected.parquet if there is one."""
    holding: Counter[int] = Counter()
    kinds: Counter[int] = Counter()
    atoms, volumes = [], []
    for batch in parquet_batches(crystals, STRUCTURE_COLUMNS):
        for _, numbers_N, lattice_33, _ in crystal_rows(batch):
            elements = np.unique(numbers_N).tolist()
            holding.update(elements)
            kinds[len(elements)] += 1
            atoms.append(len(numbers_N))
            if lattice_33 is not None:
                volumes.append(abs(float(np.linalg.det(lattice_33))) / len(numbers_N))
    if not atoms:
        raise UserError(f"{crystals}: no crystal in it")
    targets = targets_of(crystals)
    labels = {name: known_labels(crystals, name) for name in targets}
    return {
        "dglframer": __version__,
        "sources": sorted(set(read_parquet(crystals, columns=["source"])["source"].to_pylist())),
        "crystals": len(atoms),
        "elements": {SYMBOLS[z - 1]: holding[z] for z in sorted(holding)},
        "elements_per_crystal": {str(k): kinds[k] for k in sorted(kinds)},
        "crystal_systems": systems(checks, len(atoms) - len(volumes)),
        "atoms_per_cell": distribution(np.array(atoms), "", whole=True),
        "volume_per_atom": distribution(np.array(volumes), "Å³"),
        "labels": {name: distribution(labels[name], unit) for name, unit in targets.items()},
        "learned": {
            f"{transform} of {name}": distribution(apply(transform, labels[name]), "")
            for name, transform in transforms_of(crystals).items()
        },
        "rejected": None if rejected is None else by_reason(rejected, "reason"),
        "formulas": len(set(checks["formula"].to_pylist())),
        "duplicates": duplicates(checks),
        "unphysical": by_reason(checks, "unphysical"),
        "disagreements": by_reason(checks, "disagreement"),
        "dropped": by_reason(checks, "dropped"),
    }


def known_labels(crystals: Path, target: str) -> np.ndarray:
    """The labels of the crystals that have this one."""
    values: np.ndarray = read_parquet(crystals, columns=[target])[target].drop_null().to_numpy()
    return values


def distribution(values: np.ndarray, unit: str, whole: bool = False) -> dict[str, Any] | None:
    """Statistics and a histogram of some values, or None if there are no values."""
    if not len(values):
        return None
    edges = np.histogram_bin_edges(values, bins=BINS)
    if whole:  # every bin holds the same number of whole numbers
        width = max(1, -(-int(values.max()) // BINS))
        edges = np.arange(0.5, values.max() + width + 0.5, width)
    quartiles = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {
        "unit": unit,
        "count": len(values),
        "min": values.min().item(),
        "lower_quartile": quartiles[0],
        "median": quartiles[1],
        "upper_quartile": quartiles[2],
        "max": values.max().item(),
        "mean": float(values.mean()),
        "standard_deviation": float(values.std()),
        "histogram": {
            "edges": edges.tolist(),
            "counts": np.histogram(values, edges)[0].tolist(),
        },
    }


def systems(checks: pa.Table, molecules: int) -> dict[str, int]:
    """The number of crystals of each crystal system; unknown if no space group was found."""
    counts = Counter(map(system_of, checks["space_group"].to_pylist()))
    counts["unknown"] -= molecules
    counts["molecule"] = molecules
    names = (*SYSTEMS.values(), "unknown", "molecule")
    return {name: counts[name] for name in names if counts[name]}


def by_reason(table: pa.Table, column: str) -> dict[str, Any]:
    """The rows with a text in ``column``: their number, and the ids of each text, frequent texts first."""
    ids = defaultdict(list)
    for id, reason in zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True):
        if reason:
            ids[reason].append(id)
    order = sorted(ids, key=lambda reason: (-len(ids[reason]), reason))
    return {
        "count": sum(map(len, ids.values())),
        "reasons": [
            {"reason": reason, "count": len(ids[reason]), "ids": ids[reason][:EXAMPLES]}
            for reason in order[:EXAMPLES]
        ],
        "further_reasons": len(order[EXAMPLES:]),
    }


def duplicates(checks: pa.Table) -> dict[str, Any]:
    """The crystals that repeat another one, and the structures with the highest counts."""
    groups = defaultdict(list)
    for id, first in zip(checks["id"].to_pylist(), checks["duplicate_of"].to_pylist(), strict=True):
        if first:
            groups[first].append(id)
    by_size = sorted(groups, key=lambda first: (-len(groups[first]), first))
    return {
        "searched": (checks.schema.metadata or {}).get(b"duplicates_searched") == b"yes",
        "count": sum(map(len, groups.values())),
        "structures": len(groups),
        "largest": [[first, *groups[first]] for first in by_size[:EXAMPLES]],
    }


def shade_ranges(max_count: int) -> list[tuple[int, int]]:
    """The counts of five shades, in about equal steps of the logarithm up to ``max_count``."""
    ends = [round(max_count ** (k / 5)) for k in range(1, 6)]
    return list(zip([1] + [end + 1 for end in ends], ends, strict=False))


def shade(count: int, max_count: int) -> int:
    """0 for a count of 0, else 1 to 5: the place of the count in ``shade_ranges``."""
    places = (k for k, (_, end) in enumerate(shade_ranges(max_count), start=1) if count <= end)
    return next(places) if count else 0


def terminal_table(summary: dict[str, Any]) -> str:
    """The summary as text, about 100 columns wide."""
    elements = summary["elements"]
    lines = [
        f"{summary['crystals']:,} crystals of {', '.join(summary['sources'])}",
        f"{len(elements)} elements, {summary['formulas']:,} reduced formulas",
        "",
        "Crystals that hold each element: · few, █ many",
        *periodic_rows(elements),
        "",
        pairs("Elements in a crystal", summary["elements_per_crystal"]),
        pairs("Crystal systems", summary["crystal_systems"]),
        "",
        f"{'':34}{'count':>9}{'min':>11}{'median':>11}{'mean':>11}{'max':>11}",
        row("atoms per cell", summary["atoms_per_cell"]),
        row("volume per atom", summary["volume_per_atom"]),
    ]
    for name, one in [*summary["labels"].items(), *summary["learned"].items()]:
        lines += [row(name, one)]
        lines += [f"{'':34}{spark(one['histogram']['counts'])}"] if one else []
    lines += ["", *doubts(summary)]
    return "\n".join(lines)


def periodic_rows(elements: dict[str, int]) -> list[str]:
    """The rows of the periodic table, with a shade beside each symbol."""
    max_count = max(elements.values())

    def cell(symbol: str) -> str:
        level = shade(elements.get(symbol, 0), max_count)
        return "    " if symbol == "." else f"{symbol:>2}{' ·░▒▓█'[level]} "

    lines = ["".join(map(cell, line)).rstrip() for line in PERIODIC_TABLE]
    return lines[:7] + [""] + lines[7:]


def pairs(title: str, counts: dict[str, int]) -> str:
    return f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())


def row(name: str, one: dict[str, Any] | None) -> str:
    """A line of the table of distributions."""
    if one is None:
        return f"{name:34}{0:>9}"
    title = f"{name} ({one['unit']})" if one["unit"] else name
    numbers = "".join(f"{one[key]:>11.4g}" for key in ("min", "median", "mean", "max"))
    return f"{title:33} {one['count']:>9,}{numbers}"


def spark(counts: list[int]) -> str:
    """A histogram in one line; every bin that is not empty is visible."""
    max_count = max(counts)
    return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // max_count)] for count in counts)


def doubts(summary: dict[str, Any]) -> list[str]:
    """Lines on duplicates, rejected rows and the results of the checks, with a few ids."""
    found = summary["duplicates"]
    lines = ["Duplicate structures: not searched"]
    if found["searched"]:
        lines = [
            f"Duplicate structures: {found['count']:,} crystals repeat {found['structures']:,}"
        ]
        lines += ["  " + shortened(ids) for ids in found["largest"][:5]]
    titles = {"rejected": "Rejected rows", "unphysical": "Unphysical labels"}
    titles |= {"disagreements": "Disagreements", "dropped": "Dropped by cleaning"}
    for key, title in titles.items():
        one = summary[key]
        lines.append(f"{title}: " + ("no rejected.parquet" if one is None else f"{one['count']:,}"))
        for entry in one["reasons"][:5] if one else []:
            lines.append(f"  {entry['count']:>7,}  {entry['reason']}: {shortened(entry['ids'])}")
        more = (len(one["reasons"]) - 5 + one["further_reasons"]) if one else 0
        if more > 0:
            lines.append(f"           and {more:,} other reasons")
    return lines


def shortened(ids: list[str]) -> str:
    return ", ".join(ids[:4]) + (", …" if len(ids) > 4 else "")


def write_page(summary: dict[str, Any], out: Path) -> None:
    """The summary as one self-contained HTML page; equal summaries give equal bytes."""
    from dglframer.report.pages import environment

    page = environment().get_template("inspection.html.j2")
    write_text(out, page.render(inspection=summary, **figures(summary)))


def figures(summary: dict[str, Any]) -> dict[str, Any]:
    """The figures of a summary for the templates: shades of the elements, histograms as SVG."""
    from dglframer.report import plots

    max_count = max(summary["elements"].values())
    shown = [("atoms per cell", summary["atoms_per_cell"])]
    shown += [("volume per atom", summary["volume_per_atom"]), *summary["labels"].items()]
    shown += summary["learned"].items()
    return {
        "periodic_table": PERIODIC_TABLE,
        "shades": {name: shade(count, max_count) for name, count in summary["elements"].items()},
        "shade_ranges": shade_ranges(max_count),
        "histograms": [
            (name, plots.svg([plots.histogram_panel(name, one)])) for name, one in shown if one
        ],
    }
