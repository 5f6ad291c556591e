"""What the docstrings of the integrations show works, and nothing heavy is imported for it."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ("__init__", "affine_spacing", "softmax_heads", "target_batch", "target_crop", "target_map")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name):
    module = importlib.import_module(
        "rsuper.integrations" if name == "__init__" else f"rsuper.integrations.{name}"
    )
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_nothing_heavy_is_imported_before_it_is_asked_for():
    import subprocess
    import sys

    code = "import sys, rsuper.integrations; print(sorted({'monai', 'nnunetv2', 'spacy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_nnunet_the_error_says_what_to_install():
    if importlib.util.find_spec("nnunetv2") is not None:
        pytest.skip("nnunetv2 is installed here")
    with pytest.raises(ImportError, match="pip install nnunetv2"):
        importlib.import_module("rsuper.integrations.nnunet")
