"""Starting from a trained model instead of from nothing: its weights, what is frozen, its statistics."""

import difflib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dglframer.common.errors import UserError
from dglframer.common.files import read_json
from dglframer.config.networks import EncoderConfig, encoder_of
from dglframer.config.training import TrainingConfig
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.model_directory import TrainedModel, load_model

log = logging.getLogger(__name__)

OUTPUT_LAYER = "head.output."


def starting_model(
    model: EncoderConfig, training: TrainingConfig, train_set: GraphDataset
) -> TrainedModel | None:
    """The model that ``training.init_from`` names, checked against the settings and the graphs.

    Raises UserError if its network has other settings, or if its target statistics are to be kept
    and it predicts other targets.
    """
    if training.init_from is None:
        return None
    start = load_model(Path(training.init_from))
    theirs, ours = (described(one) for one in (start.network.settings, model))
    changes = [f"{key}: {value}" for key, value in theirs.items() if ours.get(key) != value]
    if changes:
        lines = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"training.init_from: {training.init_from} was made with{lines}\nSet these."
        )
    if training.target_statistics == "keep" and not same_targets(start, train_set):
        raise UserError(
            f"training.target_statistics: keep: {training.init_from} predicts "
            f"{[target.name for target in start.targets]}, the graphs hold "
            f"{list(train_set.manifest['targets'])}"
        )
    cutoff = train_set.manifest["cutoff_angstrom"]
    if start.cutoff != cutoff:
        log.warning("the first model saw graphs cut at %s A, these at %s A", start.cutoff, cutoff)
    return start


def described(model: EncoderConfig) -> dict[str, Any]:
    """The encoder and its settings as the configuration names them."""
    encoder = encoder_of(model)
    settings = model.model_dump(mode="json")
    return {
        "encoder": encoder,
        **{f"{encoder}.{key}": value for key, value in settings.items()},
    }


def same_targets(start: TrainedModel, train_set: GraphDataset) -> bool:
    """Whether the model predicts what the graphs hold, in the same order."""
    return [target.name for target in start.targets] == list(train_set.manifest["targets"])


def adopt_weights(network: PropertyNetwork, start: TrainedModel, train_set: GraphDataset) -> None:
    """Copy weights and calibration; for other targets the output layer stays as it was drawn."""
    weights = start.network.state_dict()
    if not same_targets(start, train_set):
        weights = {k: v for k, v in weights.items() if not k.startswith(OUTPUT_LAYER)}
        log.info("other targets than the first model's: the output layer is drawn anew")
    network.load_state_dict(weights, strict=False)


def statistics(
    training: TrainingConfig, start: TrainedModel | None, train_set: GraphDataset
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each target: of the training set, or those of the first model."""
    if start is not None and training.target_statistics == "keep":
        means, stds = zip(*((target.mean, target.std) for target in start.targets), strict=True)
        return np.array(means), np.array(stds)
    mean_T, std_T = train_set.target_statistics()
    if not (std_T > 0).all():
        raise UserError("a target has the same value for every training crystal")
    return mean_T, std_T


def freeze(network: torch.nn.Module, prefixes: tuple[str, ...]) -> None:
    """Exclude the parameters whose names begin with a prefix; UserError if one fits none, or all."""
    names = [name for name, _ in network.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            close = difflib.get_close_matches(prefix, names, n=1, cutoff=0.0)
            raise UserError(f"training.freeze: no parameter begins with {prefix} (like {close[0]})")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(prefixes))
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError("training.freeze leaves nothing to train")


def origin(training: TrainingConfig) -> dict[str, Any]:
    """What identifies the weights a training starts from; empty if it starts from nothing."""
    if training.init_from is None:
        return {}
    description = read_json(Path(training.init_from) / "model.json", "weights_sha256")
    return {"initial_weights_sha256": description["weights_sha256"]}
