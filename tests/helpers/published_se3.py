"""Stored outputs of the published SE(3)-Transformer, and its weights under our names."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dglframer.config.networks import Se3TransformerConfig
from dglframer.graphs.batch import pointers
from dglframer.networks.se3_transformer.edges import Edges
from dglframer.networks.se3_transformer.encoder import SE3Encoder

SETTINGS: dict[str, dict[str, Any]] = {
    "deg2_1x1_add": {"degrees": 2, "self_interaction": "linear", "relative_position": "add"},
    "deg3_att_cat": {
        "degrees": 3,
        "self_interaction": "attentive",
        "relative_position": "concatenate",
    },
}


def nbody_encoder(**settings: Any) -> SE3Encoder:
    """The published N-body network: 4 layers of 8 channels, 2 heads, unless told otherwise."""
    known = {"channels": 8, "value_divisor": 4, "heads": 2, "layers": 4, **settings}
    return SE3Encoder(Se3TransformerConfig(**known), {1: 1}, {1: 2}, 1, "nbody")


class Stored:
    """One file: what went in, what came out, with which weights."""

    def __init__(self, folder: Path, name: str):
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            self.arrays = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        self.encoder = nbody_encoder(**SETTINGS[name])
        self.encoder.load_state_dict(renamed(self.weights(), self.encoder), strict=True)

    def weights(self) -> dict[str, Tensor]:
        return {k[7:]: v for k, v in self.arrays.items() if k.startswith("weight/")}

    def edges(self, dtype: torch.dtype) -> Edges:
        order = torch.sort(self.arrays["dst"], stable=True).indices
        src_E, dst_E = self.arrays["src"][order], self.arrays["dst"][order]
        x_N3 = self.arrays["positions"].to(dtype)
        charges_N1 = self.arrays["charges"].to(dtype)
        counts_N = torch.bincount(dst_E, minlength=len(x_N3))
        return Edges(
            src_E,
            dst_E,
            pointers(counts_N),
            x_N3[dst_E] - x_N3[src_E],
            charges_N1[src_E] * charges_N1[dst_E],
        )

    def output(self, dtype: torch.dtype) -> Tensor:
        velocities = {1: self.arrays["velocities"].to(dtype).unsqueeze(1)}
        return self.encoder.to(dtype)(velocities, self.edges(dtype))[1]


def renamed(theirs: dict[str, Tensor], encoder: SE3Encoder) -> dict[str, Tensor]:
    """The published weights as a state of ``encoder``."""
    ours: dict[str, Tensor] = {}
    last = len(encoder.layers) - 1
    for b, layer in enumerate(encoder.layers):
        prefix = "last." if b == last else f"blocks.{b}.0."
        nets = defaultdict(list)
        for net, (purpose, (k, l)) in enumerate(layer.kernels.names):
            base = f"{prefix}kv.r.{('value', 'key').index(purpose)},{k},{l}."
            for name, first in (("first", 0), ("second", 3)):
                nets[f"{name}_weight"].append(theirs[f"{base}{first}.weight"].T)
                nets[f"{name}_bias"].append(theirs[f"{base}{first}.bias"][None])
                nets[f"{name}_norm_weight"].append(theirs[f"{base}{first + 1}.weight"][None])
                nets[f"{name}_norm_bias"].append(theirs[f"{base}{first + 1}.bias"][None])
            for part in ("weight", "bias"):
                ours[f"layers.{b}.kernels.last.{net}.{part}"] = theirs[f"{base}6.{part}"]
        for name, stack in nets.items():
            ours[f"layers.{b}.kernels.radial.{name}"] = torch.stack(stack)
        for key, value in theirs.items():
            if found := re.fullmatch(re.escape(prefix) + r"(q|out)\.w\.(\d)", key):
                where = {"q": "query", "out": "output"}[found[1]]
                ours[f"layers.{b}.{where}.weights.{found[2]}"] = value
            if found := re.fullmatch(re.escape(prefix) + r"out\.net\.(\d\.\d\.\w+)", key):
                ours[f"layers.{b}.output.nets.{found[1]}"] = value
            if found := re.fullmatch(rf"blocks\.{b}\.1\.b\.(\d)", key):
                ours[f"norms.{b}.bias.{found[1]}"] = value[0]
    return ours
