"""A comparison of three variants, and the files that its trainings leave."""

import json
from collections.abc import Sequence
from pathlib import Path

from dglframer.config import parse_config

CONFIG = parse_config(
    {
        "training": {"epochs": 10, "averaged_epochs": 4},
        "compare": {
            "variants": {
                "slow": {},
                "fast": {"crystalframer.frame": "none"},
                "tfn": {"encoder": "tfn"},
            }
        },
    }
)


def write_metrics(folder: Path, seconds: Sequence[float]) -> None:
    """metrics.jsonl with the CPU seconds of each epoch."""
    folder.mkdir(parents=True)
    lines = [{"epoch": n + 1, "cpu_seconds": one} for n, one in enumerate(seconds)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_trained(folder: Path) -> None:
    """Models of equal epochs: the second trains four times as fast as the first, the third half as fast."""
    for name, seconds in {"slow": 8.0, "fast": 2.0, "tfn": 16.0}.items():
        for seed in (0, 1):
            write_metrics(folder / name / f"seed-{seed}", [99.0, *[seconds] * 9])
