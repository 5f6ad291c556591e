"""Weights in and out: safetensors plus JSON, never pickle (promise S1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsuper.errors import DataError, UsageError
from rsuper.files import write_atomic_bytes

PICKLE_SUFFIXES = {".pt", ".pth", ".ckpt", ".pkl", ".bin"}


def save_weights(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, Any]) -> str:
    """Write tensors and JSON metadata into one safetensors file: temporary name, fsync, rename.

    Args:
        path: target, ``.safetensors``.
        tensors: name → tensor, any device.
        metadata: anything JSON can hold; stored under the key ``rsuper``.

    Returns:
        SHA-256 of the file as it should be on disk.
    """
    from safetensors.torch import save

    content = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"rsuper": json.dumps(dict(metadata), sort_keys=True)},
    )
    write_atomic_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_weights`` wrote.

    Returns:
        The tensors and the metadata.

    Raises:
        UsageError: ``pickle_refused`` for formats that can run code when they are read, whatever they are called.
        DataError: ``weights_broken`` if the file is missing, truncated or not safetensors.
    """
    if path.suffix in PICKLE_SUFFIXES or _looks_like_pickle(path):
        raise UsageError(
            f"{path.name} may be a pickle, which can run code when it is read",
            code="pickle_refused",
            hint="convert the weights to .safetensors with the program that wrote them",
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as handle:
            metadata = dict(json.loads((handle.metadata() or {}).get("rsuper", "{}")))
            return {name: handle.get_tensor(name) for name in handle.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise DataError(
            f"{path.name} cannot be read as safetensors ({error.__class__.__name__})",
            code="weights_broken",
            hint="use another checkpoint of the run's checkpoints/ folder",
        ) from error


def _looks_like_pickle(path: Path) -> bool:
    """A zip archive (``torch.save``) or pickle protocol 2 and later; the JSON of safetensors begins at byte 8."""
    try:
        with path.open("rb") as handle:
            start = handle.read(9)
    except OSError:
        return False
    return start[8:] != b"{" and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80")


def own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a network, each once, under its first name (MONAI's DynUNet registers some twice)."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


@torch.no_grad()
def load_into(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy weights into a network after checking every name and shape.

    Raises:
        DataError: ``weights_mismatch`` naming the first tensor that differs.
    """
    own = own_tensors(network)
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own or own[name].shape != tensors[name].shape:
            expected = tuple(own[name].shape) if name in own else "nothing"
            actual = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise DataError(
                f"{source}: tensor {name} is {actual}, the network expects {expected}",
                code="weights_mismatch",
                hint="the weights belong to another network configuration",
            )
    for name, tensor in own.items():
        tensor.copy_(tensors[name])  # in place: the memory format of the network stays
