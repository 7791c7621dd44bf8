"""What the budgets of all experiments have in common: seeds, and steps of each model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dglframer.config.experiments import PaperExperiment


@dataclass(frozen=True)
class Budget:
    """How much one run of an experiment trains."""

    seeds: tuple[int, ...]
    steps: dict[str, int]  # of each model


Sizes = TypeVar("Sizes", bound=Budget)


def chosen(budgets: Mapping[str, Sizes], config: PaperExperiment, **sizes: Any) -> Sizes:
    """The budget of the configuration, with the values that it sets; ``sizes`` that are None are not set."""
    budget = budgets[config.budget]
    return replace(
        budget,
        seeds=config.seeds or budget.seeds,
        steps={name: config.steps or steps for name, steps in budget.steps.items()},
        **{name: value for name, value in sizes.items() if value is not None},
    )
