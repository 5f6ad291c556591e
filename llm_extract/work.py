"""A piece of work: one text under one set of backend settings, and how it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llm_extract.records import IssueCode, ReportRecord
from llm_extract.reports import Report

State = Literal["done", "quarantined"]


@dataclass(frozen=True)
class Job:
    """One report to extract, under its work key."""

    key: str
    report: Report


@dataclass(frozen=True)
class Result:
    """How one piece of work ended.

    Args:
        key: work key.
        state: done, or quarantined with a code.
        record_json: the record, when done; also that of a text that could be read by no means, such as one in another
            language.
        code: why it was quarantined.
        detail: type of the error; never its message, which may quote the report.
        attempts: how often it was tried.
        tokens: tokens that a model read and wrote.
        seconds: time that the extraction took.
        raw_output: what a model answered, kept when it needs a reader.
    """

    key: str
    state: State
    record_json: str | None = None
    code: IssueCode | None = None
    detail: str | None = None
    attempts: int = 1
    tokens: int = 0
    seconds: float = 0.0
    raw_output: bytes | None = None


def read_to_the_end(key: str, record: ReportRecord, *, seconds: float) -> Result:
    """The result of work that gave a record: quarantined where the record says that its text cannot be read."""
    record_json = record.model_dump_json()
    if record.status != "failed":
        return Result(key, "done", record_json=record_json, seconds=seconds)
    code: IssueCode = record.issues[-1].code if record.issues else "extraction_error"
    return Result(key, "quarantined", record_json=record_json, code=code, seconds=seconds)


@dataclass(frozen=True)
class Claim:
    """Which of the asked work is ours now, and which is still in other hands."""

    ours: frozenset[str]
    finished: frozenset[str]
    elsewhere: frozenset[str]


def settings_sha256(backend: str, settings: Mapping[str, str]) -> str:
    """Hash of a backend and everything that decides its records."""
    return hashlib.sha256(json.dumps([backend, dict(sorted(settings.items()))]).encode()).hexdigest()


def work_key(report: Report, settings_hash: str) -> str:
    """Key of a piece of work: text and kind of a report under one set of settings, all that a record depends on.

    What stands beside the text is left out: the same text under two ids is one piece of work, and another date, patient
    or case is none at all. They join the record when it is exported.
    """
    return hashlib.sha256(json.dumps([report.text_sha256, report.kind, settings_hash]).encode()).hexdigest()


def text_alone(report: Report) -> Report:
    """The report as a backend sees it: without what its key does not cover, but for the id, which only names it."""
    beside = {"case_id": None, "patient_id": None, "study_date": None, "row": 0, "issues": ()}
    return report.model_copy(update=beside)
