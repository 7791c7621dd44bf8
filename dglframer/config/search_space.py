"""The search space of the config: whether it makes sense, and its points if they can be counted."""

import itertools
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pydantic import ValidationError

if TYPE_CHECKING:
    from dglframer.config import Config

MOST_COMBINATIONS = 2000  # that are tried before a search space is believed


def kind_of(config: "Config", key: str) -> type:
    """int, float, bool or str: what the values of a dotted key are (null apart)."""
    section, _, name = key.partition(".")
    annotation = type(getattr(config, section)).model_fields[name].annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not types.NoneType)
    return annotation if isinstance(annotation, type) else str  # a Literal: of strings


def points(config: "Config", key: str) -> list[Any] | None:
    """Every value that a key may take; None if there are too many to try."""
    space = config.tune.search[key]
    if hasattr(space, "choices"):
        return list(space.choices)
    if kind_of(config, key) is int and space.high - space.low < MOST_COMBINATIONS:
        return list(range(int(space.low), int(space.high) + 1))
    return None


def ends(config: "Config", key: str) -> list[Any]:
    """The values that stand for a key: its choices, or the ends of its range."""
    space = config.tune.search[key]
    if hasattr(space, "choices"):
        return list(space.choices)
    kind = kind_of(config, key)
    return [kind(space.low), kind(space.high)]


def trial_settings(config: "Config", chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial changes in the config: fewer epochs, no averaging, and the chosen values."""
    shortened = {"training.epochs": config.tune.epochs, "training.averaged_epochs": 0}
    return {**shortened, **chosen}


def problems(config: "Config", values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(dotted key, or only the section; what is wrong) of a config with some values replaced."""
    found = []
    for section in config.tuned_sections:
        current = getattr(config, section)
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


def check_search(config: "Config") -> None:
    """Raise ValueError naming the key of tune.search whose values cannot be used.

    Every value must suit its key, and some combination of all keys must be possible. Those that are
    not (heads that do not divide the width) are then found trial by trial.
    """
    space = config.tune.search
    for key, values in space.items():
        kind, name = kind_of(config, key), f"tune.search.{key}"
        if not hasattr(values, "choices"):
            if kind not in (int, float):
                raise ValueError(f"{name}: has no range; give its choices")
            if kind is int and not (values.low.is_integer() and values.high.is_integer()):
                raise ValueError(f"{name}: low and high must be whole numbers")
        for value in ends(config, key):
            wrong = [message for where, message in problems(config, {key: value}) if where == key]
            if wrong:
                raise ValueError(f"{name}: {value} will not do: {wrong[0]}")
    if not config.tune.trials:
        return
    refused = ""
    for tried, combination in enumerate(combinations(config)):
        found = problems(config, trial_settings(config, combination))
        if not found or tried == MOST_COMBINATIONS:
            break
        refused = found[0][1]
    else:
        if not any(kind_of(config, key) is int and points(config, key) is None for key in space):
            raise ValueError(f"tune.search: no combination of the values is possible ({refused})")
    if config.tune.sampler == "grid":
        check_grid(config)


def check_grid(config: "Config") -> None:
    """Raise ValueError unless the grid can be counted and has a point for every trial."""
    for key in config.tune.search:
        if points(config, key) is None:
            raise ValueError(f"tune.search.{key}: a grid needs choices, not a range")
    found = len(grid(config))
    if found < config.tune.trials:
        raise ValueError(f"tune.trials: the grid has {found} points that are possible")


def combinations(config: "Config") -> Iterator[dict[str, Any]]:
    """The product of all values; of a range with too many only the ends."""
    values = [points(config, key) or ends(config, key) for key in config.tune.search]
    for combination in itertools.product(*values):
        yield dict(zip(config.tune.search, combination, strict=True))


def grid(config: "Config") -> list[dict[str, Any]]:
    """The possible points of the grid, the last key changing first, as many as there are trials."""
    possible = (
        one for one in combinations(config) if not problems(config, trial_settings(config, one))
    )
    return list(itertools.islice(possible, config.tune.trials))
