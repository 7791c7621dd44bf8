"""Reading a model directory is reading alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

FORMAT_3 = Path(__file__).parent / "models" / "format-3"
STATE_AROUND_LOADING = """
import json, os, sys
import torch
from pathlib import Path
from dglframer.networks.model_directory import load_model

def state():
    return {
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": torch.get_rng_state().tolist(),
    }

before = state()
load_model(Path(sys.argv[1]))
print(json.dumps([before, state()]))
"""


def test_loading_a_model_changes_nothing_in_the_process():
    """In a process of its own: the tests' process has settled MKL (conftest.py)."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", STATE_AROUND_LOADING, str(FORMAT_3)],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    before, after = json.loads(done.stdout)
    assert after == before
    assert "MKL_CBWR" not in after["environment"]
