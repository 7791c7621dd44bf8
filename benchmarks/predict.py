"""Prediction of a folder of CIFs: `python benchmarks/predict.py`.

Writes minerals of jarvis-tools, as they are and with longer cells, as CIFs into a scratch folder (--folder
keeps it), predicts them with a network of the published size (--model: with that one), kills one run
half-way and lets it go on, and writes its file in benchmarks/results and the table of
docs/guide/predict.md. `--page` only does the last.
"""

import argparse
import os
import re
import resource
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from pages import publish

from dglframer.common.machine import processor

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "predict.json"
PAGE = ROOT / "docs" / "guide" / "predict.md"
BEGIN, END = "<!-- table: written by benchmarks/predict.py -->", "<!-- end of table -->"
LOOK_SECONDS = 0.2  # between two looks at the memory


def write_cifs(folder: Path, n_files: int) -> None:
    """The minerals of jarvis-tools in CIFs, all sites listed; then again with longer cells."""
    from dglframer.common.elements import SYMBOLS
    from dglframer.common.errors import Rejected
    from dglframer.data.sources.jarvis_minerals import JarvisMinerals, all_entries
    from dglframer.structures.crystal import validate

    folder.mkdir(parents=True, exist_ok=True)
    reader, crystals = JarvisMinerals(["formation_energy_peratom"]), {}
    for id, atoms in all_entries():
        with suppress(Rejected):
            crystals[id.replace("/", "_")] = validate(reader.record(id, atoms, {}))
    names = list(crystals)
    for n in range(n_files):
        crystal, scale = crystals[names[n % len(names)]], 1 + n // len(names) / 100
        symbols = [SYMBOLS[z - 1] for z in crystal.numbers_N]
        name = f"{crystal.id.replace('/', '_')}_{scale:.2f}"
        text = cif_text(name, symbols, scale * crystal.lattice_33, crystal.coords_N3)
        (folder / f"{name}.cif").write_text(text, encoding="utf-8")
    print(f"{n_files} files from {len(names)} crystals", flush=True)


def cif_text(name: str, symbols: list[str], lattice_33: Any, frac_N3: Any) -> str:
    """A CIF in P 1."""
    import numpy as np

    lengths = np.linalg.norm(lattice_33, axis=1)
    lines = [f"data_{name}", "_space_group_name_H-M_alt 'P 1'", "_space_group_IT_number 1"]
    for k, (axis, angle) in enumerate(zip("abc", ("alpha", "beta", "gamma"), strict=True)):
        i, j = (k + 1) % 3, (k + 2) % 3
        cosine = lattice_33[i] @ lattice_33[j] / lengths[i] / lengths[j]
        lines.append(f"_cell_length_{axis} {lengths[k]:.6f}")
        lines.append(f"_cell_angle_{angle} {np.degrees(np.arccos(cosine)):.6f}")
    lines += ["loop_", "_space_group_symop_operation_xyz", "x,y,z", "loop_", "_atom_site_label"]
    lines += ["_atom_site_type_symbol", *(f"_atom_site_fract_{axis}" for axis in "xyz")]
    for n, (symbol, (x, y, z)) in enumerate(zip(symbols, frac_N3, strict=True), 1):
        lines.append(f"{symbol}{n} {symbol} {x:.6f} {y:.6f} {z:.6f}")
    return "\n".join(lines) + "\n"


def write_model(folder: Path) -> None:
    """A network of the published size with random weights."""
    from dglframer.config.networks import CrystalFramerConfig
    from dglframer.networks.crystalframer import CrystalFramer
    from dglframer.networks.model_directory import Target, TrainedModel, save_model

    network = CrystalFramer(CrystalFramerConfig()).draw(0)
    for block in network.blocks:
        block.attention.sigma_scale.fill_(1.0)
    save_model(TrainedModel(network, 8.4, (Target("energy", "eV/atom", 0.0, 1.0),), {}), folder)


def run(model: Path, inputs: Path, out: Path, workers: int, kill_at: int | None = None) -> Any:
    """One prediction, or one that is killed after ``kill_at`` structures: seconds and memory."""
    arguments = ["predict", model, inputs, "--out", out, "--workers", workers]
    command = [sys.executable, "-m", "dglframer", *map(str, arguments)]
    started = time.perf_counter()
    log = out.with_suffix(".log")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "w", encoding="utf-8") as handle:
        process = psutil.Popen(command, cwd=ROOT, stderr=handle)
    peak, readers_peak = 0, 0
    while process.poll() is None:
        try:
            memory = process.memory_info().rss
            readers = sum(child.memory_info().rss for child in process.children())
            peak, readers_peak = max(peak, memory), max(readers_peak, readers)
        except psutil.Error:
            pass
        done = re.findall(r"(\d+) structures", log.read_text(encoding="utf-8"))
        if kill_at and done and int(done[-1]) >= kill_at:
            process.send_signal(signal.SIGKILL)
        time.sleep(LOOK_SECONDS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = log.read_text(encoding="utf-8")
    assert process.returncode in ((-signal.SIGKILL,) if kill_at else (0, 1)), said
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
        "peak_mb": round(peak / 1e6),
        "readers_peak_mb": round(readers_peak / 1e6),
        "goes_on": "goes on after" in said,
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Runs of a fifth of the files and of all, and one that is killed."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        write_cifs(folder / "cifs", args.files)
        model = args.model or folder / "model"
        if not args.model:
            write_model(model)
        files = sorted((folder / "cifs").glob("*.cif"))
        some = folder / "some.txt"
        some.write_text("\n".join(map(str, files[: len(files) // 5])), encoding="utf-8")
        run(model, some, folder / "warm.csv", 0)  # compiles
        rows = []
        for inputs, n_files, workers in (
            (some, len(files) // 5, 0),
            (some, len(files) // 5, 1),
            (folder / "cifs", len(files), 1),
        ):
            numbers = run(model, inputs, folder / f"{n_files}-{workers}.csv", workers)
            rows.append({"files": n_files, "workers": workers, **numbers})
            print(rows[-1], flush=True)
        half = len(files) // 2000 * 1000
        killed = run(model, folder / "cifs", folder / "killed.csv", 1, kill_at=half)
        resumed = run(model, folder / "cifs", folder / "killed.csv", 1)
        whole = (folder / f"{len(files)}-1.csv").read_bytes()
        same = whole == (folder / "killed.csv").read_bytes()
        parts = [(folder / f"{len(files) // 5}-{w}.csv").read_bytes() for w in (0, 1)]
        same &= parts[0] == parts[1]
        resume = {"killed_after": half, "killed": killed, "resumed": resumed, "same_bytes": same}
    machine = {"cpu": processor(), "cores": os.cpu_count(), "load": round(os.getloadavg()[2], 1)}
    return {**machine, "rows": rows, "resume": resume}


def rendered(numbers: dict[str, Any]) -> str:
    """The table of the runs, and a sentence on the killed one."""
    lines = [
        f"CIFs of minerals and a network of the published size, one thread, {numbers['cores']} cores "
        f"({numbers['cpu']}) with a load of {numbers['load']}:",
        "",
        "| files | `--workers` | seconds | structures/s | CPU seconds | memory, MB | of the readers, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in numbers["rows"]:
        rate = row["files"] / row["seconds"]
        cells = [f"{row['files']:,}", row["workers"], f"{row['seconds']:.0f}", f"{rate:.0f}"]
        cells += [f"{row['cpu_seconds']:.0f}", row["peak_mb"], row["readers_peak_mb"] or ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    resume = numbers["resume"]
    seconds = [resume[key]["seconds"] for key in ("killed", "resumed")]
    bytes_ = "the same bytes" if resume["same_bytes"] else "OTHER bytes"
    lines += [
        "",
        f"A run killed after {resume['killed_after']:,} structures ({seconds[0]:.0f} s) went on "
        f"({seconds[1]:.0f} s) to {bytes_} as the run that was not. Where the load is above the number "
        "of cores, other work took its share of the seconds, and CPU seconds tell more.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    options: dict[str, dict[str, Any]] = {
        "--files": {"type": int, "default": 5000},
        "--folder": {"type": Path, "help": "keep files and tables there"},
        "--model": {"type": Path, "help": "a model directory"},
    }
    publish(__doc__, options, measure, RESULTS_FILE, (PAGE, BEGIN, END), rendered)
