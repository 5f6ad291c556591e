"""A record -> the same record without words, places in the text, dates, and ids of the hospital.

What comes out is again a :class:`llm_extract.records.ReportRecord`, so that all that reads records reads it: a lesion
keeps one piece of evidence without text, which says that a quote grounds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llm_extract.handover.fields import RELEASED
from llm_extract.handover.pseudonyms import Pseudonyms
from llm_extract.handover.vocabulary import (
    HASH,
    MALIGNANCY_BASES,
    REGIONS,
    SCORE_VALUE,
    VERSION,
    Vocabulary,
    score_system,
)
from llm_extract.records import Evidence, Issue, Lesion, Model, Provenance, ReportRecord, Score

NO_TEXT_SHA256 = "0" * 64
LARGEST_NUMBER = 9999
WITHHELD_WORD = "withheld"
_CATCH_ALL = "other"
_NOT_A_LESION = "record"
_OF_ITS_OWN = frozenset({"case_id", "organs", "lesions", "provenance", "unused_measurements"})


class Releaser:
    """Makes records without words.

    Args:
        pseudonyms: keyed ids.
        words: what may stand in a record.
    """

    def __init__(self, pseudonyms: Pseudonyms, words: Vocabulary) -> None:
        self._ids = pseudonyms
        self._words = words
        self.left_out: Counter[str] = Counter()
        """How many values of a field were not in the package's own lists."""
        self._made: Mapping[tuple[str, str], Callable[[Any], Any]] = {
            ("ReportRecord", "report_id"): pseudonyms.report,
            ("ReportRecord", "case_id"): pseudonyms.case,
            ("ReportRecord", "patient_id"): pseudonyms.patient,
            ("Lesion", "organ"): self._organ,
            ("Lesion", "parts"): self._parts,
            ("Lesion", "location_text"): lambda _words: WITHHELD_WORD,
            ("Lesion", "diagnosis"): self._diagnosis,
            ("Lesion", "malignancy_basis"): self._malignancy_basis,
            ("Lesion", "series"): self._number,
            ("Lesion", "image"): self._number,
            ("Lesion", "score"): self._scores,
            ("Lesion", "evidence"): self._evidence,
            ("Lesion", "conflict"): self._conflict,
            ("OrganStatement", "evidence"): self._evidence,
            ("Technique", "body_regions"): self._regions,
            ("Sign", "organ"): self._organ,
            ("Sign", "sign"): self._sign,
            ("Surgery", "organ"): self._organ,
            ("Surgery", "procedure"): self._procedure,
            ("Surgery", "removed_parts"): self._parts,
        }

    def release(self, record: ReportRecord) -> ReportRecord:
        """The record without words; ids are keyed, and nothing of its text can be told from it."""
        issues = tuple(self._issue(issue, record) for issue in record.issues)
        signs = tuple(sign for sign in record.signs if self._sign(sign.sign))
        open_fields = record.model_copy(update={"issues": issues, "signs": signs})
        values = self._fields(open_fields, without=_OF_ITS_OWN)
        values["case_id"] = self._ids.case(record.case_id or record.report_id)
        values["organs"] = self._organs(record)
        values["lesions"] = self._lesions(record)
        values["provenance"] = self._provenance(record.provenance)
        values["unused_measurements"] = [
            {**self._fields(unused), "start": 0, "end": 0} for unused in record.unused_measurements
        ]
        return ReportRecord(**values, text_sha256=NO_TEXT_SHA256, text_chars=0)

    def _fields(self, item: Model, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The released fields of a model, and of the models in it."""
        kind = type(item).__name__
        values = {}
        for name in RELEASED[type(item)]:
            if name in without:
                continue
            make = self._made.get((kind, name))
            value = getattr(item, name)
            values[name] = self._walk(value) if make is None or value is None else make(value)
        return values

    def _walk(self, value: Any) -> Any:
        if isinstance(value, Model):
            return self._fields(value)
        if isinstance(value, Mapping):
            return {key: self._walk(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [self._walk(item) for item in value]
        return value

    def _lesions(self, record: ReportRecord) -> list[dict[str, Any]]:
        """Lesions and groups are numbered anew."""
        groups = {g: f"G{n}" for n, g in enumerate(dict.fromkeys(_groups(record.lesions)), start=1)}
        return [
            self._fields(lesion) | {"lesion_id": f"L{n}", "group_id": groups.get(lesion.group_id or "")}
            for n, lesion in enumerate(record.lesions, start=1)
        ]

    def _organs(self, record: ReportRecord) -> dict[str, Any]:
        """Statements on known organs; those on unknown ones say nothing that can be named."""
        self.left_out["organs"] += sum(name not in self._words.organs for name in record.organs)
        known = {name: s for name, s in record.organs.items() if name in self._words.organs}
        return {name: self._fields(statement) for name, statement in known.items()}

    def _issue(self, issue: Issue, record: ReportRecord) -> Issue:
        """An issue by the lesion that it concerns instead of by its place."""
        given, _, name = (issue.field or "").partition(".")
        numbers = {lesion.lesion_id: f"L{n}" for n, lesion in enumerate(record.lesions, start=1)}
        if given in numbers:
            return Issue(
                code=issue.code, field=numbers[given] + (f".{name}" if name in Lesion.model_fields else "")
            )
        if issue.span is None:
            about = given if given in {*Lesion.model_fields, "organs"} else None
            return Issue(code=issue.code, field=about)
        start, end = issue.span.start, issue.span.end
        hit = (
            lesion.lesion_id
            for lesion in record.lesions
            if any(quote.start < end and start < quote.end for quote in lesion.evidence)
        )
        return Issue(code=issue.code, field=numbers.get(next(hit, ""), _NOT_A_LESION))

    def _provenance(self, made: Provenance) -> dict[str, Any]:
        return {
            "backend": made.backend if made.backend in self._words.backends else "own",
            "version": made.version if VERSION.fullmatch(made.version) else "own",
            "prompt_sha256": _hash(made.prompt_sha256),
            "schema_sha256": _hash(made.schema_sha256),
        }

    def _known(self, field: str, name: str, words: Iterable[str]) -> str | None:
        if name in words:
            return name
        self.left_out[field] += 1
        return None

    def _organ(self, name: str) -> str:
        return self._known("organ", name, self._words.organs) or _CATCH_ALL

    def _parts(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._known("parts", name, self._words.parts)]

    def _diagnosis(self, name: str) -> str | None:
        return self._known("diagnosis", name, self._words.diagnoses)

    def _malignancy_basis(self, name: str) -> str | None:
        return self._known("malignancy_basis", name, MALIGNANCY_BASES)

    def _sign(self, name: str) -> str | None:
        return self._known("sign", name, self._words.signs)

    def _procedure(self, name: str) -> str:
        return self._known("procedure", name, self._words.procedures) or _CATCH_ALL

    def _regions(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._known("body_regions", name, REGIONS)]

    def _conflict(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._known("conflict", name, Lesion.model_fields)]

    def _number(self, value: int) -> int | None:
        return value if 0 <= value <= LARGEST_NUMBER else None

    def _scores(self, scores: Iterable[Score]) -> list[dict[str, str]]:
        kept = []
        for score in scores:
            system = score_system(score.system)
            if system is not None and SCORE_VALUE.fullmatch(score.value):
                kept.append({"system": system, "value": score.value.upper()})
            else:
                self.left_out["score"] += 1
        return kept

    def _evidence(self, quotes: Iterable[Evidence]) -> list[dict[str, Any]]:
        matches = [quote.match for quote in quotes]
        if not matches:
            return []
        match = "exact" if "exact" in matches else "normalised"
        return [
            {"field": "quote", "start": 0, "end": 0, "text": "", "section": WITHHELD_WORD, "match": match}
        ]


def _groups(lesions: Iterable[Lesion]) -> Iterable[str]:
    return (lesion.group_id for lesion in lesions if lesion.group_id is not None)


def _hash(value: str | None) -> str | None:
    return value if value is not None and HASH.fullmatch(value) else None
