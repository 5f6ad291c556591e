from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

TOY_BACKEND = "toy_backend:ToyBackend"


@pytest.fixture
def toy_backend(monkeypatch) -> str:
    """Import path of the toy backend, importable here and in worker processes."""
    folder = Path(__file__).resolve().parent
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    for name in ("TOY_LOG", "TOY_SECONDS", "TOY_VERSION"):
        monkeypatch.delenv(name, raising=False)
    assert importlib.util.find_spec("toy_backend") is not None
    yield TOY_BACKEND
    sys.modules.pop("toy_backend", None)


@pytest.fixture
def write_reports(tmp_path) -> Callable[..., Path]:
    """Write texts as JSON lines with ids R0, R1 …"""

    def write(texts: Sequence[str], name: str = "reports.jsonl") -> Path:
        path = tmp_path / name
        rows = ({"id": f"R{index}", "text": text} for index, text in enumerate(texts))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
