"""The figures of a study: their content, equal bytes for equal data, no figure without trials."""

import pytest
from helpers.figures import texts

from dglframer.config.tuning import SearchChoices, SearchRange
from dglframer.report import plots
from dglframer.report.tuning_plots import height, ticks, tuning_panels

SEARCH = {
    "training.learning_rate": SearchRange(low=1e-4, high=1e-2, log=True),
    "crystalframer.window_sigmas": SearchChoices(choices=(None, 4)),
    "crystalframer.blocks": SearchRange(low=2, high=2),
}
IMPORTANCE = {"training.learning_rate": 0.75, "crystalframer.window_sigmas": 0.25}


def trial(number: int, loss: float | None, state: str = "complete") -> dict:
    params = {
        "training.learning_rate": 1e-3,
        "crystalframer.window_sigmas": None,
        "crystalframer.blocks": 2,
    }
    return {"number": number, "state": state, "val_loss": loss, "params": params}


TRIALS = [trial(0, 0.5), trial(1, 0.7, "pruned"), trial(2, None, "pruned"), trial(3, 0.25)]


def test_every_figure_says_what_it_shows():
    panels = tuning_panels(TRIALS, IMPORTANCE, SEARCH)
    words = {name: set(texts(plots.svg([panel]))) for name, panel in panels.items()}
    assert {"trial", "validation loss", "complete", "pruned, last", "best so far"} <= words[
        "history"
    ]
    assert {*IMPORTANCE, "share of the spread"} <= words["importance"]
    assert {"0.0001", "0.01", "null", "4", "2", "learning_rate", "blocks"} <= words["parallel"]
    again = tuning_panels(TRIALS, IMPORTANCE, SEARCH)
    assert [plots.svg([one]) for one in panels.values()] == [plots.svg([o]) for o in again.values()]


@pytest.mark.parametrize(
    ("trials", "importance", "search", "names"),
    [
        ([], {}, SEARCH, []),
        (TRIALS[:3], {}, SEARCH, []),
        (TRIALS, {}, {}, ["history"]),
        (TRIALS, {}, {"crystalframer.heads": SEARCH["crystalframer.blocks"]}, ["history"]),
    ],
)
def test_no_figure_without_trials_that_fit(trials, importance, search, names):
    assert list(tuning_panels(trials, importance, search)) == names


def test_equal_losses_and_one_key_can_be_drawn():
    only = {"crystalframer.blocks": SEARCH["crystalframer.blocks"]}
    same = [{**trial(k, 0.5), "params": {"crystalframer.blocks": 2}} for k in range(3)]
    for panel in tuning_panels(same, {}, only).values():
        assert texts(plots.svg([panel]))


def test_heights_are_on_the_axis():
    rate = SEARCH["training.learning_rate"]
    assert [round(height(rate, value), 6) for value in (1e-4, 1e-3, 1e-2)] == [0, 0.5, 1]
    assert height(SEARCH["crystalframer.window_sigmas"], 4) == 1
    assert (
        ticks(SEARCH["crystalframer.blocks"]) == [(0.5, "2")]
        and height(SEARCH["crystalframer.blocks"], 2) == 0.5
    )
