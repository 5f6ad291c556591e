"""Every disagreement between records and gold answers, one row each, with the sentence that it is about.

The rows hold report text: they are written to a private file when asked for, and shown nowhere else.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.errors import UsageError
from llm_extract.gold import Finding, GoldReport, organ_name
from llm_extract.gold_parts import expanded, gold_parts
from llm_extract.harm import Target, judge_targets
from llm_extract.matching import findings_and_lesions, found_sizes, is_ignored, match_findings
from llm_extract.private_files import private_text
from llm_extract.records import Lesion, ReportRecord
from llm_extract.tables import spreadsheet_safe

_END = re.compile(r"[.!?](?=\s|$)|\n")
_MAX_SENTENCE_CHARS = 500


@dataclass(frozen=True)
class ScoreError:
    """One disagreement.

    Args:
        report_id: where.
        organ: of the answer, else of the record.
        field: ``missed``, ``not_in_gold``, a field of a matched lesion, or ``organ_status``.
        gold: what the answer says.
        found: what the record says.
        harm: how it would mislead a network; empty where it would not.
        start, end: code points of the words in question.
        sentence: the sentence around them.
    """

    report_id: str
    organ: str
    field: str
    gold: str
    found: str
    harm: str
    start: int | None
    end: int | None
    sentence: str


def errors_of(
    gold: GoldReport, record: ReportRecord | None, *, anatomy: Anatomy | None = None
) -> Iterator[ScoreError]:
    """Everything in which a record and the answer differ, lesions first.

    Args:
        gold: the answer.
        record: the record of the same report; without one every lesion is missed.
        anatomy: table of organs; the built-in one by default.

    Yields:
        One error a field.
    """
    table = anatomy or load_anatomy()
    both = findings_and_lesions(record, gold.layout)
    found = [finding for finding, _ in both]
    pairs = match_findings(gold.findings, found)
    targets = judge_targets(gold, record, anatomy=table)
    for row, finding in enumerate(gold.findings):
        if row not in {row for row, _ in pairs}:
            yield _error(gold, finding, field="missed", said=_describe(finding), made="")
    for column, (finding, lesion) in enumerate(both):
        if column not in {column for _, column in pairs} and not is_ignored(finding, gold):
            harm = _harm_of(targets, lesion)
            yield _error(gold, finding, field="not_in_gold", said="", made=_describe(finding), harm=harm)
    for row, column in pairs:
        finding, lesion = both[column]
        answer = gold.findings[row]
        for name, said, made in _differences(answer, finding, lesion, table):
            harm = _harm_of(targets, lesion)
            yield _error(
                gold, answer if answer.spans else finding, field=name, said=said, made=made, harm=harm
            )
    yield from _organ_errors(gold, record, targets, table)


def _differences(
    gold: Finding, found: Finding, lesion: Lesion, anatomy: Anatomy
) -> Iterator[tuple[str, str, str]]:
    sizes = found_sizes(gold, found)
    if gold.sizes_mm != sizes:
        yield "size", _sizes(gold.sizes_mm), _sizes(sizes)
    if gold.count != found.count:
        yield "count", _count(gold.count), _count(found.count)
    if gold.side is not None and gold.side != found.side:
        yield "laterality", gold.side, found.side or lesion.laterality
    if gold.attenuation is not None and gold.attenuation != found.attenuation:
        yield "attenuation", gold.attenuation, found.attenuation or "unknown"
    theirs = gold_parts(gold, anatomy)
    if theirs and not theirs & expanded(lesion.organ, lesion.parts, anatomy):
        yield "part", " ".join(sorted(theirs)), " ".join(lesion.parts) or "unknown"
    if gold.is_definite != found.is_definite:
        yield "certainty", _certainty(gold), _certainty(found)


def _organ_errors(
    gold: GoldReport, record: ReportRecord | None, targets: Sequence[Target], anatomy: Anatomy
) -> Iterator[ScoreError]:
    statements = record.organs if record is not None else {}
    said_free = {
        organ_name(name): statement
        for name, statement in statements.items()
        if statement.status == "explicitly_lesion_free"
    }
    present = {finding.organ: finding for finding in gold.findings}
    for organ in sorted(gold.free_organs - set(present) - set(said_free)):
        status = statements[organ].status if organ in statements else "no record"
        where = Finding(organ=organ, spans=_first_mention(gold.text, organ, anatomy))
        yield _error(gold, where, field="organ_status", said="explicitly_lesion_free", made=status)
    strong = {target.organ for target in targets if "false_negative" in target.harms}
    for organ in sorted((set(said_free) | strong) & set(present)):
        quotes = said_free[organ].evidence if organ in said_free else ()
        where = Finding(organ=organ, spans=tuple((quote.start, quote.end) for quote in quotes))
        yield _error(
            gold,
            where if quotes else present[organ],
            field="organ_status",
            said=_describe(present[organ]),
            made="explicitly_lesion_free",
            harm="false_negative" if organ in strong else "",
        )


def _first_mention(text: str, organ: str, anatomy: Anatomy) -> tuple[tuple[int, int], ...]:
    """Where the text first names an organ."""
    entry = anatomy.organs.get(organ)
    names = (*entry.synonyms, *entry.adjectives) if entry is not None else ()
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    match = re.search(rf"\b(?:{pattern})", text, re.IGNORECASE) if pattern else None
    return (match.span(),) if match is not None else ()


def _error(
    gold: GoldReport, finding: Finding, *, field: str, said: str, made: str, harm: str = ""
) -> ScoreError:
    start, end = finding.spans[0] if finding.spans else (None, None)
    return ScoreError(
        report_id=gold.report_id,
        organ=finding.organ,
        field=field,
        gold=said,
        found=made,
        harm=harm,
        start=start,
        end=end,
        sentence="" if start is None or end is None else sentence_around(gold.text, start, end),
    )


def sentence_around(text: str, start: int, end: int) -> str:
    """The sentence that holds a stretch of text, at most 500 characters of it.

    >>> sentence_around("Spleen normal. Mass of 3.4 cm. Bones.", 15, 19)
    'Mass of 3.4 cm.'
    """
    begin = max((match.end() for match in _END.finditer(text, 0, start)), default=0)
    after = _END.search(text, max(start, end - 1))
    stop = len(text) if after is None else after.end()
    return text[begin:stop].strip()[:_MAX_SENTENCE_CHARS]


def refuse_other_types(path: Path) -> None:
    """Raise a UsageError for a file of errors that is neither a table nor JSON lines."""
    if path.suffix.lower() not in {".csv", ".jsonl"}:
        raise UsageError(
            f"{path} is neither .csv nor .jsonl", code="unknown_output_type", hint="name it errors.csv"
        )


def write_errors(path: Path, errors: Iterable[ScoreError]) -> int:
    """Write errors to a file that only its owner can read.

    Args:
        path: ``.csv`` for a spreadsheet, ``.jsonl`` for a program.
        errors: rows.

    Returns:
        How many there were.

    Raises:
        UsageError: another kind of file is asked for.
    """
    refuse_other_types(path)
    written = 0
    with private_text(path) as file:
        table = csv.writer(file)
        as_csv = path.suffix.lower() == ".csv"
        if as_csv:
            table.writerow(field.name for field in fields(ScoreError))
        for error in errors:
            written += 1
            row: Mapping[str, str | int | None] = asdict(error)
            if as_csv:
                table.writerow(spreadsheet_safe(value) for value in row.values())
            else:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return written


def _harm_of(targets: Sequence[Target], lesion: Lesion) -> str:
    harms = next((target.harms for target in targets if target.lesion is lesion), ())
    return " ".join(harm for harm in harms if harm != "unmatched")


def _describe(finding: Finding) -> str:
    side = f"{finding.side} " if finding.side else ""
    count = "" if finding.count == 1 else f"{_count(finding.count)} × "
    return f"{count}{side}{finding.organ} {_sizes(finding.sizes_mm)}".strip()


def _sizes(sizes_mm: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes_mm) + " mm" if sizes_mm else "no size"


def _count(count: int | None) -> str:
    return "several" if count is None else str(count)


def _certainty(finding: Finding) -> str:
    return "definite" if finding.is_definite else "uncertain"
