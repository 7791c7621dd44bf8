"""The verbs from a file of crystals to predictions, with the files of a run in the working folder."""

DATA = "--download download.json --crystals crystals.parquet --rejected rejected.parquet"
GRAPHS = "--graphs graphs --split split.parquet"
INSPECTION = "--inspection inspection.json --leakage leakage.json"

TUNED = " --tuned tune/best.json"

# In the order in which they are run.
STAGES = {
    "download": "--config config.json --out download.json",
    "crystals": "--config config.json --download download.json --rejected rejected.parquet"
    " --out crystals.parquet",
    "clean": "--config config.json --crystals crystals.parquet --out checks.parquet",
    "inspect": "crystals.parquet --checks checks.parquet --json inspection.json --html i.html",
    "split": "--config config.json --crystals crystals.parquet --rejected rejected.parquet"
    " --checks checks.parquet --out split.parquet",
    "leakage": "--checks checks.parquet --split split.parquet --out leakage.json",
    "graphs": "--config config.json --crystals crystals.parquet --out graphs",
    "tune": f"--config config.json {GRAPHS} --out tune --device cpu",
    "train": f"--config config.json {GRAPHS}{TUNED} --seed 0 --out model --device cpu",
    "evaluate": f"{GRAPHS} --models model --out evaluation --device cpu",
    "report": f"--config config.json {DATA} --checks checks.parquet {GRAPHS} {INSPECTION}"
    f"{TUNED} --models model --evaluation evaluation --out report.html",
    "predict": "model crystals.parquet --out predictions.csv --device cpu",
}
WITHOUT_TUNING = {
    name: words.replace(TUNED, "") for name, words in STAGES.items() if name != "tune"
}
