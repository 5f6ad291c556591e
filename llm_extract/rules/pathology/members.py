"""Sizes of the lesions of a group that the sentences behind it pick out: "The larger one is 4 cm"."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
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
_BACK = 3
"""Statements behind a group that may still speak of its lesions."""
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
