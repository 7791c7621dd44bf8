"""Settings of the Optuna study."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dglframer.config.section import Section, Seed


class SearchRange(Section):
    """Numbers from low to high."""

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
    """The key of SEARCH_KINDS that a value means; errors then speak of this kind alone."""
    given = isinstance(value, SearchChoices) or (isinstance(value, Mapping) and "choices" in value)
    return "choices" if given else "range"


Search = Annotated[
    Annotated[SearchRange, Tag("range")] | Annotated[SearchChoices, Tag("choices")],
    Discriminator(search_kind),
]


class TuneConfig(Section):
    """The Optuna study; its best values override model and training settings."""

    trials: int = Field(4, ge=0, description="finished trials wanted; 0 switches tuning off")
    epochs: int = Field(10, ge=1, description="epochs of one trial")
    seed: Seed = Field(0, description="seed of the sampler and of every trial")
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
            "training.learning_rate": SearchRange(low=5e-4, high=2e-3, log=True),
            "training.muon_learning_rate": SearchRange(low=2e-3, high=1e-2, log=True),
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
