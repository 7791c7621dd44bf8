"""Configuration files as plain values: YAML or JSON, no key twice, paths relative to the file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dglframer.common.errors import ConfigError
from dglframer.pretrained.registry import find

# The keys that hold a path.
PATHS = (
    ("dataset", "path"),
    ("dataset", "targets_csv"),
    ("split", "path"),
    ("training", "init_from"),
    ("shapes", "path"),
)


def read_values(path: Path) -> Any:
    """The values of a YAML or JSON file; raises ConfigError naming the file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=without_repetition)
        return read_yaml(text)
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from None


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ConfigError if a key stands in it twice."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ConfigError(f"the key {key} stands twice in one object")
        values[key] = value
    return values


def read_yaml(text: str) -> Any:
    """The values of a YAML text; raises ConfigError. (A GPU machine may go without PyYAML.)"""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML's safe loader, which refuses a key that stands twice in one mapping."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    line = key.start_mark.line + 1
                    if key.value in lines:
                        both = f"lines {lines[key.value]} and {line}"
                        raise ConfigError(f"{both} both set {key.value}; keep one of them")
                    lines[key.value] = line
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(str(error)) from None


def with_full_paths(values: Any, folder: Path) -> Any:
    """The values with each relative path joined to ``folder``; other values as they are."""
    if not isinstance(values, Mapping):
        return values
    values = dict(values)
    for section, key in PATHS:
        given = text_at(values, section, key)
        if given and is_path(section, key, given):
            values[section] = {**values[section], key: full_path(given, folder)}
    return values


def full_path(text: str, folder: Path) -> str:
    """A path relative to ``folder`` as an absolute one, the same from every working directory.

    Links among the folders are followed; a link at the end is not, since its name says the format.
    """
    path = Path(folder) / text
    return str(path.parent.resolve() / path.name)


def without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the last name of each path alone: nothing of the machine, the files lie beside."""
    values = dict(values)
    for section, key in PATHS:
        if given := text_at(values, section, key):
            values[section] = {**values[section], key: Path(given).name}
    return values


def is_path(section: str, key: str, text: str) -> bool:
    """Whether the text under a key of PATHS is a path, and not the name of a shipped model."""
    return (section, key) != ("training", "init_from") or find(text) is None


def text_at(values: Any, section: str, key: str) -> str | None:
    """The text that plain values hold under a key of a section, if they do."""
    inner = values.get(section) if isinstance(values, Mapping) else None
    found = inner.get(key) if isinstance(inner, Mapping) else None
    return found if isinstance(found, str) else None


def merged_with_full_paths(merged: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """The values that Snakemake merged from ``files``, each path relative to the file that states it.

    ``files``: Snakemake's ``workflow.configfiles``, that is those of the command line, of which a later
    one wins, and at the end the workflow's own, which all others win over. A path that stands in none
    of them comes from the command line and is relative to the working directory. Raises ConfigError
    for a file that cannot be read or has a key twice.
    """
    by_precedence = [*reversed(files[:-1]), *files[-1:]]
    contents = [(Path(file).parent, read_values(file)) for file in by_precedence]
    values = dict(merged)
    for section, key in PATHS:
        given = text_at(values, section, key)
        if given and is_path(section, key, given):
            stating = (folder for folder, own in contents if text_at(own, section, key) == given)
            folder = next(stating, Path.cwd())
            values[section] = {**values[section], key: full_path(given, folder)}
    return values
