"""The configuration says what is computed; Snakemake decides where and on how many cores.

``config.yaml`` and ``workflow/schemas/config.schema.json`` are generated from these classes
(``dglframer config --write``); a test holds them equal. Each section has a class in a module
of this folder.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from dglframer.common.errors import ConfigError
from dglframer.common.files import hash_of
from dglframer.config.data import (
    DATED_SOURCES,
    SPLIT_SOURCES,
    CleaningConfig,
    DatasetConfig,
    GraphsConfig,
    MaterialsProjectConfig,
    SplitConfig,
)
from dglframer.config.experiments import (
    CompareConfig,
    LearningCurveConfig,
    NbodyConfig,
    ShapesConfig,
)
from dglframer.config.networks import (
    CrystalFramerConfig,
    EncoderConfig,
    EncoderName,
    EquivariantConfig,
    Se3TransformerConfig,
    TfnConfig,
)
from dglframer.config.reading import (
    PATHS,
    merged_with_full_paths,
    read_values,
    with_full_paths,
    without_folders,
)
from dglframer.config.search_space import SearchSpace
from dglframer.config.section import Section, Seeds
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
    learning_curve: LearningCurveConfig = LearningCurveConfig()
    nbody: NbodyConfig = NbodyConfig()
    shapes: ShapesConfig = ShapesConfig()
    seeds: Seeds = Field((0, 1), description="one model is trained per seed; together an ensemble")

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
    def split_suits_the_source(self) -> "Config":
        source, method = self.dataset.source, self.split.method
        if method == "canonical" and source not in SPLIT_SOURCES:
            raise ValueError(
                f"split.method canonical: {source} has no split of its own; use random"
            )
        if method == "by_time" and source not in DATED_SOURCES:
            raise ValueError(f"split.method by_time: {source} has no dates; use random")
        return self

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
    """One validation error as a sentence with the key; for an unknown key also the nearest one."""
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
    """Read a YAML or JSON file; keys that are not given keep their defaults.

    Paths in the file are relative to its folder; those of the Config are absolute. Raises ConfigError
    naming the file.
    """
    values = read_values(path)
    try:
        return parse_config(with_full_paths({} if values is None else values, Path(path).parent))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def merged_config(merged: Mapping[str, Any], files: Sequence[Path]) -> Config:
    """The Config of the values that Snakemake merged from ``workflow.configfiles``; ConfigError."""
    return parse_config(merged_with_full_paths(merged, files))


def check_paths(config: Config) -> None:
    """Raise ConfigError if a file or folder that the configuration names does not exist."""
    for section, key in PATHS:
        path = getattr(getattr(config, section), key)
        if path and not Path(path).exists():
            raise ConfigError(f"{section}.{key}: no such file or folder: {path}")


def hash_of_config(config: Config) -> str:
    """sha256 of all settings; of a path only the last name, so that a moved project keeps its hash."""
    return hash_of(without_folders(config.model_dump(mode="json")))


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with dotted keys replaced, e.g. {"training.learning_rate": 1e-3}, validated again."""
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
