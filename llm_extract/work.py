"""A piece of work: one text under one set of backend settings, and how it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llm_extract.records import IssueCode
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
        record_json: the record, when done.
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
    """Key of a piece of work: text, kind and date of a report under one set of settings.

    Ids are left out: the same text under two ids is one piece of work.
    """
    study_date = report.study_date.isoformat() if report.study_date else None
    return hashlib.sha256(
        json.dumps([report.text_sha256, report.kind, study_date, settings_hash]).encode()
    ).hexdigest()
