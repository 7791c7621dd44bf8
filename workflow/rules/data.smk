# Data: download, crystals, split, graphs.


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
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=stage_settings(SETTINGS, "download"),
    shell:
        "dglframer download --config results/config.json --out {output} 2>&1 | tee {log}"


rule crystals:
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
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=stage_settings(SETTINGS, "crystals"),
    shell:
        "dglframer crystals --config results/config.json --download {input.download}"
        " --rejected {output.rejected} --out {output.crystals} 2>&1 | tee {log}"


rule split:
    """Assign every crystal to train, val or test."""
    input:
        crystals="results/crystals.parquet",
    output:
        "results/split.parquet",
    log:
        "results/logs/split.txt",
    benchmark:
        "results/benchmarks/split.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=stage_settings(SETTINGS, "split"),
    shell:
        "dglframer split --config results/config.json --crystals {input.crystals}"
        " --out {output} 2>&1 | tee {log}"


rule graphs:
    """Build the periodic graphs into Parquet shards with a manifest."""
    input:
        crystals="results/crystals.parquet",
    output:
        directory("results/graphs"),
    log:
        "results/logs/graphs.txt",
    benchmark:
        "results/benchmarks/graphs.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        settings=stage_settings(SETTINGS, "graphs"),
    shell:
        "dglframer graphs --config results/config.json --crystals {input.crystals}"
        " --threads {threads} --out {output} 2>&1 | tee {log}"
