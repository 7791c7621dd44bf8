"""Models as people name them: a shipped one, a model directory, a folder of such, an archive of them."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from dglframer.common.errors import UserError
from dglframer.networks.archive import unpacked
from dglframer.networks.model_directory import TrainedModel, is_model, load_model, members
from dglframer.pretrained.registry import find, shipped

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A model directory, and to which of its targets the model is restricted (None: not)."""

    folder: Path
    target: str | None = None


def names_model(given: str) -> bool:
    """Whether the text is the name of a shipped model, or the path of a model, its archive or its files."""
    return find(given) is not None or given.endswith(".zip") or is_model(Path(given))


def places(given: str | Path) -> list[Place]:
    """The members that a name or a path stands for.

    A text without a separator is first the name of a shipped model, then a path. Raises UserError if
    it is neither.
    """
    one = find(given)
    path = Path(given)
    if one:
        if path.is_dir():
            log.warning("%s is the shipped model; the folder of that name is ./%s", given, given)
        return [Place(folder, one.target) for folder in one.members()]
    if not path.exists():
        known = ", ".join(sorted(shipped())) or "none"
        raise UserError(f"{given}: no model directory, nor a shipped model (there are: {known})")
    return [Place(folder) for folder in members(unpacked(path) if path.suffix == ".zip" else path)]


def load_place(place: Place, device: str = "cpu") -> TrainedModel:
    """The model of a place; see ``load_model``."""
    model = load_model(place.folder, device)
    return model if place.target is None else restricted(model, place.target)


def restricted(model: TrainedModel, target: str) -> TrainedModel:
    """The model with one of its targets alone; raises UserError if it does not predict that."""
    names = [one.name for one in model.targets]
    if target not in names:
        raise UserError(f"the model predicts {', '.join(names)}, not {target}")
    if len(names) == 1:
        return model
    t, network = names.index(target), model.network
    output = nn.Linear(network.head.output.in_features, 1).to(network.head.output.weight)
    with torch.no_grad():
        output.weight.copy_(network.head.output.weight[t : t + 1])
        output.bias.copy_(network.head.output.bias[t : t + 1])
    network.head.output, network.n_targets = output, 1
    return replace(model, targets=(model.targets[t],))
