"""Execute a notebook in a folder, without a network: ``python notebook_runner.py NOTEBOOK FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


def run(notebook: Path, folder: Path) -> None:
    """Run every cell in ``folder``; the first error ends the process with its traceback."""
    with tempfile.TemporaryDirectory() as sockets:
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/k")
        cells = nbformat.read(notebook, as_version=4)
        client = NotebookClient(cells, km=manager, timeout=900, resources={"metadata": {"path": str(folder)}})
        client.execute()
    nbformat.write(cells, folder / notebook.name)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
