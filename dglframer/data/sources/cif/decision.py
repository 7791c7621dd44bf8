"""Which of the settings that a file can mean it does mean: the one crystal that all else allows."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.operators import IDENTITY, as_arrays
from dglframer.data.sources.cif.symmetry import Candidate, Symmetry

SAME_PLACE = 0.01  # angstrom, of atoms that two settings give
MAX_NAMED = 4  # settings in a message


Contents = tuple[list[str], np.ndarray, np.ndarray]  # symbols, lattice, fractional coordinates
Attempt = Callable[[Candidate], tuple[Contents, bool]]  # the crystal, and whether more confirms it


class Trial(NamedTuple):
    """What came of a candidate."""

    candidate: Candidate
    contents: Contents | None
    confirmed: bool
    reason: str = ""


def decide(symmetry: Symmetry, attempt: Attempt) -> Contents:
    """The one crystal that the stated symmetry and all else in the file allow; raises Rejected."""
    if symmetry.listed and not symmetry.contradiction:
        return attempt(symmetry.listed)[0]
    if symmetry.listed:
        return settle(symmetry.listed, symmetry, attempt)
    if symmetry.named:
        return the_one(trials(symmetry.named, attempt))
    return unstated(symmetry.mentioned, attempt)


def unstated(mentioned: str, attempt: Attempt) -> Contents:
    """P 1, the dictionary's default, where a file states no symmetry; raises Rejected.

    Where something of symmetry is mentioned, such as the crystal system, the contents have to
    confirm P 1: the operators may have been left out.
    """
    (trial,) = trials([Candidate("P 1", as_arrays([IDENTITY]))], attempt)
    if trial.contents and (trial.confirmed or not mentioned):
        return trial.contents
    why = f"P 1: {trial.reason}" if trial.reason else "nothing confirms P 1"
    what = f"{mentioned} is given, but " if mentioned else ""
    raise Rejected(f"{what}no operators, symbol or number of a space group, and {why}")


def settle(listed: Candidate, symmetry: Symmetry, attempt: Attempt) -> Contents:
    """The crystal of listed operators that contradict the symbol, if the contents decide for them.

    Some programs list x, y, z and all the atoms under the symbol of the crystal (jarvis-tools).
    """
    (trial,) = trials([listed], attempt)
    contents = trial.contents if trial.confirmed else None
    names = [trial.candidate.name] if contents else []
    for other in trials(symmetry.named, attempt):
        if other.contents and other.confirmed and not (contents and same(contents, other.contents)):
            names.append(other.candidate.name)
    if contents and len(names) == 1:
        return contents
    agree = f"; the contents agree with {' and '.join(names)}" if names else ""
    raise Rejected(symmetry.contradiction + agree)


def trials(candidates: Iterable[Candidate], attempt: Attempt) -> list[Trial]:
    """What comes of each candidate."""
    found = []
    for candidate in candidates:
        try:
            found.append(Trial(candidate, *attempt(candidate)))
        except Rejected as reason:
            found.append(Trial(candidate, None, False, str(reason)))
    return found


def the_one(tried: list[Trial]) -> Contents:
    """The contents of all candidates that fit; raises Rejected if none fits, or if they differ."""
    fitting = [(trial.candidate.name, trial.contents) for trial in tried if trial.contents]
    if not fitting:
        reasons = [f"{trial.candidate.name}: {trial.reason}" for trial in tried]
        raise Rejected("no setting fits: " + listing(reasons) if len(reasons) > 1 else reasons[0])
    (name, first), *others = fitting
    different = [other for other, contents in others if not same(first, contents)]
    if different:
        raise Rejected(
            "the file does not say in which setting it is, and these give different crystals: "
            + listing([name, *different])
        )
    return first


def listing(parts: list[str]) -> str:
    """The first few of many."""
    more = f" and {len(parts) - MAX_NAMED} more" if len(parts) > MAX_NAMED else ""
    return "; ".join(parts[:MAX_NAMED]) + more


def same(one: Contents, other: Contents) -> bool:
    """Whether two have the same atoms in the same places of one cell."""
    (symbols, lattice_33, frac_N3), (other_symbols, _, other_N3) = one, other
    if sorted(symbols) != sorted(other_symbols):
        return False
    offset_NN3 = frac_N3[:, None] - other_N3
    offset_NN3 -= np.rint(offset_NN3)
    near_NN = np.linalg.norm(offset_NN3 @ lattice_33, axis=-1) < SAME_PLACE
    alike_NN = np.array(symbols)[:, None] == np.array(other_symbols)
    return bool((near_NN & alike_NN).any(1).all())
