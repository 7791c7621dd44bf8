"""The base class of all groups of settings, and kinds of values that several have."""

from collections.abc import Hashable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Some = TypeVar("Some", bound=tuple[Hashable, ...])


def distinct(values: Some) -> Some:
    """The values; raises ValueError if there is none, or one is given twice."""
    if not values:
        raise ValueError("at least one value is needed")
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{value} is given twice")
    return values


# numpy, torch and Optuna all take these; Python's shuffle would take a negative one for its positive.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], AfterValidator(distinct)]


class Section(BaseModel):
    """A group of settings: immutable, unknown keys, NaN and infinity refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
