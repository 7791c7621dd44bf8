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
        "../../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "tune"),
    shell:
        "dglframer tune --config results/config.json --graphs results/graphs --split {input.split}"
        " --threads {threads} --out results/tune 2>&1 | tee {log}"


rule tune_worker:
    """Run trials of the same study beside the rule tune, which needs no worker to come to its end."""
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        initial=INITIAL,
    output:
        "results/tune/worker-{worker}.json",
    log:
        "results/logs/tune-worker-{worker}.txt",
    benchmark:
        "results/benchmarks/tune-worker-{worker}.tsv"
    retries: 2
    conda:
        "../../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "tune"),
    shell:
        "dglframer tune --config results/config.json --graphs results/graphs --split {input.split}"
        " --worker {wildcards.worker} --threads {threads} --out results/tune 2>&1 | tee {log}"


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
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "train"),
    shell:
        "dglframer train --config results/config.json --graphs results/graphs --split {input.split}"
        " --tuned {input.tuned} --seed {wildcards.seed} --threads {threads}"
        " --checkpoints results/checkpoints/seed-{wildcards.seed} --when-changed fresh"
        " --out results/models/seed-{wildcards.seed} 2>&1 | tee {log}"


rule train:
    """All models of the ensemble."""
    input:
        expand("results/models/seed-{seed}/model.json", seed=SEEDS),
        WORKERS,
