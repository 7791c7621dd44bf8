"""The tables, the words and the figure of docs/measured/proof.md, from what proof.py measured."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pages import machines

Runs = Mapping[str, dict[str, Any]]  # of a method with one size and budget, by seed
# Every method with its name, colour of the figure and mark.
LOOKS = {
    "boosting": ("gradient boosting", "#a3a9b4", "s"),
    "none": ("CrystalFramer without frames", "#0072b2", "o"),
    "max": ("CrystalFramer with frames", "#d55e00", "^"),
    "late": ("CrystalFramer with late frames", "#009e73", "D"),
    "se3_transformer": ("SE(3)-Transformer", "#cc79a7", "v"),
    "tfn": ("TFN", "#56b4e9", "<"),
    "alignn": ("ALIGNN", "#2b2f36", "X"),
    "alignn_0.001": ("ALIGNN at rate 0.001", "#2b2f36", "P"),
}
DASHED = {"boosting": "--", "alignn_0.001": ":"}
CHANGES = [
    ("max", "none"),
    ("late", "none"),
    ("late", "max"),
    ("alignn", "none"),
    ("alignn_0.001", "none"),
]


def sizes_of(numbers: Mapping[str, Any]) -> list[str]:
    """The numbers of training crystals, in order."""
    return sorted({size for sizes in numbers["runs"].values() for size in sizes}, key=float)


def budgets_of(numbers: Mapping[str, Any], size: str) -> list[str]:
    """The budgets that some network has with a number of crystals, in order."""
    found = {budget for sizes in numbers["runs"].values() for budget in sizes.get(size, {})}
    return sorted(found - {"0"}, key=float)


def runs_of(numbers: Mapping[str, Any], size: str, budget: str) -> dict[str, Runs]:
    """The runs of each method that has them, in the order of LOOKS; of the baseline always."""
    of = {name: numbers["runs"].get(name, {}).get(size, {}) for name in LOOKS}
    chosen = {name: runs.get("0" if name == "boosting" else budget) for name, runs in of.items()}
    return {name: runs for name, runs in chosen.items() if runs}


def values(runs: Runs, key: str) -> list[float]:
    return [float(runs[seed][key]) for seed in sorted(runs, key=int)]


def median(runs: Runs, key: str) -> float:
    return statistics.median(values(runs, key))


def spread(runs: Runs, key: str, digits: int) -> str:
    """The median, and the least and largest of the seeds."""
    every = values(runs, key)
    text = f"{statistics.median(every):.{digits}f}"
    return text if len(every) == 1 else f"{text} ({min(every):.{digits}f}–{max(every):.{digits}f})"


def rendered(numbers: dict[str, Any]) -> str:
    """For each size what it says and a table, then what more crystals gain."""
    sizes = sizes_of(numbers)
    parts = [
        f"Mean absolute errors of {numbers['target']} in {numbers['unit'] or 'its own unit'} on "
        f"{numbers['val']:,} validation and {numbers['test']:,} test crystals, one thread: the median over "
        "seeds, and the least and the largest of them."
    ]
    for size in sizes:
        on = "; ".join(machines_of(numbers, size))
        said = " ".join(standing(numbers, size))
        parts += [f"**{int(size):,} training crystals**, on {on}. {said}", table(numbers, size)]
    parts.append(" ".join(gains_of_crystals(numbers, sizes)))
    return "\n\n".join(parts)


def machines_of(numbers: Mapping[str, Any], size: str) -> list[str]:
    """The machines on which something was trained with a number of crystals."""
    budgets = [sizes.get(size, {}) for sizes in numbers["runs"].values()]
    runs = [run for of in budgets for seeds in of.values() for run in seeds.values()]
    return machines(runs)


def table(numbers: Mapping[str, Any], size: str) -> str:
    """Every method and budget with some number of crystals."""
    several = len(machines_of(numbers, size)) > 1
    lines = [
        "| budget (CPU s) | method | seeds | epochs | CPU seconds | validation | test |",
        "|---|---|---|---|---|---|---|",
    ]
    if several:
        lines = [f"{lines[0]} on |", f"{lines[1]}---|"]
    for k, budget in enumerate(budgets_of(numbers, size)):
        for name, runs in runs_of(numbers, size, budget).items():
            if name == "boosting" and k:
                continue
            epochs = next(iter(runs.values())).get("epochs", ["-"])
            cells = [
                "-" if name == "boosting" else budget,
                LOOKS[name][0],
                str(len(runs)),
                " + ".join(map(str, epochs)),
                spread(runs, "cpu_seconds", 0 if name != "boosting" else 1),
                *(spread(runs, part, 4) for part in ("val", "test")),
            ]
            if several:
                cells.append("; ".join(machines(runs.values())))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def standing(numbers: Mapping[str, Any], size: str) -> list[str]:
    """Sentences on one number of crystals: the order at the largest budget, what more seconds gain."""
    budgets = budgets_of(numbers, size)
    runs = runs_of(numbers, size, budgets[-1])
    order = sorted(runs, key=lambda name: median(runs[name], "val"))
    ranked = ", ".join(f"{LOOKS[name][0]} {median(runs[name], 'test'):.4f}" for name in order)
    said = [
        f"With {budgets[-1]} CPU seconds, in the order of the validation error, the test errors "
        f"are: {ranked}."
    ]
    if "boosting" in runs:
        networks = [name for name in runs if name != "boosting"]
        ahead = [name for name in networks if wins(runs[name], runs["boosting"])[2]]
        said.append(f"Ahead of gradient boosting on test with every seed: {listed(ahead)}.")
    for one, other in CHANGES:
        if one in runs and other in runs and (lower := wins(runs[one], runs[other]))[1]:
            ratio = median(runs[one], "test") / median(runs[other], "test")
            said.append(
                f"{LOOKS[one][0]} has {ratio:.2f} times the test error of {LOOKS[other][0]}, a lower one "
                f"with {lower[0]} of {lower[1]} seeds."
            )
    if len(budgets) > 1:
        change = factors(runs_of(numbers, size, budgets[-2]), runs, best_of(runs))
        said.append(f"{times(budgets[-2:])} the CPU time multiplies it by {change}.")
    return said


def gains_of_crystals(numbers: Mapping[str, Any], sizes: Sequence[str]) -> list[str]:
    """A sentence for each two sizes one after the other that share a budget."""
    said = []
    for pair in pairwise(sizes):
        fewer, more = (budgets_of(numbers, size) for size in pair)
        if shared := [budget for budget in more if budget in fewer]:
            before, after = (runs_of(numbers, size, shared[-1]) for size in pair)
            change = factors(before, after, [*best_of(after), "boosting"])
            said.append(
                f"From {int(pair[0]):,} to {int(pair[1]):,} crystals the test error is multiplied by "
                f"{change}, each with {shared[-1]} CPU seconds."
            )
    return said


def best_of(runs: Mapping[str, Runs]) -> list[str]:
    """The network of the least validation error, if there is one."""
    return sorted(runs.keys() - {"boosting"}, key=lambda name: median(runs[name], "val"))[:1]


def wins(one: Runs, other: Runs) -> tuple[int, int, bool]:
    """In how many shared seeds the first has the lower test error, how many there are, whether in all."""
    shared = [seed for seed in one if seed in other]
    lower = sum(one[seed]["test"] < other[seed]["test"] for seed in shared)
    return lower, len(shared), bool(shared) and lower == len(shared)


def listed(names: Sequence[str]) -> str:
    return ", ".join(LOOKS[name][0] for name in names) or "none"


def times(pair: Sequence[str]) -> str:
    few, many = map(float, pair)
    return f"{many / few:.3g} times"


def factors(before: Mapping[str, Runs], after: Mapping[str, Runs], names: Sequence[str]) -> str:
    """The ratio of the median test errors of some methods, of those that have both."""
    return ", ".join(
        f"{median(after[name], 'test') / median(before[name], 'test'):.2f} ({LOOKS[name][0]})"
        for name in names
        if name in before and name in after
    )


def drawn(path: Path, numbers: Mapping[str, Any]) -> None:
    """Test error against CPU seconds at the size with most budgets, and against crystals."""
    from dglframer.report.plots import svg

    sizes = sizes_of(numbers)
    budgets = {size: budgets_of(numbers, size) for size in sizes}
    timed = max(reversed(sizes), key=lambda size: len(budgets[size]))
    by_time = [runs_of(numbers, timed, budget) for budget in budgets[timed]]
    by_size = [runs_of(numbers, size, budgets[size][-1]) for size in sizes]
    ticks = {float(size): f"{int(size):,}\n{budgets[size][-1]} s" for size in sizes}

    def crystals(runs: Runs, k: int) -> float:
        return float(sizes[k])

    def seconds(runs: Runs, k: int) -> float:
        return median(runs, "cpu_seconds")

    unit, label = numbers["unit"], "training crystals and CPU seconds of training"
    panels = [
        panel(by_time, seconds, f"{int(timed):,} crystals", "CPU seconds of training", unit),
        panel(by_size, crystals, "the most CPU seconds of each size", label, unit, ticks),
    ]
    path.write_text(svg(panels, size=(5.2, 4.0)), encoding="utf-8")


def panel(
    points: Sequence[Mapping[str, Runs]],
    place: Callable[[Runs, int], float],
    title: str,
    label: str,
    unit: str,
    ticks: Mapping[float, str] = MappingProxyType({}),
) -> Callable[[Any], None]:
    """A line for each method, with bars from the least to the largest seed; both axes logarithmic.

    The panel with ``ticks`` of its own stands to the right, and has the legend.
    """
    from dglframer.report.plots import plain_labels, with_unit

    def draw(axes: Any) -> None:
        for name, (named, colour, mark) in LOOKS.items():
            own = [(place(of[name], k), of[name]) for k, of in enumerate(points) if name in of]
            if not own:
                continue
            x = [at for at, _ in own]
            middle = [median(runs, "test") for _, runs in own]
            ends = [values(runs, "test") for _, runs in own]
            bars = [
                [y - min(every) for y, every in zip(middle, ends, strict=True)],
                [max(every) - y for y, every in zip(middle, ends, strict=True)],
            ]
            look = {"fmt": mark + DASHED.get(name, "-"), "color": colour, "label": named}
            axes.errorbar(x, middle, yerr=bars, ms=5, capsize=3, **look)
            if name == "boosting" and len(set(x)) == 1:  # it needs no more than its own seconds
                axes.axhline(middle[0], color=colour, ls="--", lw=1)
        axes.set(xscale="log", yscale="log", title=title, xlabel=label)
        axes.set_ylabel(with_unit("test MAE", unit))
        for one in (axes.xaxis, axes.yaxis):
            plain_labels(one, at=(1.0, 2.0, 3.0, 5.0))
        if ticks:
            axes.set_xticks(list(ticks), ticks.values())
            axes.minorticks_off()
            axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))

    return draw
