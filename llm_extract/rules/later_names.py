"""Sentences that only name, or explain away, the lesion stated before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_extract.rules import hedges, readings
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.mentions import Mention
from llm_extract.rules.nouns import SOLID, explains
from llm_extract.rules.organ_choice import WEAK
from llm_extract.rules.seeing import CANNOT_BE
from llm_extract.rules.sided import SidedReader
from llm_extract.rules.statements import Statement

PRONOUN = re.compile(
    r"\W{0,4}(?:\w+,?\s){0,2}?(?:it|this|these|they|its|measur\w+|size[ds]?|dimensions?|maximum|max"
    r"|currently|today|now|approximately|up to|which|the (?:larger|largest|bigger|biggest|greatest|smaller|other"
    r"|dominant|most (?:prominent|remarkable|conspicuous))|(?:larger|bigger|enlarged|large|big|prominent) ones?)\b",
    re.IGNORECASE,
)
_NOT_EXCLUDED = re.compile(r"\s" + CANNOT_BE + r"(?:excluded|ruled out)", re.IGNORECASE)
_MAY_BE = re.compile(
    r"\W{0,3}(?:it|this|these|they)\s(?:\w+ly\s)?(?:may|might|could|can|is|are|was|were)\s(?:\w+\s){0,2}?"
    r"(?:be|represent|thought|considered|felt|likely|suggestive|suspicious)\b",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\s(?:differentiation|distinction|discrimination)\s(?:cannot|can not|could not)\b", re.IGNORECASE
)


@dataclass(slots=True)
class NameReader(SidedReader):
    """Reads what later sentences say a lesion may be."""

    def _reads_last(self, statement: Statement, heads: Sequence[Head]) -> bool:
        """Reads "It may belong to an adenoma or to a metastasis": names of the lesion before, none of their own."""
        if statement.measurements or not readings.reads_finding_before(statement.low):
            return False
        begin = statement.start + readings.verb_end(statement.low)
        anchors = sorted((m for head in heads for m in head.anchors), key=lambda m: m.start)
        nouns = [m for m in statement.of("place") if m.start >= begin and not m.value.adjective]
        if readings.is_differential(statement.low):  # "lung adenocarcinoma" places nothing there
            nouns = [m for m in nouns if not any(0 <= a.start - m.end < 2 for a in anchors)]
        places = {m.value.organ for m in nouns} - {None, "lymph_node", *WEAK}
        if anchors[0].start < begin or any(head.polarity in {"negated", "no_new"} for head in heads):
            return False
        last = self._last(1 if readings.speaks_of_many(statement.low) else 2)
        if last is not None and self._talk_moved(last):
            last = None
        if places and (last is None or not places <= {last.organ}):
            return False
        organs = {m.value.organ for m in anchors} - {None}
        if begin == statement.start and any(m.category in {"place", "short"} for m in statement.marks):
            organs |= {m.value.organ for m in statement.marks if m.category == "place"}
            if last is None or not organs <= {last.organ}:
                return organs <= {"other"} or readings.is_differential(statement.low)
        if last is None and begin == statement.start and not readings.is_differential(statement.low):
            return organs <= {"other"}
        if last is None or (organs and last.organ not in organs):
            return True
        if readings.doubts_it(statement.low):
            last.presence = "possible"
        self._name_possible(last, anchors)
        self._last_at = self._index
        return True

    def _talk_moved(self, last: Mention) -> bool:
        """True if the sentence before speaks of something in another organ that is no lesion."""
        before = self.reading.statements[self._index - 1]
        if before is last.statement:
            return False
        places = {m.value.organ for m in before.of("place") if m.value.organ}
        seen = any(m.category in {"finding", "excluded", "attenuation"} for m in before.marks)
        return seen and bool(places) and last.organ not in places

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
        """Reads "Consider a haematoma." behind a shadow: what is explained as no lesion is none.

        A finding that has a size stays, and so does one of many or one that the explanation is too far from; a lesion
        in so many words, or one in a solid organ, is only less certain.
        """
        if heads or not hedges.opens_reading(statement.text) or not explains(statement.text):
            return False
        before = self.reading.statements[self._index - 1] if self._index else None
        spoken = [m for m in self.mentions if m.statement is before]
        if len(spoken) != 1 or not self._may_explain(statement, spoken[0]):
            return False
        (last,) = spoken
        vague = last.head is not None and last.head.value.needs is not None and last.organ not in SOLID
        if vague or last.organ in WEAK:
            self.mentions.remove(last)
        else:
            last.presence = "possible"
        return True

    def _may_explain(self, statement: Statement, last: Mention) -> bool:
        """True if a finding without size or name may be what a sentence explains that names no other place."""
        unnamed = last.kind == "lesion" and last.diagnosis is None and last.group is None
        if not unnamed or last.sizes or last.priors or self._talk_moved(last):
            return False
        organs = {m.value.organ for m in statement.of("place")} - {None, "other", "soft_tissue"}
        sides = {m.value for m in statement.of("side")} | {last.location.laterality}
        return organs <= {last.organ} and not {"left", "right"} <= sides

    def _names_last(self, statement: Statement, head: Head, marks: list[Mark]) -> bool:
        """Reads "It was evaluated as a cyst": a name for the lesion stated before."""
        last = self._last(2)
        before = statement.text[: head.mark.start - statement.start]
        after = statement.text[head.mark.end - statement.start :]
        asked = len(before) < 24 and after.strip(" .)") == "?"
        said, behind = statement.low[: len(before)], statement.low[head.mark.end - statement.start :]
        hedged = (
            last is not None
            and last.statement is not statement
            and head.mark.value.organ in {None, last.organ}
            and not any(m.category == "side" for m in marks)
            and (readings.clause_head(said, behind) is not None or _is_hedged_name(said, behind, head, last))
        )
        advised = readings.is_advised_for(said)
        if advised and (last is None or last.diagnosis is not None or self._index - self._last_at > 1):
            return False
        open_ = asked or hedged or advised or _NOT_EXCLUDED.match(after) is not None
        names = [m for m in head.anchors if m.value.diagnosis]
        reads = hedges.opens_reading(statement.text)
        alone = not any(m.category in {"place", "short", "excluded"} for m in marks)
        vague = _UNDECIDED.match(after) is not None or _MAY_BE.match(before) is not None
        if last is not None and alone and not names and vague:
            last.diagnosis_certainty = last.diagnosis_certainty or "possible"
            self._last_at = self._index
            return True
        if last is not None and self._talk_moved(last):
            last = None
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
        group = [m for m in self.mentions if head.plural and last.group is not None and m.group == last.group]
        for mention in group or [last]:
            self._name(mention, named, "")
            if mention.malignancy == "unknown" and head.mark.value.malignancy:
                mention.malignancy, mention.malignancy_basis = head.mark.value.malignancy, "diagnosis"
                self._weigh(mention, named, "")
        self._last_at = self._index
        return True


def _is_hedged_name(before: str, after: str, head: Head, last: Mention) -> bool:
    """True for "Metastases are suspected." behind lesions that have no name: a sentence of a name and its hedge."""
    alike = last.head is None or last.head.plural == head.mark.plural
    return alike and last.diagnosis is None and readings.opens_hedged(before, after)
