"""A user's own organs, parts and classes beside the built-in table."""

from __future__ import annotations

from pathlib import Path

import yaml

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.errors import UsageError


def load_user_anatomy(path: Path | None) -> Anatomy:
    """The built-in table, extended by a YAML file of the same shape; see :func:`llm_extract.anatomy.load_anatomy`.

    Args:
        path: the user's file; None is the built-in table alone.

    Raises:
        UsageError: ``bad_anatomy`` if the file is missing or does not fit.
    """
    if path is None:
        return load_anatomy()
    try:
        return load_anatomy(path)
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UsageError(
            f"the anatomy file {path.name} cannot be used ({error.__class__.__name__})",
            code="bad_anatomy",
            hint="it holds one key, organs: a mapping of organ to its structures, parts and margin; compare it with "
            "llm_extract/anatomy.yaml",
        ) from error
