"""The documentation names what there is: links, files, folders, settings."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT

from dglframer.config import Config, parse_config

DOCS, PACKAGE = ROOT / "docs", ROOT / "dglframer"
PRESETS = ROOT / "workflow" / "presets"
OURS = "benchmarks config dglframer docs tests tools workflow".split()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(
    rf"(?<![\w/.-])(?:{'|'.join(OURS)})/[\w./-]*\.(?:md|py|svg|smk|yaml|csv|json|sh)\b"
)
MADE_ON_A_GPU = "benchmarks/results/gpu.json"  # nobody has run the script that writes it


def texts(*endings: str) -> Iterator[Path]:
    """Files of the project with these endings, results and environments left out."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in endings)
    for name in OURS:
        yield from (path for path in sorted((ROOT / name).rglob("*")) if path.suffix in endings)


PAGES = {str(path.relative_to(ROOT)): path for path in texts(".md")}


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    page = PAGES[name]
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target), f"{name}: {link}"


def test_every_file_that_is_named_exists():
    """In pages, code, comments and rules, by its path from the root of the checkout."""
    missing = [
        f"{path.relative_to(ROOT)} names {found}"
        for path in texts(".md", ".py", ".smk", ".yaml", ".toml", ".rst")
        for found in PATH.findall(path.read_text(encoding="utf-8"))
        if found != MADE_ON_A_GPU and not (ROOT / found).exists()
    ]
    assert not missing, "\n".join(missing)


def test_the_index_names_every_page():
    index = DOCS / "README.md"
    linked = {(DOCS / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert {path for path in DOCS.rglob("*.md") if path != index} <= linked


def test_settings_in_the_guides_are_valid():
    checked = []
    for path in sorted([ROOT / "README.md", *DOCS.rglob("*.md")]):
        for language, block in FENCE.findall(path.read_text(encoding="utf-8")):
            settings = yaml.safe_load(block) if language == "yaml" else {}
            if settings and set(settings) <= set(Config.model_fields):
                parse_config(settings)  # ConfigError names the key
                checked += settings
    assert {"dataset", "materials_project", "tune", "compare", "training"} <= set(checked)


def first_line(folder: Path) -> str:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


def tree() -> str:
    """The folders of the package from the top floor down, each with the first line of its docstring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    lines = ["dglframer/"]
    for name in (name.strip() for layer in layers for name in layer.split("|")):
        inner = sorted(path.parent for path in (PACKAGE / name).glob("*/__init__.py"))
        for folder in (PACKAGE / name, *inner):
            indented = "  " * len(folder.relative_to(PACKAGE).parts) + f"{folder.name}/"
            lines.append(f"{indented:<21}{first_line(folder)}")
    return "\n".join(lines) + "\n"


def test_the_tree_of_the_package_is_that_of_the_folders():
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert ("", tree()) in FENCE.findall(page), f"docs/architecture.md should have\n{tree()}"


def test_the_drawing_of_the_stages_is_that_of_the_script():
    script = runpy.run_path(str(ROOT / "tools" / "draw_architecture.py"))
    drawn = (DOCS / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == script["drawing"](), "run: python tools/draw_architecture.py"
    for _, folders, _ in script["STAGES"]:
        assert all((PACKAGE / folder / "__init__.py").is_file() for folder in folders)


def test_the_messages_of_the_troubleshooting_page_are_the_program_s():
    sources = [ROOT / "Makefile", *(ROOT / "dglframer").rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    code = re.sub(r'"\s*f?"', "", code)  # a message over several lines
    code = re.sub(r"{[^{}]*}|%[sd]", "…", code)
    page = (ROOT / "docs" / "guide" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    messages = [message for cell in cells for message in re.findall("`([^`]+)`", cell)]
    assert len(messages) > 15
    parts = {part.strip() for message in messages for part in message.split("…")} - {""}
    assert not [part for part in sorted(parts) if part not in code]


def test_the_page_of_recipes_has_every_preset_and_the_readme_their_number():
    page = (DOCS / "guide" / "presets.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|.*\| (\d*) \|$", page, re.MULTILINE)
    files = {path.stem: yaml.safe_load(path.read_text()) for path in PRESETS.glob("*.yaml")}
    assert dict(listed) == {
        name: str(values.get("training", {}).get("epochs", "")) for name, values in files.items()
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"[{len(files)} recipes](docs/guide/presets.md)" in readme
