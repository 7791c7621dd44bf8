"""The model directory: model.safetensors (weights) and model.json (everything else), no pickle.

Every format version stays readable; tests/networks/models holds a small model of each.

1. A CrystalFramer, pooled by the mean. Of tied frames it took one, by a rule that was removed; its
   models are read with the average of tied frames, which is the same where no frames tie.
2. It states how tied frames are treated (settings.frame_ties, frame_tie_width).
3. It states the encoder, of several, and how atoms are pooled.
4. It states the transform of each target, and the elements of the training crystals.
5. It states whether the embedding has properties of elements (settings.element_properties).
6. It states the composition reference of each target (targets.composition), and whether the third axis is
   even (settings.even_third_axis).
"""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import safetensors
import torch
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass
from safetensors.torch import load_file, save_file
from torch import nn

from dglframer.common.composition import linear_values
from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import atomic_path, read_json, sha256, write_json
from dglframer.common.transforms import TransformName, undo
from dglframer.common.version import __version__
from dglframer.config.data import MAX_CUTOFF_ANGSTROM
from dglframer.config.networks import ENCODERS, EncoderConfig, EncoderName, encoder_of
from dglframer.config.section import Section
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.build import build, shapes

FORMAT_VERSION = 6
FILES = ("model.json", "model.safetensors")
TRAINED_ON = (
    "trained_on.json"  # machine and code of the training: the model is the same on every one
)
INTERVALS = "intervals.json"  # of the evaluation of models, beside their directories
MAX_DESCRIPTION_BYTES = 16 * 2**20
MAX_TARGETS = 1000
# safetensors' names of the precisions of weights; networks of half precision compute in float32.
DTYPES = {"F16", "F32", "F64"}


def element(symbol: str) -> str:
    """The symbol; raises ValueError if the embedding has no such element."""
    if symbol not in SYMBOLS:
        raise ValueError("not the symbol of an element")
    return symbol


@validated_dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Target:
    """A predicted property: prediction = network output x std + mean, in ``unit``.

    With a transform, mean and deviation are those of what is learned, and the prediction is its inverse.
    ``composition``: the slopes of a linear model of the composition with the intercept ``mean``, which
    is learned less its value: slope x fraction of each element (x atoms, if the network pools by a sum)
    is added, before the inverse of the transform. An element that is not in it adds nothing.
    """

    name: Annotated[str, Field(min_length=1)]
    unit: str
    mean: float
    std: Annotated[float, Field(gt=0)]
    transform: TransformName | None = None
    composition: dict[Annotated[str, AfterValidator(element)], float] | None = None


class Description(Section):
    """The content of model.json, in the order of its keys."""

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)] = FORMAT_VERSION
    written_by: str = f"dglframer {__version__}"
    encoder: EncoderName
    settings: dict[str, JsonValue]  # of the encoder's class in ENCODERS
    cutoff_angstrom: Annotated[float, Field(gt=0, le=MAX_CUTOFF_ANGSTROM)]
    images: str = "every image within the cutoff"
    targets: Annotated[list[Target], Field(min_length=1, max_length=MAX_TARGETS)]
    training_elements: dict[str, Annotated[int, Field(ge=0)]] | None = None
    history: dict[str, JsonValue]
    weights_sha256: str


@dataclass(frozen=True)
class TrainedModel:
    """A network, the cutoff of its graphs (Å), its targets, and the history of its training.

    ``training_elements``: how many training crystals hold each element; None in older formats.
    """

    network: PropertyNetwork
    cutoff: float
    targets: tuple[Target, ...]
    history: dict[str, Any]
    training_elements: dict[str, int] | None = None

    def denormalise(self, output_BT: torch.Tensor, numbers: Sequence[np.ndarray]) -> torch.Tensor:
        """Predictions in the targets' units, float64; ``numbers``: all atoms of each crystal."""
        scale = output_BT.new_tensor([target.std for target in self.targets], dtype=torch.float64)
        shift = output_BT.new_tensor([target.mean for target in self.targets], dtype=torch.float64)
        learned_BT = output_BT.double() * scale + shift
        slopes_T = [target.composition for target in self.targets]
        reference_BT = linear_values(numbers, slopes_T, self.network.settings.pooling)
        if reference_BT is not None:
            learned_BT += torch.from_numpy(reference_BT).to(learned_BT.device)
        if all(target.transform is None for target in self.targets):
            return learned_BT
        columns = zip(self.targets, learned_BT.T, strict=True)
        return torch.stack([undo(target.transform, x_B) for target, x_B in columns], dim=1)


def save_model(model: TrainedModel, folder: Path) -> None:
    """Write a model directory. model.json comes last, with the hash of the weights."""
    weights_hash = save_weights(model.network, folder)
    description = Description(
        encoder=encoder_of(model.network.settings),
        settings=model.network.settings.model_dump(mode="json"),
        cutoff_angstrom=model.cutoff,
        targets=list(model.targets),
        training_elements=model.training_elements,
        history=model.history,
        weights_sha256=weights_hash,
    )
    write_json(folder / "model.json", description.model_dump(mode="json"))


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


def interval_files(folder: Path) -> list[Path]:
    """Where the intervals.json of evaluate may be for a model directory.

    Beside it, or in the folder ``evaluation`` there or one higher, where the workflow has it.
    """
    beside = folder.absolute().parent
    places = (beside, beside / "evaluation", beside.parent / "evaluation")
    return [path for path in (place / INTERVALS for place in places) if path.is_file()]


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
    description = read_description(folder)
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256(weights) != description.weights_sha256:
        raise DamagedFile(f"{weights}: missing or not the weights that model.json describes")
    settings = settings_of(description, folder)
    check_header(weights, settings, len(description.targets))
    state = load_file(weights, device=device)
    if next(iter(state.values())).dtype == torch.float16:
        state = {name: tensor.float() for name, tensor in state.items()}
    network = build(settings, len(description.targets))
    network.to(next(iter(state.values())).dtype).load_state_dict(state)
    targets, history = tuple(description.targets), dict(description.history)
    return TrainedModel(
        network.to(device).eval(),
        description.cutoff_angstrom,
        targets,
        history,
        description.training_elements,
    )


def read_description(folder: Path) -> Description:
    """Read model.json; raises DamagedFile naming it and the first wrong key."""
    path = folder / "model.json"
    if path.is_file() and path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise DamagedFile(f"{path}: too large for a model description")
    version = read_json(path, "format_version", "weights_sha256")["format_version"]
    if version not in range(1, FORMAT_VERSION + 1):
        raise DamagedFile(f"{path}: format {version}; this dglframer reads 1 to {FORMAT_VERSION}")
    try:
        return Description.model_validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise DamagedFile(f"{path}: {first_mistake(error)}") from None


def settings_of(description: Description, folder: Path) -> EncoderConfig:
    """The settings of the network; raises DamagedFile."""
    settings = dict(description.settings)
    if description.format_version < 5:
        settings["element_properties"] = False
    try:
        return ENCODERS[description.encoder].model_validate(settings, strict=True)
    except ValidationError as error:
        raise DamagedFile(f"{folder}/model.json: {first_mistake(error, 'settings')}") from None


def first_mistake(error: ValidationError, *above: str) -> str:
    """``targets.0.std: Input should be greater than 0, not -1``"""
    line = error.errors()[0]
    place = ".".join(str(part) for part in (*above, *line["loc"]))
    return f"{place}: {line['msg']}, not {reprlib.repr(line['input'])}"


def check_header(weights: Path, settings: EncoderConfig, n_targets: int) -> None:
    """Compare the tensors that the weights' header lists with those of the network; DamagedFile.

    Neither is in memory yet: a model.json cannot ask for more than the file holds.
    """
    try:
        with safetensors.safe_open(weights, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: tuple(one.get_shape()) for name, one in slices.items()}
            dtypes = {one.get_dtype() for one in slices.values()}
    except safetensors.SafetensorError as error:
        raise DamagedFile(f"{weights}: {error}") from None
    expected = shapes(settings, n_targets)
    if found != expected:
        name = min(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise DamagedFile(
            f"{weights}: does not fit model.json: {name} has the shape {found.get(name, 'absent')}, "
            f"its settings need {expected.get(name, 'absent')}"
        )
    if len(dtypes) != 1 or not dtypes <= DTYPES:
        raise DamagedFile(
            f"{weights}: its numbers are {', '.join(sorted(dtypes))}, not F16, F32 or F64"
        )
