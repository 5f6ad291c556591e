"""What later sentences add to a lesion that is stated already, and sizes that stand without a finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
from llm_extract.rules import context, hedges, ownership, readings
from llm_extract.rules.grouping import GroupReader
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import resolve
from llm_extract.rules.making import has_verb
from llm_extract.rules.mentions import Mention, describe, place_marks
from llm_extract.rules.nouns import explains
from llm_extract.rules.pieces import axes
from llm_extract.rules.statements import Statement

PRONOUN = re.compile(
    r"\W{0,4}(?:\w+,?\s){0,2}?(?:it|this|these|they|its|measur\w+|size[ds]?|dimensions?|maximum|max"
    r"|currently|today|now|approximately|up to|which|the (?:larger|largest|smaller|other))\b",
    re.IGNORECASE,
)
_NOT_EXCLUDED = re.compile(r"\s(?:cannot|can not|could not) be (?:excluded|ruled out)", re.IGNORECASE)
_MAY_BE = re.compile(
    r"\W{0,3}(?:it|this|these|they)\s(?:\w+ly\s)?(?:may|might|could|can|is|are|was|were)\s(?:\w+\s){0,2}?"
    r"(?:be|represent|thought|considered|felt|likely|suggestive|suspicious)\b",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\s(?:differentiation|distinction|discrimination)\s(?:cannot|can not|could not)\b", re.IGNORECASE
)
_CHANGE_OF = re.compile(
    r"\b(?:change|difference|increase|decrease|progression|regression|stability"
    r"|growth)\b[^.;]{0,24}\b(?:in|of)\s(?:the\s)?(?:size|number|dimensions?|appearance)?[^.;]{0,30}$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class ContinuationReader(GroupReader):
    """Reads sentences that go on about the lesion before them."""

    def _describes_all(self, statement: Statement, made: Mention) -> bool:
        """Reads "The lesions are compatible with adenomas" after several lesions that were stated one by one."""
        spoken: list[Mention] = []
        for mention in reversed(self.mentions[-12:]):
            near = mention.statement.sentence.section == statement.sentence.section
            if not near or mention.organ != self.mentions[-1].organ or mention.is_group:
                break
            spoken.append(mention)
        if (
            len(spoken) < 2
            or made.sizes
            or made.organ not in {spoken[0].organ, "other"}
            or made.location.parts
        ):
            return False
        for mention in spoken:
            _absorb(mention, made)
        self._last_at = self._index
        return True

    def _reads_last(self, statement: Statement, heads: Sequence[Head]) -> bool:
        """Reads "It may belong to an adenoma or to a metastasis": names of the lesion before, none of their own."""
        if statement.measurements or not readings.reads_finding_before(statement.low):
            return False
        begin = statement.start + readings.verb_end(statement.low)
        anchors = sorted((m for head in heads for m in head.anchors), key=lambda m: m.start)
        if anchors[0].start < begin or any(head.polarity in {"negated", "no_new"} for head in heads):
            return False
        last = self._last(1 if readings.speaks_of_many(statement.low) else 2)
        organs = {m.value.organ for m in anchors} - {None}
        if begin == statement.start and any(m.category in {"place", "short"} for m in statement.marks):
            organs |= {m.value.organ for m in statement.marks if m.category == "place"}
            if last is None or not organs <= {last.organ}:
                return organs <= {"other"} or readings.is_differential(statement.low)
        if last is None or (organs and last.organ not in organs):
            return True
        if readings.doubts_it(statement.low):
            last.presence = "possible"
        self._name_possible(last, anchors)
        self._last_at = self._index
        return True

    def _name_possible(self, last: Mention, anchors: Sequence[Mark]) -> None:
        """Give a lesion the names that a later sentence offers for it, unless it has one."""
        last.diagnosis_certainty = last.diagnosis_certainty or "possible"
        if last.diagnosis is not None:
            return
        named = Head(last.head or anchors[0], "affirmed", [(m, "possibly?") for m in anchors])
        self._name(last, named, "")
        stated = {m.value.malignancy for m in anchors if m.value.malignancy}
        if last.malignancy == "unknown" and stated:
            last.malignancy, last.malignancy_basis = "indeterminate", "suspected"

    def _explains_last(self, statement: Statement, heads: Sequence[Head]) -> bool:
        """Reads "Consider a haematoma." behind a shadow: what is explained as no lesion is none."""
        if heads or not hedges.opens_reading(statement.text) or not explains(statement.text):
            return False
        before = self.reading.statements[self._index - 1] if self._index else None
        gone = [
            m
            for m in self.mentions
            if m.statement is before and m.kind == "lesion" and m.diagnosis is None and m.group is None
        ]
        self.mentions = [m for m in self.mentions if m not in gone]
        self.unused.update({m.id: "other" for mention in gone for m in (*mention.sizes, *mention.priors)})
        return bool(gone)

    def _names_last(self, statement: Statement, head: Head, marks: list[Mark]) -> bool:
        """Reads "It was evaluated as a cyst": a name for the lesion stated before."""
        last = self._last(2)
        before = statement.text[: head.mark.start - statement.start]
        after = statement.text[head.mark.end - statement.start :]
        asked = len(before) < 24 and after.strip(" .)") == "?"
        open_ = asked or _NOT_EXCLUDED.match(after) is not None
        names = [m for m in head.anchors if m.value.diagnosis]
        reads = hedges.opens_reading(statement.text)
        alone = not any(m.category in {"place", "short", "excluded"} for m in marks)
        vague = _UNDECIDED.match(after) is not None or _MAY_BE.match(before) is not None
        if last is not None and alone and not names and vague:
            last.diagnosis_certainty = last.diagnosis_certainty or "possible"
            self._last_at = self._index
            return True
        if last is None or not names or not (hedges.names_other(before) or open_ or reads):
            return False
        if any(m.category in {"place", "short"} and m.value.organ != last.organ for m in marks):
            return False
        if re.search(r"\bthere\s(?:is|are|was|were)\b", before, re.IGNORECASE):
            return False
        goes_on = alone and not statement.measurements and head.mark.value.organ in {None, last.organ}
        reach = 90 if goes_on else 34
        if not PRONOUN.match(statement.text) and len(before) > reach and not open_ and not reads:
            return False
        named = Head(
            last.head or head.mark, "affirmed", [(m, before + "?" if open_ else before) for m in names]
        )
        self._name(last, named, "")
        if last.malignancy == "unknown" and head.mark.value.malignancy:
            last.malignancy, last.malignancy_basis = head.mark.value.malignancy, "diagnosis"
            self._weigh(last, named, "")
        self._last_at = self._index
        return True

    def _continues(self, statement: Statement, head: Head, made: Mention) -> bool:
        """Reads "The mass measures 3 cm": more on the lesion stated before, not another one."""
        last = self._last(3)
        lead = statement.text[max(0, head.start - statement.start) : head.mark.start - statement.start]
        if _CHANGE_OF.search(lead):
            made.refers_back = True
            alike = [
                m for m in self.mentions if m.kind == made.kind and m.organ in {made.organ, self._subject}
            ]
            last = alike[-1] if alike and (last is None or last.kind != made.kind) else last
            if last is not None and last.kind == made.kind:
                if last.change == "unknown":
                    last.change = made.change
                return True
        if self._only_reaches(statement, head, made):
            return True
        if last is not None and made.refers_back and made.is_group and self._describes_all(statement, made):
            return True
        if last is None or made.is_group != last.is_group or not made.refers_back:
            return False
        if re.search(r"\b(?:previous(?:ly)?|prior|known)\b", lead, re.IGNORECASE):
            return False  # speaks of an earlier study, not of the sentence before
        if last.statement.sentence.section != statement.sentence.section or not _may_be(made, last):
            return False
        both = bool(made.sizes and last.sizes)
        if both and (statement is last.statement or not _same_size(made.sizes, last.sizes)):
            return False
        _absorb(last, made)
        self._last_at = self._index
        return True

    def _only_reaches(self, statement: Statement, head: Head, made: Mention) -> bool:
        """Reads "The mass extends to the right hilum": where a lesion that is stated already reaches."""
        after = statement.text[head.mark.end - statement.start :]
        if made.sizes or made.is_group or not context.extends(after):
            return False
        alike = [m for m in self.mentions[-12:] if m.kind == made.kind]
        if made.refers_back:
            return bool(alike) and not _may_be(made, alike[-1])
        both = alike and alike[-1].organ == made.organ and alike[-1].location.laterality == "bilateral"
        return bool(both) and made.location.laterality in {"left", "right"}

    def _read_headless(self, statement: Statement) -> None:
        """Sizes in a sentence without a finding: a list item, or more on the lesion before."""
        current = [m for m in statement.measurements if m.tense == "current" and m.id not in self.unused]
        priors = [m for m in statement.measurements if m.tense == "prior" and m.id not in self.unused]
        if not current and not priors:
            return
        if re.match(r"\W{0,4}(?:\w+\s){0,2}sum\b", statement.text, re.IGNORECASE):
            self.unused.update({m.id: "other" for m in statement.measurements})
            return
        if self._list is not None and current and self._list.head is not None:
            self._list_item(statement, current, priors, self._list)
            return
        last = self._last(1)
        if last is None:
            return
        if current and self._lists_on(statement, last):
            self._list_item(statement, current[:1], priors, last)
            return
        index = any(m.category == "index" for m in statement.marks)
        if index and current and last.is_group and last.head is not None:
            head = Head(last.head, "affirmed", [], statement.start, statement.start + len(statement.text))
            made = self._headless_mention(statement, head, current[:1], last)
            if made is not None and self._index_of_last(made):
                made.priors = priors
                return
        self._more_on(last, statement, current, priors)

    def _more_on(
        self, last: Mention, statement: Statement, current: list[Measurement], priors: list[Measurement]
    ) -> None:
        places = [m for m in statement.marks if m.category in {"place", "finding", "sign"}]
        if not PRONOUN.match(statement.text) and (places or last.sizes):
            return
        if any(m.category == "place" and m.value.organ not in {last.organ, None} for m in places):
            return
        wanted = [
            m
            for m in current
            if ownership.plain_reason(statement, m, pathology=self.reading.pathology)
            in {None, "other", "organ_size", "node", "specimen"}
        ]
        if wanted and not last.sizes:
            last.sizes = axes(statement, wanted)[0]
            last.spans += [("diameters_mm", m.start, m.end) for m in last.sizes]
        last.priors += priors
        self._last_at = self._index

    def _lists_on(self, statement: Statement, last: Mention) -> bool:
        """Reads "Lesions: dome (31 mm); tail (8 mm)": a place and a size behind a semicolon are one more of them."""
        before = self.reading.text[max(0, statement.start - 4) : statement.start]
        placed = any(m.category in {"place", "short"} for m in statement.marks) or bool(statement.references)
        if (
            ";" not in before
            or not placed
            or last.head is None
            or not last.head.plural
            or len(last.sizes) != 1
        ):
            return False
        if any(m.category in {"finding", "excluded", "sign"} for m in statement.marks) or has_verb(
            statement.text
        ):
            return False
        last.count, last.count_kind = 1, "exact"
        return True

    def _list_item(
        self, statement: Statement, current: list[Measurement], priors: list[Measurement], heading: Mention
    ) -> None:
        if heading.head is None:
            return
        head = Head(heading.head, "affirmed", [], statement.start, statement.start + len(statement.text))
        made = self._headless_mention(statement, head, current, heading)
        if made is not None:
            made.priors = priors
            made.count, made.count_kind = 1, "exact"
            self._add(made)

    def _headless_mention(
        self, statement: Statement, head: Head, sizes: Sequence[Measurement], like: Mention
    ) -> Mention | None:
        where = place_marks(statement.marks)
        location = resolve(
            self.reading.text, where, statement.references, anatomy=self.anatomy, head=None,
            topic=(like.organ,) if not where else statement.topic, inherited=like.organ,
        )  # fmt: skip
        organ = location.organ or like.organ
        made = Mention(
            head.mark, organ, location, statement, (head.start, head.end), list(sizes), kind=like.kind
        )
        describe(made, None, list(statement.marks), list(statement.references))
        if like.diagnosis is not None:
            made.diagnosis, made.diagnosis_text = like.diagnosis, like.diagnosis_text
        return made


def _may_be(made: Mention, last: Mention) -> bool:
    """True if organ, kind, part and side do not contradict."""
    here, there = made.location, last.location
    if made.organ not in {last.organ, "other"} and here.organ is not None and here.certain:
        return False
    if made.kind == "lymph_node" and last.kind != "lymph_node":
        return False
    if here.parts and there.parts and not set(here.parts) & set(there.parts):
        return False
    return {here.laterality, there.laterality} != {"left", "right"}


def _same_size(left: Sequence[Measurement], right: Sequence[Measurement]) -> bool:
    a, b = max(left[0].values_mm), max(right[0].values_mm)
    return abs(a - b) <= max(1.0, 0.05 * max(a, b))


def _absorb(last: Mention, made: Mention) -> None:
    """Add what a later sentence says to the lesion stated before."""
    if made.sizes and not last.sizes:
        last.sizes = made.sizes
    last.priors += made.priors
    for name in ("attenuation", "enhancement", "malignancy", "change"):
        if getattr(last, name) == "unknown":
            setattr(last, name, getattr(made, name))
    if last.diagnosis is None and made.diagnosis is not None:
        last.diagnosis, last.diagnosis_text = made.diagnosis, made.diagnosis_text
        last.diagnosis_certainty = made.diagnosis_certainty
    if not last.location.parts and made.location.parts:
        last.location = replace(
            last.location,
            parts=made.location.parts,
            relation=made.location.relation,
            spans=(*last.location.spans, *made.location.spans),
        )
    if last.location.laterality is None and made.location.laterality is not None:
        last.location = replace(
            last.location, laterality=made.location.laterality, side_spans=made.location.side_spans
        )
    last.spans += [span for span in made.spans if span[0] != "kind"]
    last.score = last.score or made.score
    last.volume_mm3 = last.volume_mm3 or made.volume_mm3
    last.treated = last.treated or made.treated
