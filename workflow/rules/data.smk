# Data: configuration, download, crystals, clean, inspect, split, leakage, graphs.


rule configuration:
    """Keep the configuration with all of its defaults beside the results."""
    input:
        local(str(CONFIG)),
    output:
        "results/config.json",
    log:
        "results/logs/configuration.txt",
    benchmark:
        "results/benchmarks/configuration.tsv"
    localrule: True
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    shell:
        command(
            "dglframer config",
            "--check {input:q}",
            "--out {output:q}",
        )


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
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "download"),
    shell:
        command(
            "dglframer download",
            "--config {params.config:q}",
            "--out {output:q}",
        )


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
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "crystals"),
    shell:
        command(
            "dglframer crystals",
            "--config {params.config:q}",
            "--download {input.download:q}",
            "--rejected {output.rejected:q}",
            "--out {output.crystals:q}",
        )


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
        "../envs/data.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "clean"),
    shell:
        command(
            "dglframer clean",
            "--config {params.config:q}",
            "--crystals {input.crystals:q}",
            "--threads {threads}",
            "--out {output:q}",
        )


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
        "../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=stage_settings(SETTINGS, "inspect"),
    shell:
        command(
            "dglframer inspect {input.crystals:q}",
            "--rejected {input.rejected:q}",
            "--checks {input.checks:q}",
            "--json {output.summary:q}",
            "--html {output.page:q}",
        )


rule split:
    """Assign every crystal to train, val or test."""
    input:
        crystals="results/crystals.parquet",
        rejected="results/rejected.parquet",
        # Only where the split depends on it: looking at duplicates must not train again.
        checks="results/checks.parquet" if reads_checks(SETTINGS) else [],
        listed=local(SETTINGS.split.path) if SETTINGS.split.path else [],
    output:
        "results/split.parquet",
    log:
        "results/logs/split.txt",
    benchmark:
        "results/benchmarks/split.tsv"
    conda:
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "split"),
        checks=lambda wildcards, input: ["--checks", input.checks] if input.checks else [],
    shell:
        command(
            "dglframer split",
            "--config {params.config:q}",
            "--crystals {input.crystals:q}",
            "--rejected {input.rejected:q}",
            "{params.checks:q}",
            "--out {output:q}",
        )


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
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        settings=stage_settings(SETTINGS, "leakage"),
    shell:
        command(
            "dglframer leakage",
            "--checks {input.checks:q}",
            "--split {input.split:q}",
            "--out {output:q}",
        )


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
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "graphs"),
        out=subpath(output[0], ancestor=2),
    shell:
        command(
            "dglframer graphs",
            "--config {params.config:q}",
            "--crystals {input.crystals:q}",
            "--part {wildcards.part:q}/{wildcards.parts:q}",
            "--out {params.out:q}",
        )


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
        "../envs/data.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        config=config_file,
        settings=stage_settings(SETTINGS, "graphs"),
        out=subpath(output[0], parent=True),
    shell:
        command(
            "dglframer graphs",
            "--config {params.config:q}",
            "--crystals {input.crystals:q}",
            "--out {params.out:q}",
        )
