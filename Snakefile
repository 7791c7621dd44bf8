"""From crystals to a report on a trained CrystalFramer; every rule is one `dglframer` command."""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


configfile: Path(workflow.basedir) / "config.yaml"


include: "workflow/rules/settings.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/nbody.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,
    train,
    nbody,


rule all:
    """Everything, up to the report."""
    default_target: True
    input:
        "results/report.html",
        WORKERS,
