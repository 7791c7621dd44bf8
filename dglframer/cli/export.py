"""results in forms that others take"""

import argparse
import logging
from pathlib import Path
from typing import Any

from dglframer.cli.options import add_verb

log = logging.getLogger(__name__)


def jarvis_leaderboard(args: argparse.Namespace) -> None:
    """write the test predictions of a run as a contribution to the JARVIS leaderboard"""
    from dglframer.report.leaderboard import STATED, export_leaderboard

    about = {key: getattr(args, key) for key in STATED if getattr(args, key)}
    mae = export_leaderboard(args.results, args.out, args.benchmark, args.target, about)
    log.info("test MAE %.4f; the contribution is the folder %s", mae, args.out)


def matbench(args: argparse.Namespace) -> None:
    """write the test predictions of five runs, one for each fold, as a record of matbench"""
    from dglframer.report.matbench import export_matbench

    about = {key: getattr(args, key) for key in ("authors", "algorithm", "bibtex_refs")}
    given = {key: text for key, text in about.items() if text}
    mae = export_matbench(args.runs, args.out, args.target, given)
    errors = ", ".join(f"{one:.4g}" for one in mae)
    log.info("MAE %.4g, the mean of %s; the contribution is the folder %s",
             sum(mae) / len(mae), errors, args.out)  # fmt: skip


def model(args: argparse.Namespace) -> None:
    """write a trained model, or a folder of seeds, as one verified file"""
    from dglframer.common.files import sha256
    from dglframer.networks.archive import write_models

    beside = args.models / "card.md"  # of the report stage
    path = args.card or (beside if beside.is_file() else None)
    card = path.read_text(encoding="utf-8") if path else None
    count = write_models(args.models, args.out, card)
    log.info("%d models in %s, sha256 %s", count, args.out, sha256(args.out))


def add_parser(verbs: Any) -> None:
    """`dglframer export VERB`."""
    group = verbs.add_parser("export", help=__doc__, description=__doc__)
    steps = group.add_subparsers(required=True, metavar="VERB", help="one of these")

    def words(text: str) -> dict[str, Any]:
        return {"help": f"{text}, for metadata.json"}

    results = {"type": Path, "metavar": "RESULTS", "help": "the run's folder, with evaluation/"}
    benchmark = {"type": Path, "required": True, "metavar": "FILE",
                 "help": "the leaderboard's file, as dft_3d_formation_energy_peratom.json.zip"}  # fmt: skip
    new = {"type": Path, "metavar": "OUT", "help": "new folder; its name is the contribution's"}
    add_verb(
        steps,
        jarvis_leaderboard,
        *(("results", results), ("out", new), ("--benchmark", benchmark)),
        ("--target", {"help": "the property, if the run has several"}),
        *(("--team-name", words("your team")), ("--author-email", words("your address"))),
        *(("--project-url", words("a page or paper")), ("--git-url", words("your code"))),
    )
    runs = {**results, "nargs": 5, "help": "the folders of five runs, in any order"}
    add_verb(
        steps,
        matbench,
        *(("runs", runs), ("--out", {**new, "required": True, "help": "new folder"})),
        ("--target", {"help": "the property, if the runs have several"}),
        ("--authors", {"help": "for info.json"}),
        ("--algorithm", {"help": "your name for the method, for info.json"}),
        ("--bibtex-refs", {"help": "what to cite, for info.json"}),
    )
    models = {"type": Path, "metavar": "MODELS", "help": "model directory or folder of seeds"}
    file = {"type": Path, "metavar": "FILE.zip", "help": "file to write"}
    card = {
        "type": Path,
        "metavar": "FILE.md",
        "help": "README.md in it (default: card.md of MODELS)",
    }
    add_verb(steps, model, ("models", models), ("out", file), ("--card", card))
