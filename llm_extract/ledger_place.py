"""Where the ledger of a run is kept: beside its outputs, or on a local disk when these lie on a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_extract.ledger import Ledger
from llm_extract.private_files import prepare_folder


@contextmanager
def open_ledger(out: Path, *, suffix: str, folder: Path | None, lease_s: float) -> Iterator[Ledger]:
    """Open the ledger of an output folder.

    Args:
        out: output folder.
        suffix: middle of the name of a shard's ledger; else empty.
        folder: on a disk of this machine, for outputs on a network file system. What a copy in ``out`` holds is taken
            over at the start, and the copy is written anew when the block ends, also by an error or a signal; after
            kill -9 the ledger in the folder goes on.
        lease_s: see :class:`llm_extract.ledger.Ledger`.

    Yields:
        The ledger.
    """
    name = f"ledger{suffix}.sqlite"
    if folder is None or folder.resolve() == out.resolve():
        with Ledger(out / name, lease_s=lease_s) as ledger:
            yield ledger
        return
    prepare_folder(folder)
    of_this_archive = hashlib.sha256(str(out.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    copy = out / name
    with Ledger(folder / f"{of_this_archive}.{name}", lease_s=lease_s) as ledger:
        if copy.exists():
            ledger.merge(copy)
        try:
            yield ledger
        finally:
            ledger.copy_to(copy)
