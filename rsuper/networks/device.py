"""Which device a network runs on, checked before any work."""

from __future__ import annotations

import torch

from rsuper.errors import ResourceError, UsageError


def require_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        UsageError: ``bad_device`` for a name that torch does not know.
        ResourceError: ``device_missing`` if this machine does not have it.

    Example:
        >>> require_device("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"{name!r} is no device", code="bad_device", hint="use cpu, cuda or cuda:1"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ResourceError(
            f"there is no device {name} here",
            code="device_missing",
            hint="`rsuper doctor` lists what there is",
        )
    return device
