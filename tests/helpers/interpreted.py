"""Triton's kernels without a GPU: interpreted, and not slower than must be."""

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def triton_interpreter(monkeypatch):
    """Triton's interpreter prepares its language anew in calls within calls: once is enough."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    if DEVICE == "cuda":
        return
    from triton.language.core import is_builtin
    from triton.runtime import interpreter

    prepare, languages = interpreter._patch_lang, (triton.language, triton.language.core)

    def prepare_once(function):
        seen = [one for one in languages if one in function.__globals__.values()]
        if any(is_builtin(one.load) for one in seen):
            return prepare(function)
        return interpreter._LangPatchScope()

    monkeypatch.setattr(interpreter, "_patch_lang", prepare_once)
