# The configuration, checked before anything runs, the part of it that each stage depends on, and the
# number of jobs that the graphs are worth.
import os

from snakemake.exceptions import WorkflowError

from dglframer.config import merged_config
from dglframer.config.stages import stage_settings
from dglframer.common.errors import ConfigError
from dglframer.common.files import write_json
from dglframer.graphs.shards import count_parts
from dglframer.data.split import reads_checks

# For environments that Snakemake makes (--use-conda): they install the checkout itself.
os.environ.update(DGLFRAMER_SOURCE=str(workflow.basedir))

try:
    SETTINGS = merged_config(config, workflow.configfiles)
except ConfigError as error:
    raise WorkflowError(f"configuration: {error}")

SEEDS = list(SETTINGS.seeds)
# The model that fine-tuning starts from is an input: another one trains anew.
INITIAL = [
    f"{SETTINGS.training.init_from}/{name}"
    for name in ("model.json", "model.safetensors")
    if SETTINGS.training.init_from
]
# What the workers of tuning beside the first one write: not an input of any stage, for they only help.
WORKERS = [f"results/tune/worker-{k}.json" for k in range(1, SETTINGS.tune.workers)]
MODELS = [f"results/models/seed-{seed}" for seed in SEEDS]


# Not the output of a rule: whatever depended on it would run again for every changed key, while each
# stage's `params` name the keys that concern it.
CONFIG = "results/config.json"


onstart:
    write_json(CONFIG, SETTINGS.model_dump(mode="json"))


def graph_parts(wildcards):
    """A job for each part of the crystals, or none where one process is as quick."""
    parts = count_parts(checkpoints.crystals.get().output.crystals)
    numbers = range(1, parts + 1) if parts > 1 else ()
    return expand("results/graphs/built/{part}-of-{parts}", part=numbers, parts=parts)
