"""Tuning: an Optuna study over the search space of the config, stored on disk and resumed."""

import logging
from pathlib import Path
from typing import Any

import optuna
import torch

from dglframer.config import Config, SearchChoices, override, stage_settings
from dglframer.dataset import GraphDataset
from dglframer.files import hash_of, write_json
from dglframer.split import read_split
from dglframer.training import train_model

log = logging.getLogger(__name__)

# What tuning may see of the data: read_split returns nothing else.
VISIBLE = ("train", "val")


def tune(config: Config, graphs: Path, split: Path, folder: Path, device: torch.device) -> Any:
    """Run trials until ``tune.trials`` have finished, and write best.json and trials.json.

    The study is kept in ``folder/study.sqlite3`` under a name that holds a hash of everything its
    trials depend on: a rerun goes on where the last one stopped, a changed config starts afresh.
    """
    parts = read_split(split, allowed=VISIBLE)
    train_set, val_set = (GraphDataset(graphs, parts[name]) for name in VISIBLE)
    settings = stage_settings(config, "tune")
    settings["tune"].pop("trials")  # more trials continue the same study
    key = hash_of([settings, train_set.manifest, parts])[:12]
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.sqlite3'}",
        study_name=f"tune-{key}",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=config.tune.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
    )

    def objective(trial: optuna.Trial) -> float:
        chosen = suggest(trial, config)
        settings = override(
            config,
            {**chosen, "training.epochs": config.tune.epochs, "training.averaged_epochs": 0},
        )
        losses: list[float] = []

        def report(metrics: dict[str, Any]) -> None:
            losses.append(metrics["val_loss"])
            trial.report(metrics["val_loss"], metrics["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned

        log.info("trial %d: %s", trial.number, chosen)
        train_model(settings, train_set, val_set, config.tune.seed, device, each_epoch=report)
        return min(losses)

    finished = finished_trials(study)
    missing = max(0, config.tune.trials - len(finished))
    log.info("study %s: %d trials finished, %d to run", study.study_name, len(finished), missing)
    if missing:
        study.optimize(objective, n_trials=missing)
    return write_results(study, folder)


def suggest(trial: optuna.Trial, config: Config) -> dict[str, Any]:
    """One value per key of the search space."""
    values: dict[str, Any] = {}
    for key, space in config.tune.search.items():
        if isinstance(space, SearchChoices):
            values[key] = trial.suggest_categorical(key, space.choices)
        elif float(space.low).is_integer() and float(space.high).is_integer() and not space.log:
            values[key] = trial.suggest_int(key, int(space.low), int(space.high))
        else:
            values[key] = trial.suggest_float(key, space.low, space.high, log=space.log)
    return values


def finished_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that ended by themselves or by the pruner; killed and failed ones do not count."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(deepcopy=False, states=states)


def write_results(study: optuna.Study, folder: Path) -> dict[str, Any]:
    """trials.json (every finished trial), then best.json, which the train stage reads."""
    trials: list[dict[str, Any]] = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "val_loss": trial.value,
            "params": trial.params,
            "val_loss_by_epoch": list(trial.intermediate_values.values()),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
        }
        for trial in finished_trials(study)
    ]
    write_json(folder / "trials.json", trials)
    complete = [trial for trial in trials if trial["state"] == "complete"]
    best = min(complete, key=lambda trial: trial["val_loss"], default=None)
    result = {
        "study": study.study_name,
        "trial": best and best["number"],
        "val_loss": best and best["val_loss"],
        "params": best["params"] if best else {},
    }
    write_json(folder / "best.json", result)
    return result
