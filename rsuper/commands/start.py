"""Verbs to begin with: ``demo`` and ``doctor``."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import rsuper
from rsuper.commands.options import Json, OutDir
from rsuper.console import emit_json, failures, say, say_next

EXTRAS = {
    "train": ("torch", "monai", "nibabel", "blosc2", "safetensors", "matplotlib"),
    "dicom": ("pydicom", "highdicom", "SimpleITK"),
    "openai": ("openai",),
    "vllm": ("vllm",),
    "transformers": ("transformers", "xgrammar"),
}


def demo(
    *,
    out: OutDir = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the cohort and the training.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few cases and steps: shows the path, proves nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Reports → records → two trained networks → one page, on a phantom cohort; about 10 minutes on 2 cores.

    Example: rsuper demo --out demo
    """
    with failures(as_json=as_json):
        from rsuper.demo.run import run_demo
        from rsuper.files import require_writable

        require_writable(out)
        result = run_demo(
            out, seed=seed, size="quick" if quick else "full", say=lambda text: say(text, stream=sys.stderr)
        )
        if as_json:
            emit_json(result)
            return
        say(f"The page: {(out / 'index.html').resolve()}")
        say_next("rsuper", "train", out / "prepared", "--out", "runs/mine")


def doctor(*, as_json: Json = False) -> None:
    """Say what this machine has: versions, processors, devices, and which extras are installed.

    Example: rsuper doctor
    """
    with failures(as_json=as_json):
        missing = {
            extra: [name for name in names if importlib.util.find_spec(name) is None]
            for extra, names in EXTRAS.items()
        }
        facts: dict[str, Any] = {
            "rsuper": rsuper.__version__,
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "extras": {
                extra: "installed" if not names else f"missing {', '.join(names)}"
                for extra, names in missing.items()
            },
        }
        if "torch" not in missing["train"]:
            import torch

            devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
            facts |= {"torch": torch.__version__, "cuda": devices}
        if as_json:
            emit_json(facts)
            return
        for name, value in facts.items():
            lines = value.items() if isinstance(value, dict) else ()
            say(f"{name}: {value}" if not lines else f"{name}:")
            for key, text in lines:
                say(f"  {key:<13} {text}")
        say('Next: pip install "rsuper[train]"' if missing["train"] else "Next: rsuper demo")
