"""Read gold answers: reports with the lesions and organ statements that a reader found in them.

Two layouts are read: ``findings`` + ``organs_negative`` (whole reports) and ``expected`` (short hard
sentences, with what must not be taken for a current size). Both become :class:`GoldReport`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm_extract.anatomy import Anatomy
from llm_extract.errors import DataError
from llm_extract.gold_format import ExpectedLine, FindingsLine, GoldFinding, parse_line

Side = Literal["left", "right"]
Layout = Literal["report", "hard_case"]
_ORGAN_NAMES = {"adrenal": "adrenal_gland", "peritoneum": "soft_tissue"}
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_NUMBER = re.compile(r"\d{1,4}(?:[.,]\d{1,3})?")
_UNIT = re.compile(r"(mm|cm)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One lesion or group of either side of a comparison, in the terms that both sides share.

    Args:
        organ: name after merging synonyms of the gold files.
        parts: part ids.
        side: left, right or None.
        sizes_mm: diameters in falling order; of a gold group its largest stated size.
        largest_mm: the bound on the members of a found group without diameters.
        count: how many; None where it says several without a number.
        attenuation: hypo, iso, hyper, mixed or None.
        is_definite: False where its existence or nature is hedged.
        spans: where the text says it.
        place: where it lies in the organ, as the answer words it.
    """

    organ: str
    parts: frozenset[str] = frozenset()
    side: Side | None = None
    sizes_mm: tuple[float, ...] = ()
    largest_mm: float | None = None
    count: int | None = 1
    attenuation: str | None = None
    is_definite: bool = True
    spans: tuple[tuple[int, int], ...] = ()
    place: str = ""


@dataclass(frozen=True)
class GoldReport:
    """What a reader found in one report.

    Args:
        report_id: id of the report.
        text: the report.
        layout: ``report`` (findings) or ``hard_case`` (expected).
        findings: its current lesions.
        free_organs: organs that it calls normal or without lesion.
        ignored: stretches that may be extracted or not.
        forbidden_mm: prior sizes and other numbers that are no current size.
    """

    report_id: str
    text: str
    layout: Layout
    findings: tuple[Finding, ...]
    free_organs: frozenset[str] = frozenset()
    ignored: tuple[tuple[int, int], ...] = ()
    forbidden_mm: frozenset[float] = frozenset()


def organ_name(name: str) -> str:
    """The name under which both sides of a comparison know an organ."""
    return _ORGAN_NAMES.get(name, name)


def size_key(sizes_mm: tuple[float, ...]) -> tuple[float, ...]:
    """Sizes in falling order at 0.1 mm.

    >>> size_key((18.0, 21.04))
    (21.0, 18.0)
    """
    return tuple(sorted((round(size, 1) for size in sizes_mm), reverse=True))


def read_gold(path: Path) -> list[GoldReport]:
    """Read a gold file; docs/gold.md says what it holds.

    Args:
        path: JSON lines.

    Returns:
        Its reports in order.

    Raises:
        DataError: the file cannot be read, or a line is no gold answer: with its number and the field.
    """
    if not path.exists():
        raise DataError(f"there is no gold file {path}", code="gold_missing", hint="check the path")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", code="unreadable_table") from error
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8", code="broken_gold", hint="save it as UTF-8") from None
    reports: list[GoldReport] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = parse_line(line)
            reports.append(_case(value) if isinstance(value, ExpectedLine) else _report(value))
        except ValueError as error:
            raise DataError(
                f"{path}, line {number} is no gold answer: {error}",
                code="broken_gold",
                hint="`score --help` shows a line, docs/gold.md says what else it may hold",
            ) from None
    if not reports:
        raise DataError(
            f"{path} holds no gold answers", code="empty_table", hint="docs/gold.md says what a line holds"
        )
    return reports


def _report(value: FindingsLine) -> GoldReport:
    findings = tuple(
        Finding(
            organ=organ_name(item.organ),
            side=_side(item.laterality),
            sizes_mm=size_key(item.diameters_mm),
            count=item.count if isinstance(item.count, int) else None,
            attenuation=item.attenuation,
            is_definite=item.certainty == "definite",
            spans=_spans(item, value.text, f"findings[{number}]"),
            place=item.location or "",
        )
        for number, item in enumerate(value.findings)
    )
    ignored = tuple(
        (match.start(), match.end())
        for quote in value.ignore
        for match in re.finditer(re.escape(quote), value.text)
    )
    return GoldReport(
        report_id=value.id,
        text=value.text,
        layout="report",
        findings=findings,
        free_organs=frozenset(organ_name(name) for name in value.organs_negative),
        ignored=ignored,
    )


def _spans(item: GoldFinding, text: str, where: str) -> tuple[tuple[int, int], ...]:
    """Where the text states a finding: the span, else where the quote first stands.

    Raises:
        ValueError: the quote is not in the text.
    """
    if item.evidence_span is not None:
        return (item.evidence_span,)
    if not isinstance(item.evidence, str) or not item.evidence:
        return ()
    start = text.find(item.evidence)
    if start < 0:
        raise ValueError(f"{where}.evidence is not in the text word for word")
    return ((start, start + len(item.evidence)),)


def _case(value: ExpectedLine) -> GoldReport:
    findings = tuple(
        Finding(
            organ=organ_name(item.organ),
            parts=frozenset(part.lower() for part in item.location or ()),
            side=_side(item.laterality),
            sizes_mm=size_key(item.diameters_mm),
            count=None if item.count_kind == "multiple_unknown" else item.count,
            attenuation=None if item.attenuation == "unknown" else item.attenuation,
            is_definite=item.presence == "definite",
            spans=tuple((quote.start, quote.end) for quote in item.evidence),
        )
        for item in value.expected
    )
    priors = {size for item in value.expected for size in item.prior_diameters_mm}
    for quote in value.distractors:
        priors |= _stated_mm(quote.text)
    current = {size for finding in findings for size in finding.sizes_mm}
    statuses = value.organ_status or {}
    return GoldReport(
        report_id=value.id,
        text=value.text,
        layout="hard_case",
        findings=findings,
        free_organs=frozenset(
            organ_name(name) for name, said in statuses.items() if said.status == "explicitly_lesion_free"
        ),
        forbidden_mm=frozenset({round(size, 1) for size in priors} - current),
    )


def unknown_words(reports: Sequence[GoldReport], anatomy: Anatomy) -> list[str]:
    """Organs of gold answers that the table does not have: nothing that is extracted can match them.

    Args:
        reports: the answers.
        anatomy: table of organs.

    Returns:
        Their names, sorted.
    """
    known = {organ_name(name) for name in anatomy.organs}
    said = {finding.organ for report in reports for finding in report.findings}
    return sorted(said.union(*(report.free_organs for report in reports)) - known)


def _side(value: object) -> Side | None:
    return value if value in ("left", "right") else None  # type: ignore[return-value]


def _stated_mm(text: str) -> set[float]:
    """The lengths that a short quote states, in mm."""
    unit = _UNIT.search(text)
    if unit is None:
        return set()
    scale = _MILLIMETRES[unit[1].lower()]
    return {round(float(number.replace(",", ".")) * scale, 1) for number in _NUMBER.findall(text)}
