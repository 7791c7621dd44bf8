# The configuration, checked before anything runs, and what the rules take from it.
try:
    CONFIG, variable = freeze(
        merged_config(config, workflow.configfiles),
        workflow.envvars,
        starts=workflow.is_main_process,
    )
    SETTINGS = load_config(CONFIG)
except ConfigError as error:
    raise WorkflowError(f"configuration: {error}")


envvars:
    variable,


SEEDS = list(SETTINGS.seeds)
# The model that fine-tuning starts from is an input: another one trains anew. Paths that the user gives
# are `local`: a module's prefix is for what the rules write.
INITIAL = [
    local(f"{SETTINGS.training.init_from}/{name}")
    for name in ("model.json", "model.safetensors")
    if SETTINGS.training.init_from
]
# What the workers of tuning beside the first one write: not an input of any stage, for they only help.
WORKERS = [f"results/tune/worker-{k}.json" for k in range(1, SETTINGS.tune.workers)]


wildcard_constraints:
    seed=r"-?\d+",
    part=r"\d+",
    parts=r"\d+",
    worker=r"\d+",
    budget="epochs|time",
    variant=r"[A-Za-z0-9_+-]+",
    size=r"\d+",
    cap="component|norm",
    model=r"[a-z0-9_]+",
    frames=r"\d+",
    orientation="as_given|rotated",


def command(*words):
    """A command, a flag on each line, whose output goes to the terminal and into its log.

    Ctrl-C and a queue's signals reach all processes of a job: tee stays for what the command still says.
    """
    return " ".join(words) + " 2>&1 | (trap '' INT TERM USR1; tee {log:q})"


def config_file(wildcards, output):
    """A param: what commands read.

    It is no input, since every job would run again for every changed key. The keys that concern a rule are
    in its `settings`. Snakemake compares no param of which it thinks that it follows from the output. (An
    `ancient` input would not do. While the job that makes it has to run, Snakemake 9.27.1 looks for no other
    reason to run the jobs that need it.)
    """
    return str(CONFIG)


def folders(name):
    """A param: the folders of the input files called ``name``."""
    return lambda wildcards, input: [os.path.dirname(path) for path in input.get(name)]


def in_checkpoints(name, above):
    """A param: where a training saves its state; no output, for Snakemake would remove it.

    ``above``: the number of folders between ``results`` and the weights.
    """
    return lambda wildcards, output: str(
        Path(output.weights).parents[above] / "checkpoints" / name.format(**dict(wildcards.items()))
    )


def graph_parts(wildcards):
    """A job for each part of the crystals, or none where one process is as quick."""
    parts = count_parts(checkpoints.crystals.get().output.crystals)
    numbers = range(1, parts + 1) if parts > 1 else ()
    return expand("results/graphs/built/{part}-of-{parts}", part=numbers, parts=parts)
