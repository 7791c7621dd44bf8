"""The table: the results of the evaluations of both data sets, beside the published ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from dglframer.common.files import read_json
from dglframer.experiments import cells, names
from dglframer.experiments.nbody.simulation import FRAMES

LABELS = {"linear": "Linear", **names.LABELS, "egnn": "EGNN"}
# Table 1 of the SE(3)-Transformer paper: MSE x and MSE v, on other data (the authors' simulations are
# not public) and after 100,000 steps. The rows in UNCHECKED are from memory.
PUBLISHED = {
    "linear": (0.0691, 0.261),
    "deepset": (0.0639, 0.246),
    "tfn": (0.0151, 0.125),
    "set_transformer": (0.0139, 0.101),
    "se3_transformer": (0.0076, 0.075),
}
UNCHECKED = ("deepset", "tfn", "set_transformer")
ERRORS = ("mse_x", "mse_v")
EQUIVARIANCE = [
    f"delta_eq{kind}_{of}_{dtype}"
    for dtype in ("float32", "float64")
    for of in "xv"
    for kind in ("", "_max")
]
TITLES = {
    "component": "Force cap on components (the public simulator; labels depend on the axes)",
    "norm": "Force cap on the length (labels turn with the input)",
}


def read_results(evaluations: Sequence[Path], bounds: Sequence[Path]) -> dict[str, Any]:
    """The content of table.json: an entry for each data set, in the order of the files."""
    limits = {one["cap"]: one for one in map(read_json, bounds)}
    return {
        "frames": FRAMES,
        "data_sets": [
            data_set(evaluation, limits[evaluation["cap"]])
            for evaluation in map(read_json, evaluations)
        ],
    }


def data_set(evaluation: Mapping[str, Any], bounds: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of a data set, in the order of LABELS, with its floor and calibration."""
    rows = [row for row in evaluation["rows"] if row["frames"] == FRAMES]
    groups = {name: [row for row in rows if row["model"] == name] for name in LABELS}
    return {
        "cap": evaluation["cap"],
        "test_simulations": evaluation["test_simulations"],
        "rows": [over_seeds(name, group) for name, group in groups.items() if group],
        "floor": last(bounds["floor"]),
        "floor_share_of_simulations": bounds["floor"]["share_of_simulations"],
        "calibration": {
            "simulations": bounds["calibration"]["simulations"],
            **last(bounds["calibration"]),
        },
    }


def over_seeds(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row: means over seeds, deviations if there are several seeds, maxima of the maximal Δ_EQ."""
    result: dict[str, Any] = {"model": name, "seeds": [row.get("seed") for row in rows]}
    for key in ERRORS:
        result[key], result[f"{key}_std"] = cells.over_seeds([row[key] for row in rows])
        result[f"{key}_error"] = mean(row[f"{key}_error"] for row in rows)
    for key in EQUIVARIANCE:
        result[key] = (max if "_max_" in key else mean)(row[key] for row in rows)
    trained = rows[0].get("seconds_per_step") is not None
    seconds = mean(row["seconds_per_step"] for row in rows) if trained else None
    result["parameters"] = rows[0]["parameters"]
    result["steps"] = rows[0].get("steps")
    result["ms_per_step"] = 1000 * seconds if seconds is not None else None
    result["clock"] = rows[0].get("clock")
    result["published"] = dict(zip(ERRORS, PUBLISHED.get(name, (None, None)), strict=True))
    return result


def last(values: Mapping[str, Any]) -> dict[str, float]:
    """The values of the last frame in a summary of ``bounds``."""
    return {key: of[-1] for key, of in values.items() if key.startswith("mse_")}


def markdown(results: Mapping[str, Any]) -> str:
    """The tables: for each data set the errors beside the published ones, then the equivariance errors."""
    parts = []
    for one in results["data_sets"]:
        parts += [f"### {TITLES[one['cap']]}", "", setting_line(one), "", *error_lines(one)]
        parts += ["", *equivariance_lines(one), ""]
    return "\n".join(parts)


def setting_line(one: Mapping[str, Any]) -> str:
    """A paragraph: the number of simulations behind the means, and the floor."""
    floor = one["floor"]
    share = 100 * one["floor_share_of_simulations"]
    if share:
        turned = (
            f"Turning the input changes the label of {share:.0f} % of them, so that an equivariant model "
            f"can come down to {floor['mse_x']:.4f} and {floor['mse_v']:.3f} at best."
        )
    else:
        turned = "Turning the input changes no label."
    return (
        f"Means over {one['test_simulations']:,} test simulations; constant velocity also over "
        f"{one['calibration']['simulations']:,} others, which calibrates the simulator. {turned}"
    )


def error_lines(one: Mapping[str, Any]) -> list[str]:
    """The main table; ± is the deviation over seeds, in italic rows the standard error."""
    clocks = {row["clock"] for row in one["rows"]} - {None}
    lines = [
        "| model | MSE x | MSE v | Δ_EQ x | Δ_EQ v | parameters | steps | ms per step "
        "| published x | published v |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in one["rows"]:
        line = [
            LABELS[row["model"]],
            cells.with_error(row["mse_x"], row["mse_x_std"], 4),
            cells.with_error(row["mse_v"], row["mse_v_std"], 4),
            cells.small(row["delta_eq_x_float32"]),
            cells.small(row["delta_eq_v_float32"]),
            f"{row['parameters']:,}",
            "–" if row["steps"] is None else f"{row['steps']:,}",
            "–" if row["ms_per_step"] is None else f"{row['ms_per_step']:.1f}",
            *(("–" if of is None else f"{of}") for of in row["published"].values()),
        ]
        lines.append("| " + " | ".join(line) + " |")
        if row["model"] == "linear":
            known = one["calibration"]
            lines.append(bound_line(f"Linear on {known['simulations']:,} others", known))
    lines.append(bound_line("equivariant floor", one["floor"]))
    lines += [
        "",
        f"± is the standard deviation over {seed_counts(one)} seed(s), of rows in italics the standard "
        "error. Other test simulations would move the rows by more: their standard errors are "
        f"{error_range(one, 'mse_x')} "
        f"(x) and {error_range(one, 'mse_v')} (v), though they move together. A step is a batch of 128; "
        f"its time: {', '.join(sorted(clocks))}. Published: Table 1 of the paper, on other data and after "
        f"100,000 steps, which has no EGNN; {', '.join(LABELS[name] for name in UNCHECKED)} as we remember "
        "it: check these before you cite them.",
    ]
    return lines


def seed_counts(one: Mapping[str, Any]) -> str:
    """How many seeds the trained models have: "3", or "1 to 3"."""
    counts = {len(row["seeds"]) for row in one["rows"] if row["model"] != "linear"} or {1}
    fewest, most = min(counts), max(counts)
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def bound_line(name: str, errors: Mapping[str, Any]) -> str:
    """A row in italics: errors that belong to no trained model, with their standard errors."""
    both = [cells.with_error(errors[key], errors[f"{key}_error"], 4) for key in ERRORS]
    return f"| *{name}* | {' | '.join(both)} |" + " – |" * 7


def error_range(one: Mapping[str, Any], key: str) -> str:
    """Minimum and maximum over the rows of the standard error over test simulations."""
    errors = [row[f"{key}_error"] for row in one["rows"]]
    return f"{min(errors):.4f} to {max(errors):.4f}"


def equivariance_lines(one: Mapping[str, Any]) -> list[str]:
    """The table of Δ_EQ in both precisions, mean and maximum."""
    heads = [
        f"{of}, {dtype}, {kind}"
        for dtype in ("float32", "float64")
        for of in "xv"
        for kind in ("mean", "max")
    ]
    lines = ["| Δ_EQ of | " + " | ".join(heads) + " |", "|---" * 9 + "|"]
    for row in one["rows"]:
        lines.append(
            f"| {LABELS[row['model']]} | {' | '.join(cells.small(row[key]) for key in EQUIVARIANCE)} |"
        )
    return lines
