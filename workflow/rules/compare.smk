# Several encoders on the same graphs, split and seeds: `snakemake compare` (docs/guide/compare.md).

COMPARED = [
    f"results/compare/{budget}/{variant}"
    for budget in ("epochs", "time")
    for variant in SETTINGS.compare.trained_in(budget)
]


rule compare_plan_epochs:
    """What each variant trains with: as many epochs for all, or as much time as the first one took."""
    output:
        expand(
            "results/compare/epochs/{variant}.json", variant=SETTINGS.compare.trained_in("epochs")
        ),
    log:
        "results/logs/compare-plan-epochs.txt",
    benchmark:
        "results/benchmarks/compare-plan-epochs.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "compare"),
        budget="epochs",
        trained=subpath(output[0], parent=True),
        out=subpath(output[0], parent=True),
    shell:
        command(
            "dglframer compare-plan",
            "--config {params.config:q}",
            "--budget {params.budget:q}",
            "--trained {params.trained:q}",
            "--out {params.out:q}",
        )


# What each variant trains with, for as long as the first one took.
use rule compare_plan_epochs as compare_plan_time with:
    input:
        trained=expand(
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
    params:
        budget="time",
        trained=lambda wildcards, input: Path(input.trained[0]).parents[2],


# One variant with one seed.
use rule train_seed as compare_train with:
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        tuned="results/compare/{budget}/{variant}.json",
        initial=INITIAL,
    output:
        description="results/compare/{budget}/{variant}/seed-{seed}/model.json",
        weights="results/compare/{budget}/{variant}/seed-{seed}/model.safetensors",
        metrics="results/compare/{budget}/{variant}/seed-{seed}/metrics.jsonl",
    log:
        "results/logs/compare-{budget}-{variant}-{seed}.txt",
    benchmark:
        "results/benchmarks/compare-{budget}-{variant}-{seed}.tsv"
    params:
        settings=stage_settings(SETTINGS, "compare"),
        checkpoints=in_checkpoints("compare-{budget}-{variant}-{seed}", above=4),


# The models of one variant on every split.
use rule evaluate as compare_evaluate with:
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        models=expand(
            "results/compare/{{budget}}/{{variant}}/seed-{seed}/model.safetensors", seed=SEEDS
        ),
    output:
        metrics="results/compare/{budget}/{variant}/evaluation/metrics.json",
    log:
        "results/logs/compare-evaluate-{budget}-{variant}.txt",
    benchmark:
        "results/benchmarks/compare-evaluate-{budget}-{variant}.tsv"


rule compare:
    """One table and one plot: errors with their spread, parameters, time per epoch."""
    input:
        evaluations=expand("{variant}/evaluation/metrics.json", variant=COMPARED),
    output:
        table="results/compare/table.json",
        text="results/compare/table.md",
        plot="results/compare/comparison.svg",
    log:
        "results/logs/compare.txt",
    benchmark:
        "results/benchmarks/compare.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "compare"),
        out=subpath(output.table, parent=True),
    shell:
        command(
            "dglframer compare",
            "--config {params.config:q}",
            "--out {params.out:q}",
        )
