"""The model directory: model.safetensors (weights) and model.json (everything else), no pickle.

Every format version stays readable; tests/networks/models holds a small model of each.

1. A CrystalFramer, pooled by the mean. Of tied frames it took one, by a rule that was removed; its
   models are read with the average of tied frames, which is the same where no frames tie.
2. It states how tied frames are treated (settings.frame_ties, frame_tie_width).
3. It states the encoder, of several, and how atoms are pooled.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from dglframer import __version__
from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import atomic_path, read_json, sha256, write_json
from dglframer.config.networks import ENCODERS, encoder_of
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.build import build

FORMAT_VERSION = 3
FILES = ("model.json", "model.safetensors")


@dataclass(frozen=True)
class Target:
    """A predicted property: prediction = network output x std + mean, in ``unit``."""

    name: str
    unit: str
    mean: float
    std: float


@dataclass(frozen=True)
class TrainedModel:
    """A network, the cutoff of its graphs (Å), its targets, and the history of its training."""

    network: PropertyNetwork
    cutoff: float
    targets: tuple[Target, ...]
    history: dict[str, Any]

    def denormalise(self, output_BT: torch.Tensor) -> torch.Tensor:
        """Predictions in the targets' units, float64."""
        scale = output_BT.new_tensor([target.std for target in self.targets], dtype=torch.float64)
        shift = output_BT.new_tensor([target.mean for target in self.targets], dtype=torch.float64)
        return output_BT.double() * scale + shift


def save_model(model: TrainedModel, folder: Path) -> None:
    """Write a model directory. model.json comes last, with the hash of the weights."""
    weights_hash = save_weights(model.network, folder)
    description = {
        "format_version": FORMAT_VERSION,
        "written_by": f"dglframer {__version__}",
        "encoder": encoder_of(model.network.settings),
        "settings": model.network.settings.model_dump(mode="json"),
        "cutoff_angstrom": model.cutoff,
        "images": "every image within the cutoff",
        "targets": [asdict(target) for target in model.targets],
        "history": model.history,
        "weights_sha256": weights_hash,
    }
    write_json(folder / "model.json", description)


def save_weights(network: nn.Module, folder: Path) -> str:
    """Write model.safetensors; returns its hash."""
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    path = folder / "model.safetensors"
    with atomic_path(path) as temporary:
        save_file(weights, temporary)
    return sha256(path)


def is_model(path: Path) -> bool:
    """Whether the path is a model directory, a folder of such, or a file of one."""
    return path.name in FILES or any(path.glob("model.json")) or any(path.glob("*/model.json"))


def members(folder: Path) -> list[Path]:
    """The model directory itself, or those in a folder such as results/models (seed-0, seed-1, ...)."""
    if (folder / "model.json").is_file():
        return [folder]
    found = [path.parent for path in folder.glob("*/model.json")]
    return sorted(found, key=lambda path: (len(path.name), path.name)) or [folder]


def load_model(folder: Path, device: str = "cpu") -> TrainedModel:
    """Read a model directory; raises DamagedFile naming the file that is missing or damaged.

    Raises UserError if one of its files is given in place of the folder. Call
    ``common.device.make_reproducible`` before you compute with the model, if two runs must give the
    same bits: reading changes nothing in the process.
    """
    if folder.name in FILES and folder.is_file():
        raise UserError(f"{folder} is a file of a model: give its folder, {folder.parent}")
    description = read_json(folder / "model.json", "format_version", "weights_sha256")
    weights = folder / "model.safetensors"
    version = description["format_version"]
    if version not in range(1, FORMAT_VERSION + 1):
        raise DamagedFile(
            f"{folder}/model.json: format {version}; this dglframer reads 1 to {FORMAT_VERSION}"
        )
    if not weights.is_file() or sha256(weights) != description["weights_sha256"]:
        raise DamagedFile(f"{weights}: missing or not the weights that model.json describes")
    try:
        targets = tuple(Target(**target) for target in description["targets"])
        settings = ENCODERS[description["encoder"]](**description["settings"])
        network = build(settings, len(targets))
        state = load_file(weights, device=device)
        network.to(next(iter(state.values())).dtype).load_state_dict(state)
        cutoff, history = description["cutoff_angstrom"], description["history"]
    except (KeyError, TypeError, ValidationError) as error:
        raise DamagedFile(f"{folder}/model.json: not a model description ({error})") from None
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise DamagedFile(f"{weights}: does not fit model.json ({error})") from None
    return TrainedModel(network.to(device).eval(), cutoff, targets, history)
