"""Put a trained model into the package under one name or several, with a card for each.

    python tools/ship_model.py results jarvis_dft3d --name formation_energy=formation_energy_peratom \
        --training-data "JARVIS-DFT dft_3d 2021" --licence "..." --citation "..."

The results folder is the workflow's, or that of `dglframer.fit`. Weights are stored in float16 if the test
errors stay within TOLERANCE, else in float32. Writes dglframer/pretrained/FOLDER and registry.json,
a page for each name in docs/models, and its line in docs/README.md.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from ship_pages import add_to_index, card

from dglframer.cli.options import name_and_value
from dglframer.common.elements import element_counts
from dglframer.common.files import read_json, sha256, write_json, write_text
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import (
    FILES,
    FORMAT_VERSION,
    INTERVALS,
    TrainedModel,
    load_model,
    members,
    read_description,
    settings_of,
)
from dglframer.pretrained import registry
from dglframer.pretrained.registry import Shipped, as_values, shipped

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-3  # of a test MAE, by how much half precision may change it


class Precision(NamedTuple):
    """What half precision does to the test errors of an ensemble."""

    chosen: str
    mae_change: float  # the largest over the targets, relative
    largest_change: dict[str, float]  # of a prediction, by target, in its unit

    def sentence(self, target: str, unit: str) -> str:
        change = self.largest_change[target]
        return (
            f"In float16 the test error changes by {100 * self.mae_change:.2g} % and no test prediction "
            f"by more than {change:.2g} {unit}; the weights are stored in {self.chosen}."
        )


def rewritten(folder: Path, out: Path, dtype: torch.dtype, elements: dict[str, int]) -> Path:
    """A copy of a model directory with weights of another type, which states the training elements.

    Without them predictions could not warn of others; formats before 4 have none. The settings are those
    of today's format: what older ones do not name has the value that it had then.
    """
    out.mkdir(parents=True)
    weights = load_file(folder / "model.safetensors")
    save_file({name: one.to(dtype) for name, one in weights.items()}, out / "model.safetensors")
    content = read_json(folder / "model.json", "weights_sha256")
    content |= {"weights_sha256": sha256(out / "model.safetensors")}
    content |= {"format_version": FORMAT_VERSION, "training_elements": elements}
    settings = settings_of(read_description(folder), folder)
    content["settings"] = settings.model_dump(mode="json")
    write_json(out / "model.json", content)
    return out


def predictions(folders: list[Path], dataset: GraphDataset) -> np.ndarray:
    """[G, T]: the mean over the members, in the targets' units."""
    parts, numbers = [], dataset.compositions()
    for folder in folders:
        model = load_model(folder)
        output_GT = torch.from_numpy(predict(model.network, dataset, torch.device("cpu")))
        parts.append(model.denormalise(output_GT, numbers).numpy())
    return np.mean(parts, axis=0)


def compare_precisions(full: list[Path], half: list[Path], results: Path) -> Precision:
    """The test errors of both."""
    dataset = GraphDataset(results / "graphs", read_split(results / "split.parquet")["test"])
    targets_GT = np.asarray(dataset.targets[dataset.rows])
    full_GT, half_GT = predictions(full, dataset), predictions(half, dataset)
    before_T, after_T = (np.nanmean(abs(one - targets_GT), 0) for one in (full_GT, half_GT))
    change = float(abs(after_T / before_T - 1).max())
    largest_T = abs(half_GT - full_GT).max(0)
    names = list(dataset.manifest["targets"])
    chosen = "float16" if change < TOLERANCE else "float32"
    return Precision(chosen, change, dict(zip(names, map(float, largest_T), strict=True)))


def ship(
    results: Path,
    folder: str,
    names: dict[str, str],
    texts: dict[str, str],
    docs: Path,
    remarks: Sequence[str] = (),
) -> Precision:
    """Write the weights, the entries of the registry, and the cards; ``names``: target by name.

    ``remarks``: what the cards say of the training besides.
    """
    trained = members(results / "models")
    elements = training_elements(load_model(trained[0]), results)
    with tempfile.TemporaryDirectory() as scratch:
        copies = {
            dtype: [
                rewritten(one, Path(scratch, str(dtype), one.name), dtype, elements)
                for one in trained
            ]
            for dtype in (torch.float32, torch.float16)
        }
        precision = compare_precisions(copies[torch.float32], copies[torch.float16], results)
        place = registry.FOLDER / folder
        shutil.rmtree(place, ignore_errors=True)
        files = {}
        for one in copies[getattr(torch, precision.chosen)]:
            (place / one.name).mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(one / name, place / one.name / name)
            without_paths(place / one.name / "model.json")
            for name in FILES:
                files[f"{one.name}/{name}"] = sha256(place / one.name / name)
        if (results / "evaluation" / INTERVALS).is_file():
            write_json(place / INTERVALS, intervals_of(results, trained, place))
            files[INTERVALS] = sha256(place / INTERVALS)
    loaded = [load_model(place / one.name) for one in trained]
    metrics = read_json(results / "evaluation" / "metrics.json", "targets")
    download = read_json(results / "download.json", "source", "licence", "citation")
    stated = {"training_data": download["source"]} | {
        key: download[key] for key in ("licence", "citation")
    }
    entries = shipped()
    for name, target in names.items():
        errors = metrics["targets"][target]
        entries[name] = Shipped(
            folder=folder,
            files=files,
            target=target,
            unit=errors["unit"],
            elements=tuple(elements),
            test_mae=errors["splits"]["test"]["mae"],
            test_crystals=errors["splits"]["test"]["crystals"],
            precision=precision.chosen,
            **{**stated, **texts},
        )
    write_json(registry.FOLDER / registry.REGISTRY, as_values(entries))
    for name in names:
        one = entries[name]
        said = precision.sentence(one.target, one.unit)
        text = card(name, one, loaded, metrics, said, remarks)
        write_text(docs / "models" / f"{name}.md", text)
        add_to_index(docs / "README.md", name, one)
    return precision


def intervals_of(results: Path, trained: list[Path], place: Path) -> dict[str, Any]:
    """The content of intervals.json, with the hashes of the weights as they are shipped."""
    hashes = {
        read_json(folder / "model.json")["weights_sha256"]: read_json(
            place / folder.name / "model.json"
        )["weights_sha256"]
        for folder in trained
    }
    content = read_json(results / "evaluation" / INTERVALS, "sets")
    for entry in content["sets"]:
        entry["weights_sha256"] = sorted(hashes[one] for one in entry["weights_sha256"])
    return content


def without_paths(description: Path) -> None:
    """Name the start of a fine-tuning without its path, which is of the machine that trained."""
    content = read_json(description, "history")
    training = content["history"].get("training", {})
    if training.get("init_from"):
        training["init_from"] = start_name(Path(training["init_from"]))
        write_json(description, content)


def start_name(start: Path) -> str:
    """The name under which a start is shipped, or one of its members; else the last part of the path."""
    names = [
        name for name, one in shipped().items() if one.folder in (start.name, start.parent.name)
    ]
    return names[0] if names else start.name


def training_elements(model: TrainedModel, results: Path) -> dict[str, int]:
    """How many of the training crystals hold each element."""
    if model.training_elements is not None:
        return model.training_elements
    ids = read_split(results / "split.parquet")["train"]
    return element_counts(GraphDataset(results / "graphs", ids).compositions())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of the stages' files")
    parser.add_argument("folder", help="name of the new folder in dglframer/pretrained")
    parser.add_argument(
        "--name", type=name_and_value, action="append", required=True, metavar="NAME=TARGET"
    )
    for text in ("--training-data", "--licence", "--citation"):
        parser.add_argument(text, help="default: as download.json says")
    parser.add_argument(
        "--remark", action="append", default=[], help="what the card says of the training besides"
    )
    args = parser.parse_args()
    given = {key: getattr(args, key) for key in ("training_data", "licence", "citation")}
    texts = {key: value for key, value in given.items() if value}
    print(ship(args.results, args.folder, dict(args.name), texts, ROOT / "docs", args.remark))


if __name__ == "__main__":
    main()
