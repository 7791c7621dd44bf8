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
        nearest="results/evaluation/nearest.parquet",
        intervals="results/evaluation/intervals.json",
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
        coverage=report(
            "results/evaluation/coverage.svg",
            caption="../report/coverage.rst",
            category="Results",
            labels={"what": "coverage of the intervals", "format": "SVG"},
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
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        settings=stage_settings(SETTINGS, "evaluate"),
        models=folders("models"),
        graphs=subpath(input.graphs, parent=True),
        out=subpath(output.metrics, parent=True),
    shell:
        command(
            "dglframer evaluate",
            "--graphs {params.graphs:q}",
            "--split {input.split:q}",
            "--models {params.models:q}",
            "--threads {threads}",
            "--out {params.out:q}",
        )


# Of each model, and of the ensemble.
CARDS = expand("results/models/seed-{seed}/card.md", seed=SEEDS) + ["results/models/card.md"] * (
    len(SEEDS) > 1
)


rule report:
    """One page to read, and a card for each model."""
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
        weights=expand("results/models/seed-{seed}/model.safetensors", seed=SEEDS),
        metrics="results/evaluation/metrics.json",
        predictions="results/evaluation/predictions.parquet",
        nearest="results/evaluation/nearest.parquet",
    output:
        page=report(
            "results/report.html",
            caption="../report/report.rst",
            category="Results",
            labels={"what": "report", "format": "HTML"},
        ),
        cards=CARDS,
    log:
        "results/logs/report.txt",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "report"),
        models=folders("models"),
        graphs=subpath(input.graphs, parent=True),
        evaluation=subpath(input.metrics, parent=True),
        curve=lambda wildcards, output: str(Path(output.page).parent / "learning_curve/table.json"),
        cards=lambda wildcards, output: str(Path(output.page).parent / "models"),
        benchmarks=lambda wildcards, output: str(Path(output.page).parent / "benchmarks"),
    shell:
        command(
            "dglframer report",
            "--config {params.config:q}",
            "--download {input.download:q}",
            "--crystals {input.crystals:q}",
            "--rejected {input.rejected:q}",
            "--checks {input.checks:q}",
            "--inspection {input.inspection:q}",
            "--split {input.split:q}",
            "--leakage {input.leakage:q}",
            "--graphs {params.graphs:q}",
            "--tuned {input.tuned:q}",
            "--models {params.models:q}",
            "--evaluation {params.evaluation:q}",
            "--learning-curve {params.curve:q}",
            "--benchmarks {params.benchmarks:q}",
            "--cards {params.cards:q}",
            "--out {output.page:q}",
        )
