"""Settings of what is trained: one network, the study over its settings, comparisons, N-body."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dglframer.config.networks import Section


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
        "default", description="smoke (minutes), default (under an hour on 2 cores) or full (a GPU)"
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
