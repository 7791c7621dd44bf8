"""The reference implementation beside the checkout, and checkpoints in the authors' layout."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dglframer.structures.crystal import Crystal
from helpers.paths import SHARED

ORACLE = SHARED / "oracle" / "oracle_crystalframer.py"

needs_oracle = pytest.mark.skipif(
    not ORACLE.is_file(), reason="needs ../shared/oracle, the reference implementation"
)


def load_oracle() -> ModuleType:
    """The reference implementation as a module."""
    spec = importlib.util.spec_from_file_location("oracle_crystalframer", ORACLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to_crystal(cell: tuple[np.ndarray, np.ndarray, np.ndarray], id: str = "cell") -> Crystal:
    """The oracle's (positions, lattice, numbers) as a Crystal."""
    positions, lattice, numbers = cell
    frac = np.asarray(positions) @ np.linalg.inv(lattice)
    return Crystal(id, np.asarray(numbers, np.int16), np.asarray(lattice), frac, {})


def rattled_cells(count: int, largest: int, seed: int = 0, amplitude: float = 0.05) -> list[Any]:
    """Small real crystals, atoms and cell displaced a little so that no two images tie."""
    table = pq.read_table(SHARED / "data" / "mp_megnet.parquet").slice(0, 4000)
    rng = np.random.default_rng(seed)
    cells = []
    for row in itertools.islice(small_rows(table, largest), count):
        lattice = np.array(row["lattice"]).reshape(3, 3)
        lattice = lattice @ (np.eye(3) + rng.normal(0, 0.01, (3, 3)))
        positions = np.array(row["frac_coords"]).reshape(-1, 3) @ lattice
        positions += rng.normal(0, amplitude, positions.shape)
        cells.append((positions, lattice, np.array(row["atomic_numbers"])))
    return cells


def small_rows(table: Any, largest: int) -> Any:
    """Every 25th row of at most ``largest`` atoms."""
    rows = (row for row in table.to_pylist() if len(row["atomic_numbers"]) <= largest)
    return itertools.islice(rows, 0, None, 25)


def write_checkpoint(
    weights: dict[str, Any], config: dict[str, Any], path: Path, dtype: torch.dtype, **targets: Any
) -> None:
    """The oracle's weights as a published Lightning checkpoint would hold them."""

    def tensor(values: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(values), dtype=dtype)

    state = {
        "input_embeddings.weight": tensor(weights["embed"].T),
        "mlp.0.weight": tensor(weights["M1"]),
        "mlp.0.bias": tensor(weights["c1"]),
        "mlp.3.weight": tensor(weights["M2"]),
        "mlp.3.bias": tensor(weights["c2"]),
    }
    for number, layer in enumerate(weights["layers"]):
        block = f"encoder.layers.{number}."
        attention = block + "self_attn."
        for letter in "qkv":
            state[f"{attention}{letter}_proj_weight"] = tensor(layer[f"W{letter}"])
        state[attention + "in_proj_bias"] = tensor(
            np.concatenate([layer["bq"], layer["bk"], layer["bv"]])
        )
        state[attention + "out_proj.weight"] = tensor(layer["Wo"])
        state[attention + "out_proj.bias"] = tensor(layer["bo"])
        state[attention + "lattice_pos_weights"] = tensor(layer["w_gauss"].ravel())
        state[attention + "gauss_scale"] = tensor([layer["gauss_scale"], layer["gauss_shift"]])
        state[attention + "atten_scale"] = tensor([0.0])
        state[attention + "pe_dist_proj"] = tensor(layer["E0"])[None]
        if config["frame_method"] != "none":
            for axis in (1, 2, 3):
                state[f"{attention}proj_angle{axis}"] = tensor(layer[f"E{axis}"])[None]
        for k in (1, 2):
            state[f"{block}linear{k}.weight"] = tensor(layer[f"W{k}"])
            state[f"{block}linear{k}.bias"] = tensor(layer[f"b{k}"])
    last = {f"model.{name}": torch.zeros_like(value) for name, value in state.items()}
    averaged = {f"swa_model.module.{name}": value for name, value in state.items()}
    count = len(weights["c2"])
    content = {
        "state_dict": {
            **last,
            **averaged,
            "swa_model.n_averaged": torch.tensor(7),
            "target_std": tensor(targets.get("std", [1.0] * count)),
            "target_mean": tensor(targets.get("mean", [0.0] * count)),
        },
        "hyper_parameters": hyper_parameters(config, targets.get("names", "formation_energy")),
        "epoch": 1999,
        "global_step": 348000,
    }
    torch.save(content, path)


def hyper_parameters(config: dict[str, Any], names: Any) -> dict[str, Any]:
    """The authors' names for the oracle's settings."""
    method = config["frame_method"]
    return {
        "num_layers": config["n_layers"],
        "model_dim": config["d_model"],
        "head_num": config["n_heads"],
        "ff_dim": config["d_ff"],
        "frame_method": "no" if method == "none" else method,
        "scale_real": [config["r0"]],
        "gauss_lb_real": config["rho_lower"],
        "positive_func_beta": config["rho_slope"],
        "value_pe_dist_real": config["D_dist"],
        "value_pe_dist_max": -10.0,
        "value_pe_dist_wscale": config["s_dist"],
        "value_pe_dist_coef": config["c_dist"],
        "value_pe_angle_real": config["D_ang"],
        "value_pe_angle_wscale": config["s_ang"],
        "value_pe_angle_coef": config["c_ang"],
        "cos_abs": 0,
        "targets": names,
    }
