"""The folder of a model on this machine: that it is there, what it is, and how much context it has."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from llm_extract.chat.engine import EngineInfo, ModelOptions
from llm_extract.errors import UsageError

_ENDS_BYTES = 1 << 20
_NAMES = (".json", ".safetensors", ".model", ".jinja", ".txt")


def require_folder(options: ModelOptions, *, backend: str) -> Path:
    """The model folder of the options.

    Raises:
        UsageError: none is given, it is no model, or its weights are pickles.
    """
    if options.model is None:
        raise UsageError(
            f"the backend {backend} needs a model", code="model_missing", hint="add --model FOLDER"
        )
    folder = Path(options.model)
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder} is no folder of a model: it has no config.json",
            code="model_missing",
            hint="models are read from this machine only; download one first",
        )
    if not any(folder.glob("*.safetensors")):
        raise UsageError(
            f"{folder} has no .safetensors weights; pickled weights are not read",
            code="model_missing",
            hint="convert the weights to safetensors",
        )
    return folder.resolve()


def folder_info(folder: Path, options: ModelOptions) -> EngineInfo:
    """The folder's name, a hash of its files as revision unless one is given, and the context there is for it."""
    held = context_of(folder)
    context = options.max_model_len if held is None else min(options.max_model_len, held)
    return EngineInfo(folder.name, options.revision or folder_sha256(folder), context_tokens=context)


def folder_sha256(folder: Path) -> str:
    """Hash over the model's files: names, sizes and both ends of each, in seconds for any size of model."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name.endswith(_NAMES)):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS_BYTES))
            if size > _ENDS_BYTES:
                file.seek(max(_ENDS_BYTES, size - _ENDS_BYTES))
                digest.update(file.read(_ENDS_BYTES))
    return digest.hexdigest()


def context_of(folder: Path) -> int | None:
    """Tokens of context that the model was made for, where its config says so."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    held = config.get("max_position_embeddings") if isinstance(config, dict) else None
    return held if isinstance(held, int) and held > 0 else None
