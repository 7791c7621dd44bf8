"""The command line: one verb per stage, each reading and writing files. Imports stay in the verbs."""

import argparse
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from dglframer import __version__
from dglframer.errors import Interrupted, UserError
from dglframer.nbody import commands as nbody

log = logging.getLogger("dglframer")

CONFIG = ("--config", {"type": Path, "required": True, "help": "YAML or JSON configuration"})
OUT = ("--out", {"type": Path, "required": True, "help": "what to write"})
GRAPHS = ("--graphs", {"type": Path, "required": True, "help": "folder of graph shards"})
SPLIT = ("--split", {"type": Path, "required": True, "help": "split.parquet"})
CRYSTALS = ("--crystals", {"type": Path, "required": True, "help": "crystals.parquet"})
REJECTED = ("--rejected", {"type": Path, "required": True, "help": "rejected.parquet"})
CHECKS = ("--checks", {"type": Path, "required": True, "help": "checks.parquet"})
DOWNLOAD = ("--download", {"type": Path, "required": True, "help": "download.json"})
THREADS = ("--threads", {"type": int, "default": 1, "help": "CPU threads (default 1)"})
DEVICE = ("--device", {"default": "auto", "help": "cpu, cuda, cuda:1, ... (default: auto)"})
MODEL_DIRS = ("--models", {"type": Path, "nargs": "+", "required": True, "help": "model folders"})


def sources(args: argparse.Namespace) -> None:
    """list the data sources: size, licence, citation, targets with units"""
    from dataclasses import asdict

    from dglframer.sources.catalogue import ROWS, table

    print(json.dumps([asdict(row) for row in ROWS], indent=1) if args.json else table())


def download(args: argparse.Namespace) -> None:
    """find the data set's files (fetching them if need be) and write download.json"""
    from dglframer.config import load_config
    from dglframer.files import write_json
    from dglframer.sources import describe, open_source

    offline = args.offline or os.environ.get("DGLFRAMER_OFFLINE", "0") != "0"
    config = load_config(args.config)
    description = describe(open_source(config.dataset, config.materials_project, offline))
    for entry in description["files"][:10]:
        log.info("%(path)s (%(bytes)d bytes)", entry)
    write_json(args.out, description)


def crystals(args: argparse.Namespace) -> None:
    """validate every record; write crystals.parquet and rejected.parquet"""
    import tempfile

    from dglframer.config import load_config
    from dglframer.crystals import (
        crystals_schema,
        crystals_tables,
        validated,
    )
    from dglframer.files import write_row_groups
    from dglframer.rejections import Rejections, check_rejected_share
    from dglframer.sorted_rows import merged, regrouped, sort_into_files
    from dglframer.sources import open_source, verify

    dataset = load_config(args.config).dataset
    source = open_source(dataset, local=verify(args.download))
    rejections = Rejections()
    units = {target: source.unit(target) for target in dataset.targets}
    records = source.records()
    valid = validated(records, dataset.targets, rejections, dataset.repeated_ids)
    tables = crystals_tables(valid, source.name, dataset.targets, units)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".crystals-", dir=args.out.parent) as folder:
        sorted_files = sort_into_files(tables, Path(folder))
        n_valid, n_rejected = sum(sorted_files.values()), len(rejections)
        rejections.write(args.rejected)
        log.info("read %d records, rejected %d", n_valid + n_rejected, n_rejected)
        check_rejected_share(n_valid, rejections, dataset.max_rejected_fraction)
        schema = crystals_schema(dataset.targets, units)
        write_row_groups(args.out, regrouped(merged(sorted_files), schema), schema)


def clean(args: argparse.Namespace) -> None:
    """look for duplicate structures, unphysical labels and disagreements; write checks.parquet"""
    from dglframer.cleaning import check_crystals
    from dglframer.config import load_config
    from dglframer.files import write_parquet

    table = check_crystals(args.crystals, load_config(args.config).cleaning, args.threads)
    dropped = sum(map(bool, table["dropped"].to_pylist()))
    log.info("read %d crystals, cleaning drops %d of them from the split", len(table), dropped)
    write_parquet(args.out, table)


def split(args: argparse.Namespace) -> None:
    """assign every crystal to train, val or test"""
    from dglframer.config import load_config
    from dglframer.files import read_parquet
    from dglframer.split import columns_of, reads_checks, split_crystals, write_split

    config = load_config(args.config)
    table = read_parquet(args.crystals, columns=columns_of(config.split.method))
    if reads_checks(config) and not args.checks:
        raise UserError("this configuration of cleaning and split needs --checks checks.parquet")
    checks = read_parquet(args.checks) if reads_checks(config) else None
    rejected = read_parquet(args.rejected) if args.rejected else None
    splits = split_crystals(table, config.split, checks, rejected, config.dataset.targets[0])
    counts = write_split(splits, args.out)
    log.info("%s", ", ".join(f"{name} {count}" for name, count in counts.items()))


def leakage(args: argparse.Namespace) -> None:
    """report ids, structures, formulas and prototypes that parts of the split share"""
    from dglframer.config import load_config
    from dglframer.files import read_parquet, write_json
    from dglframer.leakage import leakage

    method = load_config(args.config).split.method
    write_json(args.out, leakage(read_parquet(args.checks), read_parquet(args.split), method))


def inspect(args: argparse.Namespace) -> None:
    """show what a dataset holds: elements, sizes, labels, rejected rows, duplicates"""
    from dglframer.cleaning import check_crystals
    from dglframer.data_config import CleaningConfig
    from dglframer.files import read_parquet, write_json
    from dglframer.inspection import inspect, terminal_table, write_page

    beside = args.dataset.with_name("rejected.parquet")
    path = args.rejected or (beside if beside.is_file() else None)
    checks = (
        read_parquet(args.checks)
        if args.checks
        else check_crystals(args.dataset, CleaningConfig(), args.threads)
    )
    summary = inspect(args.dataset, read_parquet(path) if path else None, checks)
    if args.json:
        write_json(args.json, summary)
    if args.html:
        write_page(summary, args.html)
    print(terminal_table(summary))


def graphs(args: argparse.Namespace) -> None:
    """build the periodic graphs into Parquet shards and manifest.json; finished shards are kept"""
    from dglframer.config import load_config, stage_settings
    from dglframer.files import hash_of
    from dglframer.shards import build_shards, write_graphs

    config = load_config(args.config)
    inputs = (args.crystals, args.out, config.graphs, hash_of(stage_settings(config, "graphs")))
    if args.part:
        shards = build_shards(*inputs, *args.part)
        log.info("part %d of %d: %d shards", *args.part, len(shards))
    else:
        log.info("%(crystals)d crystals, %(atoms)d atoms, %(edges)d edges", write_graphs(*inputs))


def part(text: str) -> tuple[int, int]:
    """3/8: the third of eight parts; raises ValueError."""
    one, of = (int(number) for number in text.split("/"))
    if not 1 <= one <= of:
        raise ValueError
    return one, of


def tune(args: argparse.Namespace) -> None:
    """run or go on with the Optuna study; write best.json (the test split stays unread)"""
    from dglframer.config import load_config
    from dglframer.device import make_reproducible, pick_device
    from dglframer.tuning import tune

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    config = load_config(args.config)
    result = tune(config, args.graphs, args.split, args.out, device, args.worker)
    if args.worker:
        log.info("worker %(worker)d ran the trials %(trials)s", result)
    else:
        log.info("best trial %(trial)s: validation loss %(val_loss)s with %(params)s", result)


def train(args: argparse.Namespace) -> None:
    """train one model for one seed, going on from its checkpoint if there is one"""
    from dglframer.config import load_config, override
    from dglframer.device import make_reproducible, pick_device
    from dglframer.files import read_json
    from dglframer.parallel import processes_on
    from dglframer.signals import stop_on_signals
    from dglframer.training import train_seed

    config = load_config(args.config)
    if args.tuned:
        config = override(config, read_json(args.tuned, "params")["params"])
    with stop_on_signals() as stop, processes_on(pick_device(args.device)) as processes:
        if not processes.leads:
            logging.getLogger().setLevel(logging.WARNING)
        make_reproducible(args.threads, processes.device)
        train_seed(
            config,
            args.graphs,
            args.split,
            args.seed,
            args.out,
            args.checkpoints or args.out / "checkpoints",
            args.restart,
            args.when_changed,
            stop,
            processes,
        )


def evaluate(args: argparse.Namespace) -> None:
    """predict every split with every model; write predictions, metrics and plots"""
    from dglframer.device import make_reproducible, pick_device
    from dglframer.evaluation import evaluate
    from dglframer.plots import calibration_plot, learning_curve_plot, parity_plot

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    metrics = evaluate(args.graphs, args.split, args.models, args.out, device)
    parity_plot(args.out / "predictions.parquet", args.out / "parity.svg")
    calibration_plot(args.out / "predictions.parquet", args.out / "calibration.svg")
    learning_curve_plot(args.models, args.out / "learning_curve.svg")
    for name, result in metrics["targets"].items():
        log.info(
            "%s: test MAE %.4f %s (training median %.4f, composition alone %.4f)",
            name,
            result["splits"]["test"]["mae"],
            result["unit"],
            result["median_baseline"]["test_mae"],
            result["composition_baseline"]["test_mae"],
        )


def compare_plan(args: argparse.Namespace) -> None:
    """write the settings of each variant of a comparison, for equal epochs or equal time"""
    from dglframer.compare import write_plans
    from dglframer.config import load_config

    write_plans(load_config(args.config), args.budget, args.trained, args.out)


def compare(args: argparse.Namespace) -> None:
    """write table and plot of a comparison from its evaluated models"""
    from dglframer.compare import markdown, write_comparison
    from dglframer.config import load_config

    print(markdown(write_comparison(load_config(args.config), args.out)), end="")


def report(args: argparse.Namespace) -> None:
    """write one self-contained HTML page about the whole run"""
    from dglframer.report import Inputs, write_report

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
    )
    test_error = write_report(inputs, args.out)
    print(f"{test_error}\nThe report is in {args.out}")


def predict(args: argparse.Namespace) -> int:
    """predict the properties of CIF, POSCAR or Parquet files with one or several models"""
    from dglframer.device import make_reproducible, pick_device
    from dglframer.prediction import predict_files

    device = pick_device(args.device)
    make_reproducible(args.threads, device)
    folders = [args.model_dir, *args.model]
    failed = predict_files(
        folders, args.files, args.out, device, args.edges_per_batch, args.abstain_above
    )
    return 1 if failed else 0


def import_checkpoint(args: argparse.Namespace) -> None:
    """turn a checkpoint of the CrystalFramer authors into a model directory, without unpickling"""
    from dglframer.checkpoint import save_model
    from dglframer.import_checkpoint import read_checkpoint

    save_model(read_checkpoint(args.checkpoint, args.cutoff_angstrom, args.unit), args.model_dir)


def doctor(args: argparse.Namespace) -> int:
    """print versions, devices and folders, and what to do about anything wrong"""
    from dglframer.doctor import examine

    return examine()


def config(args: argparse.Namespace) -> None:
    """print the default configuration, check one, or write the checkout's default files"""
    from dglframer.config import load_config
    from dglframer.config_files import default_yaml, write_config_files

    if args.write:
        write_config_files(Path.cwd())
    elif args.check:
        load_config(args.check)
        log.info("%s is valid", args.check)
    else:
        print(default_yaml(), end="")


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    main = argparse.ArgumentParser("dglframer", description="Crystal properties, predicted.")
    main.add_argument("--version", action="version", version=f"dglframer {__version__}")
    verbs = main.add_subparsers(required=True, metavar="VERB")

    def verb(function, *options):
        name = function.__name__.replace("_", "-")
        summary = function.__doc__
        one = verbs.add_parser(name, help=summary, description=summary)
        one.set_defaults(run=function)
        for flag, settings in options:
            one.add_argument(flag, **settings)

    tuned = ("--tuned", {"type": Path, "help": "best.json of the tune stage"})
    verb(sources, ("--json", {"action": "store_true", "help": "for programs"}))
    stay = {"action": "store_true", "help": "open no connection (also: DGLFRAMER_OFFLINE=1)"}
    verb(download, CONFIG, ("--offline", stay), OUT)
    verb(crystals, CONFIG, DOWNLOAD, REJECTED, OUT)
    verb(clean, CONFIG, CRYSTALS, THREADS, OUT)
    dataset = {"type": Path, "metavar": "DATASET", "help": "crystals.parquet"}
    verb(
        inspect,
        ("dataset", dataset),
        ("--rejected", {"type": Path, "help": "default: rejected.parquet beside it, if there"}),
        ("--checks", {"type": Path, "help": "checks.parquet of it; default: made anew"}),
        ("--json", {"type": Path, "metavar": "FILE", "help": "write the summary as JSON"}),
        ("--html", {"type": Path, "metavar": "FILE", "help": "write the summary as a page"}),
        THREADS,
    )
    some_checks = (
        "--checks",
        {"type": Path, "help": "checks.parquet, where cleaning drops crystals"},
    )
    some_rejected = ("--rejected", {"type": Path, "help": "rejected.parquet, for method official"})
    verb(split, CONFIG, CRYSTALS, some_rejected, some_checks, OUT)
    verb(leakage, CONFIG, CHECKS, SPLIT, OUT)
    some = {"type": part, "metavar": "K/N", "help": "build part K of N, without the manifest"}
    verb(graphs, CONFIG, CRYSTALS, ("--part", some), OUT)
    worker = {
        "type": int,
        "default": 0,
        "help": "1, 2, ...: help worker 0, which writes the results",
    }
    verb(tune, CONFIG, GRAPHS, SPLIT, ("--worker", worker), THREADS, DEVICE, OUT)
    seed = ("--seed", {"type": int, "required": True, "help": "of initialisation and shuffling"})
    checkpoints = {"type": Path, "help": "folder of checkpoints (default: OUT/checkpoints)"}
    restart = {"action": "store_true", "help": "discard the checkpoints there and begin anew"}
    changed: dict[str, Any] = {"choices": ("refuse", "fresh"), "default": "refuse"}
    changed["help"] = "if the checkpoints are of other settings or data (default: refuse)"
    verb(
        train,
        *(CONFIG, GRAPHS, SPLIT, tuned, seed, THREADS, DEVICE, OUT),
        ("--checkpoints", checkpoints),
        ("--restart", restart),
        ("--when-changed", changed),
    )
    verb(evaluate, GRAPHS, SPLIT, MODEL_DIRS, THREADS, DEVICE, OUT)
    budget: dict[str, Any] = {"choices": ("epochs", "time"), "required": True}
    budget["help"] = "as many epochs for all, or as much time as the first variant took"
    trained = {"type": Path, "required": True, "help": "folder of the models of equal epochs"}
    verb(compare_plan, CONFIG, ("--budget", budget), ("--trained", trained), OUT)
    verb(compare, CONFIG, OUT)
    evaluation = ("--evaluation", {"type": Path, "required": True, "help": "evaluation folder"})
    inspection = ("--inspection", {"type": Path, "required": True, "help": "inspection.json"})
    leaks = ("--leakage", {"type": Path, "required": True, "help": "leakage.json"})
    verb(
        report,
        *(CONFIG, DOWNLOAD, CRYSTALS, REJECTED, CHECKS, inspection, SPLIT, leaks, GRAPHS, tuned),
        *(MODEL_DIRS, evaluation, OUT),
    )
    model_dir = ("model_dir", {"type": Path, "metavar": "MODEL_DIR", "help": "a model directory"})
    more = {"type": Path, "action": "append", "default": [], "metavar": "MODEL_DIR"}
    files = {
        "type": Path,
        "nargs": "+",
        "metavar": "FILE",
        "help": "CIF, POSCAR, extxyz or .parquet",
    }
    abstain = {"type": float, "help": "no prediction where the models' spread is above this"}
    edges = {"type": int, "default": 200_000, "help": "bounds the memory of a batch"}
    verb(
        predict,
        model_dir,
        ("files", files),
        ("--model", {**more, "help": "another member of the ensemble; may be repeated"}),
        ("--out", {"type": Path, "required": True, "help": ".csv or .parquet"}),
        ("--abstain-above", abstain),
        ("--edges-per-batch", edges),
        THREADS,
        DEVICE,
    )
    checkpoint = {"type": Path, "metavar": "CKPT", "help": "the authors' .ckpt file"}
    cutoff = {"type": float, "default": None, "help": "default: 6 widths of the widest head"}
    verb(
        import_checkpoint,
        ("checkpoint", checkpoint),
        model_dir,
        ("--cutoff-angstrom", cutoff),
        ("--unit", {"default": "", "help": "unit of the targets; the file does not say"}),
    )
    nbody.add_parser(verbs)
    verb(doctor)
    verb(
        config,
        ("--write", {"action": "store_true", "help": "write the defaults into the checkout"}),
        ("--check", {"type": Path, "metavar": "FILE", "help": "check a YAML or JSON file"}),
    )
    return main


def main() -> int:
    """Entry point; user errors become one message and exit status 2 (or the error's own)."""
    args = parser().parse_args()
    # Arrow's own allocator keeps some 80 MB that it could give back; no stage is slower without it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every URL, signed ones too
    started = time.perf_counter()
    try:
        status = args.run(args) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        if getattr(args, "out", None):  # a stage, which prints little: something else is broken
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still unsaid
        return 128 + signal.SIGPIPE  # what `dglframer sources | head -1` ends with in a shell
    except UserError as error:
        print(f"dglframer: error: {error}", file=sys.stderr)
        return error.status
    except Interrupted as stopped:
        print(f"dglframer: {stopped}", file=sys.stderr)
        return stopped.status
    if getattr(args, "out", None) or getattr(args, "html", None):  # it has written something
        log.info("%s done in %.1f s", args.run.__name__, time.perf_counter() - started)
    return status


if __name__ == "__main__":
    sys.exit(main())
