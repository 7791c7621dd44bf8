"""Draw docs/architecture.svg: stages as boxes, the files between them on the arrows.

python tools/draw_architecture.py
"""

from html import escape
from pathlib import Path

WIDTH, ROW = 740, 74
# stage, the folders of the package that do its work, the files it writes
STAGES = [
    ("download", ["data/sources"], ["download.json"]),
    ("crystals", ["data/sources", "data"], ["crystals.parquet", "rejected.parquet"]),
    ("clean", ["data", "structures"], ["checks.parquet"]),
    ("inspect", ["report"], ["inspection.json", "inspection.html"]),
    ("split", ["data"], ["split.parquet"]),
    ("leakage", ["data"], ["leakage.json"]),
    ("graphs", ["structures", "graphs"], ["graphs/shard-*.parquet", "graphs/manifest.json"]),
    ("tune", ["tuning", "training"], ["tune/best.json", "tune/trials.json"]),
    (
        "train",
        ["training", "networks", "attention"],
        ["models/seed-*/model.safetensors", "…/model.json"],
    ),
    ("evaluate", ["evaluation", "report"], ["evaluation/predictions.parquet", "…/metrics.json"]),
    ("report", ["report"], ["report.html"]),
]
# The stages that read a stage's files, besides the next one in line.
FURTHER = {
    "crystals": ["split", "graphs"],
    "clean": ["split", "leakage"],
    "split": ["tune", "train", "evaluate"],
    "graphs": ["train", "evaluate"],
}
ENDS = ("inspect", "leakage")  # read by the report alone

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1c2733 }
.stage { fill: #e8f0f7; stroke: #2f6690; stroke-width: 1.5 }
.name { font-weight: 600; font-size: 16px }
.folder { fill: #5a6b7b; font-size: 12px }
.file { font-family: ui-monospace, monospace; font-size: 12.5px }
.arrow { stroke: #2f6690; stroke-width: 1.5; fill: none; marker-end: url(#head) }
.trunk { stroke: #b0793b; stroke-width: 1.3; fill: none }
.further { stroke: #b0793b; stroke-width: 1.3; fill: none; marker-end: url(#brown) }
"""


def top(index: int) -> int:
    return 20 + index * ROW


def stage(index: int, name: str, folders: list[str], files: list[str]) -> str:
    """The box of a stage, its folders below its name, and the files it writes to the right."""
    y = top(index)
    parts = [
        f'<rect class="stage" x="190" y="{y}" width="240" height="48" rx="7"/>',
        f'<text class="name" x="310" y="{y + 20}" text-anchor="middle">{name}</text>',
        f'<text class="folder" x="310" y="{y + 38}" text-anchor="middle">{", ".join(folders)}</text>',
        f'<path class="arrow" d="M430 {y + 24} h46"/>',
    ]
    for line, file in enumerate(files):
        offset = y + 28 if len(files) == 1 else y + 20 + 18 * line
        parts.append(f'<text class="file" x="488" y="{offset}">{escape(file)}</text>')
    if index + 1 < len(STAGES) and name not in ENDS:
        parts.append(f'<path class="arrow" d="M310 {y + 48} v{ROW - 52}"/>')
    return "\n".join(parts)


def further(start: str, ends: list[str], lane: int) -> str:
    """A line on the left from a stage to those further down that read its files."""
    names = [name for name, *_ in STAGES]
    x, y = 162 - 36 * lane, top(names.index(start)) + 42
    # Lines that end at one stage come in below each other.
    heights = [top(names.index(end)) + 6 + 9 * lane for end in ends]
    parts = [f'<path class="trunk" d="M190 {y} H{x} V{heights[-1]}"/>']
    parts += [f'<path class="further" d="M{x} {height} H186"/>' for height in heights]
    return "\n".join(parts)


def marker(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
    )


def drawing() -> str:
    height = top(len(STAGES)) + 10
    body = [stage(index, *entry) for index, entry in enumerate(STAGES)]
    body += [further(*pair, lane) for lane, pair in enumerate(FURTHER.items())]
    title = "The stages of dglframer, the folders that do their work and the files they write"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n"
        f"<defs>{marker('head', '#2f6690')}{marker('brown', '#b0793b')}</defs>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "docs" / "architecture.svg"
    path.write_text(drawing(), encoding="utf-8")
    print(path)
