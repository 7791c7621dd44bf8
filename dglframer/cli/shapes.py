"""the objects experiment of the SE(3)-Transformer paper: data, train, evaluate, table"""

import argparse
import logging
from pathlib import Path
from typing import Any

from dglframer.cli.options import CONFIG, DEVICE, MODEL_DIRS, OUT, THREADS, add_verb

log = logging.getLogger(__name__)


def data(args: argparse.Namespace) -> None:
    """make the objects, or read those of ScanObjectNN; write a safetensors file"""
    from dglframer.config import load_config
    from dglframer.experiments.data_set import PARTS
    from dglframer.experiments.shapes.budgets import budget_of
    from dglframer.experiments.shapes.clouds import generate, write_clouds
    from dglframer.experiments.shapes.objects import OBJECTS
    from dglframer.experiments.shapes.scan_files import CLASSES, read_scans

    config = load_config(args.config).shapes
    if config.path is not None and config.source == "scanobjectnn":
        classes = list(CLASSES)
        parts = read_scans(Path(config.path), config.up, config.data_seed)
    else:
        classes = list(OBJECTS)
        sizes = zip(PARTS, budget_of(config).objects, strict=True)
        parts = {part: generate(count, config.data_seed, part) for part, count in sizes}
    log.info("%s: %s", config.source, ", ".join(f"{part} {len(of)}" for part, of in parts.items()))
    description = {"source": config.source, "seed": config.data_seed, "classes": classes}
    write_clouds(args.out, parts, description)


def train(args: argparse.Namespace) -> None:
    """train one network with one seed, on objects as given or rotated; write a model folder"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.common.errors import UserError
    from dglframer.common.files import sha256
    from dglframer.config import load_config, nearest
    from dglframer.experiments.model_folder import save_trained
    from dglframer.experiments.shapes.budgets import budget_of
    from dglframer.experiments.shapes.clouds import read_clouds
    from dglframer.experiments.shapes.models import Size
    from dglframer.experiments.shapes.task import examples
    from dglframer.experiments.shapes.training import Description, train

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    budget = budget_of(load_config(args.config).shapes)
    if args.model not in budget.steps:
        raise UserError(f"no model {args.model}{nearest(args.model, list(budget.steps))}")
    size = Size(budget.degrees, budget.channels, budget.layers, budget.neighbours)
    steps = budget.steps[args.model]
    description = Description(args.model, args.orientation, args.seed, steps, size)
    parts, _ = read_clouds(args.data)
    trained = train(description, *(examples(parts[part], device) for part in ("train", "val")))
    log.info("best at step %(step)d: validation accuracy %(val_accuracy).3f", trained.best)
    save_trained(trained, description.plain(), sha256(args.data), args.threads, args.out)


def evaluate(args: argparse.Namespace) -> None:
    """measure test accuracies of the models against the largest tilt"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.common.files import write_json
    from dglframer.experiments.shapes.evaluation import evaluate

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    result = evaluate(args.data, args.models, device)
    for row in result["rows"]:
        found = ", ".join(f"{value:.3f}" for value in row["accuracy"])
        log.info("%s %s seed %d: %s", row["model"], row["orientation"], row["seed"], found)
    write_json(args.out, result)


def table(args: argparse.Namespace) -> None:
    """write table.json, table.md and two figures from the evaluation"""
    from dglframer.common.files import read_json, write_json, write_text
    from dglframer.experiments.shapes.figures import object_figure, tilt_figure
    from dglframer.experiments.shapes.table import markdown, read_results

    results = read_results(args.evaluation)
    write_json(args.out / "table.json", results)
    write_text(args.out / "table.md", markdown(results))
    write_text(args.out / "tilt.svg", tilt_figure(results))
    write_text(args.out / "objects.svg", object_figure(read_json(args.evaluation)["shown"]))
    print(markdown(results))


def add_parser(verbs: Any) -> None:
    """`dglframer shapes VERB`."""
    summary = __doc__
    group = verbs.add_parser("shapes", help=summary, description=summary)
    steps = group.add_subparsers(required=True, metavar="VERB", help="one of these")
    given = {"type": Path, "required": True, "help": "data set of `shapes data`"}
    orientation = {
        "choices": ("as_given", "rotated"),
        "required": True,
        "help": "how the training objects stand",
    }
    seed = {"type": int, "required": True, "help": "seed of weights, batches and rotations"}
    add_verb(steps, data, CONFIG, OUT)
    add_verb(
        steps,
        train,
        *(CONFIG, ("--data", given)),
        ("--model", {"required": True, "help": "tfn, se3_transformer_z, deepset, ..."}),
        ("--orientation", orientation),
        ("--seed", seed),
        *(THREADS, DEVICE, OUT),
    )
    add_verb(steps, evaluate, ("--data", given), MODEL_DIRS, THREADS, DEVICE, OUT)
    evaluation = {"type": Path, "required": True, "help": "evaluation.json of `shapes evaluate`"}
    add_verb(steps, table, ("--evaluation", evaluation), OUT)
