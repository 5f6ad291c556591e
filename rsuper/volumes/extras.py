"""Optional libraries: found when needed, and named with their extra when missing."""

from __future__ import annotations

import importlib
from typing import Any

from rsuper.errors import UsageError


def require_extra(module: str, *, extra: str, purpose: str) -> Any:
    """Import an optional library.

    Raises:
        UsageError: ``extra_missing``, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{purpose} needs the library {module}",
            code="extra_missing",
            hint=f"pip install 'rsuper[{extra}]'",
        ) from error
