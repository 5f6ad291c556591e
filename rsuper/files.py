"""Files that are either the old or the new content, never half of it."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary name beside ``path``, fsync, then rename onto it."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def write_atomic_text(path: Path, text: str) -> None:
    """``write_atomic_bytes`` for UTF-8 text."""
    write_atomic_bytes(path, text.encode("utf-8"))
