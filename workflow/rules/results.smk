# Results: evaluate the ensemble, and tell a person about it.


rule evaluate:
    """Predict every split, with errors and plots."""
    input:
        graphs="results/graphs/manifest.json",
        split="results/split.parquet",
        models=expand("results/models/seed-{seed}/model.json", seed=SEEDS),
        weights=expand("results/models/seed-{seed}/model.safetensors", seed=SEEDS),
        metrics=expand("results/models/seed-{seed}/metrics.jsonl", seed=SEEDS),
    output:
        predictions="results/evaluation/predictions.parquet",
        metrics=report(
            "results/evaluation/metrics.json",
            caption="../report/metrics.rst",
            category="Results",
            labels={"what": "errors", "format": "JSON"},
        ),
        parity=report(
            "results/evaluation/parity.svg",
            caption="../report/parity.rst",
            category="Results",
            labels={"what": "parity plot", "format": "SVG"},
        ),
        calibration=report(
            "results/evaluation/calibration.svg",
            caption="../report/calibration.rst",
            category="Results",
            labels={"what": "spread against error", "format": "SVG"},
        ),
        curves=report(
            "results/evaluation/learning_curve.svg",
            caption="../report/learning_curve.rst",
            category="Model",
            labels={"what": "learning curves", "format": "SVG"},
        ),
    log:
        "results/logs/evaluate.txt",
    benchmark:
        "results/benchmarks/evaluate.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=120,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "evaluate"),
        models=MODELS,
    shell:
        "dglframer evaluate --graphs results/graphs --split {input.split}"
        " --models {params.models} --threads {threads} --out results/evaluation 2>&1 | tee {log}"


rule report:
    """One page to read."""
    input:
        download="results/download.json",
        crystals="results/crystals.parquet",
        rejected="results/rejected.parquet",
        checks="results/checks.parquet",
        inspection="results/inspection.json",
        split="results/split.parquet",
        leakage="results/leakage.json",
        graphs="results/graphs/manifest.json",
        tuned="results/tune/best.json",
        models=expand("results/models/seed-{seed}/model.json", seed=SEEDS),
        metrics="results/evaluation/metrics.json",
        predictions="results/evaluation/predictions.parquet",
    output:
        report(
            "results/report.html",
            caption="../report/report.rst",
            category="Results",
            labels={"what": "report", "format": "HTML"},
        ),
    log:
        "results/logs/report.txt",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "report"),
        models=MODELS,
    shell:
        "dglframer report --config results/config.json --download {input.download}"
        " --crystals {input.crystals} --rejected {input.rejected} --checks {input.checks}"
        " --inspection {input.inspection} --split {input.split} --leakage {input.leakage}"
        " --graphs results/graphs --tuned {input.tuned} --models {params.models}"
        " --evaluation results/evaluation --out {output} 2>&1 | tee {log}"
