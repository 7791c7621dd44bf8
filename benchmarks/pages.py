"""Pages that hold a part written by a script, between two markers."""

from pathlib import Path


def fill(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the markers, which stay."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
