"""Where the ledger of a run is kept: beside its outputs, or on a local disk when these lie on a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_extract.errors import PipelineError
from llm_extract.ledger import Ledger
from llm_extract.private_files import prepare_folder
from llm_extract.stopping import disk_errors_named

_HINTS = {
    "ledger_on_network": "choose another --ledger, on a disk of this machine",
    "ledger_version": "choose another --ledger, or delete the file to extract everything again",
    "output_is_a_link": "choose another --ledger",
    "output_not_a_folder": "choose another --ledger",
}
"""What to do where a ledger that is kept apart from the outputs cannot be opened."""


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
    of_this_archive = hashlib.sha256(str(out.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    copy = out / name
    with _option_named(folder):
        prepare_folder(folder)
        opened = Ledger(folder / f"{of_this_archive}.{name}", lease_s=lease_s)
    with opened as ledger:
        if copy.exists():
            ledger.merge(copy)
        try:
            yield ledger
        finally:
            ledger.copy_to(copy)


@contextmanager
def _option_named(folder: Path) -> Iterator[None]:
    """Blame ``--ledger``, not ``--out``, for what is wrong with the folder of a ledger."""
    with disk_errors_named(folder, option="--ledger"):
        try:
            yield
        except PipelineError as error:
            error.hint = _HINTS.get(error.code, error.hint)
            raise
