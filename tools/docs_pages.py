"""Pages of the documentation's site that are generated: configuration, commands, notebooks, project.

mkdocs calls the functions (``hooks`` in mkdocs.yml). The Markdown files of the repository link to each
other as they lie; links to files outside docs/ become links to the generated pages, or plain names.
"""

import argparse
import base64
import json
import re
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import dglframer
from dglframer.cli.main import parser
from dglframer.config import Config

ROOT = Path(__file__).resolve().parents[1]
# Files outside docs/ that are pages of the site.
PROJECT = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """The navigation: the tables of docs/README.md, then the generated pages and the project's files."""
    sections: dict[str, list[dict[str, str]]] = {}
    for line in (ROOT / "docs" / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            sections[line.removeprefix("## ")] = pages = []
        elif found := re.match(r"\| \[([^\]]+)\]\(([^)]+)\) \|", line):
            pages.append({found[1]: page_of(found[2])})
    reference = [{"Configuration": "reference/configuration.md"}]
    reference += [{"Commands": "reference/commands.md"}, {"Python": "reference/python.md"}]
    project = [{"Readme": PROJECT["README.md"]}]
    project += [{"Contributing": PROJECT["CONTRIBUTING.md"]}, {"Changes": PROJECT["CHANGELOG.md"]}]
    config.nav = [
        {"Start": "README.md"},
        *({title: pages} for title, pages in sections.items()),
        {"Reference": reference},
        {"Project": project},
    ]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"reference/configuration.md": configuration(), "reference/commands.md": commands()}
    pages["reference/python.md"] = python()
    pages |= {page: (ROOT / name).read_text(encoding="utf-8") for name, page in PROJECT.items()}
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        name = path.relative_to(ROOT / "docs").as_posix()
        pages[page_of(name)], pictures = notebook(path)
        for picture, content in pictures.items():
            place = f"{Path(name).parent.as_posix()}/{picture}"
            files.append(File.generated(config, place, content=content))
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def page_of(name: str) -> str:
    """The page of a file of docs/: a notebook becomes one of the same name."""
    return re.sub(r"\.ipynb$", ".md", name)


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, with what its cells gave, and its pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}_{len(pictures)}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![What the cell draws]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n", pictures


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files outside docs/ into links to pages, or into plain names."""
    here = page.file.src_uri
    sources = {page_name: name for name, page_name in PROJECT.items()}
    lies_at = sources.get(here, f"docs/{here}")

    def turned(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = normpath(f"{Path(lies_at).parent.as_posix()}/{target}")
        if path == "docs":
            path = "docs/README.md"
        if path in PROJECT:
            goal = PROJECT[path]
        elif path.startswith("docs/"):
            goal = page_of(path.removeprefix("docs/"))
        elif (ROOT / path).exists():
            return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"
        else:
            raise ValueError(f"{lies_at} links to {target}, which is not there")
        return f"{picture}[{text}]({relpath(goal, Path(here).parent.as_posix())}{anchor or ''})"

    return LINK.sub(turned, markdown)


def configuration() -> str:
    """A table for each section of the configuration, from its class."""
    lines = [
        "# Configuration",
        "",
        "Every key, its type, its default and its meaning. A file states what differs from the defaults; "
        "an unknown key is refused, and the message names the nearest valid one.",
        "",
    ]
    plain = []
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            lines += [f"## {name}", "", (kind.__doc__ or "").strip(), "", *rows(kind), ""]
        else:
            plain.append(row(name, field))
    lines += ["## Outside the sections", "", *HEAD, *plain, ""]
    return "\n".join(lines)


HEAD = ["| key | type | default | meaning |", "|---|---|---|---|"]


def rows(section: type[BaseModel]) -> list[str]:
    """The table of a section."""
    return [*HEAD, *(row(name, field) for name, field in section.model_fields.items())]


def row(name: str, field: Any) -> str:
    """A key with its type, default and description."""
    kind = getattr(field.annotation, "__name__", None)
    if kind is None or getattr(field.annotation, "__args__", None):
        kind = re.sub(r"\b(?:\w+\.)+", "", str(field.annotation)).replace("NoneType", "None")
    default = field.get_default(call_default_factory=True)
    shown = "" if default is PydanticUndefined else text_of(default)
    cells = (f"`{name}`", f"`{kind}`", shown, field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def text_of(default: Any) -> str:
    """A default as YAML writes it."""
    if isinstance(default, BaseModel):
        return "its own defaults"
    if isinstance(default, dict):
        values = {k: v.model_dump() if isinstance(v, BaseModel) else v for k, v in default.items()}
        return f"`{values}`"
    if isinstance(default, tuple):
        default = list(default)
    words = {None: "null", True: "true", False: "false"}
    simple = default is None or isinstance(default, bool)
    return f"`{words[default] if simple else default}`"


def python() -> str:
    """What `import dglframer` offers, by mkdocstrings from the docstrings."""
    homes = sorted(dglframer.HOMES.items())
    offered = [f"::: dglframer.interface.{module}.{name}" for name, module in homes]
    return "\n\n".join(
        ["# Python", "[The guide](../guide/python.md) shows how to use it.", *offered]
    )


def commands() -> str:
    """The help of every verb."""
    lines = [
        "# Commands",
        "",
        "`dglframer VERB --help` prints the same. [The guide](../guide/command_line.md) has the exit "
        "statuses.",
        "",
    ]
    main = parser()
    for action in main._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, one in action.choices.items():
                lines += [f"## {verb}", "", "```text", one.format_help().strip(), "```", ""]
    return "\n".join(lines)
