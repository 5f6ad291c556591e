"""Makes one mention of a lesion: its place, name, count and attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.anatomy import Anatomy
from llm_extract.measurements import Measurement
from llm_extract.records import UnusedReason
from llm_extract.references import Reference
from llm_extract.rules import attributes, context
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Finding, Mark
from llm_extract.rules.locations import Location, resolve
from llm_extract.rules.mentions import Mention, describe, place_marks
from llm_extract.rules.statements import Reading, Statement

_METASTATIC = re.compile(r"\bmetastatic\s(?:[\w-]+\s){0,3}$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Denial:
    """A finding that the text says is not there."""

    finding: Finding
    mark: Mark
    statement: Statement
    location: Location
    organs: tuple[str, ...]
    no_new: bool


@dataclass(slots=True)
class MentionMaker:
    """What is known while a report is read, and how a mention is made of a finding.

    Args:
        reading: the report cut into statements.
        anatomy: table of organs.
    """

    reading: Reading
    anatomy: Anatomy
    mentions: list[Mention] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    unused: dict[str, UnusedReason] = field(default_factory=dict)
    overfull: bool = False
    _subject: str | None = None
    _subject_side: str | None = None
    _subject_line: int = -9
    _list: Mention | None = None
    _groups: int = 0
    _last_at: int = -9
    _index: int = 0

    def _mention(
        self, statement: Statement, head: Head, sizes: tuple[Measurement, ...], marks: Sequence[Mark],
        references: Sequence[Reference], group: Mention | None, *, start: int | None = None, end: int | None = None,
        anchor: Measurement | None = None,
    ) -> Mention | None:  # fmt: skip
        mark = head.mark
        where = place_marks(marks)
        location = resolve(
            self.reading.text, where, references, anatomy=self.anatomy, head=_anchored(mark, anchor),
            topic=statement.topic or ((self._list.organ,) if self._list is not None else ()),
            inherited=group.organ if group is not None else self._inherited(statement),
        )  # fmt: skip
        if location.organ is None:
            location = self._from_sentence(statement, head, location)
        name_organ = next((n.value.organ for n, _ in head.names if n.value.organ), None)
        organ = location.organ or (group.organ if group is not None else None) or name_organ or "other"
        if (
            name_organ
            and not location.certain
            and not statement.topic
            and organ in {"other", "peritoneum", "soft_tissue"}
        ):
            organ = name_organ
        if (
            location.laterality is None
            and organ == self._subject
            and re.search(r"\bsame\b", statement.text, re.IGNORECASE)
        ):
            location = replace(location, laterality=self._subject_side)
        if (
            location.laterality is None
            and not where
            and organ == self._subject
            and self._subject_side
            and not statement.topic
        ):
            location = replace(location, laterality=self._subject_side)
        if (
            group is not None
            and location.laterality is None
            and group.location.laterality in {"left", "right"}
        ):
            location = replace(location, laterality=group.location.laterality)
        low, high = start if start is not None else head.start, end if end is not None else head.end
        made = Mention(mark, organ, location, statement, (low, high), list(sizes), kind=mark.value.kind)
        before = statement.text[max(0, head.start - statement.start) : mark.start - statement.start]
        after = statement.text[mark.end - statement.start : high - statement.start]
        made.count, made.count_kind = self._count(statement, head)
        self._name(made, head, before)
        describe(made, head, list(marks), list(references))
        if made.kind in {"tumor", "mass", "lesion", "nodule"} and _METASTATIC.search(before):
            made.kind, made.malignancy, made.malignancy_basis = "metastasis", "malignant", "stated"
        made.presence = context.existence(before, after)
        if made.presence == "definite":
            made.presence = context.led_up_to(statement.text[: mark.start - statement.start])
        made.refers_back = context.refers_back(before, after) and not attributes.is_indefinite(before)
        made.spans.append(("kind", mark.start, mark.end))
        if made.location.laterality == "bilateral" and not made.is_group:
            made.location = replace(made.location, laterality=None)
        if (
            sizes
            and made.is_group
            and any(m.category == "malignant" for m in marks)
            and made.malignancy == "unknown"
        ):
            made.malignancy = "malignant"
        return made

    def _name(self, made: Mention, head: Head, before: str) -> None:
        specific = [(m, link) for m, link in head.names if m.value.diagnosis or m.value.malignancy]
        if made.head is not None and made.head.value.diagnosis and not specific:
            made.diagnosis = made.head.value.diagnosis
            made.diagnosis_text = self.reading.text[made.head.start : made.head.end]
            made.diagnosis_certainty = context.existence(before, "")
        if not specific:
            if head.names and made.diagnosis is None and context.certainty(head.names[-1][1]) != "definite":
                made.diagnosis_certainty = context.certainty(head.names[-1][1])
            return
        mark, link = specific[-1]
        values = {m.value.diagnosis for m, _ in specific}
        made.diagnosis_text = self.reading.text[specific[0][0].start : mark.end]
        made.spans.append(("diagnosis", specific[0][0].start, mark.end))
        if len(values) == 1:
            made.diagnosis = mark.value.diagnosis
            made.diagnosis_certainty = context.certainty(link) if link else "definite"
        else:
            made.diagnosis_certainty = "possible"

    def _count(self, statement: Statement, head: Head) -> tuple[int | None, str]:
        before = statement.text[max(0, head.start - statement.start) : head.mark.start - statement.start]
        plural = head.plural
        marks = [m for m in statement.marks if head.start <= m.start < head.mark.end]
        multiple = any(m.category == "multiple" for m in marks) and plural
        if head.mark.value.kind == "lymph_node" and re.search(
            r"conglomerate|matted|confluent",
            statement.text[head.start - statement.start : head.mark.end - statement.start],
            re.IGNORECASE,
        ):
            return None, "multiple_unknown"
        if (
            self.reading.text[head.mark.start : head.mark.end]
            .lower()
            .endswith(
                (
                    "adenopathy",
                    "lap",
                    "lymphadenomegaly",
                    "carcinomatosis",
                    "metastatic disease",
                    "nodal disease",
                )
            )
        ):
            plural = True
        return attributes.count_of(before, plural=plural, multiple=multiple)

    def _inherited(self, statement: Statement) -> str | None:
        if self.mentions and self.mentions[-1].statement is statement:
            return self.mentions[-1].organ
        if statement.topic and self._subject is not None and self._subject not in statement.topic:
            return statement.topic[0]
        return self._subject if statement.sentence.line - self._subject_line <= 1 else None

    def _from_sentence(self, statement: Statement, head: Head, location: Location) -> Location:
        """Findings joined in one sentence share a place that only one of them states."""
        later = [m for m in place_marks(statement.marks) if m.start >= head.end]
        if not later:
            later = [m for m in place_marks(statement.marks) if m.end <= head.start]
        if not later:
            return location
        return resolve(self.reading.text, later, (), anatomy=self.anatomy, head=None, topic=statement.topic)

    def _last(self, reach: int) -> Mention | None:
        if not self.mentions or self._index - self._last_at > reach:
            return None
        return self.mentions[-1]

    def _add(self, made: Mention) -> None:
        self.mentions.append(made)
        self._last_at = self._index
        if self._list is not None and self._list is not made:
            self._list.tentative = True


def _anchored(mark: Mark, anchor: Measurement | None) -> Mark:
    """In a list of sizes the place nearest to the size counts, not the one nearest to the shared noun."""
    if anchor is None or mark.start < anchor.start < mark.end:
        return mark
    return replace(mark, start=anchor.start, end=anchor.end)
