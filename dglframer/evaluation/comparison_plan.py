"""The plans of a comparison: the settings with which each variant of an encoder is trained.

There are two budgets. ``epochs``: every variant trains for ``training.epochs``. ``time``: every
variant but the first trains for as many epochs as fit into the CPU time of the first.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dglframer.common.errors import ConfigError
from dglframer.common.files import write_json
from dglframer.config import Config, override
from dglframer.training.metrics import read_metrics

log = logging.getLogger(__name__)

Budget = Literal["epochs", "time"]


def write_plans(config: Config, budget: Budget, trained: Path, out: Path) -> None:
    """Write NAME.json for each variant of the budget, in the form of the tune stage's best.json.

    ``trained`` holds the models of the budget ``epochs``, a folder for each variant; the budget
    ``time`` reads from them how long an epoch lasts. Raises ConfigError if a variant is not possible.
    """
    plans = {name: settings_of(config, name) for name in config.compare.chosen}
    if budget == "time":
        seconds = {
            name: seconds_per_epoch(sorted((trained / name).glob("seed-*"))) for name in plans
        }
        first = seconds[next(iter(plans))]
        share = config.training.averaged_epochs / config.training.epochs
    for name in config.compare.trained_in(budget):
        params = plans[name]
        if budget == "time":
            this = seconds[name]
            epochs = max(1, round(override(config, params).training.epochs * first / this))
            params["training.epochs"] = epochs
            params["training.averaged_epochs"] = round(epochs * share)
            log.info("%s: %d epochs of %.1f s (%.1f s)", name, epochs, this, first)
        write_json(out / f"{name}.json", {"params": params})


def settings_of(config: Config, name: str) -> dict[str, Any]:
    """The settings of a variant by dotted key, with no search: it may be over another encoder's keys.

    Raises ConfigError if they are not possible.
    """
    params: dict[str, Any] = {**config.compare.chosen[name], "tune.search": {}}
    try:
        override(config, params)
    except ConfigError as error:
        raise ConfigError(f"compare.variants.{name}: {error}") from None
    return params


def seconds_per_epoch(models: Sequence[Path]) -> float:
    """CPU seconds of training in an epoch: the median over all epochs of some model directories."""
    lines = [line for folder in models for line in read_metrics(folder)]
    return float(np.median([line["cpu_seconds"] for line in lines]))
