"""Reads a report statement by statement and collects the lesions it states, and the findings it denies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_extract.measurements import Measurement
from llm_extract.records import UnusedReason
from llm_extract.references import Reference
from llm_extract.rules import context, ownership, readings
from llm_extract.rules.abnormal import qualified
from llm_extract.rules.appositions import without_umbrella
from llm_extract.rules.continuations import ContinuationReader
from llm_extract.rules.grouping import is_member
from llm_extract.rules.heads import Head, find_heads
from llm_extract.rules.largest import marks_of_all, placed_index
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import DIGESTIVE, WEAK, resolve
from llm_extract.rules.making import Denial
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.pieces import pieces, respectively
from llm_extract.rules.several_organs import places_by_organ
from llm_extract.rules.sided import on_either_side
from llm_extract.rules.stated_sizes import is_exact, is_repeated, not_its_own, of_earlier_study
from llm_extract.rules.statements import Statement, has_verb
from llm_extract.rules.stretches import is_spared, may_spare, without_parts_of_others

_PLURAL_END = re.compile(r"\b(?:are|remain|have)\s(?:all\s|both\s)?(?:\w+\s)?$", re.IGNORECASE)

_SAID_BEFORE = re.compile(r"\W{0,3}(?:the|these|those)\s(?:described|defined|mentioned|aforementioned)\s")
_HOLLOW = frozenset(
    {
        "esophagus",
        "stomach",
        "duodenum",
        "small_bowel",
        "colon",
        "bladder",
        "gallbladder",
        "bile_duct",
        "other",
    }
)
"""Organs whose thickened wall is a finding of its own."""
_PLACES = frozenset({"place", "short", "side"})
MAX_MENTIONS = 300
"""Mentions read from one report; more is not a report, and is marked for review."""


@dataclass(slots=True)
class LesionReader(ContinuationReader):
    """Walks through the statements of a report."""

    def run(self) -> None:
        """Read all statements."""
        for index, statement in enumerate(self.reading.statements):
            self._index = index
            opens = (
                index and statement.sentence.section != self.reading.statements[index - 1].sentence.section
            )
            if opens and all(m.organ != self._subject for m in self.mentions):
                self._subject = self._subject_side = None
            read = max(self._made, len(self.denials))
            if len(self.mentions) >= MAX_MENTIONS or read >= 3 * MAX_MENTIONS:
                self.overfull = True
                break
            if not statement.current:
                reason: UnusedReason = (
                    "prior" if statement.sentence.section in {"history", "comparison"} else "other"
                )
                if statement.sentence.section == "recommendation":
                    reason = "recommendation"
                self.unused.update({m.id: reason for m in statement.measurements})
                continue
            self._read(statement)
        self.mentions = [m for m in self.mentions if not m.tentative]

    def _read(self, statement: Statement) -> None:
        heads = find_heads(statement)
        self._note_title(statement)
        if self._list is not None and not statement.sentence.item and self._new_block(statement):
            self._list = None
        if heads and self._opens_list(statement, heads):
            return
        if self._explains_last(statement, heads) or (heads and self._reads_last(statement, heads)):
            self._audit(statement)
            return
        before = len(self.mentions)
        for head in without_umbrella(statement, heads):
            self._read_head(statement, head, heads)
        if not any(head.polarity == "affirmed" for head in heads):
            self._read_headless(statement)
        self._share_change(statement, self.mentions[before:])
        self._share_title(self.mentions[before:])
        self._audit(statement)
        self._remember(statement)

    def _new_block(self, statement: Statement) -> bool:
        previous = self.reading.statements[self._index - 1] if self._index else statement
        opened = self._list is not None and self._list.statement is previous
        below = statement.sentence.line == previous.sentence.line + 1
        if below and _is_row(statement) and (opened or _is_row(previous)):
            return not opened and statement.sentence.section != previous.sentence.section
        return statement.sentence.section != previous.sentence.section or (
            statement.sentence.line > previous.sentence.line
            and not previous.sentence.item
            and not previous.text.rstrip().endswith(":")
        )

    def _opens_list(self, statement: Statement, heads: list[Head]) -> bool:
        """Reads "Liver lesions:" opens a list; it is a lesion itself only if no item follows."""
        ends = statement.text.rstrip().endswith(":") or (
            "target lesions" in statement.low
            and re.fullmatch(r"(?:non-?)?target lesions\W*", statement.low.strip())
        )
        if not ends or heads[-1].polarity != "affirmed" or statement.measurements:
            return False
        made = self._mention(statement, heads[-1], (), list(statement.marks), statement.references, None)
        if made is not None:
            made.tentative = True
            made.count, made.count_kind = (None, "multiple_unknown") if heads[-1].plural else (1, "exact")
            self._list = made
        return made is not None

    def _read_head(self, statement: Statement, head: Head, heads: list[Head]) -> None:
        self._made += 1
        marks = without_parts_of_others(
            statement, [m for m in statement.marks if head.start <= m.start < head.end]
        )
        references = [r for r in statement.references if head.start <= r.start < head.end]
        if may_spare(statement):
            marks = [m for m in marks if m.category not in _PLACES or not is_spared(statement, m.start)]
            references = [r for r in references if not is_spared(statement, r.start)]
        inside = [m for m in statement.measurements if head.start <= m.start < head.end]
        if head.polarity in {"negated", "no_new"}:
            self._deny(statement, head, heads, marks, references)
            self.unused.update({m.id: "other" for m in inside})
            return
        named = head.polarity == "affirmed" or readings.is_advised_for(
            statement.low[: head.mark.start - statement.start]
        )
        of_before = all(m.tense == "prior" for m in inside)
        if named and of_before and self._names_last(statement, head, marks):
            self.mentions[-1].priors += inside
            return
        after = statement.text[head.mark.end - statement.start :]
        if not inside and not place_marks(marks) and context.is_only_before(after):
            return
        if head.polarity != "affirmed" or head.mark.value.needs in {"negated"}:
            reason: UnusedReason = "recommendation" if head.polarity == "hypothetical" else "prior"
            self.unused.update({m.id: "other" if head.polarity == "affirmed" else reason for m in inside})
            return
        if not qualified(statement, head):
            node = head.mark.value.kind == "lymph_node"
            if node and not inside:
                self._nodes = (statement, head)
            self.unused.update({m.id: "node" if node else "other" for m in inside})
            return
        sizes, priors = self._sizes(statement, head, inside)
        earlier = of_earlier_study(statement, head, marks, sizes)
        if earlier is not None and not priors:
            sizes, priors = [m for m in sizes if m is not earlier], [earlier]
        self._state(statement, head, sizes, priors, marks, references)

    def _sizes(
        self, statement: Statement, head: Head, inside: Sequence[Measurement]
    ) -> tuple[list[Measurement], list[Measurement]]:
        sizes, priors = [], []
        for m in inside:
            reason = ownership.lesion_size(statement, m, head)
            if reason is None and not self.reading.pathology:
                reason = not_its_own(statement, m, head, alone=len(inside) == 1)
            if reason is not None:
                self.unused[m.id] = reason
            elif m.tense == "prior":
                priors.append(m)
            else:
                sizes.append(m)
        twice = [m for i, m in enumerate(sizes) if is_repeated(m, sizes[:i])]
        self.unused.update({m.id: "other" for m in twice})
        sizes = [m for m in sizes if m not in twice]
        if not any(m.worded for m in sizes) or on_either_side(statement, head, sizes):
            return sizes, priors
        kept = [m for m in sizes if not m.worded] or sizes[:1]
        self.unused.update({m.id: "other" for m in sizes if m not in kept})
        return kept, priors

    def _state(
        self, statement: Statement, head: Head, sizes: list[Measurement], priors: list[Measurement],
        marks: list[Mark], references: list[Reference],
    ) -> None:  # fmt: skip
        if self._with_members(statement, head, sizes, priors, marks):
            return
        index = next(
            (m for m in marks if m.category == "index" and any(s.start > m.start for s in sizes)), None
        ) or placed_index(statement, head, sizes, marks, references)
        if index is not None and self._grouped(statement, head, sizes, priors, index):
            return
        organs = [] if any(is_exact(m) for m in sizes) else places_by_organ(self.reading.text, marks, head)
        if organs:
            self._spread(statement, head, organs, tuple(sizes))
            return
        if self._on_one_side(statement, head, sizes, priors):
            return
        listed = respectively(statement, head, sizes) or (
            pieces(statement, head, sizes) if len(sizes) > 1 else None
        )
        if listed is not None and len(listed) > 1:
            self._several(statement, head, listed, priors)
            return
        made = self._mention(statement, head, tuple(sizes), marks_of_all(head, marks), references, None)
        if made is None or (made.kind == "wall_thickening" and made.organ not in _HOLLOW):
            return
        made.priors = priors
        if (index is not None or any(m.category == "index" for m in marks)) and self._index_of_last(made):
            return
        if self._continues(statement, head, made) or self._is_loose(made, marks):
            return
        last = self._last(2)
        if (
            last is not None
            and last.is_group
            and not last.sizes
            and made.sizes
            and made.organ == last.organ
            and (
                is_member(statement.text)
                or (last.role == "remainder" and last.statement is not statement and self._members_of(last))
            )
        ):
            self._member(made, last)
        self._add(made)

    def _is_loose(self, made: Mention, marks: Sequence[Mark]) -> bool:
        """True for "the described lesions" where no lesion of that organ was described: areas, densities, changes."""
        generic = made.kind in {"lesion", "nodule"} and made.diagnosis is None
        placed = any(m.category in {"short", "side"} or m.value.organ not in WEAK for m in place_marks(marks))
        described = any(m.organ == made.organ for m in self.mentions)
        if not made.refers_back or not generic or made.sizes or described:
            return False
        return not placed or _SAID_BEFORE.match(made.statement.low) is not None

    def _deny(
        self,
        statement: Statement,
        head: Head,
        heads: list[Head],
        marks: list[Mark],
        references: list[Reference],
    ) -> None:
        low, high = head.start, head.end
        same = [h for h in heads if h.polarity == head.polarity]
        if len(same) > 1 and len(same) == len(heads):
            low, high = same[0].start, same[-1].end
        every = place_marks(statement.marks)
        where = [m for m in every if low <= m.start < high] or _named_before(every, low)
        location = resolve(
            self.reading.text, where, references, anatomy=self.anatomy, head=head.mark, topic=statement.topic,
            inherited=self._inherited(statement),
        )  # fmt: skip
        organs = tuple(dict.fromkeys(m.value.organ for m in where if m.category == "place" and m.value.organ))
        if head.mark.value.kind == "lymph_node":
            organs = ("lymph_node",)
        organs = tuple(o for o in organs if o not in WEAK) or organs
        if not organs and context.names_digestive_tract(statement.text):
            organs = DIGESTIVE
        if not organs and location.organ is not None:
            organs = (
                statement.topic
                if statement.topic and location.organ in statement.topic and head.mark.value.organ is None
                else (location.organ,)
            )
        self.denials.append(
            Denial(head.mark.value, head.mark, statement, location, organs, head.polarity == "no_new")
        )

    def _audit(self, statement: Statement) -> None:
        if not statement.measurements:
            return
        used = {m.id for mention in self.mentions[-8:] for m in (*mention.sizes, *mention.priors)}
        for m in statement.measurements:
            if m.id in used or m.id in self.unused:
                continue
            if m.tense == "prior":
                self.unused[m.id] = "prior"
            elif context.recommends(statement.text):
                self.unused[m.id] = "recommendation"
            else:
                reason = ownership.plain_reason(statement, m, pathology=self.reading.pathology)
                if reason is not None:
                    self.unused[m.id] = reason

    def _share_change(self, statement: Statement, made: list[Mention]) -> None:
        """Reads "A cyst in the liver and a cyst in the kidney are unchanged": the verb in the plural speaks of both."""
        if len(made) < 2 or made[-1].change == "unknown":
            return
        span = next((s for s in made[-1].spans if s[0] == "change"), None)
        if span is not None and _PLURAL_END.search(
            self.reading.text[max(statement.start, span[1] - 24) : span[1]]
        ):
            for mention in made[:-1]:
                if mention.change == "unknown":
                    mention.change = made[-1].change
                    mention.spans.append(span)

    def _remember(self, statement: Statement) -> None:
        """The organ a following sentence without one is about."""
        last = self.mentions[-1] if self.mentions and self.mentions[-1].statement is statement else None
        if last is not None:
            self._subject, self._subject_side = last.organ, last.location.laterality
            self._subject_line = statement.sentence.line
            return
        places = [
            m.value.organ for m in statement.marks if m.category in {"place", "operation"} and m.value.organ
        ]
        places = places or [m.value[0] for m in statement.of("sign")]
        if places:
            strong = [organ for organ in places if organ not in {"other", "vessel"}] or places
            self._subject = strong[0] if strong[0] not in WEAK or statement.of("finding") else None
            sides = [m for m in statement.marks if m.category == "side" and m.value in {"left", "right"}]
            self._subject_side = sides[0].value if len(sides) == 1 else None
            self._subject_line = statement.sentence.line


def _named_before(places: Sequence[Mark], start: int) -> list[Mark]:
    """Reads "Thickened septa in the right lung, and no mass": a denial without a place is about the one before it."""
    before = [m for m in places if m.start < start]
    return before if any(m.category == "place" and m.value.organ not in WEAK for m in before) else []


def _is_row(statement: Statement) -> bool:
    """True for a line of a table of lesions: a place and a size without a verb."""
    placed = any(m.category in {"place", "short"} for m in statement.marks) or bool(statement.references)
    return placed and bool(statement.measurements) and not has_verb(statement.text)


__all__ = ["Denial", "LesionReader"]
