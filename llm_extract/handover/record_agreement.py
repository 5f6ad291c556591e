"""Two extractors read the same reports: where their records agree, field by field, and which need a reader."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm_extract.chat.consensus import LESION_FIELDS, OPEN, disagreements, needs_review, pair_lesions
from llm_extract.chat.drafting import with_issues
from llm_extract.errors import DataError
from llm_extract.handover.kappa import Share, cohen_kappa
from llm_extract.intervals import with_interval
from llm_extract.private_files import prepare_folder, private_text
from llm_extract.progress import ProgressReporter
from llm_extract.record_files import iter_records, parse_record, record_places, records_file
from llm_extract.records import Lesion, OrganStatement, ReportRecord

MEASURES = frozenset({"diameters_mm", "prior_diameters_mm", "parts"})
"""Fields without categories: kappa says nothing of them."""

COLUMNS = ("report_id", "what", "field", "lesion_first", "lesion_second", "first", "second", "review")
_NOTHING = OrganStatement()


@dataclass
class Counts:
    """Reports by what could be done with them."""

    compared: int = 0
    differ: int = 0
    review: int = 0
    only_first: int = 0
    only_second: int = 0
    other_text: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Difference:
    """One thing on which two records of a report differ; values are those of the records, never words of the report.

    Args:
        what: ``contradicts``, ``one_is_open`` (only one states it), ``only_first`` or ``only_second`` (of lesions).
        field: field of a lesion, or ``organs.NAME.status``.
        lesion_first: the lesion of the first record, where it is about one.
        lesion_second: the lesion of the second.
        first: what the first record says.
        second: what the second says.
    """

    what: str
    field: str
    lesion_first: str = ""
    lesion_second: str = ""
    first: str = ""
    second: str = ""


class FieldAgreement:
    """Agreement on one field over all reports.

    Args:
        with_kappa: whether kappa is wanted, for which the values are counted.
    """

    def __init__(self, *, with_kappa: bool = True) -> None:
        self._with_kappa = with_kappa
        self.share = Share()
        self.contradict = 0
        self.pairs = Counter[tuple[Any, Any]]()

    def add(self, pairs: list[tuple[Any, Any]]) -> None:
        """Count what the two records of one report say, unit by unit."""
        self.share.add(sum(a == b for a, b in pairs), len(pairs))
        self.contradict += sum(a != b and a not in OPEN and b not in OPEN for a, b in pairs)
        if self._with_kappa:
            self.pairs.update(pairs)

    def summary(self) -> dict[str, Any]:
        """Counts, share and kappa."""
        kappa = cohen_kappa(self.pairs).as_json() if self._with_kappa else None
        return {
            "agree": self.share.agree, "of": self.share.of, "contradict": self.contradict,
            **self.share.estimate().as_json(), "kappa": kappa,
        }  # fmt: skip


class RecordAgreement:
    """Agreement of two extractors over many reports."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._lesions = Share()
        self._numbers = [0, 0, 0]  # of the first, of the second, paired
        self._fields = {name: FieldAgreement(with_kappa=name not in MEASURES) for name in LESION_FIELDS}
        self._organs: dict[str, FieldAgreement] = {}

    def add(self, first: ReportRecord, second: ReportRecord) -> list[Difference]:
        """Count the two records of one report; returns on what they differ."""
        pairing = pair_lesions(first.lesions, second.lesions)
        self.counts.compared += 1
        for n, number in enumerate((len(first.lesions), len(second.lesions), len(pairing.pairs))):
            self._numbers[n] += number
        self._lesions.add(2 * len(pairing.pairs), len(first.lesions) + len(second.lesions))
        for name, field in self._fields.items():
            field.add([(_comparable(a, name), _comparable(b, name)) for a, b in pairing.pairs])
        names = list(dict.fromkeys((*first.organs, *second.organs)))
        for name in names:
            said = _status(first, name), _status(second, name)
            if name not in self._organs:
                self._organs[name] = FieldAgreement()
            self._organs[name].add([said])
        return [
            *(difference for a, b in pairing.pairs for difference in _on_lesions(a, b)),
            *(Difference("only_first", "lesion", a.lesion_id, first=_words(a)) for a in pairing.only_first),
            *(
                Difference("only_second", "lesion", "", b.lesion_id, second=_words(b))
                for b in pairing.only_second
            ),
            *(_on_organ(name, _status(first, name), _status(second, name)) for name in names
              if _status(first, name) != _status(second, name)),
        ]  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """All of it, for a file."""
        of_first, of_second, paired = self._numbers
        return {
            "reports": asdict(self.counts),
            "lesions": {
                "first": of_first, "second": of_second, "paired": paired, **self._lesions.estimate().as_json(),
            },
            "fields": {name: field.summary() for name, field in self._fields.items()},
            "organ_status": {name: field.summary() for name, field in sorted(self._organs.items())},
        }  # fmt: skip


def agree_records(first: Path, second: Path, out: Path) -> dict[str, Any]:
    """Compare two files of records, and write what was found.

    ``agreement.json`` has the figures, ``disagreements.csv`` every difference, and ``records.jsonl`` the records of the
    first with what differs as issues ``extractors_disagree``: for review where it decides what a loss is told.

    Args:
        first: file of records, or folder of an extraction.
        second: the same of the other extractor.
        out: folder.

    Returns:
        The figures.

    Raises:
        DataError: a file is missing or broken, or the two have no report in common.
    """
    agreement = RecordAgreement()
    counts = agreement.counts
    with ProgressReporter("read", None) as progress:
        places = record_places(second, tick=progress.advance)
    prepare_folder(out)
    with ExitStack() as stack:
        lines = stack.enter_context(private_text(out / "records.jsonl"))
        table = csv.writer(stack.enter_context(private_text(out / "disagreements.csv")))
        table.writerow(COLUMNS)
        others = stack.enter_context(records_file(second).open("rb"))
        progress = stack.enter_context(ProgressReporter("compare", None))
        for record in iter_records(first):
            marked = record
            place = places.pop(record.report_id, None)
            if place is None:
                counts.only_first += 1
            else:
                others.seek(place[0])
                other = parse_record(others.readline(), records_file(second), place[1])
                marked = _compared(record, other, agreement, table)
            lines.write(marked.model_dump_json() + "\n")
            progress.advance(1)
        counts.only_second = len(places)
        if not counts.compared + counts.other_text + counts.failed:
            raise DataError(
                f"{first} and {second} have no report in common",
                code="no_common_report",
                hint="check the paths",
            )
    summary = agreement.summary()
    with private_text(out / "agreement.json") as file:
        json.dump(summary, file, indent=2)
        file.write("\n")
    return summary


def _compared(
    record: ReportRecord, other: ReportRecord, agreement: RecordAgreement, table: Any
) -> ReportRecord:
    """The first record with marks where the second differs."""
    counts = agreement.counts
    if record.text_sha256 != other.text_sha256:
        counts.other_text += 1
        return record
    if "failed" in {record.status, other.status}:
        counts.failed += 1
        return record
    found = disagreements(record, other)
    review = needs_review(found)
    counts.differ += bool(found)
    counts.review += review
    for difference in agreement.add(record, other):
        table.writerow((record.report_id, *asdict(difference).values(), review))
    return with_issues(record, found, review=review)


def agreement_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The figures in words."""
    reports, lesions = summary["reports"], summary["lesions"]
    yield (
        f"{reports['compared']:,} reports compared: {reports['differ']:,} differ, "
        f"{reports['review']:,} of them in what a loss is told (for review)"
    )
    left = {
        "only in the first": reports["only_first"], "only in the second": reports["only_second"],
        "of another text": reports["other_text"], "failed in one": reports["failed"],
    }  # fmt: skip
    if any(left.values()):
        yield "  not compared: " + ", ".join(
            f"{number:,} {words}" for words, number in left.items() if number
        )
    yield (
        f"lesions: {lesions['first']:,} and {lesions['second']:,}, {lesions['paired']:,} in both; "
        f"agreement {_interval(lesions)}"
    )
    yield f"  {'of lesions in both':<22}{'the same':>15}  {'share (95 %)':<22}{'kappa (95 %)':<22}contradict"
    for name, field in summary["fields"].items():
        yield _line(name, field)
    yield "  of reports, by organ"
    for name, field in summary["organ_status"].items():
        if field["kappa"]["value"] is not None or field["agree"] < field["of"]:
            yield _line(name, field)


def _line(name: str, field: Mapping[str, Any]) -> str:
    numbers = f"{field['agree']:,}/{field['of']:,}"
    kappa = "–" if field["kappa"] is None else _interval(field["kappa"])
    return f"  {name:<22}{numbers:>15}  {_interval(field):<22}{kappa:<22}{field['contradict']:,}"


def _interval(value: Mapping[str, Any]) -> str:
    return with_interval(value["value"], value["low"], value["high"], digits=".3f")


def _comparable(lesion: Lesion, name: str) -> Any:
    value = getattr(lesion, name)
    return tuple(sorted(value)) if isinstance(value, tuple) else value


def _status(record: ReportRecord, organ: str) -> str:
    return record.organs.get(organ, _NOTHING).status


def _on_lesions(a: Lesion, b: Lesion) -> Iterator[Difference]:
    for name in LESION_FIELDS:
        x, y = _comparable(a, name), _comparable(b, name)
        if x != y:
            what = "one_is_open" if x in OPEN or y in OPEN else "contradicts"
            yield Difference(what, name, a.lesion_id, b.lesion_id, _text(x), _text(y))


def _on_organ(name: str, first: str, second: str) -> Difference:
    what = "one_is_open" if first in OPEN or second in OPEN else "contradicts"
    return Difference(what, f"organs.{name}.status", first=first, second=second)


def _words(lesion: Lesion) -> str:
    """A lesion by its values: organ, side, diameters.

    >>> _words(Lesion(lesion_id="L1", organ="liver", laterality="n/a", diameters_mm=(12.0,)))
    'liver 12 mm'
    """
    side = "" if lesion.laterality in {"unknown", "n/a"} else lesion.laterality
    size = f"{_text(lesion.diameters_mm)} mm" if lesion.diameters_mm else ""
    return " ".join(part for part in (side, lesion.organ, size) if part)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ";".join(_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
