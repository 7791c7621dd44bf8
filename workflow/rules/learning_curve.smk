# The error against the number of training crystals: `snakemake learning_curve` (docs/guide/training.md).

SIZES = list(SETTINGS.learning_curve.sizes)


rule curve_splits:
    """Nested parts of the training crystals; validation and test stay whole."""
    input:
        split="results/split.parquet",
    output:
        expand("results/learning_curve/{size}/split.parquet", size=SIZES),
    log:
        "results/logs/curve-splits.txt",
    benchmark:
        "results/benchmarks/curve-splits.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "learning_curve"),
        out=lambda wildcards, output: str(Path(output[0]).parents[1]),
    shell:
        command(
            "dglframer curve-splits",
            "--config {params.config:q}",
            "--split {input.split:q}",
            "--out {params.out:q}",
        )


# One part with one seed.
use rule train_seed as curve_train with:
    input:
        graphs="results/graphs/manifest.json",
        split="results/learning_curve/{size}/split.parquet",
        tuned="results/tune/best.json",
        initial=INITIAL,
    output:
        description="results/learning_curve/{size}/seed-{seed}/model.json",
        weights="results/learning_curve/{size}/seed-{seed}/model.safetensors",
        metrics="results/learning_curve/{size}/seed-{seed}/metrics.jsonl",
    log:
        "results/logs/learning-curve-{size}-{seed}.txt",
    benchmark:
        "results/benchmarks/learning-curve-{size}-{seed}.tsv"
    params:
        checkpoints=in_checkpoints("learning-curve-{size}-{seed}", above=3),


# The models of one part, and the baselines trained on it.
use rule evaluate as curve_evaluate with:
    input:
        graphs="results/graphs/manifest.json",
        split="results/learning_curve/{size}/split.parquet",
        models=expand("results/learning_curve/{{size}}/seed-{seed}/model.safetensors", seed=SEEDS),
    output:
        metrics="results/learning_curve/{size}/evaluation/metrics.json",
    log:
        "results/logs/learning-curve-evaluate-{size}.txt",
    benchmark:
        "results/benchmarks/learning-curve-evaluate-{size}.tsv"


rule learning_curve:
    """One table and one plot: test errors of the encoder and of the baselines against the size."""
    input:
        evaluations=expand("results/learning_curve/{size}/evaluation/metrics.json", size=SIZES),
    output:
        table="results/learning_curve/table.json",
        text="results/learning_curve/table.md",
        plot="results/learning_curve/learning_curve.svg",
    log:
        "results/logs/learning-curve.txt",
    benchmark:
        "results/benchmarks/learning-curve.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "learning_curve"),
        out=subpath(output.table, parent=True),
    shell:
        command(
            "dglframer learning-curve",
            "--config {params.config:q}",
            "--out {params.out:q}",
        )
