"""A registry of models for tests, in place of the one in the package."""

import json
from pathlib import Path

from dglframer.common.files import sha256
from dglframer.pretrained import registry
from helpers.models import make_model


def make_registry(folder: Path, monkeypatch) -> Path:
    """``tiny`` is an ensemble of two models, ``tiny_gap`` the second target of another model."""
    fields = {"training_data": "none", "licence": "yours", "citation": "nobody (2026)"}
    fields |= {"test_mae": 0.5, "test_crystals": 7, "precision": "float32"}
    fields |= {"elements": ["Na", "Cl"]}
    made = {
        "energies": [make_model(folder / "energies" / f"seed-{k}", k) for k in (0, 1)],
        "both": [make_model(folder / "both" / "seed-0", targets=("energy", "gap"))],
    }
    files = {
        name: {
            f"{one.name}/{file}": sha256(one / file)
            for one in models
            for file in ("model.json", "model.safetensors")
        }
        for name, models in made.items()
    }
    content = {
        "tiny": {"folder": "energies", "files": files["energies"], "target": "energy"},
        "tiny_gap": {"folder": "both", "files": files["both"], "target": "gap"},
    }
    content = {name: {**fields, "unit": "eV", **own} for name, own in content.items()}
    (folder / registry.REGISTRY).write_text(json.dumps(content))
    monkeypatch.setattr(registry, "FOLDER", folder)
    return folder
