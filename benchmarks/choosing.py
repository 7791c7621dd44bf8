"""The tables of docs/guide/choosing.md, from results that other scripts stored; run it to write them.

It measures nothing: the numbers are those of compare.py, default_run.py, recipe.py and speed.py, and of the
cards of the shipped models (tools/ship_model.py).
"""

import json
import re
from pathlib import Path
from typing import Any

from pages import fill

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "guide" / "choosing.md"
CARDS = ROOT / "docs" / "models"
BEGIN, END = "<!-- tables: written by benchmarks/choosing.py -->", "<!-- end of tables -->"
ENCODERS = {
    "crystalframer": "CrystalFramer (`crystalframer.frame: max`, the default)",
    "crystalformer": "CrystalFramer without frames (`frame: none`)",
    "se3_transformer": "SE(3)-Transformer",
    "tfn": "TFN",
}
CASES = {"fast": "with frames", "fast, frame none": "without frames"}
SAMPLES = {"jarvis_like": "10 atoms", "mp_megnet": "25 atoms"}  # the mean of a sample
EPOCH = 10_000  # crystals


def rendered() -> str:
    """The three tables."""
    recipe = stored("recipe")
    parts = (encoders(stored("compare")), data(recipe), times(stored("speed")), whole(recipe))
    return "\n".join(part.strip() + "\n" for part in parts)


def stored(name: str) -> dict[str, Any]:
    """A results file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def encoders(results: dict[str, Any]) -> str:
    """The errors of the encoders after equal CPU time."""
    lines = [
        "**Encoders**, after equal CPU time on 2,000 training crystals, with the default recipe "
        "([comparison](../measured/compare.md)):",
        "",
        "| encoder | epochs | CPU minutes | test MAE, eV/atom |",
        "|---|---|---|---|",
    ]
    for row in results["rows"]:
        if row["budget"] == "time":
            maes = row["targets"]["formation_energy_per_atom"]["test_mae_by_seed"]
            minutes = row["epochs"] * row["seconds_per_epoch"] / 60
            lines.append(
                f"| {ENCODERS[row['variant']]} | {row['epochs']} | {minutes:.1f} "
                f"| {sum(maes) / len(maes):.3f} |"
            )
    boosting = results["rows"][0]["targets"]["formation_energy_per_atom"]["boosting_baseline"]
    lines.append(f"| gradient boosting, no network | | | {boosting:.3f} |")
    return "\n".join(lines) + "\n"


def data(recipe: dict[str, Any]) -> str:
    """Errors of the network and of the boosting, by the number of training crystals."""
    run = stored("default_run")["targets"]["formation_energy_peratom"]
    rows = [
        (
            "formation energy, JARVIS minerals, the default run",
            run["splits"]["train"]["crystals"],
            run["splits"]["test"]["mae"],
            run["boosting_baseline"]["test_mae"],
            run["unit"],
        )
    ]
    trained = list(recipe["recipes"]["default"].values())
    mae = sum(one["test"] for one in trained) / len(trained)
    name = (
        f"formation energy, Materials Project, [{recipe['epochs']} epochs](../measured/recipe.md)"
    )
    rows.append((name, recipe["rows"], mae, trained[0]["boosting"], trained[0]["unit"]))
    for title in ("formation_energy", "band_gap", "bulk_modulus", "shear_modulus"):
        more = ", fine-tuned" if "modulus" in title else ""
        words = (
            f"{title.replace('_', ' ')}, Materials Project, [shipped](../models/{title}.md){more}"
        )
        rows.append((words, *card(title)))
    lines = [
        "**Data**: what was reached, with how many training crystals. Test sets differ: compare along a row.",
        "",
        "| property | training crystals | network, test MAE | gradient boosting |",
        "|---|---|---|---|",
    ]
    for words, count, network, boosting, unit in rows:
        lines.append(f"| {words} | {count:,} | {network:.3g} {unit} | {boosting:.3g} {unit} |")
    return "\n".join(lines) + "\n"


def card(title: str) -> tuple[int, float, float, str]:
    """Training crystals, the test errors of network and boosting, and the unit, of a shipped model."""
    text = (CARDS / f"{title}.md").read_text(encoding="utf-8")

    def number(pattern: str) -> str:
        found = re.search(pattern, text)
        assert found, (title, pattern)
        return found.group(1)

    return (
        int(number(r"\| train \| ([\d,]+) \|").replace(",", "")),
        float(number(r"\| test \| [\d,]+ \| ([\d.]+) \|")),
        float(number(r"gradient boosting on composition and cell: ([\d.]+)\.\n")),
        number(r"\nIn (\S+); of the members"),
    )


def times(results: dict[str, Any]) -> str:
    """Milliseconds per crystal of training and prediction, and of an epoch."""
    lines = [
        f"**Time** on {results['machine']}, {results['threads']} threads, batches of 64 "
        "([speed](../measured/speed.md)). The last column is computed from the first.",
        "",
        f"| network | crystals | training, ms each | prediction, ms each | an epoch of {EPOCH:,}, s |",
        "|---|---|---|---|---|",
    ]
    found = {
        (step["case"], step["sample"], step["mode"]): step["ms_per_crystal"]
        for step in results["steps"]
        if step["batch"] == 64
    }
    for case, words in CASES.items():
        for sample, size in SAMPLES.items():
            train, infer = (found[case, sample, mode] for mode in ("train", "infer"))
            lines.append(
                f"| {words} | {size} | {train:.2g} | {infer:.2g} | {train * EPOCH / 1000:.2g} |"
            )
    return "\n".join(lines) + "\n"


def whole(recipe: dict[str, Any]) -> str:
    """CPU milliseconds of a crystal in one epoch of whole trainings."""
    without, frames = (
        1000 * seconds / recipe["epochs"] / recipe["rows"]
        for seconds in (
            recipe["recipes"][name]["0"]["cpu_seconds"]
            for name in ("plain", "frames")  # on one machine
        )
    )
    return (
        "A whole training (Muon, batches of 16, one thread, validation after each epoch) takes more: "
        f"{without:.1f} CPU ms for each crystal of an epoch without frames, {frames:.1f} with "
        "([recipes](../measured/recipe.md))."
    )


if __name__ == "__main__":
    fill(PAGE, BEGIN, END, rendered())
