"""Reading the checkpoints that the CrystalFramer authors published, without running pickled code."""

import logging
import math
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import sha256
from dglframer.config.networks import CrystalFramerConfig
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.model_directory import Target, TrainedModel

log = logging.getLogger(__name__)

# For these the released code computes other frames than the paper; ours are the paper's.
DIFFERENT_FRAMES = ("max_static", "weighted_pca")
CUTOFF_IN_SIGMAS = 6.0  # without the images beyond it a layer's output changes by 3e-6
PUBLISHED_WINDOW = 4.0  # the released kernels cut every Gaussian of a framed model at 4 widths


def read_checkpoint(path: Path, cutoff: float | None = None, unit: str = "") -> TrainedModel:
    """Read a published Lightning checkpoint as a trained model, in the precision of the file.

    It has the averaged weights if the file holds them. ``cutoff`` (Å) defaults to six times the
    maximal width of the model's attention. Raises DamagedFile if the file is not such a checkpoint or
    could only be read by running code from it, UserError if our model lacks one of its settings.
    """
    content = read_tensors(path)
    try:
        settings = settings_from(content["hyper_parameters"])
        weights = strip_prefix(content["state_dict"])
        means, stds = (content["state_dict"][key] for key in ("target_mean", "target_std"))
        network = CrystalFramer(settings, len(means)).to(means.dtype)
        network.load_state_dict(translate(weights, settings))
        names = content["hyper_parameters"]["targets"]
    except (KeyError, TypeError, RuntimeError, ValidationError) as error:
        raise DamagedFile(f"{path}: not a CrystalFramer checkpoint ({error!r})") from None
    names = [names] if isinstance(names, str) else list(names)
    targets = tuple(
        Target(name, unit, mean, std)
        for name, mean, std in zip(names, means.tolist(), stds.tolist(), strict=True)
    )
    max_sigma = settings.r0_angstrom / math.sqrt(settings.rho_floor)
    history = {"imported_from": path.name, "sha256": sha256(path), "seed": None}
    return TrainedModel(network.eval(), cutoff or CUTOFF_IN_SIGMAS * max_sigma, targets, history)


def read_tensors(path: Path) -> dict[str, Any]:
    """The dict in the checkpoint; it may hold only tensors and plain values."""
    if not path.is_file():
        raise DamagedFile(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted reader raises errors of any type on bad bytes
        # torch's text advises to allow code; of it only the name of what was refused is of use.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else "it is damaged, or no file of torch"
        raise DamagedFile(f"{path}: refused, since it is not of tensors alone: {reason}") from None
    if not isinstance(content, dict):
        raise DamagedFile(f"{path}: not a checkpoint (it holds a {type(content).__name__})")
    return content


def settings_from(given: dict[str, Any]) -> CrystalFramerConfig:
    """Our settings from the authors' hyper-parameters; an absent key has its default."""
    if given.get("cos_abs", 0):
        raise UserError(
            "checkpoints with cos_abs are not supported; the published models do not use it"
        )
    method = given.get("frame_method", "max")
    if method in DIFFERENT_FRAMES:
        log.warning(
            "frames %r are computed as in the paper; the released code computes others", method
        )
    framed = method != "no"
    r0 = first(given.get("scale_real", 1.4))
    distance_max = given.get("value_pe_dist_max", -10.0)  # negative: in units of r0
    names = {
        "blocks": "num_layers",
        "width": "model_dim",
        "heads": "head_num",
        "feedforward": "ff_dim",
        "rho_floor": "gauss_lb_real",
        "rho_slope": "positive_func_beta",
        "distance_bins": "value_pe_dist_real",
        "distance_width_bins": "value_pe_dist_wscale",
    }
    if framed:  # the released model without frames ignores these, and value_pe_angle_real may be 0
        names["angle_bins"] = "value_pe_angle_real"
        names["angle_width_bins"] = "value_pe_angle_wscale"
        names["distance_coefficient"] = "value_pe_dist_coef"
        names["angle_coefficient"] = "value_pe_angle_coef"
    settings = {ours: given[theirs] for ours, theirs in names.items() if theirs in given}
    return CrystalFramerConfig(
        **settings,
        frame=method if framed else "none",
        frame_ties="first",
        even_third_axis=False,
        element_properties=False,
        r0_angstrom=r0,
        distance_max_angstrom=-distance_max * r0 if distance_max < 0 else distance_max,
        window_sigmas=PUBLISHED_WINDOW if framed else None,
    )


def first(value: Any) -> float:
    """The number itself, or the first of a list with one for each kind of attention: ours comes first."""
    return float(value[0] if isinstance(value, list | tuple) else value)


def strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The averaged weights (``swa_model.module.``), or the last weights if there are none."""
    for prefix in ("swa_model.module.", "model."):
        weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if weights:
            return weights
    raise KeyError("no model weights")


def translate(theirs: dict[str, Tensor], settings: CrystalFramerConfig) -> dict[str, Tensor]:
    """The authors' tensors with our names and shapes."""
    ours = {
        "embedding.weight": theirs["input_embeddings.weight"].T.contiguous(),
        "head.hidden.weight": theirs["mlp.0.weight"],
        "head.hidden.bias": theirs["mlp.0.bias"],
        "head.output.weight": theirs["mlp.3.weight"],
        "head.output.bias": theirs["mlp.3.bias"],
    }
    for block in range(settings.blocks):
        layer, attention = f"encoder.layers.{block}.", f"encoder.layers.{block}.self_attn."
        target = f"blocks.{block}.attention."
        biases = theirs[attention + "in_proj_bias"].chunk(3)
        for name, letter, bias in zip(("query", "key", "value"), "qkv", biases, strict=True):
            ours[f"{target}{name}.weight"] = theirs[f"{attention}{letter}_proj_weight"]
            ours[f"{target}{name}.bias"] = bias.clone()
        scale, shift = theirs[attention + "gauss_scale"]
        ours[target + "sigma_scale"], ours[target + "sigma_shift"] = scale.clone(), shift.clone()
        per_head = (settings.heads, -1)
        ours[target + "sigma_weight_HD"] = theirs[attention + "lattice_pos_weights"].view(per_head)
        ours[target + "distance_HDK"] = theirs[attention + "pe_dist_proj"].squeeze(0)
        if settings.frame != "none":
            angles = [theirs[f"{attention}proj_angle{axis}"].squeeze(0) for axis in (1, 2, 3)]
            ours[target + "angle_3HDK"] = torch.stack(angles)
        same = {
            "attention.output": "self_attn.out_proj",
            "expand": "linear1",
            "contract": "linear2",
        }
        for name, other in same.items():
            for kind in ("weight", "bias"):
                ours[f"blocks.{block}.{name}.{kind}"] = theirs[f"{layer}{other}.{kind}"]
    return ours
