"""Settings of comparison, learning curve and the experiments of the SE(3)-Transformer paper."""

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


class PaperExperiment(Section):
    """What the experiments of the SE(3)-Transformer paper have in common."""

    budget: Literal["smoke", "default", "full"] = Field(
        "default", description="smoke (minutes), default (under an hour on 2 cores) or full (a GPU)"
    )
    steps: int | None = Field(
        None, ge=1, description="of every training; null: the budget's, which differ by model"
    )
    seeds: Seeds | None = Field(
        None, description="a training of each model for each; null: the budget's"
    )
    data_seed: Seed = Field(0, description="seed of the data")


NbodyModel = Literal["deepset", "tfn", "set_transformer", "se3_transformer", "egnn"]


class NbodyConfig(PaperExperiment):
    """The N-body experiment, `snakemake nbody` (docs/measured/nbody.md); nothing else depends on it."""

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

    @model_validator(mode="after")
    def parts_are_not_tiny(self) -> "NbodyConfig":
        if self.simulations and min(self.simulations) < 2:
            raise ValueError("nbody.simulations must be at least 2 each")
        return self


ShapesModel = Literal[
    "tfn",
    "deepset",
    "se3_transformer",
    "set_transformer",
    "pointnet",
    "tfn_z",
    "se3_transformer_z",
]
Orientation = Literal["as_given", "rotated"]
UpAxis = Literal["y", "z"]


class ShapesConfig(PaperExperiment):
    """The objects experiment, `snakemake shapes` (docs/measured/shapes.md); nothing else depends on it."""

    source: Literal["generated", "scanobjectnn"] = Field(
        "generated", description="objects made from a seed, or scans that you have"
    )
    path: str | None = Field(
        None, description="of scanobjectnn: its folder main_split_nobg with two HDF5 files"
    )
    up: UpAxis = Field("y", description="the axis of those files that points up")
    models: tuple[ShapesModel, ...] = Field(
        get_args(ShapesModel), min_length=1, description="rows of the table"
    )
    objects: tuple[int, int, int] | None = Field(
        None, description="generated, of each class in train, val and test; null: the budget's"
    )

    @model_validator(mode="after")
    def source_and_sizes_are_usable(self) -> "ShapesConfig":
        if self.source == "scanobjectnn" and self.path is None:
            raise ValueError("shapes.path is needed for the source scanobjectnn")
        if self.objects and min(self.objects) < 1:
            raise ValueError("shapes.objects must be at least 1 each")
        return self
