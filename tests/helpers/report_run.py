"""The files of the stages before the report, and a small model with frames."""

import dataclasses
from pathlib import Path

import numpy as np
import optuna
import torch

from dglframer.common.files import hash_of, read_json, write_json
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.config import Config, override
from dglframer.config.data import GraphsConfig
from dglframer.config.networks import CrystalFramerConfig
from dglframer.data.cleaning import check_crystals
from dglframer.data.crystals import crystals_table, validated
from dglframer.data.leakage import leakage
from dglframer.data.rejections import Rejections
from dglframer.data.split import split_crystals, write_split
from dglframer.evaluation.evaluate import evaluate
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.shards import write_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.model_directory import Target, TrainedModel, save_model
from dglframer.report.inspection import inspect
from dglframer.report.report import Inputs
from dglframer.structures.crystal import Crystal, Record
from dglframer.structures.periodic_graph import build_graph
from dglframer.training.metrics import MetricsLog
from dglframer.tuning.tune import write_results

SCRIPT = "<script>alert(1)</script>"
TINY = {"frame": "none", "blocks": 1, "width": 8, "heads": 2, "feedforward": 8, "distance_bins": 4}
UNITS = {"energy": "eV/atom", "gap": "eV"}


def records(targets: list[str], count: int = 24) -> list[Record]:
    """Rock salt, cells of one and of three elements, and one record of every bad kind."""
    rng = np.random.default_rng(0)
    result = []
    for k in range(count):
        species = (["Na", "Cl"], ["Cu"], ["Ca", "Ti", "O"])[k % 3]
        cell = np.diag([3.0, 3.0, 3.0 + k % 2 + 0.001 * (k // 24)])
        coords = np.linspace(0, 0.5, len(species), endpoint=False)[:, None] * np.ones(3)
        labels = {name: float(rng.normal()) for name in targets}
        split = "test" if k < count // 2 else "val" if k < 5 * count // 8 else "train"
        result.append(Record(f"c{k:02d}", species, cell, coords, labels, split))
    one = result[0]
    spoiled = [
        dataclasses.replace(one, id=SCRIPT, labels={name: 50.0 for name in targets}),
        dataclasses.replace(one, id="in-two-parts", split="val+test"),
        dataclasses.replace(one, id="not-an-element", species=["Na", "<b>Xx"]),
        dataclasses.replace(one, id="no-label", labels={}),
        dataclasses.replace(one, id=f"rejected-{SCRIPT}", species=[]),
    ]
    return result + spoiled


def write_stages(
    folder: Path,
    targets: list[str],
    seeds: tuple[int, ...],
    tuned: bool,
    frame: str = "none",
    count: int = 24,
) -> Inputs:
    """The files of the stages before the report, written by these stages."""
    folder.mkdir()
    search = {"training.learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}
    tuning = {
        "tune.search": search,
        "tune.trials": 3 if tuned else 0,
        "training.epochs": 3,
        "training.averaged_epochs": 1,
    }
    plain = {
        f"crystalframer.{key}": value for key, value in {**TINY, "frame": frame}.items()
    } | tuning
    config = override(Config(), {**plain, "dataset.targets": targets})
    files = Inputs(
        config=folder / "config.json",
        download=folder / "download.json",
        crystals=folder / "crystals.parquet",
        rejected=folder / "rejected.parquet",
        checks=folder / "checks.parquet",
        inspection=folder / "inspection.json",
        split=folder / "split.parquet",
        leakage=folder / "leakage.json",
        graphs=folder / "graphs",
        models=[folder / "models" / f"seed-{seed}" for seed in seeds],
        evaluation=folder / "evaluation",
        tuned=folder / "tune" / "best.json" if tuned else None,
    )
    write_json(files.config, config.model_dump(mode="json"))
    source = {"source": "made up", "licence": "CC0", "citation": "A & B", "notes": ["A note."]}
    listed = [{"path": "some/where/data.csv", "bytes": 12, "sha256": "0" * 64}]
    write_json(files.download, {**source, "files": listed})
    rejections = Rejections()
    valid = validated(records(targets, count), targets, rejections)
    write_parquet(files.crystals, crystals_table(valid, "made up", targets, UNITS))
    write_parquet(files.rejected, rejections.table())
    checks = check_crystals(files.crystals, config.cleaning)
    write_parquet(files.checks, checks)
    write_json(files.inspection, inspect(files.crystals, rejections.table(), checks))
    splits = split_crystals(read_parquet(files.crystals), config.split)
    write_split(splits, files.split, "canonical")
    write_json(files.leakage, leakage(checks, read_parquet(files.split)))
    write_graphs(
        files.crystals, files.graphs, GraphsConfig(cutoff_angstrom=4.0, crystals_per_shard=100)
    )
    best = write_study(files.tuned.parent) if files.tuned else {"params": {}}
    for seed, model in zip(seeds, files.models, strict=True):
        write_model(override(config, best["params"]), files.graphs, seed, model, targets)
    evaluate(files.graphs, files.split, files.models, files.evaluation, torch.device("cpu"))
    return files


def write_study(folder: Path) -> dict:
    """best.json and trials.json of a study of two finished trials and a pruned one."""
    study = optuna.create_study(study_name="tune-made-up")
    space = {"training.learning_rate": optuna.distributions.FloatDistribution(1e-5, 1.0)}
    for rate, loss, state in (
        (3e-4, 0.5, "COMPLETE"),
        (0.0625, 0.25, "COMPLETE"),
        (0.5, 1, "PRUNED"),
    ):
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState[state],
            params={"training.learning_rate": rate},
            distributions=space,
            value=loss,
            intermediate_values={1: loss},
        )
        study.add_trial(trial)
    return write_results(study, folder, Config())


def write_model(config: Config, graphs: Path, seed: int, folder: Path, targets: list[str]) -> None:
    """A model directory with initial weights and three epochs of metrics."""
    lines = [
        {
            "epoch": epoch,
            "step": epoch,
            "averaged": epoch == 3,
            "train_loss": 1 / epoch,
            "val_mae": {name: 1 / (epoch + seed) for name in targets},
            "train_seconds": 30.0,
            "val_seconds": 6.0,
        }
        for epoch in (1, 2, 3)
    ]
    MetricsLog(folder / "metrics.jsonl", lines)
    history = {
        "seed": seed,
        "training": config.training.model_dump(mode="json"),
        "data_manifest_hash": hash_of(read_json(graphs / "manifest.json")),
    }
    network = CrystalFramer(config.crystalframer, len(targets)).draw(seed)
    statistics = tuple(Target(name, UNITS[name], 0.0, 1.0) for name in targets)
    save_model(TrainedModel(network, 4.0, statistics, history), folder)


FRAMED = {
    "blocks": 2,
    "width": 16,
    "heads": 2,
    "feedforward": 16,
    "distance_bins": 8,
    "angle_bins": 8,
}
FRAMED_CUTOFF = 5.0


def framed_model(crystal: Crystal, **changed: object) -> TrainedModel:
    """A small network with initial weights, calibrated on a crystal."""
    network = CrystalFramer(CrystalFramerConfig(**{**FRAMED, **changed}), 1).draw(3)
    network.calibrate(batch_graphs([build_graph(crystal, FRAMED_CUTOFF)]).without_dgl())
    return TrainedModel(network, FRAMED_CUTOFF, (Target("energy", "eV", 0.0, 1.0),), {"seed": 3})
