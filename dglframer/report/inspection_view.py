"""The summary of a dataset for people: as text for the terminal, and as a page with figures."""

from pathlib import Path
from typing import Any

from dglframer.common.files import write_text

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
