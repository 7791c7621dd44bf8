"""The part of the configuration that each stage depends on."""

from typing import Any

from dglframer.config import Config
from dglframer.config.networks import ENCODERS

# A stage runs again if one of these sections of the config changes (or one of its inputs). Raise the
# number of a stage when its code starts to write something else: Snakemake does not see package code.
STAGES: dict[str, tuple[int, tuple[str, ...]]] = {
    "download": (1, ("dataset", "materials_project")),
    "crystals": (6, ("dataset",)),
    "clean": (2, ("cleaning",)),
    "split": (4, ("split",)),
    "leakage": (2, ()),
    "inspect": (2, ()),
    "graphs": (3, ("graphs",)),
    "tune": (4, ("encoder", "training", "tune")),
    "train": (7, ("encoder", "training")),
    "evaluate": (10, ()),
    "report": (10, ()),
    "compare": (3, ("encoder", *ENCODERS, "training", "compare")),
    "learning_curve": (1, ("learning_curve",)),
    "nbody_simulate": (1, ("nbody",)),
    "nbody_bounds": (1, ("nbody",)),
    "nbody_train": (3, ("nbody",)),
    "nbody_evaluate": (1, ()),
    "nbody_table": (1, ()),
    "shapes_data": (1, ("shapes",)),
    "shapes_train": (2, ("shapes",)),
    "shapes_evaluate": (1, ()),
    "shapes_table": (1, ()),
}

# The same for the code of one encoder: raised when its numbers change, be it by rounding. Trainings of the
# others stay.
ENCODER_NUMBERS: dict[str, int] = {"se3_transformer": 2, "tfn": 2}


# No stage runs again for these settings. They change nothing in its files, or only how often it runs;
# the model of init_from is an input, and its hash stands in the identity of studies and checkpoints.
WITHOUT_EFFECT = {
    "training": ("init_from", "checkpoint_minutes", "tensorboard"),
    "tune": ("workers", "max_retries", "storage"),
    "nbody": ("caps", "models", "seeds"),
    "shapes": ("models", "seeds", "path"),
}


def stage_settings(config: Config, stage: str) -> dict[str, Any]:
    """The format version and the part of the config that ``stage`` depends on."""
    version, sections = STAGES[stage]
    plain = config.model_dump(mode="json")
    transforms = plain["dataset"]["target_transforms"]
    references = plain["dataset"].pop("target_references")  # no crystal depends on them
    for section, keys in WITHOUT_EFFECT.items():
        for key in keys:
            del plain[section][key]
    chosen = {name: plain[name] for name in sections}
    if "training" in chosen:
        chosen |= {"target_transforms": transforms, "target_references": references}
    if "encoder" in chosen:  # settings of the others change nothing
        chosen[config.encoder] = plain[config.encoder]
        numbers = {name: n for name, n in ENCODER_NUMBERS.items() if name in chosen}
        if numbers:
            chosen["encoder_numbers"] = numbers
    return {"format_version": version, **chosen}
