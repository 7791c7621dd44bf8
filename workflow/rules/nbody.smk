# The N-body experiment (docs/measured/nbody.md): `snakemake nbody`. Nothing else needs it, and it needs nothing else.
from dglframer.experiments.nbody.budgets import budget_of, trainings

BUDGET = budget_of(SETTINGS.nbody)


rule nbody_simulate:
    """Simulate five charged particles, many times, under one of the two force caps."""
    output:
        "results/nbody/{cap}/data.safetensors",
    log:
        "results/logs/nbody-simulate-{cap}.txt",
    benchmark:
        "results/benchmarks/nbody-simulate-{cap}.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "nbody_simulate"),
        simulations=BUDGET.simulations,
    shell:
        command(
            "dglframer nbody simulate",
            "--config {params.config:q}",
            "--cap {wildcards.cap:q}",
            "--out {output:q}",
        )


rule nbody_bounds:
    """What no model changes: the error of constant velocity, and the floor of equivariant models."""
    input:
        data="results/nbody/{cap}/data.safetensors",
    output:
        "results/nbody/{cap}/bounds.json",
    log:
        "results/logs/nbody-bounds-{cap}.txt",
    benchmark:
        "results/benchmarks/nbody-bounds-{cap}.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "nbody_bounds"),
        sizes=(BUDGET.rotations, BUDGET.calibration),
    shell:
        command(
            "dglframer nbody bounds",
            "--config {params.config:q}",
            "--data {input.data:q}",
            "--out {output:q}",
        )


rule nbody_train:
    """Train one model; one that was killed begins anew."""
    input:
        data="results/nbody/{cap}/data.safetensors",
    output:
        description="results/nbody/{cap}/models/{model}-{frames}-frames-seed-{seed}/model.json",
        weights="results/nbody/{cap}/models/{model}-{frames}-frames-seed-{seed}/model.safetensors",
        curve="results/nbody/{cap}/models/{model}-{frames}-frames-seed-{seed}/curve.jsonl",
        timing="results/nbody/{cap}/models/{model}-{frames}-frames-seed-{seed}/timing.json",
    log:
        "results/logs/nbody-train-{cap}-{model}-{frames}-{seed}.txt",
    benchmark:
        "results/benchmarks/nbody-train-{cap}-{model}-{frames}-{seed}.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "nbody_train"),
        sizes=lambda wildcards: (BUDGET.steps[wildcards.model], BUDGET.degrees),
        out=subpath(output.weights, parent=True),
    shell:
        command(
            "dglframer nbody train",
            "--config {params.config:q}",
            "--data {input.data:q}",
            "--model {wildcards.model:q}",
            "--frames {wildcards.frames:q}",
            "--seed {wildcards.seed:q}",
            "--threads {threads}",
            "--out {params.out:q}",
        )


rule nbody_evaluate:
    """Test errors and equivariance of all models of a data set."""
    input:
        data="results/nbody/{cap}/data.safetensors",
        models=expand(
            "results/nbody/{{cap}}/models/{one}/model.json", one=trainings(SETTINGS.nbody)
        ),
    output:
        "results/nbody/{cap}/evaluation.json",
    log:
        "results/logs/nbody-evaluate-{cap}.txt",
    benchmark:
        "results/benchmarks/nbody-evaluate-{cap}.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=stage_settings(SETTINGS, "nbody_evaluate"),
        models=folders("models"),
    shell:
        command(
            "dglframer nbody evaluate",
            "--data {input.data:q}",
            "--models {params.models:q}",
            "--threads {threads}",
            "--out {output:q}",
        )


rule nbody_table:
    """The table and its three figures."""
    input:
        evaluations=expand("results/nbody/{cap}/evaluation.json", cap=SETTINGS.nbody.caps),
        bounds=expand("results/nbody/{cap}/bounds.json", cap=SETTINGS.nbody.caps),
    output:
        numbers="results/nbody/table.json",
        table="results/nbody/table.md",
        rotation="results/nbody/rotation.svg",
        curves="results/nbody/learning_curves.svg",
        horizon="results/nbody/horizon.svg",
    log:
        "results/logs/nbody-table.txt",
    benchmark:
        "results/benchmarks/nbody-table.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=stage_settings(SETTINGS, "nbody_table"),
        out=subpath(output.table, parent=True),
    shell:
        command(
            "dglframer nbody table",
            "--evaluations {input.evaluations:q}",
            "--bounds {input.bounds:q}",
            "--out {params.out:q}",
        )


rule nbody:
    """All of it."""
    input:
        "results/config.json",
        "results/nbody/table.json",
    localrule: True
