"""A user's own organs, parts and classes beside the built-in table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import ValidationError

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.errors import DataError, UsageError
from rsuper.supervision.targets import organ_of_class


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


def written_anatomy(value: object, *, source: str) -> Anatomy | None:
    """The table of organs that a network was trained with, as it was written down; None is the built-in one.

    Args:
        value: what stands in the file.
        source: the file, for messages.

    Raises:
        DataError: ``anatomy_unreadable`` if another version wrote it.
    """
    try:
        return None if value is None else Anatomy.model_validate(value)
    except ValidationError as error:
        raise DataError(
            f"{source} holds a table of organs that does not fit this version",
            code="anatomy_unreadable",
            hint="train and predict again with this version, or give the table: --anatomy FILE",
        ) from error


def own_table_sha256(anatomy: Anatomy | None) -> str | None:
    """Hash of a table of organs; None for the built-in one."""
    if anatomy is None or anatomy == load_anatomy():
        return None
    return hashlib.sha256(anatomy.model_dump_json().encode()).hexdigest()


def require_organs(lesion_classes: Iterable[str], anatomy: Anatomy) -> None:
    """Refuse lesion classes of which no report can speak, because no organ of the table has them.

    Raises:
        UsageError: ``class_without_organ``.
    """
    for name in lesion_classes:
        if organ_of_class(name, anatomy) is None:
            raise UsageError(
                f"no organ of the table has the lesion class {name}",
                code="class_without_organ",
                hint="give the table that the network was trained with (--anatomy FILE), or choose classes with "
                "--class",
            )
