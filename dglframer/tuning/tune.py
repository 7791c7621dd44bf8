"""Tuning: an Optuna study over the search space of the config. Workers share it and resume it."""

import logging
import math
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from dglframer.common.disk import cannot_write
from dglframer.common.errors import ConfigError, TrainingFailed, UserError
from dglframer.common.files import hash_of, write_json
from dglframer.config import Config, override
from dglframer.config.networks import symmetry_group
from dglframer.config.stages import stage_settings
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.held_out import visible_datasets
from dglframer.training.prepare import origin
from dglframer.training.run import train_model
from dglframer.tuning.samplers import Sampler, make_pruner, suggest
from dglframer.tuning.storage import describe, open_study
from dglframer.tuning.study import FINISHED, Impossible, place_in_study, work

log = logging.getLogger(__name__)


def tune(
    config: Config,
    graphs: Path,
    split: Path,
    folder: Path,
    device: torch.device,
    worker: int = 0,
) -> dict[str, Any]:
    """Run trials until ``tune.trials`` of the study have finished; worker 0 writes the results.

    The name of the study holds a hash of everything that its trials depend on. A rerun therefore
    continues the study, and a changed config starts a new one. Workers 1, 2, … may run beside worker
    0 on the same study, on this machine or others; each writes the trials that it ran to
    worker-*.json.
    """
    train_set, val_set = visible_datasets(
        graphs, split, group=symmetry_group(config.encoder_settings)
    )
    settings = stage_settings(config, "tune")
    wanted = settings["tune"].pop("trials")  # with more trials it is the same study
    settings |= origin(config.training)
    key = hash_of([settings, train_set.manifest, train_set.ids, val_set.ids])[:12]
    study = open_study(
        config.tune.storage, folder, f"tune-{key}", Sampler(config), make_pruner(config)
    )

    def objective(trial: optuna.Trial) -> float:
        return run_trial(trial, config, train_set, val_set, device)

    log.info(
        "study %s: %d of %d trials finished", study.study_name, len(finished_trials(study)), wanted
    )
    try:
        describe(study, settings)
        ran = work(study, wanted, objective, config.tune.max_retries)
    except (OSError, StorageInternalError) as error:
        if problem := cannot_write(error, folder):
            raise problem from None
        raise UserError(f"the study in {folder}: {error.__cause__ or error}") from None
    if worker:
        result = {"study": study.study_name, "worker": worker, "trials": ran}
        write_json(folder / f"worker-{worker}.json", result)
        return result
    return write_results(study, folder, config)


def run_trial(
    trial: optuna.Trial,
    config: Config,
    train_set: GraphDataset,
    val_set: GraphDataset,
    device: torch.device,
) -> float:
    """Train with the values of a trial; returns the minimal validation loss of its epochs.

    The loss depends on the values, the config and the crystals alone: every trial has the seed
    ``tune.seed``. A training that diverges or does not fit into the memory counts as pruned.
    """
    chosen = suggest(trial, config)
    try:
        settings = override(config, config.search_space.trial_settings(chosen))
    except ConfigError as error:
        raise Impossible(str(error)) from None
    losses: list[float] = []

    def report(metrics: dict[str, Any]) -> None:
        loss = metrics["val_loss"]
        if not math.isfinite(loss):
            raise TrainingFailed(f"validation loss is {loss} after epoch {metrics['epoch']}")
        losses.append(loss)
        trial.report(loss, metrics["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned

    log.info("trial %d: %s", trial.number, chosen)
    try:
        train_model(settings, train_set, val_set, config.tune.seed, device, each_epoch=report)
    except (TrainingFailed, torch.OutOfMemoryError) as error:
        reason = str(error).splitlines()[0]
        log.warning("trial %d: %s", trial.number, reason)
        trial.set_user_attr("reason", reason)
        raise optuna.TrialPruned from None
    return min(losses)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that completed or were pruned, without killed and failed ones."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def importance_of(study: optuna.Study) -> dict[str, float]:
    """Share of each key in the spread of the validation loss; empty if there are too few trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    return optuna.importance.get_param_importances(study)


def write_results(study: optuna.Study, folder: Path, config: Config) -> dict[str, Any]:
    """Write trials.json (every finished trial), then best.json, which the train stage reads.

    ``number`` counts trials as if none had been lost; ``number_in_storage`` is Optuna's number.
    Raises UserError if trials are wanted and none was completed.
    """
    everything = study.get_trials(deepcopy=False)
    numbered = sorted(
        (place_in_study(everything, trial.number), trial) for trial in finished_trials(study)
    )
    trials: list[dict[str, Any]] = [
        {
            "number": number,
            "number_in_storage": trial.number,
            "state": trial.state.name.lower(),
            "reason": trial.user_attrs.get("reason"),
            "val_loss": trial.value,
            "params": trial.params,
            "val_loss_by_epoch": list(trial.intermediate_values.values()),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
        }
        for number, trial in numbered[: config.tune.trials]
    ]
    write_json(folder / "trials.json", trials)
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if trials and not complete:
        raise UserError(f"no trial was completed; the last: {trials[-1]['reason'] or 'pruned'}")
    best = min(complete, key=lambda trial: (trial["val_loss"], trial["number"]), default=None)
    result = {
        "study": study.study_name,
        "trial": best and best["number"],
        "val_loss": best and best["val_loss"],
        "params": best["params"] if best else {},
        "seed": config.tune.seed,
        "epochs": config.tune.epochs,
        "importance": importance_of(study),
    }
    write_json(folder / "best.json", result)
    return result
