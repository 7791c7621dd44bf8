"""Where the checkout is, and the real crystals that are not part of the project."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Real crystals that are not part of the project: developers and CI have them, others need not.
SHARED = ROOT.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder {SHARED}")

STRUCTURES = SHARED / "data" / "structures"
EXPECTED = json.loads((STRUCTURES / "expected.json").read_text()) if SHARED.is_dir() else {}
