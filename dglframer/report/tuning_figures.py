"""Optuna's own figures of a study, as plotly.js reads them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dglframer.config.tuning import SearchChoices, SearchRange
from dglframer.report.tuning_plots import Trial, completed

LOSS = "validation loss"


def study_figures(
    trials: Sequence[Trial], search: Mapping[str, SearchRange | SearchChoices]
) -> dict[str, Any]:
    """Figures by name, each with ``data`` and ``layout``; none for fewer than two completed trials."""
    usable = [
        trial
        for trial in trials
        if all(key in search and inside(search[key], x) for key, x in trial["params"].items())
    ]
    if len(completed(usable)) < 2:
        return {}
    from optuna import importance, visualization

    study = study_of(usable, search)
    same = all(set(trial["params"]) == set(search) for trial in completed(usable))
    figures = {"history": visualization.plot_optimization_history(study, target_name=LOSS)}
    if any(len(trial["val_loss_by_epoch"]) > 1 for trial in usable):
        figures["intermediate"] = visualization.plot_intermediate_values(study)
        figures["intermediate"].update_layout(xaxis_title="epoch", yaxis_title=LOSS)
    if same:
        figures["slice"] = visualization.plot_slice(study, target_name=LOSS)
        evaluator = importance.PedAnovaImportanceEvaluator()
        if len(search) > 1:
            figures["importance"] = visualization.plot_param_importances(study, evaluator=evaluator)
    return {name: plain(figure) for name, figure in figures.items()}


def study_of(trials: Sequence[Trial], search: Mapping[str, SearchRange | SearchChoices]) -> Any:
    """The trials of trials.json as a study in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), study_name="report")
    spaces = {key: distribution(space) for key, space in search.items()}
    for trial in trials:
        state = trial["state"].upper()
        losses = {k: x for k, x in enumerate(trial["val_loss_by_epoch"], 1) if math.isfinite(x)}
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                value=trial["val_loss"] if state == "COMPLETE" else None,
                params=trial["params"],
                distributions={key: spaces[key] for key in trial["params"]},
                intermediate_values=losses,
            )
        )
    return study


def inside(space: SearchRange | SearchChoices, value: Any) -> bool:
    """Whether a value is in the space of its key, which may have changed since."""
    if isinstance(space, SearchChoices):
        return value in space.choices
    return bool(space.low <= value <= space.high)


def distribution(space: SearchRange | SearchChoices) -> Any:
    """The space of a key, in Optuna's terms."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(space, SearchChoices):
        return CategoricalDistribution(list(space.choices))
    if isinstance(space.low, int) and isinstance(space.high, int):
        return IntDistribution(space.low, space.high, log=space.log)
    return FloatDistribution(float(space.low), float(space.high), log=space.log)


def plain(figure: Any) -> dict[str, Any]:
    """Data and layout, without plotly's template of every colour and without a title and a size."""
    content = json.loads(figure.to_json(engine="json"))
    layout = content["layout"]
    for key in ("template", "title", "width", "height"):
        layout.pop(key, None)
    for key in [key for key in layout if key.startswith("xaxis")]:  # narrow columns of long names
        title = layout[key].get("title", {})
        if "text" in title:
            title["text"] = title["text"].rsplit(".", 1)[-1]
        layout[key]["automargin"] = True
    layout["legend"] = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
    layout |= {"margin": {"l": 60, "r": 15, "t": 32, "b": 80}, "paper_bgcolor": "#ffffff"}
    layout |= {"plot_bgcolor": "#ffffff", "font": {"family": "system-ui, sans-serif", "size": 12}}
    return {"data": content["data"], "layout": layout}
