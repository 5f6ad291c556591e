"""Makes one mention of a lesion: its place, name, count and attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.anatomy import Anatomy
from llm_extract.lower_case import lowered
from llm_extract.measurements import Measurement
from llm_extract.records import UnusedReason
from llm_extract.references import Reference
from llm_extract.rules import attributes, context, hedges, readings
from llm_extract.rules.counting import count_of, count_of_reading, is_quantified, listed_places
from llm_extract.rules.heads import Head
from llm_extract.rules.largest import lies_on_both_sides
from llm_extract.rules.lexicon import Finding, Mark
from llm_extract.rules.locations import WEAK, Location, resolve
from llm_extract.rules.mentions import Mention, describe, place_marks
from llm_extract.rules.neighbours import is_beside_lesion, is_neighbour, names_lesion, outside_questions
from llm_extract.rules.shared_places import (
    is_either,
    on_other_side,
    place_in_sentence,
    same_part,
    shared_place,
)
from llm_extract.rules.statements import Reading, Statement, has_verb

_VAGUE = frozenset({"mass", "nodule", "lesion", "wall_thickening"})
"""Kinds that a name replaces."""
_TWO_OF = frozenset({"lung", "kidney", "adrenal_gland", "breast", "ovary"})
_ON_PLEURA = re.compile(
    r"\bpleural?[- ]based\b|\b(?:sitting|seated|based|arising|originating)\s(?:on|from|in)\s(?:the\s)?pleura\b",
    re.IGNORECASE,
)
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
    _in_sentences: bool | None = None
    _made: int = 0
    _nodes: tuple[Statement, Head] | None = None

    def _mention(
        self, statement: Statement, head: Head, sizes: tuple[Measurement, ...], marks: Sequence[Mark],
        references: Sequence[Reference], group: Mention | None, *, start: int | None = None, end: int | None = None,
        anchor: Measurement | None = None,
    ) -> Mention | None:  # fmt: skip
        mark = head.mark
        self._made += 1
        low, high = start if start is not None else head.start, end if end is not None else head.end
        before = statement.text[max(0, head.start - statement.start) : mark.start - statement.start]
        after = statement.text[mark.end - statement.start : high - statement.start]
        stated = place_marks(marks)
        rest = outside_questions(statement, stated)
        asked = len(rest) < len(stated) and not any(m.category in {"place", "short"} for m in rest)
        one = asked and not statement.topic and after.count("?") == 1  # that place is all there is
        where = _with_heading(self.reading.text, stated if one else rest, statement)
        named = next((m.value.organ for m, _ in head.names if m.value.organ), None) if one else None
        back = context.is_back_reference(before)
        shared = None if where or references or back or group is not None else self._shared(statement, head)
        location = shared or resolve(
            self.reading.text, where, references, anatomy=self.anatomy, head=_anchored(mark, anchor),
            topic=self._topic(statement, group),
            inherited=group.organ if group is not None else named if asked else self._inherited(statement, mark),
        )  # fmt: skip
        if location.organ is None:
            location = place_in_sentence(self.reading.text, statement, head, location, anatomy=self.anatomy)
        organ = _organ_of(location, head, statement, group)
        if shared is not None or location.laterality is None:  # its own words name no side
            side = location.laterality or self._known_side(statement, head, organ, where, group)
            location = on_other_side(
                replace(location, laterality=side), self._subject_side, before=before, after=after
            )
        stretch = statement.low[low - statement.start : high - statement.start]
        if not head.plural and len(where) > 1 and is_either(self.reading.text, where):
            organ, location = "other", Location("other")
        location = same_part(stretch, organ, location, self._last(3))
        made = Mention(mark, organ, location, statement, (low, high), list(sizes), kind=mark.value.kind)
        made.count, made.count_kind = count_of(statement, head)
        listed = listed_places(references, made.location.parts)
        if listed > 1 and made.count is None and not is_quantified(marks):
            made.count, made.count_kind = listed, "at_least"
        self._name(made, head, before)
        describe(made, head, list(marks), list(references))
        if made.kind in {"tumor", "mass", "lesion", "nodule"} and _METASTATIC.search(before):
            made.kind, made.malignancy, made.malignancy_basis = "metastasis", "malignant", "stated"
        made.presence = hedges.existence(before, after)
        led = hedges.led_up_to(statement.text[: mark.start - statement.start])
        told = count_of_reading(statement, head) if led != "definite" else None
        if told is not None:
            made.count, made.count_kind = told
        if made.presence == "definite":
            made.presence = led
        if mark.value.kind == "wall_thickening" and made.kind != "wall_thickening":
            made.presence = hedges.certainty(head.names[-1][1])
        if made.presence == "definite" and not head.names and readings.ends_not_excluded(lowered(after)):
            made.presence = "possible"
        self._weigh(made, head, statement.text[low - statement.start : high - statement.start], after)
        made.refers_back = context.refers_back(before, after) and not attributes.is_indefinite(before)
        bounded = made.is_group and all(m.worded or m.bound_is_strict for m in sizes)
        made.refers_back = made.refers_back or ((bounded or not sizes) and self._restates(statement))
        made.spans.append(("kind", mark.start, mark.end))
        _settle(made, marks)
        return _on_both_sides(self.reading.text, made, where)

    def _known_side(
        self, statement: Statement, head: Head, organ: str, where: Sequence[Mark], group: Mention | None
    ) -> str | None:
        """Side of a finding that states none: that of what was said before, or of its group."""
        same = "same" in statement.low and re.search(r"\bsame\b", statement.low)
        named = any(m.category in {"place", "side"} for m in where)
        goes_on = not named and self._subject_side and not statement.topic and not head.plural
        if organ == self._subject and (same or goes_on) and self._subject_side is not None:
            return self._subject_side
        last = self._last(4)
        if last is not None and last.organ == organ and not named and is_beside_lesion(statement.low):
            other = self._subject_side if organ == self._subject and not names_lesion(statement.low) else None
            side = other or last.location.laterality
            return side if side in {"left", "right"} else None
        if group is not None and group.location.laterality in {"left", "right"}:
            return group.location.laterality
        return None

    def _name(self, made: Mention, head: Head, before: str) -> None:
        specific = [(m, link) for m, link in head.names if m.value.diagnosis or m.value.malignancy]
        tumours = [link for m, link in head.names if m.value.kind == "tumor" and m.value.diagnosis is None]
        if made.kind in _VAGUE and any(not readings.is_tumour_or_not(lowered(link)) for link in tumours):
            made.kind = "tumor"
        if made.head is not None and made.head.value.diagnosis and not specific:
            made.diagnosis = made.head.value.diagnosis
            made.diagnosis_text = self.reading.text[made.head.start : made.head.end]
            made.diagnosis_certainty = hedges.existence(before, "")
        if not specific:
            if head.names and made.diagnosis is None and hedges.certainty(head.names[-1][1]) != "definite":
                made.diagnosis_certainty = hedges.certainty(head.names[-1][1])
            return
        mark, link = specific[-1]
        made.kind = mark.value.kind if made.kind == "wall_thickening" else made.kind
        values = {m.value.diagnosis for m, _ in specific}
        made.diagnosis_text = self.reading.text[specific[0][0].start : mark.end]
        made.spans.append(("diagnosis", specific[0][0].start, mark.end))
        open_ = readings.leaves_out_one(lowered(link)) or readings.is_undecided(lowered(link))
        if len(values) == 1 and not (open_ and len(specific) == 1):
            made.diagnosis = mark.value.diagnosis
            made.diagnosis_certainty = hedges.certainty(link) if link else "definite"
        else:
            made.diagnosis_certainty = "possible"

    def _restates(self, statement: Statement) -> bool:
        """True for a bare noun phrase late in a report in full sentences: the summary that has no heading."""
        every = self.reading.statements
        if self._index * 2 < len(every) or has_verb(statement.text) or self.reading.pathology:
            return False
        if self._in_sentences is None:
            self._in_sentences = sum(has_verb(s.text) for s in every) * 2 > len(every)
        return self._in_sentences

    def _weigh(self, made: Mention, head: Head, stretch: str, behind: str = "") -> None:
        """What is only suspected settles nothing, and what cannot be characterised has an open nature."""
        if made.malignancy_basis == "diagnosis" and not head.mark.value.malignancy:
            link = head.names[-1][1] if head.names else ""
            if made.diagnosis_certainty == "possible" or hedges.is_suspicion(link):
                made.malignancy, made.malignancy_basis = "indeterminate", "suspected"
        if made.malignancy == "malignant" and (
            made.presence == "possible" or hedges.doubts_malignancy(stretch)
        ):
            made.malignancy, made.malignancy_basis = "indeterminate", "suspected"
        if made.diagnosis_certainty is None and not head.names:
            made.diagnosis_certainty = readings.unnamed(lowered(behind))
        if made.diagnosis_certainty is None and hedges.is_open(stretch):
            made.diagnosis_certainty = "possible"
            if made.malignancy == "unknown":
                made.malignancy, made.malignancy_basis = "indeterminate", "stated"

    def _topic(self, statement: Statement, group: Mention | None) -> tuple[str, ...]:
        """Organs of the heading, unless the heading is a region and an organ has been named below it already."""
        if statement.topic and set(statement.topic) <= WEAK:
            here = self.mentions and self.mentions[-1].statement is statement
            if here or (group is not None and group.organ not in WEAK) or self._leaves_region(statement):
                return ()
        return statement.topic or ((self._list.organ,) if self._list is not None else ())

    def _leaves_region(self, statement: Statement) -> bool:
        """True below "ABDOMEN:" for a sentence on the organ that the one before it spoke of."""
        if statement.topic != ("other",) or statement.title_end > statement.start:
            return False
        if self._subject in {None, "lymph_node", *WEAK} or statement.sentence.line - self._subject_line > 1:
            return False
        if any(r.kind == "segment" for r in statement.references):
            return self._subject == "liver"
        last = self._last(1)
        return last is not None and last.organ == self._subject and last.statement.topic == statement.topic

    def _inherited(self, statement: Statement, mark: Mark | None = None) -> str | None:
        """Organ of what was said before; a mass does not lie in a lymph node because nodes were spoken of."""
        found = self._spoken_of(statement)
        last = self._last(4)
        if last is not None and last.organ != found and is_beside_lesion(statement.low):
            return last.organ if names_lesion(statement.low) else None
        stations = (
            mark is not None
            and mark.value.kind != "lymph_node"
            and not (self.mentions and self.mentions[-1].statement is statement)
        )
        return None if stations and found == "lymph_node" else found

    def _spoken_of(self, statement: Statement) -> str | None:
        if self.mentions and self.mentions[-1].statement is statement:
            return self.mentions[-1].organ
        if self._leaves_region(statement):
            return self._subject
        if statement.topic and self._subject is not None and self._subject not in statement.topic:
            return statement.topic[0]
        if _starts_item(self.reading.text, statement) and not context.refers_to_last(statement.text):
            return None
        return self._subject if statement.sentence.line - self._subject_line <= 1 else None

    def _shared(self, statement: Statement, head: Head) -> Location | None:
        """Reads "In the left kidney a 15 mm cyst and a 9 mm angiomyolipoma": joined findings share their place."""
        last = self.mentions[-1] if self.mentions and self.mentions[-1].statement is statement else None
        return shared_place(self.reading.text, statement, head, last, anatomy=self.anatomy)

    def _last(self, reach: int) -> Mention | None:
        if not self.mentions or self._index - self._last_at > reach:
            return None
        return self.mentions[-1]

    def _add(self, made: Mention) -> None:
        self.mentions.append(made)
        self._last_at = self._index
        if self._list is not None and self._list is not made:
            self._list.tentative = True


def _organ_of(location: Location, head: Head, statement: Statement, group: Mention | None) -> str:
    """The organ of the place, of the group, or the one that a name of the finding implies."""
    named = next((n.value.organ for n, _ in head.names if n.value.organ), None)
    organ = location.organ or (group.organ if group is not None else None) or named or "other"
    stretch = statement.text[max(0, head.start - statement.start) : head.end - statement.start]
    if organ == "bone" and "bone_rib" in location.parts and _ON_PLEURA.search(stretch):
        return "pleura"
    vague = organ in {"other", "peritoneum", "soft_tissue"} and not location.certain and not statement.topic
    return named if named and vague else organ


def _on_both_sides(text: str, made: Mention, where: Sequence[Mark]) -> Mention:
    """The mention; a group whose places lie on either side is not that of one."""
    one_side = made.is_group and made.location.laterality in {"left", "right"}
    if one_side and made.head is not None and lies_on_both_sides(text, where, made.organ, made.head):
        made.location = replace(made.location, laterality="bilateral", parts=(), relation="unknown")
    return made


def _settle(made: Mention, marks: Sequence[Mark]) -> None:
    """What follows from number, side and size together."""
    if made.location.laterality == "bilateral" and not made.is_group:
        up_to = all(m.worded or m.qualifier == "upper_bound" for m in made.sizes)
        if (
            made.organ in _TWO_OF and up_to
        ):  # "a millimetric nodule in both lungs", "a cyst of up to 3 cm in both kidneys"
            made.count, made.count_kind = None, "multiple_unknown"
        else:
            made.location = replace(made.location, laterality=None)
    stated = any(m.category == "malignant" for m in marks)
    if made.sizes and made.is_group and stated and made.malignancy == "unknown":
        made.malignancy = "malignant"


def _starts_item(text: str, statement: Statement) -> bool:
    """True for a sentence that opens a line of its own, as in a list without marks."""
    before = text[max(0, statement.start - 12) : statement.start].rstrip(' \t\r-*•"')
    return before.endswith("\n") and (
        before.rstrip()[-1:] in {".", ";", ""} or statement.sentence.item or "\n\n" in before
    )


def _with_heading(text: str, where: list[Mark], statement: Statement) -> list[Mark]:
    """Place words of a finding, and those of its heading for what it does not say itself."""
    if not statement.heading:
        return where
    sides = [m for m in statement.heading if m.category == "side"]
    named = [m for m in statement.heading if m.category != "side"]
    own = [
        m for m in where
        if m.category == "place" and m.value.organ not in {*statement.topic, *WEAK} and not is_neighbour(text, m, None)
    ]  # fmt: skip
    if own:
        return where
    if not any(m.category == "side" for m in where):
        where = [*sides, *where]
    return where if any(m.category in {"place", "short"} for m in where) else [*named, *where]


def _anchored(mark: Mark, anchor: Measurement | None) -> Mark:
    """In a list of sizes the place nearest to the size counts, not the one nearest to the shared noun."""
    if anchor is None or mark.start < anchor.start < mark.end:
        return mark
    return replace(mark, start=anchor.start, end=anchor.end)
