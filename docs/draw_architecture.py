"""Draw architecture.svg: stages as boxes, the files between them on the arrows.

python docs/draw_architecture.py
"""

from html import escape
from pathlib import Path

WIDTH, ROW = 860, 74
STAGES = [
    ("download", "sources/", ["download.json"]),
    ("crystals", "crystals, structure_files", ["crystals.parquet", "rejected.parquet"]),
    ("clean", "cleaning, fingerprints", ["checks.parquet"]),
    ("inspect", "inspection", ["inspection.json", "inspection.html"]),
    ("split", "split, split_methods", ["split.parquet"]),
    ("leakage", "leakage", ["leakage.json"]),
    ("graphs", "neighbors, graphs", ["graphs/shard-*.parquet", "graphs/manifest.json"]),
    ("tune", "tuning, dataset", ["tune/best.json", "tune/trials.json"]),
    ("train", "training, model, checkpoint", ["models/seed-*/model.safetensors", "…/model.json"]),
    ("evaluate", "evaluation, plots", ["evaluation/predictions.parquet", "…/metrics.json"]),
    ("report", "report", ["report.html"]),
]
# (from, to) stages that a file connects besides the next one in line
FURTHER = [
    ("crystals", "split"),
    ("crystals", "graphs"),
    ("clean", "leakage"),
    ("split", "train"),
    ("graphs", "train"),
    ("graphs", "evaluate"),
]
ENDS = ("inspect", "leakage")  # read by the report alone

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1c2733 }
.stage { fill: #e8f0f7; stroke: #2f6690; stroke-width: 1.5 }
.name { font-weight: 600; font-size: 16px }
.module { fill: #5a6b7b; font-size: 12px }
.file { font-family: ui-monospace, monospace; font-size: 12.5px }
.arrow { stroke: #2f6690; stroke-width: 1.5; fill: none; marker-end: url(#head) }
.further { stroke: #b0793b; stroke-width: 1.3; fill: none; marker-end: url(#brown) }
"""


def top(index: int) -> int:
    return 20 + index * ROW


def stage(index: int, name: str, module: str, files: list[str]) -> str:
    """The box of a stage, its module below its name, and the files it writes to the right."""
    y = top(index)
    parts = [
        f'<rect class="stage" x="190" y="{y}" width="240" height="48" rx="7"/>',
        f'<text class="name" x="310" y="{y + 20}" text-anchor="middle">{name}</text>',
        f'<text class="module" x="310" y="{y + 38}" text-anchor="middle">{module}</text>',
        f'<path class="arrow" d="M430 {y + 24} h46"/>',
    ]
    for line, file in enumerate(files):
        offset = y + 28 if len(files) == 1 else y + 20 + 18 * line
        parts.append(f'<text class="file" x="488" y="{offset}">{escape(file)}</text>')
    if index + 1 < len(STAGES) and name not in ENDS:
        parts.append(f'<path class="arrow" d="M310 {y + 48} v{ROW - 52}"/>')
    return "\n".join(parts)


def further(start: str, end: str, lane: int) -> str:
    """A line on the left for a file that skips stages."""
    names = [name for name, *_ in STAGES]
    y1, y2 = top(names.index(start)) + 34, top(names.index(end)) + 14
    x = 170 - 26 * lane
    return f'<path class="further" d="M190 {y1} H{x} V{y2} H186"/>'


def marker(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
    )


def drawing() -> str:
    height = top(len(STAGES)) + 10
    body = [stage(index, *entry) for index, entry in enumerate(STAGES)]
    body += [further(*pair, lane) for lane, pair in enumerate(FURTHER)]
    title = "The stages of dglframer, the modules behind them and the files they write"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n"
        f"<defs>{marker('head', '#2f6690')}{marker('brown', '#b0793b')}</defs>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


if __name__ == "__main__":
    path = Path(__file__).with_name("architecture.svg")
    path.write_text(drawing(), encoding="utf-8")
    print(path)
