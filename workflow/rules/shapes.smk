# The objects experiment (docs/measured/shapes.md): `snakemake shapes`. Nothing else needs it, and it needs nothing else.
from dglframer.experiments.shapes import budgets as shapes_budgets
from dglframer.experiments.shapes.scan_files import FILES as SCAN_FILES

SHAPES = shapes_budgets.budget_of(SETTINGS.shapes)
SCANS = SETTINGS.shapes.path if SETTINGS.shapes.source == "scanobjectnn" else None


rule shapes_data:
    """Make upright objects from a seed, or read the scans that the user has."""
    input:
        [local(f"{SCANS}/{name}") for name in SCAN_FILES.values() if SCANS],
    output:
        "results/shapes/data.safetensors",
    log:
        "results/logs/shapes-data.txt",
    benchmark:
        "results/benchmarks/shapes-data.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "shapes_data"),
        objects=SHAPES.objects,
    shell:
        command(
            "dglframer shapes data",
            "--config {params.config:q}",
            "--out {output:q}",
        )


rule shapes_train:
    """Train one network; one that was killed begins anew."""
    input:
        data="results/shapes/data.safetensors",
    output:
        description="results/shapes/models/{model}-{orientation}-seed-{seed}/model.json",
        weights="results/shapes/models/{model}-{orientation}-seed-{seed}/model.safetensors",
        curve="results/shapes/models/{model}-{orientation}-seed-{seed}/curve.jsonl",
        timing="results/shapes/models/{model}-{orientation}-seed-{seed}/timing.json",
    log:
        "results/logs/shapes-train-{model}-{orientation}-{seed}.txt",
    benchmark:
        "results/benchmarks/shapes-train-{model}-{orientation}-{seed}.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "shapes_train"),
        sizes=lambda wildcards: (
            SHAPES.steps[wildcards.model],
            SHAPES.degrees,
            SHAPES.channels,
            SHAPES.layers,
            SHAPES.neighbours,
        ),
        out=subpath(output.weights, parent=True),
    shell:
        command(
            "dglframer shapes train",
            "--config {params.config:q}",
            "--data {input.data:q}",
            "--model {wildcards.model:q}",
            "--orientation {wildcards.orientation:q}",
            "--seed {wildcards.seed:q}",
            "--threads {threads}",
            "--out {params.out:q}",
        )


rule shapes_evaluate:
    """Test accuracy of all networks against the largest tilt."""
    input:
        data="results/shapes/data.safetensors",
        models=expand(
            "results/shapes/models/{one}/model.json",
            one=shapes_budgets.trainings(SETTINGS.shapes),
        ),
    output:
        "results/shapes/evaluation.json",
    log:
        "results/logs/shapes-evaluate.txt",
    benchmark:
        "results/benchmarks/shapes-evaluate.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=stage_settings(SETTINGS, "shapes_evaluate"),
        models=folders("models"),
    shell:
        command(
            "dglframer shapes evaluate",
            "--data {input.data:q}",
            "--models {params.models:q}",
            "--threads {threads}",
            "--out {output:q}",
        )


rule shapes_table:
    """The table and its two figures."""
    input:
        evaluation="results/shapes/evaluation.json",
    output:
        numbers="results/shapes/table.json",
        table="results/shapes/table.md",
        tilt="results/shapes/tilt.svg",
        objects="results/shapes/objects.svg",
    log:
        "results/logs/shapes-table.txt",
    benchmark:
        "results/benchmarks/shapes-table.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=stage_settings(SETTINGS, "shapes_table"),
        out=subpath(output.table, parent=True),
    shell:
        command(
            "dglframer shapes table",
            "--evaluation {input.evaluation:q}",
            "--out {params.out:q}",
        )


rule shapes:
    """All of it."""
    input:
        "results/config.json",
        "results/shapes/table.json",
    localrule: True
