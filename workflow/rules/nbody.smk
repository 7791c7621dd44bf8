# The N-body experiment (docs/measured/nbody.md): `snakemake nbody`. Nothing else needs it, and it needs nothing else.
from dglframer.nbody.budgets import budget_of, trainings

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
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "nbody_simulate"),
        simulations=BUDGET.simulations,
    shell:
        "dglframer nbody simulate --config results/config.json --cap {wildcards.cap} --out {output}"
        " 2>&1 | tee {log}"


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
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "nbody_bounds"),
        sizes=(BUDGET.rotations, BUDGET.calibration),
    shell:
        "dglframer nbody bounds --config results/config.json --data {input.data} --out {output}"
        " 2>&1 | tee {log}"


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
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "nbody_train"),
        sizes=lambda wildcards: (BUDGET.steps[wildcards.model], BUDGET.degrees),
    shell:
        "dglframer nbody train --config results/config.json --data {input.data}"
        " --model {wildcards.model} --frames {wildcards.frames} --seed {wildcards.seed}"
        " --threads {threads} --out results/nbody/{wildcards.cap}/models/{wildcards.model}"
        "-{wildcards.frames}-frames-seed-{wildcards.seed} 2>&1 | tee {log}"


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
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "nbody_evaluate"),
        models=expand("results/nbody/{{cap}}/models/{one}", one=trainings(SETTINGS.nbody)),
    shell:
        "dglframer nbody evaluate --data {input.data} --models {params.models} --threads {threads}"
        " --out {output} 2>&1 | tee {log}"


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
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "nbody_table"),
    shell:
        "dglframer nbody table --evaluations {input.evaluations} --bounds {input.bounds}"
        " --out results/nbody 2>&1 | tee {log}"


rule nbody:
    """All of it."""
    input:
        "results/nbody/table.json",
