"""Settings of the experiments: the comparison of encoders, the learning curve, N-body."""

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, PositiveInt, field_validator, model_validator

from dglframer.config.section import Section, Seed, Seeds, distinct

Setting = bool | int | float | str | None


DEFAULT_VARIANTS: dict[str, dict[str, Setting]] = {
    "crystalframer": {"encoder": "crystalframer"},
    "crystalformer": {"encoder": "crystalframer", "crystalframer.frame": "none"},
    "se3_transformer": {"encoder": "se3_transformer"},
    "tfn": {"encoder": "tfn"},
}


class CompareConfig(Section):
    """`snakemake compare`: encoders on the same graphs, split and seeds (docs/guide/compare.md)."""

    # Empty and not DEFAULT_VARIANTS: Snakemake merges a user's mapping into that of config.yaml, key by key.
    variants: dict[str, dict[str, Setting]] = Field(
        {},
        description="name: its settings by dotted key; the first one's time is given to all",
    )

    @property
    def chosen(self) -> dict[str, dict[str, Setting]]:
        """The variants of the configuration, or the four of the documentation."""
        return self.variants or DEFAULT_VARIANTS

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
        """The variants to train: all for equal ``epochs``, all but the first for its ``time``."""
        names = list(self.chosen)
        return names if budget == "epochs" else names[1:]


class LearningCurveConfig(Section):
    """`snakemake learning_curve`: error against the number of training crystals (docs/guide/training.md)."""

    sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1), AfterValidator(distinct)] = (
        Field(
            (50, 100, 200),
            description="training crystals of each subset; smaller ones are parts of larger",
        )
    )


NbodyModel = Literal["deepset", "tfn", "set_transformer", "se3_transformer", "egnn"]


class NbodyConfig(Section):
    """The N-body experiment, `snakemake nbody` (docs/measured/nbody.md); nothing else depends on it."""

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
    seeds: Seeds | None = Field(
        None, description="a training of each model for each; null: the budget's"
    )
    data_seed: Seed = Field(0, description="seed of the simulations")

    @model_validator(mode="after")
    def parts_are_not_tiny(self) -> "NbodyConfig":
        if self.simulations and min(self.simulations) < 2:
            raise ValueError("nbody.simulations must be at least 2 each")
        return self
