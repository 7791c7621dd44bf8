# Data: download, crystals, clean, inspect, split, leakage, graphs.


rule download:
    """Find or fetch the files of the data set."""
    output:
        "results/download.json",
    log:
        "results/logs/download.txt",
    benchmark:
        "results/benchmarks/download.tsv"
    retries: 2
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "download"),
    shell:
        "dglframer download --config results/config.json --out {output} 2>&1 | tee {log}"


checkpoint crystals:
    """Validate every record: crystals, and rejected rows with their reasons."""
    input:
        download="results/download.json",
    output:
        crystals="results/crystals.parquet",
        rejected=report(
            "results/rejected.parquet",
            caption="../report/rejected.rst",
            category="Data",
            labels={"what": "rejected records", "format": "Parquet"},
        ),
    log:
        "results/logs/crystals.txt",
    benchmark:
        "results/benchmarks/crystals.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "crystals"),
    shell:
        "dglframer crystals --config results/config.json --download {input.download}"
        " --rejected {output.rejected} --out {output.crystals} 2>&1 | tee {log}"


rule clean:
    """Look at the valid crystals again: duplicates, unphysical labels, disagreements."""
    input:
        crystals="results/crystals.parquet",
    output:
        "results/checks.parquet",
    log:
        "results/logs/clean.txt",
    benchmark:
        "results/benchmarks/clean.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "clean"),
    shell:
        "dglframer clean --config results/config.json --crystals {input.crystals}"
        " --threads {threads} --out {output} 2>&1 | tee {log}"


rule inspect:
    """Summarise the data set: a table in the log, JSON for the report, a page of its own."""
    input:
        crystals="results/crystals.parquet",
        rejected="results/rejected.parquet",
        checks="results/checks.parquet",
    output:
        summary="results/inspection.json",
        page=report(
            "results/inspection.html",
            caption="../report/inspection.rst",
            category="Data",
            labels={"what": "data set", "format": "HTML"},
        ),
    log:
        "results/logs/inspect.txt",
    benchmark:
        "results/benchmarks/inspect.tsv"
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "inspect"),
    shell:
        "dglframer inspect {input.crystals} --rejected {input.rejected} --checks {input.checks}"
        " --json {output.summary} --html {output.page} 2>&1 | tee {log}"


rule split:
    """Assign every crystal to train, val or test."""
    input:
        crystals="results/crystals.parquet",
        rejected="results/rejected.parquet",
        # Only where the split depends on it: looking at duplicates must not train again.
        checks="results/checks.parquet" if reads_checks(SETTINGS) else [],
        listed=SETTINGS.split.path or [],
    output:
        "results/split.parquet",
    log:
        "results/logs/split.txt",
    benchmark:
        "results/benchmarks/split.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "split"),
        checks="--checks results/checks.parquet" if reads_checks(SETTINGS) else "",
    shell:
        "dglframer split --config results/config.json --crystals {input.crystals}"
        " --rejected {input.rejected} {params.checks} --out {output} 2>&1 | tee {log}"


rule leakage:
    """Find what train, val and test share: ids, structures, formulas, prototypes."""
    input:
        checks="results/checks.parquet",
        split="results/split.parquet",
    output:
        report(
            "results/leakage.json",
            caption="../report/leakage.rst",
            category="Data",
            labels={"what": "leakage", "format": "JSON"},
        ),
    log:
        "results/logs/leakage.txt",
    benchmark:
        "results/benchmarks/leakage.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "leakage"),
    shell:
        "dglframer leakage --checks {input.checks}"
        " --split {input.split} --out {output} 2>&1 | tee {log}"


rule graphs_part:
    """Build some of the shards of periodic graphs; those that are finished are kept."""
    input:
        crystals="results/crystals.parquet",
    output:
        touch("results/graphs/built/{part}-of-{parts}"),
    log:
        "results/logs/graphs-part-{part}-of-{parts}.txt",
    benchmark:
        "results/benchmarks/graphs-part-{part}-of-{parts}.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "graphs"),
    shell:
        "dglframer graphs --config results/config.json --crystals {input.crystals}"
        " --part {wildcards.part}/{wildcards.parts} --out results/graphs 2>&1 | tee {log}"


rule graphs:
    """Build the shards that no part has built, and list them all in the manifest."""
    input:
        crystals="results/crystals.parquet",
        parts=graph_parts,
    output:
        "results/graphs/manifest.json",
    log:
        "results/logs/graphs.txt",
    benchmark:
        "results/benchmarks/graphs.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        settings=stage_settings(SETTINGS, "graphs"),
    shell:
        "dglframer graphs --config results/config.json --crystals {input.crystals}"
        " --out results/graphs 2>&1 | tee {log}"
