"""Preparing a training: the network with its first weights, and the statistics of the targets.

The weights are drawn from the seed, or taken from a trained model (``training.init_from``).
"""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dglframer.common.composition import Slopes
from dglframer.common.errors import UserError
from dglframer.common.files import read_json
from dglframer.common.transforms import TransformName
from dglframer.config import Config
from dglframer.config.networks import (
    CrystalFramerConfig,
    EncoderConfig,
    encoder_of,
    symmetry_group,
)
from dglframer.config.training import TrainingConfig
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import calibration_batch, moved
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.build import build
from dglframer.networks.model_directory import TrainedModel, load_model
from dglframer.training.distributed import Processes
from dglframer.training.target_reference import fitted_references, references_of, without_references

log = logging.getLogger(__name__)

OUTPUT_LAYER = "head.output."
ANGLES = "angle_3HDK"  # what a network with frames has, and one without does not
FRAME, EVEN = "crystalframer.frame", "crystalframer.even_third_axis"
PROPERTY_WEIGHTS = "embedding.property_weight_PW"


@dataclass(frozen=True)
class Prepared:
    """A network before its first step, and its data."""

    network: PropertyNetwork  # on its device; frozen parameters need no gradient
    transforms: tuple[TransformName | None, ...]  # of each target
    mean_T: np.ndarray  # of each target as it is learned: in its unit, or transformed
    std_T: np.ndarray
    slopes_T: tuple[Slopes | None, ...]  # of the composition reference of each target
    train_set: GraphDataset  # without crystals of more than training.max_atoms; targets as learned
    val_set: GraphDataset
    seed: int


def prepare(
    config: Config,
    train_set: GraphDataset,
    val_set: GraphDataset,
    seed: int,
    device: torch.device,
    processes: Processes | None = None,
) -> Prepared:
    """Draw a network, or take the weights of the model in ``training.init_from``.

    A drawn network is calibrated on a sample of the training set; a trained one brings its
    calibration. Raises UserError if that model does not fit the settings or the graphs, if a target
    is constant or without a label, if ``training.freeze`` names no parameter or all of them, or if no
    crystal is small enough. ``processes``: those whose crystals are counted together, if each has the
    crystals of its own shards; all start with the weights and the calibration of the first.
    """
    together = processes if processes and train_set.share.size > 1 else Processes(device)
    settings, training = config.encoder_settings, config.training
    group = symmetry_group(settings)
    train_set = train_set.in_group(group).at_most(training.max_atoms)
    val_set = val_set.in_group(group)
    check_labels(train_set, val_set, together)
    names = list(train_set.manifest["targets"])
    transforms = tuple(map(config.dataset.target_transforms.get, names))
    references = tuple(map(config.dataset.target_references.get, names))
    train_set, val_set = train_set.transformed(transforms), val_set.transformed(transforms)
    start = starting_model(settings, training, train_set, transforms, references)
    if start is not None and training.target_statistics == "keep":
        slopes_T = tuple(target.composition for target in start.targets)
    else:
        slopes_T = fitted_references(references, train_set, val_set, settings.pooling, together)
    train_set = without_references(train_set, slopes_T, settings.pooling)
    val_set = without_references(val_set, slopes_T, settings.pooling)
    mean_T, std_T = statistics(training, start, train_set, together)
    network = build(settings, len(mean_T)).draw(seed).to(device)
    if start is None:
        network.calibrate(moved(calibration_batch(train_set, seed), device))
    else:
        adopt_weights(network, start, train_set, references)
    together.same_state(network)
    freeze(network, training.freeze)
    return Prepared(network, transforms, mean_T, std_T, slopes_T, train_set, val_set, seed)


def check_labels(train_set: GraphDataset, val_set: GraphDataset, processes: Processes) -> None:
    """Raise UserError if a target has no label at all in one of the two sets."""
    for part, dataset in (("training", train_set), ("validation", val_set)):
        known_T = processes.sum_of(dataset.known().sum(0))
        for name, known in zip(dataset.manifest["targets"], known_T, strict=True):
            if not known:
                raise UserError(f"no {part} crystal has a label {name}")


def starting_model(
    settings: EncoderConfig,
    training: TrainingConfig,
    train_set: GraphDataset,
    transforms: Sequence[str | None],
    references: Sequence[str | None],
) -> TrainedModel | None:
    """The model in ``training.init_from``, checked against the settings and the graphs.

    None if there is none. Raises UserError if its network has other settings, or if it predicts
    other targets or learned them under other transforms or references, and its target statistics
    should be kept.
    """
    if training.init_from is None:
        return None
    start = load_model(Path(training.init_from))
    theirs, ours = (described(one) for one in (start.network.settings, settings))
    changed = {key: value for key, value in theirs.items() if ours.get(key) != value}
    if gains_frames(start.network.settings, settings):
        del changed[FRAME]
        changed.pop(EVEN, None)  # without frames it changes nothing
    if gains_properties(start.network.settings, settings):
        changed.pop(f"{encoder_of(settings)}.element_properties", None)
    changes = [f"{key}: {value}" for key, value in changed.items()]
    if changes:
        lines = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"training.init_from: {training.init_from} was made with{lines}\n"
            "Set these keys to the same values."
        )
    if training.target_statistics == "keep" and not same_targets(start, train_set):
        raise UserError(
            f"training.target_statistics: keep: {training.init_from} predicts "
            f"{[target.name for target in start.targets]}, the graphs hold "
            f"{list(train_set.manifest['targets'])}"
        )
    learned = {
        "transforms": ([target.transform for target in start.targets], list(transforms)),
        "references": (references_of(start), list(references)),
    }
    for kind, (theirs_T, ours_T) in learned.items():
        if training.target_statistics == "keep" and theirs_T != ours_T:
            raise UserError(
                f"training.target_statistics: keep: {training.init_from} learned its targets under the "
                f"{kind} {theirs_T}, dataset.target_{kind} says {ours_T}; use refit"
            )
    cutoff = train_set.manifest["cutoff_angstrom"]
    if start.cutoff != cutoff:
        log.warning(
            "training.init_from: the model was trained on graphs with a cutoff of %s Å, "
            "these graphs have %s Å",
            start.cutoff,
            cutoff,
        )
    return start


def gains_frames(theirs: EncoderConfig, ours: EncoderConfig) -> bool:
    """Whether a model without frames starts a network with them, which can be the same function.

    It is with angle projections of zero, if distances have no coefficient: without frames they have none.
    """
    if not isinstance(theirs, CrystalFramerConfig) or not isinstance(ours, CrystalFramerConfig):
        return False
    return theirs.frame == "none" and ours.frame != "none" and ours.distance_coefficient == 1


def gains_properties(theirs: EncoderConfig, ours: EncoderConfig) -> bool:
    """Whether a model without properties of elements starts a network with them: with weights of zero."""
    return ours.element_properties and not theirs.element_properties


def described(settings: EncoderConfig) -> dict[str, Any]:
    """The encoder and its settings under the configuration's keys; symmetry changes no result."""
    encoder = encoder_of(settings)
    values = settings.model_dump(mode="json", exclude={"symmetry"})
    return {"encoder": encoder, **{f"{encoder}.{key}": value for key, value in values.items()}}


def same_targets(start: TrainedModel, train_set: GraphDataset) -> bool:
    """Whether the model predicts the targets of the graphs, in the same order."""
    return [target.name for target in start.targets] == list(train_set.manifest["targets"])


def adopt_weights(
    network: PropertyNetwork,
    start: TrainedModel,
    train_set: GraphDataset,
    references: Sequence[str | None],
) -> None:
    """Copy weights and calibration.

    If the targets differ, or what is learned is the rest of a reference in one of the two alone, the
    output layer keeps its drawn weights.

    Angle projections and weights of properties that the model does not have begin at zero.
    """
    weights = start.network.state_dict()
    if gains_frames(start.network.settings, network.settings):
        angles = {k: v for k, v in network.state_dict().items() if k.endswith(ANGLES)}
        weights |= {name: torch.zeros_like(value) for name, value in angles.items()}
        log.info("training.init_from: the model has no frames, so the angle projections are zero")
    if gains_properties(start.network.settings, network.settings):
        weights[PROPERTY_WEIGHTS] = torch.zeros_like(network.state_dict()[PROPERTY_WEIGHTS])
        log.info(
            "training.init_from: the model knows no properties of elements; their weights are zero"
        )
    if not same_targets(start, train_set) or references_of(start) != list(references):
        weights = {k: v for k, v in weights.items() if not k.startswith(OUTPUT_LAYER)}
        log.info("training.init_from: the model learned other targets, so the output layer is new")
    network.load_state_dict(weights, strict=False)


def statistics(
    training: TrainingConfig,
    start: TrainedModel | None,
    train_set: GraphDataset,
    processes: Processes,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each target, [T]: of the training set, or the model's own."""
    if start is not None and training.target_statistics == "keep":
        means, stds = zip(*((target.mean, target.std) for target in start.targets), strict=True)
        return np.array(means), np.array(stds)
    mean_T, std_T = train_set.target_statistics()
    if processes.size > 1:
        values_GT, known_T = train_set.targets[train_set.rows], train_set.known().sum(0)
        known_T = processes.sum_of(known_T)
        mean_T = processes.sum_of(np.nansum(values_GT, axis=0)) / known_T
        squares_T = processes.sum_of(np.nansum((values_GT - mean_T) ** 2, axis=0))
        std_T = np.sqrt(squares_T / known_T)
    if not (std_T > 0).all():
        raise UserError("a target has the same value for every training crystal")
    return mean_T, std_T


def freeze(network: torch.nn.Module, prefixes: tuple[str, ...]) -> None:
    """Exclude the parameters whose names begin with a prefix from training.

    Raises UserError if a prefix fits no parameter, or if no parameter is left.
    """
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
    """The hash of the weights in ``training.init_from``; empty if the weights are drawn."""
    if training.init_from is None:
        return {}
    description = read_json(Path(training.init_from) / "model.json", "weights_sha256")
    return {"initial_weights_sha256": description["weights_sha256"]}
