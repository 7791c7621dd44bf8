# The configuration, checked before anything runs, and the part of it that each stage depends on.
import os

from snakemake.exceptions import WorkflowError

from dglframer.config import parse_config, stage_settings
from dglframer.errors import ConfigError
from dglframer.files import write_json
from dglframer.split import reads_checks

# For environments that Snakemake makes (--use-conda): they install the checkout itself.
os.environ.update(DGLFRAMER_SOURCE=str(workflow.basedir))

try:
    SETTINGS = parse_config(config)
except ConfigError as error:
    raise WorkflowError(f"configuration: {error}")

SEEDS = list(SETTINGS.seeds)
MODELS = [f"results/models/seed-{seed}" for seed in SEEDS]


# Not the output of a rule: whatever depended on it would run again for every changed key, while each
# stage's `params` name the keys that concern it.
CONFIG = "results/config.json"


onstart:
    write_json(CONFIG, SETTINGS.model_dump(mode="json"))
