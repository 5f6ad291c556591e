"""A user's own organs, parts and classes beside the built-in table."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.anatomy_file import check_anatomy_file
from llm_extract.errors import PipelineError
from rsuper.errors import DataError, UsageError
from rsuper.supervision.targets import organ_of_class


def load_user_anatomy(path: Path | None) -> Anatomy:
    """The built-in table, extended by a YAML file of the same shape, read as the extraction reads it.

    Args:
        path: the user's file; None is the built-in table alone.

    Raises:
        UsageError: ``bad_anatomy`` if the file is missing or does not fit, with every mistake and its line.
    """
    if path is None:
        return load_anatomy()
    try:
        return check_anatomy_file(path)
    except PipelineError as error:
        raise UsageError(str(error.args[0]), code="bad_anatomy", hint=error.hint) from error


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
    known = sorted(organ.lesion_class for organ in anatomy.organs.values())
    for name in lesion_classes:
        if organ_of_class(name, anatomy) is None:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise UsageError(
                f"no organ of the table has the lesion class {name}",
                code="class_without_organ",
                hint=f"did you mean {near[0]}? Organs of your own come with --anatomy FILE, classes with --class",
            )
