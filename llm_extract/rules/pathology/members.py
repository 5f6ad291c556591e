"""Sizes of the lesions of a group that what follows it picks out: "The larger one is 4 cm", "1) segment 8: 4 cm"."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
from llm_extract.references import Reference
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import Location, resolve
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.pathology import measured
from llm_extract.rules.pathology.lengths import LengthReader
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_PICKED = (
    r"(?:the\s)?(?:larger|largest|bigger|biggest|dominant|smaller|smallest|first|second|third|fourth|fifth|other)"
    r"(?:\s(?:one|two|of\s(?:these|them|which|the\s\w+)|(?:tumou?r|mass|lesion|nodule|polyp|cyst|focus)))?"
    r"|one(?:\sof\s(?:these|them|which|the\s\w+))?"
)
_OPENS = re.compile(
    rf"\W{{0,4}}(?:{_PICKED}|(?:they|these|those|both|all)(?:\s(?:are|were|measur\w+|rang\w+))?)\b",
    re.IGNORECASE,
)
_NEXT = re.compile(rf"(?:,|;|\band|\bwhile|\bwhereas)\s{{1,2}}(?:the\s)?(?:{_PICKED})\b", re.IGNORECASE)
_ITEM = (
    r"(?:\(?(?:\#\s?|(?i:no|nr)\.?\s?)?(?:[1-9]|[a-f])\s?(?:[.):](?!\d)|\s-(?=\s))|\#[1-9]\b|[-*\u2022])\s{0,3}"
    r"(?=[(\w])"
)
_OPENS_ITEM = re.compile(rf"\s{{0,6}}{_ITEM}")
_NEXT_ITEM = re.compile(rf"(?<=[:;,.])\s{{1,3}}{_ITEM}")
_SHORT_SEGMENT = re.compile(r"\bS([1-8])\b")
_LETTER_LEFT = re.compile(r"\s[b-f][.)]\s{0,2}$")
_UP_TO_SIZE = re.compile(
    r"(?>segments?\s\d[\dab,/ ]{0,6}|(?<=[A-Za-z])\d|(?!\b(?:received|specimens?|fragments?|pieces?|margins?|sections?"
    r"|nodes?|tissue|wedge|portion|distance|ducts?|thick\w*|weigh\w*)\b)[^.;\d]){0,70}+",
    re.IGNORECASE,
)
"""Between the mark of an item and its size: where it lies and how it looks."""
_BACK = 3
"""Statements behind a group that may still speak of its lesions."""
_MAX_ITEMS = 12
_KINDS = frozenset({"mass", "tumor", "lesion", "nodule", "polyp", "cyst"})


@dataclass(slots=True)
class MemberReader(LengthReader):
    """Takes the sentences without a noun that measure the lesions named right before."""

    def _read_members(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "The larger one is 4.5 x 4 cm, in segment 6, and the smaller 2 cm" behind "two tumors"."""
        if not statement.measurements or not _OPENS.match(statement.text):
            return
        group = self._group_before(statement)
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        if group is None or organ is None:
            return
        starts = [statement.start, *(statement.start + m.start() for m in _NEXT.finditer(statement.text))]
        for start, end in zip(starts, [*starts[1:], statement.start + len(statement.text)], strict=True):
            size = self._first_size(statement, start, end)
            if size is not None:
                self._add_member(statement, group, size, (start, end), specimen)

    def _read_items(self, statement: Statement, specimen: Specimen | None) -> bool:
        """Reads "1) segment 8: 4 x 3 cm" below "two masses", and such a list behind the noun in one sentence."""
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        if not statement.measurements or organ is None:
            return False
        nouns = [m for m in statement.marks if m.category == "finding"]
        low = nouns[-1].end - statement.start if nouns else 0
        starts = [m.start() for m in _NEXT_ITEM.finditer(statement.text, low)]
        if nouns:
            own = nouns[-1].plural and nouns[-1].value.kind in _KINDS and starts
            group = (
                nouns[-1] if own and statement.measurements[0].start > statement.start + starts[0] else None
            )
        else:
            group = self._group_above(statement) if self._is_item(self._index) else None
            starts = [0, *starts]
        if group is None:
            return False
        for start, end in zip(starts, [*starts[1:], len(statement.text)], strict=True):
            at = (statement.start + start, statement.start + end)
            size = self._size_of_item(statement, *at)
            if size is not None:
                self._add_member(statement, group, size, at, specimen)
        return True

    def _size_of_item(self, statement: Statement, start: int, end: int) -> Measurement | None:
        """The first length of an item, with nothing but its place before it."""
        text = statement.text[start - statement.start : end - statement.start]
        mark = _OPENS_ITEM.match(text)
        size = next((m for m in statement.measurements if start <= m.start < end), None)
        if size is None or size.tense != "current" or size.worded:
            return None
        placed = _UP_TO_SIZE.fullmatch(text, mark.end() if mark is not None else 0, size.start - start)
        return size if placed is not None and not measured.is_distance(statement, size) else None

    def _is_item(self, index: int) -> bool:
        """True for a statement with the mark of an item, which may stand at the end of the line before."""
        statements = self.reading.statements
        left = index > 0 and _LETTER_LEFT.search(statements[index - 1].text) is not None
        return left or _OPENS_ITEM.match(statements[index].text) is not None

    def _group_above(self, statement: Statement) -> Mark | None:
        """The plural noun right above the items of a list."""
        for index in range(self._index - 1, max(-1, self._index - _MAX_ITEMS), -1):
            earlier = self.reading.statements[index]
            if earlier.sentence.section != statement.sentence.section:
                return None
            nouns = [m for m in earlier.marks if m.category == "finding"]
            wrapped = not nouns and self._is_item(index - 1)
            if (self._is_item(index) and not (nouns and nouns[-1].plural)) or wrapped:
                continue
            last = nouns[-1] if nouns else None
            return last if last is not None and last.plural and last.value.kind in _KINDS else None
        return None

    def _group_before(self, statement: Statement) -> Mark | None:
        """The plural noun that the sentence speaks of; one of nodes or of another section is none."""
        for earlier in reversed(self.reading.statements[max(0, self._index - _BACK) : self._index]):
            if earlier.sentence.section != statement.sentence.section:
                return None
            nouns = [m for m in earlier.marks if m.category == "finding"]
            if nouns:
                last = nouns[-1]
                return last if last.plural and last.value.kind in _KINDS else None
            if not _OPENS.match(earlier.text):
                return None
        return None

    def _first_size(self, statement: Statement, start: int, end: int) -> Measurement | None:
        used = {m.id for mention in self.mentions for m in mention.sizes}
        return next(
            (
                m
                for m in statement.measurements
                if start <= m.start < end
                and m.id not in used
                and m.tense == "current"
                and not m.worded
                and not (measured.is_distance(statement, m) or measured.is_tissue(statement, m))
            ),
            None,
        )

    def _add_member(
        self,
        statement: Statement,
        group: Mark,
        size: Measurement,
        at: tuple[int, int],
        specimen: Specimen | None,
    ) -> None:
        organ = specimen.organ if specimen is not None and specimen.organ else self._main or "other"
        marks = [m for m in place_marks(statement.marks) if at[0] <= m.start < at[1]]
        references = [r for r in statement.references if at[0] <= r.start < at[1] and r.kind == "segment"]
        if organ == "liver" and not references:
            found = _SHORT_SEGMENT.search(self.reading.text, *at)
            references = [Reference("segment", *found.span(), (("segments", found[1]),))] if found else []
        place = specimen.location if specimen is not None and specimen.organ == organ else Location(organ)
        own = resolve(
            self.reading.text, marks, references, anatomy=self.anatomy, head=None, topic=(organ,), inherited=organ
        )  # fmt: skip
        if own.organ == organ and own.parts:
            place = replace(place, parts=own.parts, relation=own.relation, spans=own.spans)
        mark = Mark(*at, "finding", group.value)
        made = Mention(mark, organ, place, statement, at, [size], kind=group.value.kind)
        made.diagnosis, made.malignancy = group.value.diagnosis, group.value.malignancy or "unknown"
        self.unused.pop(size.id, None)
        self.mentions.append(made)
