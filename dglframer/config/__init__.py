"""The settings of a computation. Where it runs, and on how many cores, is Snakemake's business.

``config.yaml`` and ``workflow/schemas/config.schema.json`` are generated from these classes
(``dglframer config --write``); a test holds them equal. Each section has a class in a module
of this folder.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from dglframer.common.errors import ConfigError
from dglframer.config.data import (
    CleaningConfig,
    DatasetConfig,
    GraphsConfig,
    MaterialsProjectConfig,
    SplitConfig,
)
from dglframer.config.experiments import CompareConfig, NbodyConfig
from dglframer.config.networks import (
    CrystalFramerConfig,
    EncoderConfig,
    EncoderName,
    EquivariantConfig,
    Se3TransformerConfig,
    TfnConfig,
)
from dglframer.config.search_space import SearchSpace
from dglframer.config.section import Section
from dglframer.config.training import TrainingConfig
from dglframer.config.tuning import SEARCH_KINDS, TuneConfig


class Config(Section):
    """The whole configuration."""

    dataset: DatasetConfig = DatasetConfig()
    materials_project: MaterialsProjectConfig = MaterialsProjectConfig()
    cleaning: CleaningConfig = CleaningConfig()
    split: SplitConfig = SplitConfig()
    graphs: GraphsConfig = GraphsConfig()
    encoder: EncoderName = Field(
        "crystalframer",
        description="the network: crystalframer, se3_transformer or tfn; its settings are in that section",
    )
    crystalframer: CrystalFramerConfig = CrystalFramerConfig()
    se3_transformer: Se3TransformerConfig = Se3TransformerConfig()
    tfn: TfnConfig = TfnConfig()
    training: TrainingConfig = TrainingConfig()
    tune: TuneConfig = TuneConfig()
    compare: CompareConfig = CompareConfig()
    nbody: NbodyConfig = NbodyConfig()
    seeds: tuple[int, ...] = Field(
        (0, 1), min_length=1, description="one model is trained per seed; together an ensemble"
    )

    @property
    def encoder_settings(self) -> EncoderConfig:
        """The settings of the chosen encoder."""
        return getattr(self, self.encoder)

    @property
    def search_space(self) -> SearchSpace:
        """What the study searches: keys of the chosen encoder's section and of ``training``."""
        return SearchSpace(
            self.tune, {self.encoder: self.encoder_settings, "training": self.training}
        )

    @model_validator(mode="after")
    def graphs_hold_what_the_encoder_sees(self) -> "Config":
        settings, cutoff = self.encoder_settings, self.graphs.cutoff_angstrom
        if isinstance(settings, EquivariantConfig) and settings.cutoff_angstrom > cutoff:
            raise ValueError(
                f"{self.encoder}.cutoff_angstrom must not exceed graphs.cutoff_angstrom"
            )
        return self

    @model_validator(mode="after")
    def search_keys_exist(self) -> "Config":
        space = self.search_space
        known = [f"{name}.{key}" for name in space.sections for key in fields_of(name)]
        for key in self.tune.search:
            if key not in known:
                raise ValueError(f"tune.search.{key}: no such setting{nearest(key, known)}")
        space.check()
        return self


def fields_of(section: str) -> list[str]:
    """Names of the keys of one top-level section."""
    return list(getattr(Config.model_fields[section].annotation, "model_fields", {}))


def nearest(key: str, known: list[str]) -> str:
    """A hint that names the valid key nearest to ``key``."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return f" (did you mean {close[0]}?)" if close else ""


def parse_config(values: Mapping[str, Any]) -> Config:
    """Validate plain values; raises ConfigError with one line per mistake."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(line) for line in error.errors())) from None


def explain(error: Any) -> str:
    """One validation error as a sentence that names the key and, if it is unknown, the nearest."""
    path = [str(part) for part in error["loc"]]
    known = fields_of(path[0]) if len(path) > 1 else list(Config.model_fields)
    if path[:2] == ["tune", "search"] and len(path) > 3:
        known = list(SEARCH_KINDS[path.pop(3)].model_fields)
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"unknown key {name}{nearest(path[-1], known)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name and not message.startswith(f"{name}.") else message


def load_config(path: Path) -> Config:
    """Read a YAML or JSON config; keys that are not given keep their defaults."""
    read = json.loads if Path(path).suffix == ".json" else read_yaml
    try:
        values = read(Path(path).read_text(encoding="utf-8"))
        return parse_config({} if values is None else values)
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from None


def read_yaml(text: str) -> Any:
    """The values of a YAML text; raises ConfigError. (A GPU machine may go without PyYAML.)"""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(str(error)) from None


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """A config with dotted keys replaced, e.g. {"training.learning_rate": 1e-3}, validated again."""
    plain = config.model_dump(mode="json")
    for dotted, value in values.items():
        section, _, key = dotted.partition(".")
        if section not in plain or bool(fields_of(section)) != bool(key):
            raise ConfigError(f"unknown key {dotted}{nearest(section, list(plain))}")
        if key:
            plain[section][key] = value
        else:
            plain[section] = value
    return parse_config(plain)
