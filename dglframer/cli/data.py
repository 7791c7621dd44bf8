"""The verbs from the sources of data to graphs. Each verb imports its modules itself."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dglframer.cli.options import (
    CHECKS,
    CONFIG,
    CRYSTALS,
    DOWNLOAD,
    OUT,
    REJECTED,
    SPLIT,
    THREADS,
    add_verb,
    name_and_value,
)
from dglframer.common.errors import UserError

log = logging.getLogger(__name__)


def sources(args: argparse.Namespace) -> None:
    """list the data sources: size, licence, citation, targets with units"""
    from dataclasses import asdict

    from dglframer.data.sources.catalogue import ROWS, table

    print(json.dumps([asdict(row) for row in ROWS], indent=1) if args.json else table())


def download(args: argparse.Namespace) -> None:
    """find or fetch the files of the data set; write download.json"""
    from dglframer.common.files import write_json
    from dglframer.config import load_config
    from dglframer.data.sources import describe, open_source

    offline = args.offline or os.environ.get("DGLFRAMER_OFFLINE", "0") != "0"
    config = load_config(args.config)
    description = describe(open_source(config.dataset, config.materials_project, offline))
    for entry in description["files"][:10]:
        log.info("%(path)s (%(bytes)d bytes)", entry)
    write_json(args.out, description)


def crystals(args: argparse.Namespace) -> None:
    """validate every record; write crystals.parquet and rejected.parquet"""
    import tempfile

    from dglframer.common.parquet import write_row_groups
    from dglframer.common.progress import tracked
    from dglframer.config import load_config
    from dglframer.data.crystals import crystals_schema, crystals_tables, validated
    from dglframer.data.label_limits import warn_of_missing_units
    from dglframer.data.rejections import Rejections, check_rejected_share
    from dglframer.data.sorted_rows import merged, regrouped, sort_into_files
    from dglframer.data.sources import open_source, verify

    dataset = load_config(args.config).dataset
    source = open_source(dataset, local=verify(args.download))
    rejections = Rejections()
    units = {target: source.unit(target) for target in dataset.targets}
    warn_of_missing_units(dataset, units)
    records = tracked(source.records(), "records")
    valid = validated(
        records, dataset.targets, rejections, dataset.repeated_ids, dataset.target_transforms
    )
    tables = crystals_tables(valid, source.name, dataset.targets, units)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".crystals-", dir=args.out.parent) as folder:
        sorted_files = sort_into_files(tables, Path(folder))
        n_valid, n_rejected = sum(sorted_files.values()), len(rejections)
        rejections.write(args.rejected)
        log.info("read %d records, rejected %d", n_valid + n_rejected, n_rejected)
        check_rejected_share(n_valid, rejections, dataset.max_rejected_fraction)
        schema = crystals_schema(dataset.targets, units, dataset.target_transforms)
        write_row_groups(args.out, regrouped(merged(sorted_files), schema), schema)


def clean(args: argparse.Namespace) -> None:
    """look for duplicate structures, unphysical labels and disagreements; write checks.parquet"""
    from collections import Counter

    from dglframer.common.parquet import write_rows
    from dglframer.config import load_config
    from dglframer.data.cleaning import checks_schema, checks_tables

    config = load_config(args.config).cleaning
    counts: Counter[str] = Counter()
    tables = checks_tables(args.crystals, config, args.threads, counts)
    write_rows(args.out, tables, checks_schema(config))
    log.info(
        "read %(crystals)d crystals, cleaning drops %(dropped)d of them from the split", counts
    )


def split(args: argparse.Namespace) -> None:
    """assign every crystal to train, val or test"""
    from functools import partial

    from dglframer.common.parquet import parquet_batches
    from dglframer.config import load_config
    from dglframer.data.split import assigned, columns_of, method_of, reads_checks, write_parts

    config = load_config(args.config)
    target = config.dataset.targets[0]
    columns = columns_of(config.split.method, target)
    crystals = partial(parquet_batches, args.crystals, columns)
    if reads_checks(config) and not args.checks:
        raise UserError("this configuration of cleaning and split needs --checks checks.parquet")
    checks = partial(parquet_batches, args.checks) if reads_checks(config) else None
    rejected = partial(parquet_batches, args.rejected) if args.rejected else None
    method = method_of(config.split, crystals())
    table = assigned(crystals, config.split, method, checks, rejected, target)
    counts = write_parts(table.parts, args.out, method)
    log.info("%s: %s", method, ", ".join(f"{name} {count}" for name, count in counts.items()))


def leakage(args: argparse.Namespace) -> None:
    """report the ids, structures, formulas and prototypes that parts of the split share"""
    from dglframer.common.files import write_json
    from dglframer.common.parquet import parquet_batches, parquet_schema
    from dglframer.data.leakage import leakage_of

    files = args.checks, args.split
    write_json(args.out, leakage_of(*map(parquet_batches, files), *map(parquet_schema, files)))


def inspect(args: argparse.Namespace) -> None:
    """show elements, sizes, labels, rejected rows and duplicates of a data set"""
    from dglframer.common.files import write_json
    from dglframer.common.parquet import parquet_batches, parquet_schema
    from dglframer.config.data import CleaningConfig
    from dglframer.data.cleaning import checks_schema, checks_tables
    from dglframer.report.inspection import summary_of, was_searched
    from dglframer.report.inspection_view import terminal_table, write_page

    beside = args.dataset.with_name("rejected.parquet")
    path = args.rejected or (beside if beside.is_file() else None)
    if args.checks:
        checks, schema = parquet_batches(args.checks), parquet_schema(args.checks)
    else:
        defaults = CleaningConfig()
        checks = checks_tables(args.dataset, defaults, args.threads)
        schema = checks_schema(defaults)
    rejected = parquet_batches(path) if path else None
    summary = summary_of(args.dataset, rejected, checks, was_searched(schema))
    if args.json:
        write_json(args.json, summary)
    if args.html:
        write_page(summary, args.html)
    print(terminal_table(summary))


def init(args: argparse.Namespace) -> None:
    """look at a folder of structures and a table of properties, and write a configuration for them"""
    from dglframer.common.files import write_text
    from dglframer.data.first_config import as_yaml, look

    if args.out.exists():
        raise UserError(f"{args.out} is there already; choose another --out or remove it")
    seen = look(args.folder, args.targets_csv)
    units = dict(args.unit)
    if unknown := units.keys() - {target.name for target in seen.targets}:
        raise UserError(
            f"--unit {min(unknown)}: {seen.table} has no such column of numbers; it has "
            f"{', '.join(target.name for target in seen.targets)}"
        )
    if sys.stdin.isatty():
        units |= asked(
            {target.name: target.unit for target in seen.targets if target.name not in units}
        )
    write_text(args.out, as_yaml(seen, units))
    log.info("%d structures, %d with a row in %s", seen.structures, seen.matched, seen.table)
    for target in seen.targets:
        if target.unit is None and target.name not in units:
            log.warning("nothing states the unit of %s: write it into %s", target.name, args.out)
    log.info("next: look at %s, then snakemake --cores all --configfile %s", args.out, args.out)


def asked(guesses: Mapping[str, str | None]) -> dict[str, str]:
    """The units of targets as a person at the terminal says; an empty answer takes the guess."""
    answers = {}
    for name, guess in guesses.items():
        hint = f" [{guess}]" if guess else " (nothing for a plain number)"
        answers[name] = input(f"Unit of {name}{hint}: ").strip() or guess or ""
    return answers


def graphs(args: argparse.Namespace) -> None:
    """build the periodic graphs as Parquet shards and manifest.json; finished shards are kept"""
    from dglframer.common.files import hash_of
    from dglframer.config import load_config
    from dglframer.config.stages import stage_settings
    from dglframer.graphs.shards import build_shards, write_graphs

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


def add_verbs(verbs: Any) -> None:
    """Each verb with its options."""
    add_verb(verbs, sources, ("--json", {"action": "store_true", "help": "for programs"}))
    stay = {"action": "store_true", "help": "open no connection (also: DGLFRAMER_OFFLINE=1)"}
    add_verb(verbs, download, CONFIG, ("--offline", stay), OUT)
    add_verb(verbs, crystals, CONFIG, DOWNLOAD, REJECTED, OUT)
    add_verb(verbs, clean, CONFIG, CRYSTALS, THREADS, OUT)
    dataset = {"type": Path, "metavar": "DATASET", "help": "crystals.parquet"}
    add_verb(
        verbs,
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
    add_verb(verbs, split, CONFIG, CRYSTALS, some_rejected, some_checks, OUT)
    add_verb(verbs, leakage, CHECKS, SPLIT, OUT)
    add_verb(
        verbs,
        init,
        ("folder", {"type": Path, "metavar": "FOLDER", "help": "structure files, also in folders"}),
        ("--targets-csv", {"type": Path, "help": "default: id_prop.csv in FOLDER, or its only table"}),
        ("--unit", {"type": name_and_value, "action": "append", "default": [], "metavar": "NAME=UNIT",
                    "help": "unit of a column; may be given several times"}),
        ("--out", {"type": Path, "default": Path("mine.yaml"), "help": "default: mine.yaml"}),
    )  # fmt: skip
    some = {"type": part, "metavar": "K/N", "help": "build part K of N, without the manifest"}
    add_verb(verbs, graphs, CONFIG, CRYSTALS, ("--part", some), OUT)
