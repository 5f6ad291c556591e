"""Errors that say what, where, why and what to type next, with a stable code; never any report text.

The classes live in ``llm_extract.errors``, which may not import this package, so that one ``except`` catches both.
"""

from __future__ import annotations

from llm_extract.errors import DataError, InterruptedRunError, PartialError, ResourceError, UsageError
from llm_extract.errors import PipelineError as RsuperError

__all__ = ["DataError", "InterruptedRunError", "PartialError", "ResourceError", "RsuperError", "UsageError"]
