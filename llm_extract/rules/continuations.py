"""What later sentences add to a lesion that is stated already, and sizes that stand without a finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.candidates import KINDS_APART
from llm_extract.measurements import Measurement
from llm_extract.rules import context, ownership
from llm_extract.rules.abnormal import is_enlarged
from llm_extract.rules.heads import Head
from llm_extract.rules.later_names import PRONOUN, NameReader
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import WEAK, resolve
from llm_extract.rules.mentions import Mention, describe, place_marks
from llm_extract.rules.pieces import axes, is_third_axis
from llm_extract.rules.statements import Statement, has_verb

_IT_IS = re.compile(
    r"\W{0,3}(?:first(?:ly)?(?: of all)?,?\s|however,?\s)?(?:it|this|they|these)\s"
    r"(?:is|was|are|were|has been|have been)\b"
)
_APART = (*KINDS_APART, {"cyst", "tumor"})
"""Kinds that in one sentence are two lesions: "a cyst beside the 3 cm mass"."""
_ON_PREVIOUS = re.compile(r"\W{0,3}(?:in|on)\s(?:the|his|her|its)\s(?:previous|prior|earlier|old)\s")
_CHANGE_OF = re.compile(
    r"\b(?:change|difference|increase|decrease|progression|regression|stability"
    r"|growth)\b[^.;]{0,24}\b(?:in|of)\s(?:the\s)?(?:size|number|dimensions?|appearance)?[^.;]{0,30}$",
    re.IGNORECASE,
)


_CHANGE_TITLE = re.compile(
    r"\W{0,4}(?:new|stable|unchanged|increased|increasing|enlarg\w+|larger|decreased|decreasing|smaller|resolved)"
    r"(?:\s[\w-]+){0,2}\s?:\W{0,3}"
)


@dataclass(slots=True)
class ContinuationReader(NameReader):
    """Reads sentences that go on about the lesion before them."""

    _title: Mark | None = None
    _title_line: int = -9

    def _note_title(self, statement: Statement) -> None:
        """Reads "New:" and "Stable nodules:", which hold for the lines right below."""
        line = statement.sentence.line
        if _CHANGE_TITLE.fullmatch(statement.low):
            self._title = next((m for m in statement.marks if m.category == "change"), None)
        elif line - self._title_line > 1 or statement.low.rstrip().endswith(":"):
            self._title = None
        self._title_line = line

    def _share_title(self, made: Sequence[Mention]) -> None:
        """Give the change of a title to the lesions of its lines that state none."""
        title = self._title
        for mention in made if title is not None else ():
            if title is not None and mention.change == "unknown" and not mention.priors:
                mention.change = title.value
                mention.spans.append(("change", title.start, title.end))

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
                alike = [m for m in alike if not _is_elsewhere(made, m)]
                if _is_elsewhere(made, last):
                    if not alike:
                        return False
                    last = alike[-1]
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
        elsewhere = made.location.organ not in {None, last.organ}
        if statement is last.statement and ({made.kind, last.kind} in _APART or elsewhere):
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
        alike = [
            m for m in self.mentions[-12:]
            if m.kind == made.kind or {m.kind, made.kind} <= {"mass", "tumor", "lesion"}
        ]  # fmt: skip
        if made.refers_back:
            own = any(0 <= head.mark.start - m.end < 2 for m in statement.of("place"))
            if own and made.organ not in {"other", *(m.organ for m in self.mentions)}:
                return False  # "the liver mass extends to ...", and no mass of the liver was stated
            same = alike and alike[-1].is_group == made.is_group and _may_be(made, alike[-1])
            return bool(alike) and not same
        both = alike and alike[-1].organ == made.organ and alike[-1].location.laterality == "bilateral"
        return bool(both) and made.location.laterality in {"left", "right"}

    def _read_headless(self, statement: Statement) -> None:
        """Sizes in a sentence without a finding: a list item, or more on the lesion before."""
        current = [m for m in statement.measurements if m.tense == "current" and m.id not in self.unused]
        priors = [m for m in statement.measurements if m.tense == "prior" and m.id not in self.unused]
        if not current and not priors:
            self._adds(statement)
            return
        if re.match(r"\W{0,4}(?:\w+\s){0,2}sum\b", statement.text, re.IGNORECASE):
            self.unused.update({m.id: "other" for m in statement.measurements})
            return
        if self._list is not None and current and self._list.head is not None:
            self._list_item(statement, current, priors, self._list)
            return
        if current and (
            self._members_behind(statement, current, priors) or self._sides_behind(statement, current, priors)
        ):
            return
        if current:
            self._state_nodes(statement, current[0])
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

    def _adds(self, statement: Statement) -> None:
        """Reads "It is stable." and "It was evaluated in favour of benign pathologies." of the lesion right before."""
        last = self._last(2)
        if last is None or not _IT_IS.match(statement.low):
            return
        change = next((m for m in statement.marks if m.category == "change"), None)
        if change is not None and last.change == "unknown":
            last.change = change.value
            last.spans.append(("change", change.start, change.end))
        benign = next((m for m in statement.marks if m.category == "benign"), None)
        if benign is not None and last.malignancy == "unknown":
            last.malignancy, last.malignancy_basis = "benign", "stated"
            last.spans.append(("malignancy", benign.start, benign.end))
        if change is not None or benign is not None:
            self._last_at = self._index

    def _state_nodes(self, statement: Statement, size: Measurement) -> None:
        """Reads "Two prominent nodes. The larger one measures 21 x 17 mm": the size calls them enlarged."""
        if self._nodes is None or not self._index or not PRONOUN.match(statement.text):
            return
        spoken, head = self._nodes
        if spoken is not self.reading.statements[self._index - 1] or not is_enlarged(size):
            return
        marks = [m for m in spoken.marks if head.start <= m.start < head.end]
        made = self._mention(spoken, head, (), marks, (), None)
        if made is not None:
            self._add(made)

    def _more_on(
        self, last: Mention, statement: Statement, current: list[Measurement], priors: list[Measurement]
    ) -> None:
        places = [m for m in statement.marks if m.category in {"place", "finding", "sign"}]
        earlier = not current and not last.priors and _ON_PREVIOUS.match(statement.low) is not None
        if not (priors or last.is_group) and is_third_axis(statement, last.sizes, current):
            last.sizes.append(current[0])
            last.spans.append(("diameters_mm", current[0].start, current[0].end))
            self._last_at = self._index
            return
        if not PRONOUN.match(statement.text) and (places or last.sizes) and not earlier:
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
        region = bool(statement.topic) and set(statement.topic) <= WEAK and like.organ not in WEAK
        location = resolve(
            self.reading.text, where, statement.references, anatomy=self.anatomy, head=None,
            topic=(like.organ,) if region or not where else statement.topic, inherited=like.organ,
        )  # fmt: skip
        organ = location.organ or like.organ
        made = Mention(
            head.mark, organ, location, statement, (head.start, head.end), list(sizes), kind=like.kind
        )
        describe(made, None, list(statement.marks), list(statement.references))
        for name in ("change", "attenuation"):
            if getattr(made, name) == "unknown" and not made.priors:
                setattr(made, name, getattr(like, name))
        if like.diagnosis is not None:
            made.diagnosis, made.diagnosis_text = like.diagnosis, like.diagnosis_text
        return made


def _is_elsewhere(made: Mention, last: Mention) -> bool:
    """True if the organ, the side or the size of two mentions contradict."""
    here, there = made.location, last.location
    if here.organ is not None and here.certain and made.organ not in {last.organ, "other"}:
        return True
    own = bool(made.sizes) and not made.sizes[0].worded
    if own and last.sizes and not _same_size(made.sizes, last.sizes):
        return True
    return not made.is_group and {here.laterality, there.laterality} == {"left", "right"}


def _may_be(made: Mention, last: Mention) -> bool:
    """True if organ, kind, part and side do not contradict."""
    here, there = made.location, last.location
    if made.organ not in {last.organ, "other"} and here.organ is not None and here.certain:
        return False
    if made.kind == "lymph_node" and last.kind != "lymph_node":
        return False
    if here.parts and there.parts and not set(here.parts) & set(there.parts):
        return False
    if made.kind == "lymph_node" and here.parts and not there.parts and _is_placed(last):
        return False  # nodes of another station
    return {here.laterality, there.laterality} != {"left", "right"}


def _is_placed(mention: Mention) -> bool:
    """True if the words of a lesion say where it lies, in whatever words."""
    low, high = mention.span
    return any(low <= m.start < high for m in mention.statement.of("place", "short", "side"))


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
