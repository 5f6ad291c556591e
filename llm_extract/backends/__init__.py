"""Backends turn one report into one record; each has a file of its own and loads libraries when asked to."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from llm_extract.errors import UsageError
from llm_extract.records import Evidence, ReportRecord
from llm_extract.reports import Report

BACKENDS: Mapping[str, str] = {"rules": "llm_extract.backends.rules:RulesBackend"}
"""Name on the command line -> ``module:class`` that is built without arguments."""


class GroundingError(ValueError):
    """A record is not about the report it was made from."""


@runtime_checkable
class Backend(Protocol):
    """What the batch loop asks of a backend."""

    name: str

    def settings(self) -> Mapping[str, str]:
        """Everything besides the report that decides a record: model, revision, prompt, schema, decoding."""
        ...

    def load(self) -> None:
        """Load libraries and models, once a process and before the first report."""
        ...

    def extract(self, report: Report) -> ReportRecord:
        """The record of one report."""
        ...


def load_backend(name: str) -> Backend:
    """Build a backend.

    Args:
        name: a name of :data:`BACKENDS`, or ``package.module:Class`` for a backend of your own.

    Returns:
        The backend, its heavy libraries not loaded yet.

    Raises:
        UsageError: there is no such backend.
    """
    module_name, _, attribute = BACKENDS.get(name, name).partition(":")
    if not attribute:
        raise UsageError(
            f"there is no backend {name!r}; there are: {', '.join(BACKENDS)}",
            code="unknown_backend",
            hint="or give your own as package.module:Class",
        )
    try:
        backend = getattr(importlib.import_module(module_name), attribute)()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"cannot load the backend {name!r}: {type(error).__name__}: {error}",
            code="unknown_backend",
            hint="check the import path and the installed extras",
        ) from error
    if not isinstance(backend, Backend):
        raise UsageError(
            f"{name!r} is no backend: it needs name, settings(), load() and extract()", code="unknown_backend"
        )
    return backend


def extract_checked(backend: Backend, report: Report) -> ReportRecord:
    """Extract one report and refuse a record that is not grounded in exactly this text.

    Args:
        backend: where the record comes from.
        report: the report.

    Returns:
        The record.

    Raises:
        GroundingError: the record belongs to another text, or a quote is not the slice it claims to be.
    """
    record = backend.extract(report)
    if record.report_id != report.report_id or record.text_sha256 != report.text_sha256:
        raise GroundingError("the record belongs to another report")
    for evidence in evidence_of(record):
        if report.text[evidence.start : evidence.end] != evidence.text:
            raise GroundingError(f"a quote is not at {evidence.start}:{evidence.end}")
    return record


def evidence_of(record: ReportRecord) -> Iterator[Evidence]:
    """Every quote of a record."""
    for lesion in record.lesions:
        yield from lesion.evidence
    for statement in record.organs.values():
        yield from statement.evidence
    yield from record.technique.evidence
    for sign in record.signs:
        yield from sign.evidence
    for surgery in record.surgery:
        yield from surgery.evidence
