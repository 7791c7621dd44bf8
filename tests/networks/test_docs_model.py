"""docs/models/crystalframer.md: its drawings are what the model computes today."""

import re
import runpy

import numpy as np
import pytest
from helpers.paths import ROOT

MODELS = ROOT / "docs" / "models"
ID = re.compile(
    r'((?:#|id=")[a-z])[0-9a-f]{10}'
)  # hashes of coordinates: they follow the last digit
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


@pytest.fixture(scope="module")
def drawings() -> dict[str, str]:
    return runpy.run_path(str(ROOT / "tools" / "draw_model.py"))["drawings"]()


def test_drawings_are_those_of_the_script(drawings):
    """Equal but for 0.02 points: processors differ in the last digits."""
    assert len(drawings) == 3
    for name, text in drawings.items():
        committed = (MODELS / name).read_text(encoding="utf-8")
        now, then = ID.sub(r"\1", text), ID.sub(r"\1", committed)
        assert NUMBER.sub("", now) == NUMBER.sub("", then), f"{name}: run tools/draw_model.py"
        numbers = [np.array(NUMBER.findall(svg), float) for svg in (now, then)]
        assert np.abs(numbers[0] - numbers[1]).max() < 0.02, f"{name}: run tools/draw_model.py"


def test_page_shows_every_drawing(drawings):
    page = (MODELS / "crystalframer.md").read_text(encoding="utf-8")
    assert set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)) == set(drawings)
