"""The pages of the shipped models: a card for each name, and its line in docs/README.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from dglframer.common.files import write_text
from dglframer.config.networks import encoder_of
from dglframer.config.training import TrainingConfig
from dglframer.networks.model_directory import TrainedModel
from dglframer.pretrained.registry import Shipped
from dglframer.report.model_card import Card, evaluation_lines, origin_points, size_point

# The lines of docs/README.md before those of the cards.
MODELS_BEFORE = "## Using: shipped models\n\n| page | for |\n|---|---|"


def card(
    name: str,
    one: Shipped,
    models: list[TrainedModel],
    metrics: dict[str, Any],
    precision: str,
    remarks: Sequence[str],
) -> str:
    """The page of a model, from the stored numbers."""
    errors, model = metrics["targets"][one.target], models[0]
    others = [target.name for target in model.targets if target.name != one.target]
    learned = f" It was learned together with {', '.join(others)}." if others else ""
    intro = [
        f'`dglframer predict {name} *.cif`, `dglframer.load("{name}")`, and as a start of fine-tuning',
        f"`training.init_from: {name}`. It predicts `{one.target}` in {one.unit or 'no unit'}.{learned}",
        "Written by tools/ship_model.py from the stored results.",
    ]
    sizes = [member.network.parameter_count() for member in models]
    points = [
        *origin_points(one.training_data, one.licence, one.citation),
        size_point(sizes, encoder_of(model.network.settings), model.cutoff),
        *recipe_points(models),
        precision,
        *remarks,
    ]
    found = {one.target: evaluation_lines(errors)}
    return Card(name, intro, found, points, one.elements).markdown()


def recipe_points(models: list[TrainedModel]) -> list[str]:
    """How to train the same way, and how long it took. Members of one recipe share a point."""
    of: dict[str, list[TrainedModel]] = {}
    for model in models:
        of.setdefault(recipe(model), []).append(model)
    points = []
    for settings, alike in of.items():
        seeds = ", ".join(str(model.history.get("seed", "not stated")) for model in alike)
        points.append(
            f"Recipe of seed {seeds}, what differs from the defaults: `{settings}`. With this and the data "
            "in `mine.yaml`, `snakemake --cores 2 --configfile mine.yaml` trains the same way."
        )
    hours = [f"{seconds / 3600:.2g}" for model in models if (seconds := cpu_seconds(model))]
    if hours:
        points.append(f"CPU hours of a member: {', '.join(hours)} (epochs times the last one).")
    return points


def recipe(model: TrainedModel) -> str:
    """The settings of the network and the training that are not the defaults, as one line of YAML."""
    settings, training = model.network.settings, model.history.get("training", {})
    transforms = {target.name: target.transform for target in model.targets if target.transform}
    sections = {
        "dataset": {"target_transforms": transforms} if transforms else {},
        "encoder": encoder_of(settings),
        encoder_of(settings): changed(settings.model_dump(mode="json"), type(settings)()),
        "training": changed(training, TrainingConfig()),
        "tune": {"trials": 0},
    }
    given = {key: value for key, value in sections.items() if value}
    return yaml.safe_dump(given, default_flow_style=True, width=10_000, sort_keys=False).strip()


def changed(values: dict[str, Any], defaults: BaseModel) -> dict[str, Any]:
    usual = defaults.model_dump(mode="json")
    return {key: value for key, value in values.items() if key in usual and value != usual[key]}


def cpu_seconds(model: TrainedModel) -> float | None:
    """Of a whole training, by its last epoch; None where the model does not say."""
    last = model.history.get("last_epoch") or {}
    return last["epoch"] * last["cpu_seconds"] if last.get("cpu_seconds") else None


def add_to_index(index: Path, name: str, one: Shipped) -> None:
    """A line for the card in the table of models."""
    text = index.read_text(encoding="utf-8")
    link = f"| [{name}](models/{name}.md) |"
    if link in text:
        return
    before, line, after = text.partition(MODELS_BEFORE)
    rest, end, further = after.partition("\n")
    row = f"{link} shipped model: {one.target}, its errors and data |\n"
    write_text(index, f"{before}{line}{rest}{end}{row}{further}")
