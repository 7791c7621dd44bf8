"""the N-body experiment of the SE(3)-Transformer paper: simulate, bounds, train, evaluate, table"""

import argparse
import logging
from pathlib import Path
from typing import Any

from dglframer.cli.options import CONFIG, DEVICE, MODEL_DIRS, OUT, THREADS, add_verb

log = logging.getLogger(__name__)


def simulate(args: argparse.Namespace) -> None:
    """simulate the train, val and test parts with one force cap; write a safetensors file"""
    from dglframer.config import load_config
    from dglframer.experiments.data_set import PARTS
    from dglframer.experiments.nbody.budgets import budget_of
    from dglframer.experiments.nbody.simulation import simulate, write_data_set

    config = load_config(args.config).nbody
    sizes = dict(zip(PARTS, budget_of(config).simulations, strict=True))
    parts = {part: simulate(n, config.data_seed, part, args.cap) for part, n in sizes.items()}
    log.info("cap %s: %s", args.cap, ", ".join(f"{part} {n}" for part, n in sizes.items()))
    write_data_set(args.out, parts, args.cap, config.data_seed)


def bounds(args: argparse.Namespace) -> None:
    """measure the error of constant velocity and the minimal error of equivariant models"""
    from dglframer.common.files import write_json
    from dglframer.config import load_config
    from dglframer.experiments.nbody.bounds import measure_bounds
    from dglframer.experiments.nbody.budgets import budget_of
    from dglframer.experiments.nbody.simulation import cap_of, read_data_set

    config = load_config(args.config).nbody
    budget, parts = budget_of(config), read_data_set(args.data)
    result = measure_bounds(
        parts, cap_of(args.data), budget.rotations, budget.calibration, config.data_seed
    )
    for name in ("calibration", "floor"):
        errors = result[name]
        log.info("%s: x %.4f v %.4f", name, errors["mse_x"][-1], errors["mse_v"][-1])
    write_json(args.out, result)


def train(args: argparse.Namespace) -> None:
    """train one model for one horizon and seed; write a model folder"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.common.errors import UserError
    from dglframer.common.files import sha256
    from dglframer.config import load_config, nearest
    from dglframer.experiments.model_folder import save_trained
    from dglframer.experiments.nbody.budgets import budget_of
    from dglframer.experiments.nbody.simulation import read_data_set
    from dglframer.experiments.nbody.task import examples
    from dglframer.experiments.nbody.training import Description, train

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    budget = budget_of(load_config(args.config).nbody)
    if args.model not in budget.steps:
        raise UserError(f"no model {args.model}{nearest(args.model, list(budget.steps))}")
    parts, steps = read_data_set(args.data), budget.steps[args.model]
    description = Description(args.model, args.frames, args.seed, steps, budget.degrees)
    sets = [examples(parts[part], args.frames, device) for part in ("train", "val")]
    trained = train(description, *sets)
    best = trained.best
    log.info("best at step %(step)d: validation x %(val_mse_x).4f v %(val_mse_v).4f", best)
    save_trained(trained, vars(description), sha256(args.data), args.threads, args.out)


def evaluate(args: argparse.Namespace) -> None:
    """measure test errors and equivariance errors of the models of one data set"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.common.files import write_json
    from dglframer.experiments.nbody.evaluation import evaluate

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    result = evaluate(args.data, args.models, device)
    for row in result["rows"]:
        log.info("%(model)s %(frames)d frames: x %(mse_x).4f v %(mse_v).4f", row)
    write_json(args.out, result)


def table(args: argparse.Namespace) -> None:
    """write table.json, table.md and three figures from evaluations and bounds"""
    from dglframer.common.files import read_json, write_json, write_text
    from dglframer.experiments.nbody.figures import horizon_figure, learning_figure, rotation_figure
    from dglframer.experiments.nbody.table import markdown, read_results

    results = read_results(args.evaluations, args.bounds)
    write_json(args.out / "table.json", results)
    write_text(args.out / "table.md", markdown(results))
    evaluations = [read_json(path) for path in args.evaluations]
    limits = [read_json(path) for path in args.bounds]
    write_text(args.out / "rotation.svg", rotation_figure(evaluations[0]))
    write_text(args.out / "learning_curves.svg", learning_figure(evaluations))
    write_text(args.out / "horizon.svg", horizon_figure(evaluations, limits))
    print(markdown(results))


def add_parser(verbs: Any) -> None:
    """`dglframer nbody VERB`."""
    summary = __doc__
    group = verbs.add_parser("nbody", help=summary, description=summary)
    steps = group.add_subparsers(required=True, metavar="VERB", help="one of these")

    def path(text: str, **more: Any) -> dict[str, Any]:
        return {"type": Path, "required": True, "help": text, **more}

    data = ("--data", path("data set of `nbody simulate`"))
    caps = {
        "choices": ("component", "norm"),
        "required": True,
        "help": "force cap of the simulator",
    }
    number = {"type": int, "required": True}
    frames = {
        **number,
        "choices": range(1, 11),
        "metavar": "N",
        "help": "predict N frames ahead, 1 to 10 (the table has 10)",
    }
    add_verb(steps, simulate, CONFIG, ("--cap", caps), OUT)
    add_verb(steps, bounds, CONFIG, data, OUT)
    add_verb(
        steps,
        train,
        *(CONFIG, data),
        ("--model", {"required": True, "help": "deepset, tfn, set_transformer, ..."}),
        ("--frames", frames),
        ("--seed", {**number, "help": "seed of weights and batches"}),
        *(THREADS, DEVICE, OUT),
    )
    add_verb(steps, evaluate, data, MODEL_DIRS, THREADS, DEVICE, OUT)
    add_verb(
        steps,
        table,
        ("--evaluations", path("evaluation.json of each data set", nargs="+")),
        ("--bounds", path("bounds.json of each data set", nargs="+")),
        OUT,
    )
