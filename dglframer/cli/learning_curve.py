"""The verbs of the curve of the error against the number of training crystals."""

import argparse
from typing import Any

from dglframer.cli.options import CONFIG, OUT, SPLIT, add_verb


def curve_splits(args: argparse.Namespace) -> None:
    """write the splits of a learning curve: nested parts of the training crystals"""
    from dglframer.config import load_config
    from dglframer.data.subsets import write_subsets

    config = load_config(args.config)
    write_subsets(args.split, config.learning_curve.sizes, config.split.seed, args.out)


def learning_curve(args: argparse.Namespace) -> None:
    """write the table and plot of a learning curve from its evaluated models"""
    from dglframer.config import load_config
    from dglframer.report.learning_curve import markdown, write_learning_curve

    print(markdown(write_learning_curve(load_config(args.config), args.out)), end="")


def add_verbs(verbs: Any) -> None:
    """Both verbs with their options."""
    add_verb(verbs, curve_splits, CONFIG, SPLIT, OUT)
    add_verb(verbs, learning_curve, CONFIG, OUT)
