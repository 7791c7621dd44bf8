"""The configuration: what is computed. Where and with how many cores is Snakemake's business.

``config.yaml`` and ``workflow/schemas/config.schema.json`` are generated from these classes
(``dglframer config --write``); a test holds them equal.
"""

import difflib
import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from dglframer.elements import atomic_number
from dglframer.encoder_config import (
    SECTIONS,
    EncoderConfig,
    EncoderName,
    ModelConfig,
    Se3TransformerConfig,
    Section,
    TfnConfig,
)
from dglframer.errors import ConfigError
from dglframer.search import check_search

OwnSource = Literal["folder", "json", "ase", "parquet"]
OWN_SOURCES: tuple[str, ...] = get_args(OwnSource)
SourceName = Literal[
    "jarvis_minerals",
    "dft_3d_2021",
    "dft_3d",
    "megnet",
    "oqmd_3d_no_cfid",
    "materials_project",
    "qm9",
    OwnSource,
]


class DatasetConfig(Section):
    """Where the crystals come from and which properties are learnt."""

    source: SourceName = Field(
        "jarvis_minerals", description="one of those that `dglframer sources` lists"
    )
    path: str | None = Field(
        None, description="your folder or file; of a JARVIS set: a file that is there already"
    )
    targets_csv: str | None = Field(
        None, description="folder source: CSV with a column id (file stem) and one per target"
    )
    targets: tuple[str, ...] = Field(
        ("formation_energy_peratom",), min_length=1, description="properties to learn"
    )
    target_units: dict[str, str] = Field(
        {}, description="units of the targets, where the source does not know them"
    )
    max_rejected_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="stop if more than this share of the labelled records is rejected",
    )
    repeated_ids: Literal["first", "all"] = Field(
        "first", description="of records with one id: the first, or all, as id, id#2, id#3"
    )

    @model_validator(mode="after")
    def paths_where_needed(self) -> "DatasetConfig":
        if self.source in OWN_SOURCES and not self.path:
            raise ValueError(f"dataset.path is needed for source {self.source}")
        if self.source == "folder" and not self.targets_csv:
            raise ValueError("dataset.targets_csv is needed for source folder")
        return self


class MaterialsProjectConfig(Section):
    """What is asked of the Materials Project, where that is the source."""

    elements: tuple[str, ...] = Field((), description="all of these are in the crystal")
    exclude_elements: tuple[str, ...] = Field((), description="none of these is in the crystal")
    sites_min: int | None = Field(None, ge=1, description="fewest sites of the cell")
    sites_max: int | None = Field(None, ge=1, description="most sites of the cell")
    hull_energy_max_ev_per_atom: float | None = Field(
        None, ge=0, description="largest energy above the hull"
    )
    fields: tuple[str, ...] = Field(
        (), description="more fields to fetch: targets among them need no new query later"
    )

    @model_validator(mode="after")
    def elements_exist(self) -> "MaterialsProjectConfig":
        for symbol in (*self.elements, *self.exclude_elements):
            if atomic_number(symbol) is None:
                raise ValueError(f"materials_project: no element {symbol}")
        return self


Check = Literal["ignore", "report", "drop"]


class CleaningConfig(Section):
    """Doubts about valid crystals: ignore, report (changes nothing) or drop (in no split)."""

    duplicates: Check = Field(
        "report", description="all but the first crystal of one structure (docs/splits.md)"
    )
    unphysical_labels: Check = Field("report", description="labels outside of their range")
    label_ranges: dict[str, tuple[float, float]] = Field(
        {}, description="target: [low, high], besides the known ones in docs/splits.md"
    )
    disagreements: Check = Field(
        "report", description="one id with two structures, or one structure with two labels"
    )
    label_tolerances: dict[str, float] = Field(
        {}, description="target: largest difference of two labels of one structure, likewise"
    )

    @model_validator(mode="after")
    def ranges_are_not_empty(self) -> "CleaningConfig":
        for name, (low, high) in self.label_ranges.items():
            if low > high:
                raise ValueError(f"cleaning.label_ranges.{name}: low must not exceed high")
        for name, tolerance in self.label_tolerances.items():
            if tolerance < 0:
                raise ValueError(f"cleaning.label_tolerances.{name} must not be negative")
        return self


SplitMethod = Literal[
    "canonical",
    "official",
    "random",
    "kfold",
    "by_composition",
    "by_prototype",
    "leave_element_out",
    "by_time",
    "from_file",
]


class SplitConfig(Section):
    """Which crystals train, validate and test (docs/splits.md)."""

    method: SplitMethod = Field(
        "canonical",
        description="canonical (the source's own) or " + ", ".join(get_args(SplitMethod)[1:]),
    )
    seed: int = Field(123, description="of every shuffle; official is defined with 123")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="validation share, where one is drawn")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="test share, where one is drawn")
    official_sizes: tuple[int, int, int] | None = Field(
        None, description="official: train, val, test counts; null: 80, 10 and 10 %, rounded down"
    )
    folds: int = Field(5, ge=2, description="kfold: number of folds")
    fold: int = Field(0, ge=0, description="kfold: the one that is the test set, from 0")
    elements: tuple[str, ...] = Field(
        (), description="leave_element_out: crystals with any of these symbols are the test set"
    )
    val_from: date | None = Field(
        None, description="by_time: first date of val (2020-12-31); null: by val_fraction"
    )
    test_from: date | None = Field(
        None, description="by_time: first date of test; null: by test_fraction"
    )
    path: str | None = Field(
        None, description="from_file: .csv or .parquet of id, split, or .json of part: [ids]"
    )

    @model_validator(mode="after")
    def method_has_what_it_needs(self) -> "SplitConfig":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("split.val_fraction + split.test_fraction must be below 1")
        if self.official_sizes and min(self.official_sizes) < 1:
            raise ValueError("split.official_sizes must be positive")
        if self.fold >= self.folds:
            raise ValueError("split.fold must be below split.folds")
        if self.method == "leave_element_out" and not self.elements:
            raise ValueError("split.elements is needed for method leave_element_out")
        for symbol in self.elements:
            if atomic_number(symbol) is None:
                raise ValueError(f"split.elements: no element {symbol}")
        if self.method == "from_file" and not self.path:
            raise ValueError("split.path is needed for method from_file")
        if (self.val_from is None) != (self.test_from is None):
            raise ValueError("split.val_from and split.test_from are given together or not at all")
        if self.val_from and self.test_from and not self.val_from < self.test_from:
            raise ValueError("split.val_from must be before split.test_from")
        return self


class GraphsConfig(Section):
    """Periodic graphs: every image within the cutoff is an edge."""

    cutoff_angstrom: float = Field(
        8.4, gt=0, le=30, description="6 x r0 loses 3e-6 of a layer; weights reach 6 x 1.98 A"
    )
    crystals_per_shard: int = Field(1024, ge=1, description="rows of one Parquet shard")
    edges_per_shard: int = Field(
        4_000_000, ge=1, description="close a shard before it has more, expected from densities"
    )


class TrainingConfig(Section):
    """Optimisation: the paper's recipe, with epochs and batch for a small data set."""

    epochs: int = Field(30, ge=1, description="passes over the training set")
    averaged_epochs: int = Field(
        8, ge=0, description="last epochs, at a frozen rate, whose every step is averaged"
    )
    batch_size: int = Field(16, ge=1, description="crystals per step")
    edges_per_batch: int | None = Field(
        None, ge=1, description="close a batch before it has more edges; null: by count alone"
    )
    atoms_per_batch: int | None = Field(
        None, ge=1, description="close a batch before it has more atoms; null: by count alone"
    )
    drop_last: bool = Field(
        False, description="leave out what is left at the end of an epoch for a short batch"
    )
    most_atoms: int | None = Field(
        None, ge=1, description="larger crystals are left out of training; null: none"
    )
    learning_rate: float = Field(5e-4, gt=0, description="rate of the first step")
    decay_steps: float = Field(4000, gt=0, description="T in rate x sqrt(T / (T + step))")
    weight_decay: float = Field(1e-5, ge=0, description="AdamW, weights only")
    bias_decay: float = Field(0.0, ge=0, description="AdamW, biases (the released code: 0.01)")
    gradient_clip_norm: float = Field(1.0, gt=0, description="largest total gradient norm")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of linear layers in training; the rest is float32 always"
    )
    init_from: str | None = Field(
        None, description="fine-tuning: model directory whose weights it starts from"
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="fine-tuning: beginnings of the names of parameters that stay, e.g. blocks.0",
    )
    target_statistics: Literal["refit", "keep"] = Field(
        "refit", description="fine-tuning: mean and deviation of the new targets, or the model's"
    )
    stop_after_nonfinite: int = Field(
        3, ge=1, description="steps left out for a NaN or infinite loss or gradient until it stops"
    )
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="between checkpoints inside an epoch; 0: after every step"
    )
    tensorboard: bool = Field(False, description="metrics for TensorBoard as well")

    @model_validator(mode="after")
    def keys_fit_each_other(self) -> "TrainingConfig":
        if self.init_from is None and (self.freeze or self.target_statistics == "keep"):
            raise ValueError("training.freeze and training.target_statistics need init_from")
        if self.averaged_epochs > self.epochs:
            raise ValueError("training.averaged_epochs must not exceed training.epochs")
        return self


class SearchRange(Section):
    """Numbers between low and high."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def low_is_below_high(self) -> "SearchRange":
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        if self.log and self.low <= 0:
            raise ValueError("low must be positive for log: true")
        return self


class SearchChoices(Section):
    """One of a few values."""

    choices: tuple[bool | int | float | str | None, ...] = Field(min_length=1)


SEARCH_KINDS: dict[str, type[Section]] = {"range": SearchRange, "choices": SearchChoices}


def search_kind(value: Any) -> str:
    """Which of SEARCH_KINDS a value is meant to be, so that errors speak of that one alone."""
    given = isinstance(value, SearchChoices) or (isinstance(value, Mapping) and "choices" in value)
    return "choices" if given else "range"


Search = Annotated[
    Annotated[SearchRange, Tag("range")] | Annotated[SearchChoices, Tag("choices")],
    Discriminator(search_kind),
]


class TuneConfig(Section):
    """The Optuna study; its best values override model and training settings."""

    trials: int = Field(4, ge=0, description="finished trials wanted; 0 switches tuning off")
    epochs: int = Field(2, ge=1, description="epochs of one trial")
    seed: int = Field(0, description="seed of the sampler and of every trial")
    sampler: Literal["tpe", "random", "gp", "grid"] = Field(
        "tpe", description="tpe, random, gp (Gaussian process) or grid (every combination)"
    )
    pruner: Literal["median", "hyperband", "none"] = Field(
        "median", description="median, hyperband or none: stops trials by their validation errors"
    )
    workers: int = Field(1, ge=1, le=1000, description="jobs that run trials at the same time")
    max_retries: int = Field(2, ge=0, description="times a trial of a killed worker is repeated")
    storage: str = Field(
        "sqlite",
        description="sqlite, journal (shared file systems), or a URL; env:NAME: from there",
    )
    search: dict[str, Search] = Field(
        {
            "training.learning_rate": SearchRange(low=3e-4, high=2e-3, log=True),
            "training.batch_size": SearchChoices(choices=(8, 16)),
        },
        description="any key of the encoder's section or of training: {low, high, log} or {choices}",
    )

    @field_validator("storage")
    @classmethod
    def storage_has_no_secret(cls, value: str) -> str:
        if value in ("sqlite", "journal") or (value.startswith("env:") and len(value) > 4):
            return value
        url = urlsplit(value)
        if not url.scheme or "://" not in value:
            raise ValueError(
                "tune.storage: sqlite, journal, a URL such as postgresql://…, or env:NAME"
            )
        if url.password is not None or any("pass" in key for key in parse_qs(url.query)):
            raise ValueError("tune.storage: no passwords in the config; put the URL into env:NAME")
        return value


Setting = bool | int | float | str | None


FOUR: dict[str, dict[str, Setting]] = {
    "crystalframer": {"encoder": "crystalframer"},
    "crystalformer": {"encoder": "crystalframer", "model.frame": "none"},
    "se3_transformer": {"encoder": "se3_transformer"},
    "tfn": {"encoder": "tfn"},
}


class CompareConfig(Section):
    """`snakemake compare`: encoders on the same graphs, split and seeds (docs/compare.md)."""

    # Empty and not FOUR: Snakemake merges a user's mapping into that of config.yaml, key by key.
    variants: dict[str, dict[str, Setting]] = Field(
        {},
        description="name: its settings by dotted key; the first one's time is given to all",
    )

    @property
    def chosen(self) -> dict[str, dict[str, Setting]]:
        """The variants of the configuration, or the four of the documentation."""
        return self.variants or FOUR

    @field_validator("variants")
    @classmethod
    def names_are_file_names(
        cls, variants: dict[str, dict[str, Setting]]
    ) -> dict[str, dict[str, Setting]]:
        for name in variants:
            if not re.fullmatch(r"[A-Za-z0-9_+-]+", name):
                raise ValueError(f"compare.variants: {name!r}: letters, digits, _, + and - only")
        return variants

    def trained_in(self, budget: str) -> list[str]:
        """The variants trained for equal ``epochs``, or equal ``time``: that of the first one's epochs."""
        names = list(self.chosen)
        return names if budget == "epochs" else names[1:]


NbodyModel = Literal["deepset", "tfn", "set_transformer", "se3_transformer", "egnn"]


class NbodyConfig(Section):
    """The N-body experiment, `snakemake nbody` (docs/nbody.md); nothing else depends on it."""

    budget: Literal["smoke", "default", "full"] = Field(
        "default", description="smoke (minutes), default (half an hour on 2 cores) or full (a GPU)"
    )
    caps: tuple[Literal["component", "norm"], ...] = Field(
        ("component", "norm"), min_length=1, description="data sets: which force cap (docs)"
    )
    models: tuple[NbodyModel, ...] = Field(
        get_args(NbodyModel),
        min_length=1,
        description="rows of the table, besides constant velocity",
    )
    simulations: tuple[int, int, int] | None = Field(
        None, description="of train, val and test; null: the budget's"
    )
    steps: int | None = Field(
        None, ge=1, description="of every training; null: the budget's, which differ by model"
    )
    seeds: tuple[int, ...] | None = Field(
        None, min_length=1, description="a training of each model for each; null: the budget's"
    )
    data_seed: int = Field(0, ge=0, description="seed of the simulations")

    @model_validator(mode="after")
    def parts_are_not_tiny(self) -> "NbodyConfig":
        if self.simulations and min(self.simulations) < 2:
            raise ValueError("nbody.simulations must be at least 2 each")
        return self


class Config(Section):
    """The whole configuration."""

    dataset: DatasetConfig = DatasetConfig()
    materials_project: MaterialsProjectConfig = MaterialsProjectConfig()
    cleaning: CleaningConfig = CleaningConfig()
    split: SplitConfig = SplitConfig()
    graphs: GraphsConfig = GraphsConfig()
    encoder: EncoderName = Field(
        "crystalframer",
        description="the network: crystalframer (settings: model), se3_transformer or tfn",
    )
    model: ModelConfig = ModelConfig()
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
        return getattr(self, SECTIONS[self.encoder])

    @property
    def tuned_sections(self) -> tuple[str, str]:
        """The sections whose keys a search may be over."""
        return (SECTIONS[self.encoder], "training")

    @model_validator(mode="after")
    def graphs_hold_what_the_encoder_sees(self) -> "Config":
        settings, cutoff = self.encoder_settings, self.graphs.cutoff_angstrom
        if not isinstance(settings, ModelConfig) and settings.cutoff_angstrom > cutoff:
            raise ValueError(
                f"{self.encoder}.cutoff_angstrom must not exceed graphs.cutoff_angstrom"
            )
        return self

    @model_validator(mode="after")
    def search_keys_exist(self) -> "Config":
        known = [f"{name}.{key}" for name in self.tuned_sections for key in fields_of(name)]
        for key in self.tune.search:
            if key not in known:
                raise ValueError(f"tune.search.{key}: no such setting{nearest(key, known)}")
        check_search(self)
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


# What a change of the config makes each stage do again (besides changed inputs). The numbers are
# raised when a stage's code starts to write something else: Snakemake does not see package code.
STAGES: dict[str, tuple[int, tuple[str, ...]]] = {
    "download": (1, ("dataset", "materials_project")),
    "crystals": (3, ("dataset",)),
    "clean": (1, ("cleaning",)),
    "split": (3, ("split",)),
    "leakage": (2, ()),
    "inspect": (1, ()),
    "graphs": (2, ("graphs",)),
    "tune": (3, ("encoder", "training", "tune")),
    "train": (3, ("encoder", "training")),
    "evaluate": (3, ()),
    "report": (3, ()),
    "compare": (1, ("encoder", *SECTIONS.values(), "training", "compare")),
    "nbody_simulate": (1, ("nbody",)),
    "nbody_bounds": (1, ("nbody",)),
    "nbody_train": (1, ("nbody",)),
    "nbody_evaluate": (1, ()),
    "nbody_table": (1, ()),
}


# Settings that change nothing in what a stage writes, or only how often it is run: they make no stage
# run again.
WITHOUT_EFFECT = {
    "training": ("checkpoint_minutes", "tensorboard"),
    "tune": ("workers", "max_retries", "storage"),
    "nbody": ("caps", "models", "seeds"),
}


def stage_settings(config: Config, stage: str) -> dict[str, Any]:
    """The format version and the part of the config that ``stage`` depends on."""
    version, sections = STAGES[stage]
    plain = config.model_dump(mode="json")
    for section, keys in WITHOUT_EFFECT.items():
        for key in keys:
            del plain[section][key]
    chosen = {name: plain[name] for name in sections}
    if "encoder" in chosen:  # settings of the others change nothing
        chosen[SECTIONS[config.encoder]] = plain[SECTIONS[config.encoder]]
    return {"format_version": version, **chosen}
