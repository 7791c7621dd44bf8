# Several encoders on the same graphs, split and seeds: `snakemake compare` (docs/guide/compare.md).

COMPARED = [
    f"results/compare/{budget}/{variant}"
    for budget in ("epochs", "time")
    for variant in SETTINGS.compare.trained_in(budget)
]


wildcard_constraints:
    variant=r"[A-Za-z0-9_+-]+",


rule compare_plan_epochs:
    """What each variant trains with, for as many epochs as all others."""
    output:
        expand(
            "results/compare/epochs/{variant}.json", variant=SETTINGS.compare.trained_in("epochs")
        ),
    log:
        "results/logs/compare-plan-epochs.txt",
    benchmark:
        "results/benchmarks/compare-plan-epochs.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "compare"),
    shell:
        "dglframer compare-plan --config results/config.json --budget epochs"
        " --trained results/compare/epochs --out results/compare/epochs 2>&1 | tee {log}"


rule compare_plan_time:
    """What each variant trains with, for as long as the first one took."""
    input:
        expand(
            "results/compare/epochs/{variant}/seed-{seed}/metrics.jsonl",
            variant=SETTINGS.compare.trained_in("epochs"),
            seed=SEEDS,
        ),
    output:
        expand("results/compare/time/{variant}.json", variant=SETTINGS.compare.trained_in("time")),
    log:
        "results/logs/compare-plan-time.txt",
    benchmark:
        "results/benchmarks/compare-plan-time.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "compare"),
    shell:
        "dglframer compare-plan --config results/config.json --budget time"
        " --trained results/compare/epochs --out results/compare/time 2>&1 | tee {log}"


rule compare_train:
    """Train one variant with one seed."""
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        plan="results/compare/{budget}/{variant}.json",
    output:
        description="results/compare/{budget}/{variant}/seed-{seed}/model.json",
        weights="results/compare/{budget}/{variant}/seed-{seed}/model.safetensors",
        metrics="results/compare/{budget}/{variant}/seed-{seed}/metrics.jsonl",
    log:
        "results/logs/compare-{budget}-{variant}-{seed}.txt",
    benchmark:
        "results/benchmarks/compare-{budget}-{variant}-{seed}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "compare"),
        checkpoints="results/checkpoints/compare-{budget}-{variant}-{seed}",
        out="results/compare/{budget}/{variant}/seed-{seed}",
    shell:
        "dglframer train --config results/config.json --graphs results/graphs --split {input.split}"
        " --tuned {input.plan} --seed {wildcards.seed} --threads {threads}"
        " --checkpoints {params.checkpoints} --when-changed fresh --out {params.out} 2>&1 | tee {log}"


rule compare_evaluate:
    """Predict every split with the models of one variant."""
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        models=expand(
            "results/compare/{{budget}}/{{variant}}/seed-{seed}/model.safetensors", seed=SEEDS
        ),
    output:
        "results/compare/{budget}/{variant}/evaluation/metrics.json",
    log:
        "results/logs/compare-evaluate-{budget}-{variant}.txt",
    benchmark:
        "results/benchmarks/compare-evaluate-{budget}-{variant}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=120,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "evaluate"),
        models=expand("results/compare/{{budget}}/{{variant}}/seed-{seed}", seed=SEEDS),
        out="results/compare/{budget}/{variant}/evaluation",
    shell:
        "dglframer evaluate --graphs results/graphs --split {input.split}"
        " --models {params.models} --threads {threads} --out {params.out} 2>&1 | tee {log}"


rule compare:
    """One table and one plot: errors with their spread, parameters, time per epoch."""
    input:
        expand("{variant}/evaluation/metrics.json", variant=COMPARED),
    output:
        table="results/compare/table.json",
        text="results/compare/table.md",
        plot="results/compare/comparison.svg",
    log:
        "results/logs/compare.txt",
    benchmark:
        "results/benchmarks/compare.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "compare"),
    shell:
        "dglframer compare --config results/config.json --out results/compare 2>&1 | tee {log}"
