"""A real engine needs an environment of its own; ``make test-llm`` makes it and runs these tests there."""

from __future__ import annotations

import _socket
import importlib.util
import json
import os
import socket
from pathlib import Path

import pytest

pytest.register_assert_rewrite("engine_checks")
HAS_ENGINE = importlib.util.find_spec("vllm") is not None
if HAS_ENGINE:  # read by the engines when they are imported, and by the servers that the tests start
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"


@pytest.fixture(scope="session")
def reading_model(tmp_path_factory) -> Path:
    """A folder with a real, tiny model that reads ``tiny_model.made_reports``."""
    from tiny_model import build_reading_model

    return build_reading_model(tmp_path_factory.mktemp("model") / "reading")


@pytest.fixture(scope="session")
def random_model(tmp_path_factory) -> Path:
    """A folder with a real, tiny model of random weights."""
    from tiny_model import build_random_model

    return build_random_model(tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="session")
def write_reports(tmp_path_factory):
    """Write reports as JSON lines."""

    def write(texts) -> Path:
        path = tmp_path_factory.mktemp("reports") / "reports.jsonl"
        rows = ({"id": f"R{i}", "text": text, "kind": "radiology"} for i, text in enumerate(texts))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session", autouse=True)
def _loopback(_no_network):
    """Engines and servers talk to themselves over this machine's own addresses; nothing else is reached."""

    def only_loopback(name: str):
        def guarded(self, address, *args):
            local = self.family == socket.AF_UNIX or str(address[0]) in {"127.0.0.1", "::1", "localhost", ""}
            assert local, "only loopback"
            return getattr(_socket.socket, name)(self, address, *args)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        for name in ("bind", "connect", "connect_ex"):
            patch.setattr(socket.socket, name, only_loopback(name))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
            patch.setattr(socket, name, getattr(_socket, name))
        yield
