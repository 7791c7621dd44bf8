"""Mutation testing: small faults are put into the code one by one, and the tests must notice each.

mutmut makes the mutants and runs the tests that reach them, in a copy of the checkout. Of each module a
sample with a stated seed is taken, so that the run ends in minutes. Results go to
benchmarks/results/mutants.json; ``--page`` writes docs/measured/mutants.md from it without running.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mutants.json"
PAGE = ROOT / "docs" / "measured" / "mutants.md"
REASONS = (
    ROOT / "tools" / "mutants_reasons.json"
)  # mutant's change -> why no test can or should see it

# The modules by subject. In none of them may a mutant survive without a reason.
MODULES = {
    "attention": [
        "dglframer/attention/reference/weights.py",
        "dglframer/attention/reference/bases.py",
    ],
    "frames": ["dglframer/attention/frames.py"],
    "graphs": ["dglframer/graphs/edge_ops.py", "dglframer/graphs/batch.py"],
    "splits": ["dglframer/data/split_methods.py"],
    "evaluation": ["dglframer/evaluation/errors.py", "dglframer/evaluation/intervals.py"],
    "checkpoints": ["dglframer/training/checkpoints.py"],
}
# Their own tests, without those that start processes or compile.
TESTS = """
tests/attention/test_frames.py tests/attention/test_bases.py tests/graphs/test_edge_ops.py
tests/graphs/test_reduction.py tests/data/test_split_methods.py tests/evaluation/test_intervals.py
tests/evaluation/test_errors.py tests/training/test_checkpoints.py tests/attention/test_weights.py
tests/graphs/test_batch.py
""".split()
LEFT_OUT = "not compiled and not merged"
# mutmut's exit codes of a run of tests
KILLED, SURVIVED, NO_TESTS = 1, 0, 33


def main() -> None:
    """Run, and write results and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=20, help="mutants of a module (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        run_here(args.sample, args.seed)
        return
    if not args.page:
        run_in_a_copy(args.sample, args.seed)
    PAGE.write_text(page(json.loads(RESULTS.read_text()), json.loads(REASONS.read_text())))


def run_in_a_copy(sample: int, seed: int) -> None:
    """Copy code and tests, run there, and bring the results back."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        copy = Path(name)
        ignored = shutil.ignore_patterns("__pycache__", "workflow")
        for folder in ("dglframer", "tests"):
            shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
        settings = {
            "source_paths": ["dglframer"],
            "only_mutate": [path for paths in MODULES.values() for path in paths],
            "pytest_add_cli_args_test_selection": [*TESTS, "-k", LEFT_OUT],
            "pytest_add_cli_args": ["-p", "no:xdist", "-p", "no:cacheprovider"],
            "use_git_change_detection": False,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        text = (ROOT / "pyproject.toml").read_text()
        (copy / "pyproject.toml").write_text(text + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n")
        words = [sys.executable, __file__, "--inside", "--sample", str(sample), "--seed", str(seed)]
        subprocess.run(words, cwd=copy, check=True)
        shutil.copy(copy / "mutants.json", RESULTS)


def run_here(sample: int, seed: int) -> None:
    """In the copy: make all mutants, draw some, and test those."""
    from mutmut import __main__ as mutmut

    mutmut.set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir()
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.setup_source_paths()
    mutmut.create_mutants(1)
    mutmut.collect_or_load_stats(mutmut.get_mutant_runner(1))
    _, files = mutmut.collect_source_file_mutation_data(mutant_names=())
    made = {path: sorted(one.exit_code_by_key) for path, one in files.items()}
    drawn = {
        path: random.Random(f"{seed} {path}").sample(names, min(sample, len(names)))
        for path, names in made.items()
    }
    tested = mutmut.state().tests_by_mangled_function_name
    reached = [
        name
        for names in drawn.values()
        for name in names
        if tested.get(mutmut.mangled_name_from_mutant_name(name))
    ]
    mutmut._run(tuple(reached), 1)
    _, files = mutmut.collect_source_file_mutation_data(mutant_names=())
    rows = []
    for path, names in drawn.items():
        for name in sorted(names):
            code = files[path].exit_code_by_key[name] if name in reached else NO_TESTS
            change = diff_lines(mutmut.get_diff_for_mutant(name, path=Path(path)))
            rows.append({"module": path, "mutant": name, "status": status(code), "change": change})
    counts = {path: len(names) for path, names in made.items()}
    result = {"seed": seed, "sample": sample, "tests": TESTS, "made": counts, "mutants": rows}
    Path("mutants.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def status(code: int | None) -> str:
    """What became of a mutant, by the exit code of its tests."""
    if code == SURVIVED:
        return "survived"
    if code == NO_TESTS:
        return "no tests"
    return "killed" if code == KILLED else f"killed (exit code {code})"


def diff_lines(diff: str) -> list[str]:
    """The changed lines of a diff, without its header."""
    lines = [
        line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    return [line[0] + line[1:].strip() for line in lines]


def page(result: dict[str, Any], reasons: dict[str, str]) -> str:
    """The page: a table of modules, then every survivor with its reason."""
    rows = result["mutants"]
    lines = [
        "# Mutants",
        "",
        "`make mutants` puts small faults into the code, one at a time (mutmut), and runs the tests that",
        f"reach them. Of each module {result['sample']} were drawn with seed {result['seed']}. Tests that",
        "compile or start processes are left out: what survives here, the whole suite may still notice.",
        "",
        "| subject | module | mutants | drawn | killed | survived |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for subject, paths in MODULES.items():
        for path in paths:
            mine = [row for row in rows if row["module"] == path]
            killed = sum(row["status"].startswith("killed") for row in mine)
            cells = [
                subject,
                f"`{path}`",
                result["made"][path],
                len(mine),
                killed,
                len(mine) - killed,
            ]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "## Survivors", ""]
    left = [row for row in rows if not row["status"].startswith("killed")]
    if not left:
        lines.append("None.")
    for row in left:
        reason = reasons.get(key_of(row), "**no reason yet**")
        lines += [f"- `{row['module']}`, {row['status']}: {reason}", "", "  ```diff"]
        lines += [f"  {line}" for line in row["change"]] + ["  ```", ""]
    return "\n".join(lines).rstrip() + "\n"


def key_of(row: dict[str, Any]) -> str:
    """What a reason is stored under: the module and the change, not mutmut's number."""
    return f"{row['module']}: {' '.join(row['change'])}"


if __name__ == "__main__":
    main()
