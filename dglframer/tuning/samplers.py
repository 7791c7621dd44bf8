"""Samplers and pruners by name. Their seeds make a study independent of interruptions."""

from typing import Any

import numpy as np
from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from dglframer.config import Config
from dglframer.config.tuning import SearchChoices
from dglframer.tuning.study import place_in_study


def make_pruner(config: Config) -> BasePruner:
    """The pruner: it stops unpromising trials by their validation loss after each epoch."""
    if config.tune.pruner == "median":
        return MedianPruner(n_startup_trials=3, n_warmup_steps=1)
    if config.tune.pruner == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=config.tune.epochs, reduction_factor=3)
    return NopPruner()


class Sampler(BaseSampler):
    """The sampler of the config, seeded anew for each value from (seed, place of the trial, key).

    The values of a trial therefore depend on the trials finished before it, but not on interruptions
    of the study or on the process that runs it.
    """

    def __init__(self, config: Config):
        self.tune = config.tune
        self.grid = config.search_space.grid() if config.tune.sampler == "grid" else []

    def seeded(self, study: Study, trial: FrozenTrial, *words: int) -> BaseSampler:
        """The sampler, seeded by the place of the trial and by ``words``."""
        place = place_in_study(study.get_trials(deepcopy=False), trial.number)
        sequence = np.random.SeedSequence([self.tune.seed, place, *words])
        seed = int(sequence.generate_state(1)[0])
        if self.tune.sampler == "tpe":
            # With several workers, new trials keep away from running ones (constant liar).
            return TPESampler(seed=seed, constant_liar=self.tune.workers > 1)
        return GPSampler(seed=seed) if self.tune.sampler == "gp" else RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All keys for gp, which samples them together; no key for the other samplers."""
        if self.tune.sampler != "gp":
            return {}
        return {
            name: distribution
            for name, distribution in IntersectionSearchSpace().calculate(study).items()
            if not distribution.single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of the keys that are sampled together."""
        if not search_space:
            return {}
        return self.seeded(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one key."""
        if self.grid:
            place = place_in_study(study.get_trials(deepcopy=False), trial.number)
            return self.grid[place % len(self.grid)][param_name]
        position = list(self.tune.search).index(param_name)
        sampler = self.seeded(study, trial, position)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def suggest(trial: Trial, config: Config) -> dict[str, Any]:
    """A value for each key of the search space."""
    values: dict[str, Any] = {}
    for key, space in config.tune.search.items():
        if isinstance(space, SearchChoices):
            values[key] = trial.suggest_categorical(key, space.choices)
        elif config.search_space.kind_of(key) is int:
            values[key] = trial.suggest_int(key, int(space.low), int(space.high), log=space.log)
        else:
            values[key] = trial.suggest_float(key, space.low, space.high, log=space.log)
    return values
