"""Two encoders on QM9: `python benchmarks/qm9.py`.

Runs `snakemake compare` with workflow/presets/qm9_subset.yaml in a scratch folder (--folder keeps it, and
goes on where it was stopped), writes benchmarks/results/qm9.json and the table of docs/measured/qm9.md
beside the published one. `--page` only does the last. Needs the package qm9pack.
"""

from pathlib import Path
from typing import Any

from compare import WORKFLOW_OPTIONS, in_folder, run_target
from pages import publish

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "qm9.json"
PRESET = ROOT / "workflow" / "presets" / "qm9_subset.yaml"
PAGE = ROOT / "docs" / "measured" / "qm9.md"
BEGIN, END = "<!-- table: written by benchmarks/qm9.py -->", "<!-- end of table -->"
HARTREE_MEV = 27211.386
# Target: symbol, unit of the published table, our unit in that one.
TARGETS = {
    "Polarizability_bohr3": ("α", "bohr³", 1.0),
    "HOMO_LUMO_gap_au": ("Δε", "meV", HARTREE_MEV),
    "HOMO_au": ("ε HOMO", "meV", HARTREE_MEV),
    "LUMO_au": ("ε LUMO", "meV", HARTREE_MEV),
    "Dipole_debye": ("μ", "D", 1.0),
    "Heatcapacity_Cv_cal_mol_K": ("C_v", "cal/(mol K)", 1.0),
}
BASELINES = {
    "boosting_baseline": "gradient boosting",
    "composition_baseline": "composition alone",
    "median_baseline": "median",
}
# Table 3 of the SE(3)-Transformer paper: bonds as edges, 100,000 training molecules, a network per target.
PUBLISHED = {
    "TFN, published": (0.223, 58, 40, 38, 0.064, 0.101),
    "SE(3)-Transformer, published": (0.142, 53, 35, 33, 0.051, 0.054),
}


def measure(folder: Path, cores: int) -> dict[str, Any]:
    """The comparison's table and the sizes of the split."""
    import yaml

    config = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    table = run_target(folder, config, cores)
    return {**table, "molecules": config["split"]["official_sizes"], "training": config["training"]}


def rendered(numbers: dict[str, Any]) -> str:
    """Test errors in the units of the published table, the mean and spread over seeds."""
    from dglframer.report.comparison import BUDGETS, shown

    train, _, test = numbers["molecules"]
    heads = " | ".join(f"{symbol} ({unit})" for symbol, unit, _ in TARGETS.values())
    lines = [
        f"{train:,} training and {test:,} test molecules, {numbers['training']['epochs']} epochs, "
        f"{len(numbers['seeds'])} seeds, one thread each; test MAE:",
        "",
        f"| | parameters | epochs | CPU s/epoch | {heads} |",
        "|---|---|---|---|" + "---|" * len(TARGETS),
    ]
    for row in numbers["rows"]:
        cells = [
            f"{row['variant']}, equal {BUDGETS[row['budget']]}",
            f"{row['parameters']:,}",
            str(row["epochs"]),
            f"{row['seconds_per_epoch']:.1f}",
        ]
        for target, (_, _, factor) in TARGETS.items():
            errors = [factor * error for error in row["targets"][target]["test_mae_by_seed"]]
            cells.append(shown(errors, significant))
        lines.append(f"| {' | '.join(cells)} |")
    first = numbers["rows"][0]["targets"]
    for key, name in BASELINES.items():
        values = [significant(first[target][key] * TARGETS[target][2]) for target in TARGETS]
        lines.append(f"| {name} | | | | {' | '.join(values)} |")
    for name, errors in PUBLISHED.items():
        lines.append(f"| {name} | | | | {' | '.join(map(significant, errors))} |")
    return "\n".join(lines)


def significant(value: float) -> str:
    """Three digits, without exponents."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    publish(
        __doc__ or "",
        WORKFLOW_OPTIONS,
        in_folder(measure),
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )


if __name__ == "__main__":
    main()
