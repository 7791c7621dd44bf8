"""The verb that shows what a model sees in a crystal. It imports its modules itself."""

import argparse
import logging
from pathlib import Path
from typing import Any

from dglframer.cli.options import add_verb
from dglframer.common.errors import UserError

log = logging.getLogger(__name__)


def frames(args: argparse.Namespace) -> None:
    """write a page on the attention weights and frames of a model in one crystal"""
    from dglframer.common.device import settle_mkl
    from dglframer.evaluation.items import Wanted, read_items
    from dglframer.networks.named import load_place, places
    from dglframer.report.frames import write_frames

    settle_mkl()
    members = places(args.model)
    model = load_place(members[0])
    wanted = Wanted(model.cutoff, args.periodicity == "assume_periodic")
    items = read_items([args.file], [args.file.stem], (0, 0), wanted)
    item = next((one for one in items if args.id in (None, one.id)), None)
    if item is None:
        raise UserError(f"{args.file}: no structure {args.id or ''}".rstrip() + " in it")
    if item.graph is None:
        raise UserError(f"{args.file}: {item.error}")
    name = f"{args.model}, {members[0].folder.name}" if len(members) > 1 else args.model
    about = f"Model: {name}" + (
        f", the first of {len(members)} members." if len(members) > 1 else "."
    )
    write_frames(model, item.graph, about, args.out)


def add_verbs(verbs: Any) -> None:
    """The verb with its options."""
    model = {
        "metavar": "MODEL",
        "help": "a shipped model's name, a model directory, a folder of them",
    }
    file = {"type": Path, "metavar": "CIF", "help": "structure file of any readable kind"}
    id = {"metavar": "ID", "help": "which structure of a file of several (default: the first)"}
    periodicity: dict[str, Any] = {"choices": ("as_stated", "assume_periodic")}
    periodicity |= {"default": "as_stated", "help": "as dataset.periodicity (default: as_stated)"}
    options = (("model", model), ("file", file), ("--id", id), ("--periodicity", periodicity))
    add_verb(verbs, frames, *options)
    verbs.choices["frames"].add_argument(
        "-o", "--out", type=Path, required=True, metavar="PAGE.html", help="page to write"
    )
