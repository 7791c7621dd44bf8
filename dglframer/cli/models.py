"""The verbs that train, evaluate, compare, report and predict. Each imports its modules itself."""

import argparse
import json
import logging
from itertools import takewhile
from pathlib import Path
from typing import Any

from dglframer.cli.options import (
    CHECKS,
    CONFIG,
    CRYSTALS,
    DEVICE,
    DOWNLOAD,
    GRAPHS,
    MODEL_DIRS,
    OUT,
    REJECTED,
    SPLIT,
    THREADS,
    TUNED,
    add_verb,
)
from dglframer.common.errors import UserError

log = logging.getLogger(__name__)


def tune(args: argparse.Namespace) -> None:
    """start or continue the Optuna study; write best.json (the test split is not read)"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.config import load_config
    from dglframer.tuning.tune import tune

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    config = load_config(args.config)
    result = tune(config, args.graphs, args.split, args.out, device, args.worker)
    if args.worker:
        log.info("worker %(worker)d ran the trials %(trials)s", result)
    else:
        log.info("best trial %(trial)s: validation loss %(val_loss)s with %(params)s", result)


def train(args: argparse.Namespace) -> None:
    """train one model for one seed, from its newest checkpoint if there is one"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.common.files import read_json
    from dglframer.config import load_config, override
    from dglframer.training.distributed import processes_on
    from dglframer.training.run import TrainingJob, train_seed
    from dglframer.training.signals import stop_on_signals

    config = load_config(args.config)
    if args.tuned:
        config = override(config, read_json(args.tuned, "params")["params"])
    job = TrainingJob(
        config=config,
        seed=args.seed,
        graphs=args.graphs,
        split=args.split,
        out=args.out,
        checkpoints=args.checkpoints or args.out / "checkpoints",
        restart=args.restart,
        when_changed=args.when_changed,
        own_shards=args.own_shards,
    )
    device = pick_device(args.device)
    # Before processes_on: it imports parts of torch that keep a process group alive. gloo's threads
    # would then outlive the group and may abort the process as it ends (pytorch issue 190489).
    make_reproducible(args.threads, device)
    with stop_on_signals() as stop, processes_on(device) as processes:
        if not processes.leads:
            logging.getLogger().setLevel(logging.WARNING)
        train_seed(job, processes, stop)


def evaluate(args: argparse.Namespace) -> None:
    """predict every split with every model; write predictions, metrics and plots"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.evaluation.errors import interval_summary, summary
    from dglframer.evaluation.evaluate import evaluate
    from dglframer.report.plots import coverage_plot, learning_curve_plot, parity_plot
    from dglframer.training.metrics import METRICS_FILE

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    metrics = evaluate(args.graphs, args.split, args.models, args.out, device)
    parity_plot(args.out / "predictions.parquet", args.out / "parity.svg")
    coverage_plot(metrics, args.out / "coverage.svg")
    # Shipped and imported models are without the course of their training.
    if courses := [folder for folder in args.models if (folder / METRICS_FILE).is_file()]:
        learning_curve_plot(courses, args.out / "learning_curve.svg")
    else:
        log.info("no learning_curve.svg: none of the models has a %s", METRICS_FILE)
    for name, result in metrics["targets"].items():
        log.info("%s", interval_summary(name, result))
        log.info("%s", summary(name, result))


def compare_plan(args: argparse.Namespace) -> None:
    """write the settings of each variant of a comparison, for equal epochs or equal CPU time"""
    from dglframer.config import load_config
    from dglframer.evaluation.comparison_plan import write_plans

    write_plans(load_config(args.config), args.budget, args.trained, args.out)


def compare(args: argparse.Namespace) -> None:
    """write the table and plot of a comparison from its evaluated models"""
    from dglframer.config import load_config
    from dglframer.report.comparison import markdown, write_comparison

    print(markdown(write_comparison(load_config(args.config), args.out)), end="")


def report(args: argparse.Namespace) -> None:
    """write one self-contained HTML page about the whole run"""
    from dglframer.report.report import Inputs, write_report

    inputs = Inputs(
        config=args.config,
        download=args.download,
        crystals=args.crystals,
        rejected=args.rejected,
        checks=args.checks,
        inspection=args.inspection,
        split=args.split,
        leakage=args.leakage,
        graphs=args.graphs,
        tuned=args.tuned,
        models=args.models,
        evaluation=args.evaluation,
        learning_curve=args.learning_curve,
        benchmarks=args.benchmarks,
    )
    test_error = write_report(inputs, args.out, args.cards)
    print(f"{test_error}\nThe report is in {args.out}")


def predict(args: argparse.Namespace) -> int:
    """predict the properties of the crystals in files, with one model or several"""
    from dglframer.common.device import make_reproducible, pick_device
    from dglframer.evaluation.demands import Demands
    from dglframer.evaluation.predict import Reading, predict_files
    from dglframer.evaluation.structure_inputs import find_inputs
    from dglframer.networks.named import names_model

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    more = list(takewhile(names_model, args.inputs))
    if len(more) == len(args.inputs):
        raise UserError(f"{more[-1]} is a model: after the models, give files of structures")
    failed = predict_files(
        [args.model_dir, *more, *args.model],
        find_inputs(list(map(Path, args.inputs[len(more) :]))),
        args.out,
        device,
        Reading(args.edges_per_batch, args.periodicity == "assume_periodic", args.workers),
        Demands(args.abstain_above, args.strict, args.coverage),
        args.embed,
    )
    return 1 if failed else 0


def models(args: argparse.Namespace) -> None:
    """list the models that come with dglframer: what they predict, how well, from which data"""
    from dglframer.pretrained.registry import as_values, shipped, table

    print(json.dumps(as_values(shipped()), indent=1) if args.json else table(shipped()))


def import_checkpoint(args: argparse.Namespace) -> None:
    """make a model directory from a checkpoint of the CrystalFramer authors, without unpickling"""
    from dglframer.networks.model_directory import save_model
    from dglframer.networks.published_checkpoint import read_checkpoint

    save_model(read_checkpoint(args.checkpoint, args.cutoff_angstrom, args.unit), args.model_dir)


def add_verbs(verbs: Any) -> None:
    """Each verb with its options."""
    worker = {
        "type": int,
        "default": 0,
        "help": "0 writes the results; 1, 2, ... only run trials",
    }
    add_verb(verbs, tune, CONFIG, GRAPHS, SPLIT, ("--worker", worker), THREADS, DEVICE, OUT)
    seed = (
        "--seed",
        {"type": int, "required": True, "help": "seed of the weights and the shuffling"},
    )
    checkpoints = {"type": Path, "help": "folder of checkpoints (default: OUT/checkpoints)"}
    restart = {
        "action": "store_true",
        "help": "discard the checkpoints in that folder and begin anew",
    }
    own_shards = {
        "action": "store_true",
        "help": "with torchrun: each process reads its own shards alone (docs/guide/training.md)",
    }
    changed: dict[str, Any] = {"choices": ("refuse", "fresh"), "default": "refuse"}
    changed["help"] = "what to do if the checkpoints have other settings or data (default: refuse)"
    add_verb(
        verbs,
        train,
        *(CONFIG, GRAPHS, SPLIT, TUNED, seed, THREADS, DEVICE, OUT),
        ("--checkpoints", checkpoints),
        ("--restart", restart),
        ("--when-changed", changed),
        ("--own-shards", own_shards),
    )
    add_verb(verbs, evaluate, GRAPHS, SPLIT, MODEL_DIRS, THREADS, DEVICE, OUT)
    budget: dict[str, Any] = {"choices": ("epochs", "time"), "required": True}
    budget["help"] = "equal epochs for all variants, or the CPU time of the first"
    trained = {
        "type": Path,
        "required": True,
        "help": "folder of the models trained for equal epochs",
    }
    add_verb(verbs, compare_plan, CONFIG, ("--budget", budget), ("--trained", trained), OUT)
    add_verb(verbs, compare, CONFIG, OUT)
    evaluation = ("--evaluation", {"type": Path, "required": True, "help": "evaluation folder"})
    inspection = ("--inspection", {"type": Path, "required": True, "help": "inspection.json"})
    leaks = ("--leakage", {"type": Path, "required": True, "help": "leakage.json"})
    add_verb(
        verbs,
        report,
        *(CONFIG, DOWNLOAD, CRYSTALS, REJECTED, CHECKS, inspection, SPLIT, leaks, GRAPHS, TUNED),
        *(MODEL_DIRS, evaluation),
        ("--learning-curve", {"type": Path, "help": "table.json of a learning curve; shown if it is there"}),
        ("--cards", {"type": Path, "help": "folder for card.md, and for that of each model in its folder"}),
        ("--benchmarks", {"type": Path, "help": "folder of the workflow's times; shown if it is there"}),
        OUT,
    )  # fmt: skip
    model_dir = ("model_dir", {"type": Path, "metavar": "MODEL_DIR", "help": "a model directory"})
    one = {
        "metavar": "MODEL",
        "help": "a shipped model's name, a model directory, a folder of them",
    }
    more = {"action": "append", "default": [], "metavar": "MODEL"}
    inputs: dict[str, Any] = {"nargs": "+", "metavar": "INPUT"}
    inputs["help"] = (
        "structure files, folders of them, .parquet files, .txt files of paths, or - for paths on "
        "standard input; further models may stand in front"
    )
    periodicity: dict[str, Any] = {"choices": ("as_stated", "assume_periodic")}
    periodicity |= {"default": "as_stated", "help": "as dataset.periodicity (default: as_stated)"}
    coverage: dict[str, Any] = {"type": float, "default": 0.9}
    coverage |= {"choices": (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)}
    coverage["help"] = "of the intervals low, high (default: 0.9)"
    abstain = {"type": float, "help": "give no prediction if the interval is wider (docs)"}
    workers: dict[str, Any] = {"type": int, "metavar": "N"}
    workers["help"] = (
        "processes that read the files beside the prediction; 0: none (default: as many as there are "
        "cores besides --threads, fewer for little to read)"
    )
    edges = {"type": int, "default": 200_000, "help": "maximal edges of a batch; bounds the memory"}
    add_verb(
        verbs,
        predict,
        ("model_dir", one),
        ("inputs", inputs),
        ("--model", {**more, "help": "another model of the ensemble; may be repeated"}),
        ("--out", {"type": Path, "help": ".csv or .parquet (default: CSV on standard output)"}),
        (
            "--embed",
            {
                "type": Path,
                "metavar": "FILE",
                "help": "write the crystals' vectors, of the first model: .parquet",
            },
        ),
        ("--abstain-above", abstain),
        ("--coverage", coverage),
        ("--strict", {"action": "store_true", "help": "what has a warning is an error"}),
        ("--edges-per-batch", edges),
        ("--periodicity", periodicity),
        ("--workers", workers),
        THREADS,
        DEVICE,
    )
    add_verb(verbs, models, ("--json", {"action": "store_true", "help": "for programs"}))
    checkpoint = {"type": Path, "metavar": "CKPT", "help": "the authors' .ckpt file"}
    cutoff = {
        "type": float,
        "default": None,
        "help": "default: 6 times the maximal width of the attention",
    }
    add_verb(
        verbs,
        import_checkpoint,
        ("checkpoint", checkpoint),
        model_dir,
        ("--cutoff-angstrom", cutoff),
        ("--unit", {"default": "", "help": "unit of the targets, which the file does not state"}),
    )
