"""Speed, memory and accuracy of dglframer beside the literal formulation and other models: one run.

    python benchmarks/speed.py [--model results/models/seed-0] [--peers-python PEERS/bin/python]

prints Markdown tables and writes benchmarks/results/speed.json and docs/measured/speed.md (``--page`` writes
the page from the results that are there). Every case runs in every round, in
turn, so that what else the machine does falls on all alike; the tables show medians of wall time.
A step is forward, backward, clipping and AdamW on a batch that is in memory; graph building and
batching are timed apart. Cases: the compiled path (``fast``), the edge operations of DGL or torch
(``plain``), no frames, the literal formulation (literal.py), other packages (peers.py, in a
process under the interpreter given by --peers-python). speed_cases.py says how crystals are drawn,
speed_limits.py what work is counted. ``--quick`` goes through everything with tiny sizes.
"""

import argparse
import itertools
import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

# As the command line does, before torch is loaded: threads without work sleep. Peers have it too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from default_run import machine
from peers import peak_mib
from speed_cases import (
    Case,
    Literal,
    Peer,
    PeerFailed,
    PeerProcess,
    Sample,
    jarvis_like,
    log,
    mp_megnet,
    new_network,
    our_cases,
)
from speed_limits import accuracy, machine_peaks, reached
from speed_measures import (
    LARGE,
    MODES,
    PEER_NAMES,
    SEED,
    TOO_LONG,
    large_cell,
    measure_literal,
    measure_memory,
    measure_scaling,
    measure_steps,
)
from speed_tables import RESULTS_FILE, rendered, write_page

from dglframer.common.device import make_reproducible
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.model_directory import load_model

JARVIS_CRYSTALS = 44_578
ROUNDS = 5


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, in the order of the tables."""
    quick = args.quick
    left_out: list[str] = []
    load = os.getloadavg()[0]
    peaks = machine_peaks(quick)
    samples = all_samples(quick, left_out)
    large = None if quick else large_cell()
    if large is None and not quick:
        left_out.append(f"the 624-atom cell: no file {LARGE}")
    preparation = [prepare_ours(sample) for sample in samples]
    network, frameless = new_network(), new_network("none")
    cases: list[Case] = [*our_cases(network, frameless)]
    sent = samples + ([large] if large else [])
    with ExitStack() as stack:
        if args.peers_python:
            process = stack.enter_context(
                PeerProcess(args.peers_python, sent, folder, args.threads)
            )
            peers = prepare_peers(process, samples, preparation, left_out)
            cases += peers
        else:
            left_out.append("other packages: no --peers-python")
        sizes = (4, 1) if quick else (256, 64, 1)
        steps = measure_steps(cases, samples, sizes, 1 if quick else ROUNDS)
    left_out += missing(cases, samples, sizes, steps)
    numbers: dict[str, Any] = {
        "machine": machine(), "threads": args.threads, "torch": torch.__version__, "quick": quick,
        "load_before": load, "seed": SEED, "commit": commit(), "started": time.strftime("%Y-%m-%d %H:%M"),
        "peaks": peaks, "samples": [sample.describe() | {"name": sample.name} for sample in samples],
        "steps": steps, "preparation": preparation,
    }  # fmt: skip
    numbers["literal"] = measure_literal(network, samples[0], steps, quick)
    numbers["epochs"] = epochs(steps, preparation)
    numbers["limits"] = reached(steps, samples, peaks, network.settings)
    numbers["scaling"] = measure_scaling(network, samples[0], large, quick)
    tasks = memory_tasks(quick, large is not None, [c.name for c in cases if c.name in PEER_NAMES])
    numbers["memory"], failed = measure_memory(tasks, args.peers_python, sent, folder, args)
    networks = {"random": network}
    if args.model:
        networks["trained"] = load_model(args.model).network
    few = [crystal for crystal in samples[0].crystals if len(crystal.numbers_N) <= 16]
    chosen = [few[i] for i in Sample("", "", few).spread(2 if quick else 50)]
    numbers["accuracy"] = accuracy(networks, chosen)
    numbers["left_out"] = left_out + failed
    return numbers


def missing(
    cases: list[Case], samples: list[Sample], sizes: tuple[int, ...], steps: list[dict[str, Any]]
) -> list[str]:
    """Why there is no number, for every case, sample and batch without one."""
    found = {(row["case"], row["sample"], row["batch"], row["mode"]) for row in steps}
    reasons = []
    for cell in itertools.product([c.name for c in cases], [s.name for s in samples], sizes):
        if cell in TOO_LONG:
            reason = "would take minutes, or more memory than there is"
        elif not {(*cell, mode) for mode in MODES} <= found:
            reason = "failed; see what the run said"
        else:
            continue
        reasons.append(f"{cell[0]}, {cell[1]}, batch {cell[2]}: {reason}")
    return reasons


def commit() -> str:
    """The commit that was measured, with a + if files differ from it; "" outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def all_samples(quick: bool, left_out: list[str]) -> list[Sample]:
    """The JARVIS-like sample and, where it is present, that of mp_megnet."""
    samples = [jarvis(quick)]
    megnet = None if quick else mp_megnet(256, SEED)
    if megnet:
        samples.append(megnet)
    else:
        left_out.append("mp_megnet: no ../shared/data/mp_megnet.parquet, or quick")
    return samples


def jarvis(quick: bool) -> Sample:
    """The JARVIS-like sample."""
    return jarvis_like(8, SEED, max_atoms=6) if quick else jarvis_like(256, SEED)


def prepare_ours(sample: Sample) -> dict[str, Any]:
    """Build the graphs of a sample and batch them; milliseconds per crystal."""
    seconds, count = sample.build(), len(sample.crystals)
    part = sample.graphs[:64]
    batch_graphs(part)
    started = time.perf_counter()
    batch_graphs(part)
    batching = (time.perf_counter() - started) / len(part)
    return {
        "case": "dglframer", "sample": sample.name,
        "build_ms": 1e3 * seconds / count, "batch_ms": 1e3 * batching,
    }  # fmt: skip


def prepare_peers(
    process: PeerProcess, samples: list[Sample], preparation: list[Any], left_out: list[str]
) -> list[Case]:
    """The peers that can build the graphs of every sample; adds their times to ``preparation``."""
    peers: list[Case] = []
    for name in PEER_NAMES:
        log(f"graphs of {name}")
        try:
            for sample in samples:
                built = process.ask(do="build", peer=name, sample=sample.name)
                preparation.append({
                    "case": name, "sample": sample.name,
                    "build_ms": 1e3 * built["seconds"] / len(sample.crystals),
                    "batch_ms": 1e3 * built["batching"], "parameters": built["parameters"],
                })  # fmt: skip
            peers.append(Peer(name, process))
        except PeerFailed as error:
            left_out.append(f"{name}: {error}")
    return peers


def epochs(steps: list[dict[str, Any]], preparation: list[Any]) -> list[dict[str, Any]]:
    """Minutes per JARVIS epoch from training and batching of the jarvis_like sample."""
    rows = []
    batching = {row["case"]: row["batch_ms"] for row in reversed(preparation)}
    for row in steps:
        if row["sample"] == "jarvis_like" and row["mode"] == "train" and row["batch"] > 1:
            case = row["case"] if row["case"] in batching else "dglframer"
            ms = row["ms_per_crystal"] + batching[case]
            minutes = ms * JARVIS_CRYSTALS / 60e3
            rows.append({"case": row["case"], "batch": row["batch"], "ms_per_crystal": ms,
                         "minutes": minutes})  # fmt: skip
    return rows


def memory_tasks(quick: bool, large: bool, peers: list[str]) -> list[list[Any]]:
    """[case, sample, batch] of every memory measurement."""
    if quick:
        return [["fast", "jarvis_like", 4]]
    ours = ["fast", "fast, frame none", "plain, torch"]
    tasks: list[list[Any]] = [[name, "jarvis_like", 256] for name in ours]
    tasks += [["literal", "jarvis_like", 4]]
    tasks += [[name, "jarvis_like", 64 if name == "alignn_published" else 256] for name in peers]
    if large:
        tasks += [[name, "large_624", 1] for name in [*ours, *peers]]
    return tasks


def one_case(name: str, sample_name: str, batch: int, quick: bool) -> dict[str, float]:
    """Peak memory of this process for one training step of one of our cases."""
    sample = large_cell() if sample_name == "large_624" else jarvis(quick)
    assert sample is not None
    sample.build()
    network = new_network(crystals=4)
    cases = [*our_cases(network, new_network("none", crystals=4)), Literal(network)]
    case = next(case for case in cases if case.name == name)
    base = peak_mib()
    case.run(sample, "train", [sample.spread(batch)])
    return {"base_mib": base, "peak_mib": peak_mib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", help="interpreter of the peers' environment (peers.py)")
    parser.add_argument("--model", type=Path, help="trained model directory, for the accuracy")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a test of this script")
    parser.add_argument("--output", type=Path, default=RESULTS_FILE)
    parser.add_argument("--page", action="store_true", help="only write the page again")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a memory measurement's own process
    args = parser.parse_args()
    make_reproducible(args.threads, torch.device("cpu"))
    if args.one:
        print(json.dumps(one_case(*json.loads(args.one), args.quick)))
        return
    if args.page:
        write_page(json.loads(RESULTS_FILE.read_text(encoding="utf-8")))
        return
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        numbers = measure(args, Path(folder))
    numbers["minutes"] = (time.perf_counter() - started) / 60
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(rendered(numbers))
    if args.output == RESULTS_FILE:
        write_page(numbers)
    log(f"{numbers['minutes']:.1f} minutes")


if __name__ == "__main__":
    main()
