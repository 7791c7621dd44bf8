"""The search space of a study: its checks, and its points where they can be counted."""

import itertools
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from dglframer.config.section import Section
from dglframer.config.tuning import SearchChoices, SearchRange, TuneConfig

MAX_COMBINATIONS = 2000  # checked ones; after that many a search space is accepted


@dataclass(frozen=True)
class SearchSpace:
    """``tune.search``, and the sections to which its keys belong."""

    tune: TuneConfig
    sections: Mapping[str, Section]

    def kind_of(self, key: str) -> type:
        """The type of the values of a dotted key, apart from null: int, float, bool or str."""
        section, _, name = key.partition(".")
        annotation = type(self.sections[section]).model_fields[name].annotation
        if get_origin(annotation) in (Union, types.UnionType):
            annotation = next(one for one in get_args(annotation) if one is not types.NoneType)
        return annotation if isinstance(annotation, type) else str  # a Literal: of strings

    def points(self, key: str) -> list[Any] | None:
        """Every value of a key; None if there are too many to try."""
        space = self.tune.search[key]
        if isinstance(space, SearchChoices):
            return list(space.choices)
        if self.kind_of(key) is int and space.high - space.low < MAX_COMBINATIONS:
            return list(range(int(space.low), int(space.high) + 1))
        return None

    def ends(self, key: str) -> list[Any]:
        """The choices of a key, or the ends of its range."""
        space = self.tune.search[key]
        if isinstance(space, SearchChoices):
            return list(space.choices)
        kind = self.kind_of(key)
        return [kind(space.low), kind(space.high)]

    def trial_settings(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a trial: fewer epochs, no last ones of a fixed rate, and the chosen values."""
        shortened = {"training.epochs": self.tune.epochs, "training.averaged_epochs": 0}
        return {**shortened, **chosen}

    def problems(self, values: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(dotted key or section, message) of each mistake once ``values`` replace the current ones."""
        found = []
        for section, current in self.sections.items():
            changed = {
                key.partition(".")[2]: value
                for key, value in values.items()
                if key.startswith(f"{section}.")
            }
            try:
                type(current).model_validate({**current.model_dump(), **changed})
            except ValidationError as error:
                for line in error.errors():
                    where = ".".join([section, *map(str, line["loc"])])
                    found.append((where, line["msg"].removeprefix("Value error, ")))
        return found

    def check(self) -> None:
        """Raise ValueError naming a key of tune.search whose values cannot be used.

        Every value must suit its key, and at least one combination of all keys must be possible. The
        study finds impossible ones (heads that do not divide the width) trial by trial.
        """
        for key, space in self.tune.search.items():
            if isinstance(space, SearchRange):
                self.check_range(key, space)
            for value in self.ends(key):
                wrong = [message for where, message in self.problems({key: value}) if where == key]
                if wrong:
                    raise ValueError(f"tune.search.{key}: {value} will not do: {wrong[0]}")
        if self.tune.trials:
            self.check_combinations()
            if self.tune.sampler == "grid":
                self.check_grid()

    def check_range(self, key: str, space: SearchRange) -> None:
        """Raise ValueError unless the key takes numbers and the range suits them."""
        kind = self.kind_of(key)
        if kind not in (int, float):
            raise ValueError(f"tune.search.{key}: has no range; give its choices")
        if kind is int and not (space.low.is_integer() and space.high.is_integer()):
            raise ValueError(f"tune.search.{key}: low and high must be whole numbers")

    def check_combinations(self) -> None:
        """Raise ValueError if every combination of the values is impossible."""
        refused = ""
        for tried, combination in enumerate(self.combinations()):
            found = self.problems(self.trial_settings(combination))
            if not found or tried == MAX_COMBINATIONS:
                return
            refused = found[0][1]
        has_untried = any(
            self.kind_of(key) is int and self.points(key) is None for key in self.tune.search
        )
        if not has_untried:
            raise ValueError(f"tune.search: no combination of the values is possible ({refused})")

    def check_grid(self) -> None:
        """Raise ValueError if the grid cannot be counted or has fewer points than trials."""
        for key in self.tune.search:
            if self.points(key) is None:
                raise ValueError(f"tune.search.{key}: a grid needs choices, not a range")
        found = len(self.grid())
        if found < self.tune.trials:
            raise ValueError(f"tune.trials: the grid has {found} points that are possible")

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The product of all values; a range with too many gives only its ends."""
        values = [self.points(key) or self.ends(key) for key in self.tune.search]
        for combination in itertools.product(*values):
            yield dict(zip(self.tune.search, combination, strict=True))

    def grid(self) -> list[dict[str, Any]]:
        """The first possible points of the grid, one for each trial; the last key changes first."""
        possible = (
            one for one in self.combinations() if not self.problems(self.trial_settings(one))
        )
        return list(itertools.islice(possible, self.tune.trials))
