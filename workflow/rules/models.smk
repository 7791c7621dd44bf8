# Models: tune the settings, then train one model per seed.


rule tune:
    """Search settings on train and val; the study itself is kept and goes on after an interruption."""
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        initial=INITIAL,
    output:
        best="results/tune/best.json",
        trials=report(
            "results/tune/trials.json",
            caption="../report/tune.rst",
            category="Model",
            labels={"what": "tuning trials", "format": "JSON"},
        ),
    log:
        "results/logs/tune.txt",
    benchmark:
        "results/benchmarks/tune.tsv"
    conda:
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=1440,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "tune"),
        graphs=subpath(input.graphs, parent=True),
        worker="0",
        out=subpath(output.best, parent=True),
    shell:
        command(
            "dglframer tune",
            "--config {params.config:q}",
            "--graphs {params.graphs:q}",
            "--split {input.split:q}",
            "--worker {params.worker:q}",
            "--threads {threads}",
            "--out {params.out:q}",
        )


# Runs trials of the same study beside the rule tune, which needs no worker to come to its end.
use rule tune as tune_worker with:
    output:
        best="results/tune/worker-{worker}.json",
    log:
        "results/logs/tune-worker-{worker}.txt",
    benchmark:
        "results/benchmarks/tune-worker-{worker}.tsv"
    retries: 2
    params:
        worker="{worker}",


rule train_seed:
    """Train one model; an interrupted training goes on from its checkpoints, which are kept."""
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        tuned="results/tune/best.json",
        initial=INITIAL,
    output:
        description="results/models/seed-{seed}/model.json",
        weights="results/models/seed-{seed}/model.safetensors",
        metrics="results/models/seed-{seed}/metrics.jsonl",
    log:
        "results/logs/train-seed-{seed}.txt",
    benchmark:
        "results/benchmarks/train-seed-{seed}.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=1440,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "train"),
        graphs=subpath(input.graphs, parent=True),
        checkpoints=in_checkpoints("seed-{seed}", above=2),
        out=subpath(output.weights, parent=True),
    shell:
        command(
            "dglframer train",
            "--config {params.config:q}",
            "--graphs {params.graphs:q}",
            "--split {input.split:q}",
            "--tuned {input.tuned:q}",
            "--seed {wildcards.seed:q}",
            "--threads {threads}",
            "--checkpoints {params.checkpoints:q}",
            "--when-changed fresh",
            "--out {params.out:q}",
        )


rule train:
    """All models of the ensemble."""
    input:
        "results/config.json",
        expand("results/models/seed-{seed}/model.json", seed=SEEDS),
        WORKERS,
    localrule: True
