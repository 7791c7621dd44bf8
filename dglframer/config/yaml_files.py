"""config.yaml and its JSON schema, generated from the classes in ``config``."""

import json
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from dglframer.common.files import write_text
from dglframer.config import Config, fields_of

CONFIG_FILE = Path("config.yaml")
SCHEMA_FILE = Path("workflow/schemas/config.schema.json")

HEADER = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# What dglframer computes. Generated defaults (`dglframer config --write`); change what you like here
# or give your own file: snakemake --configfile mine.yaml. Cores, memory and queues belong to
# profiles and the command line; secrets to the environment.
"""


def default_yaml() -> str:
    """The commented default configuration."""
    lines = [HEADER]
    defaults = Config().model_dump(mode="json")
    for name, field in Config.model_fields.items():
        section = getattr(field.annotation, "model_fields", None)
        if section is None:
            lines.append(entry(name, defaults[name], field, ""))
            continue
        assert field.annotation is not None
        lines.append(f"# {(field.annotation.__doc__ or '').strip()}\n{name}:\n")
        for key in fields_of(name):
            lines.append(entry(key, defaults[name][key], section[key], "  "))
        lines.append("\n")
    return "".join(lines)


def entry(key: str, value: Any, field: FieldInfo, indent: str) -> str:
    """One line ``key: value  # description``; a mapping has one more line per item."""
    comment = f"  # {field.description}" if field.description else ""
    if isinstance(value, dict) and value:
        items = "".join(f"{indent}  {name}: {flow(item)}\n" for name, item in value.items())
        return f"{indent}{key}:{comment}\n{items}"
    return f"{indent}{key}: {flow(value)}{comment}\n"


def flow(value: Any) -> str:
    """A value in YAML's one-line style; lists of scalars look as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and "e" in repr(value):
        return f"{value:f}".rstrip("0")  # YAML 1.1 reads 1e-05 as a string
    return value if isinstance(value, str) else json.dumps(value)


def schema_json() -> str:
    """The JSON schema of the configuration."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"


def write_config_files(root: Path) -> None:
    """Write both files below ``root``, the checkout."""
    write_text(root / CONFIG_FILE, default_yaml())
    write_text(root / SCHEMA_FILE, schema_json())
