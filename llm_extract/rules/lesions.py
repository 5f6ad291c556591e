"""Reads a report statement by statement and collects the lesions it states, and the findings it denies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.anatomy import Anatomy
from llm_extract.measurements import Measurement
from llm_extract.records import UnusedReason
from llm_extract.references import Reference
from llm_extract.rules import attributes, context, ownership
from llm_extract.rules.heads import Head, find_heads, qualified
from llm_extract.rules.lexicon import Finding, Mark
from llm_extract.rules.locations import WEAK, Location, resolve
from llm_extract.rules.mentions import Mention, describe, has_each, pieces, place_marks, respectively
from llm_extract.rules.statements import Reading, Statement

_PRONOUN = re.compile(
    r"\W{0,4}(?:\w+,?\s){0,2}?(?:it|this|these|they|its|measur\w+|size[ds]?|dimensions?|maximum|max"
    r"|currently|today|now|approximately|up to|which|the (?:larger|largest|smaller|other))\b",
    re.IGNORECASE,
)
_MEMBER = re.compile(
    r"\b(?:for reference|reference|representative|for example|for instance|e\.g\.|including|index"
    r"|target|such as|as follows|examples?|among them|one of (?:which|these|them))\b",
    re.IGNORECASE,
)
_CHANGE_OF = re.compile(
    r"\b(?:change|difference|increase|decrease|progression|regression|stability"
    r"|growth)\b[^.;]{0,24}\b(?:in|of)\s(?:the\s)?(?:size|number|dimensions?|appearance)?[^.;]{0,30}$",
    re.IGNORECASE,
)
_PLURAL_END = re.compile(r"\b(?:are|remain|have)\s(?:all\s|both\s)?(?:\w+\s)?$", re.IGNORECASE)


MAX_MENTIONS = 300
"""Mentions read from one report; more is not a report, and is marked for review."""


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
class LesionReader:
    """Walks through the statements of a report.

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

    def run(self) -> None:
        """Read all statements."""
        for index, statement in enumerate(self.reading.statements):
            self._index = index
            if len(self.mentions) >= MAX_MENTIONS:
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
        if self._list is not None and not statement.sentence.item and self._new_block(statement):
            self._list = None
        if heads and self._opens_list(statement, heads):
            return
        before = len(self.mentions)
        for head in _without_umbrella(statement, heads):
            self._read_head(statement, head, heads)
        if not any(head.polarity == "affirmed" for head in heads):
            self._read_headless(statement)
        self._share_change(statement, self.mentions[before:])
        self._audit(statement)
        self._remember(statement)

    def _new_block(self, statement: Statement) -> bool:
        previous = self.reading.statements[self._index - 1] if self._index else statement
        return statement.sentence.section != previous.sentence.section or (
            statement.sentence.line > previous.sentence.line
            and not previous.sentence.item
            and not previous.text.rstrip().endswith(":")
        )

    def _opens_list(self, statement: Statement, heads: list[Head]) -> bool:
        """Reads "Liver lesions:" opens a list; it is a lesion itself only if no item follows."""
        ends = statement.text.rstrip().endswith(":") or re.fullmatch(
            r"(?:non-?)?target lesions\W*", statement.text.strip(), re.IGNORECASE
        )
        if not ends or heads[-1].polarity != "affirmed" or statement.measurements:
            return False
        made = self._mention(statement, heads[-1], (), list(statement.marks), statement.references, None)
        if made is not None:
            made.tentative = True
            made.count, made.count_kind = (None, "multiple_unknown") if heads[-1].plural else (1, "exact")
            self._list = made
        return made is not None

    # --- findings -------------------------------------------------------------------------------------------------

    def _read_head(self, statement: Statement, head: Head, heads: list[Head]) -> None:
        marks = [m for m in statement.marks if head.start <= m.start < head.end]
        references = [r for r in statement.references if head.start <= r.start < head.end]
        inside = [m for m in statement.measurements if head.start <= m.start < head.end]
        if head.polarity in {"negated", "no_new"}:
            self._deny(statement, head, heads, marks, references)
            self.unused.update({m.id: "other" for m in inside})
            return
        if head.polarity == "affirmed" and not inside and self._names_last(statement, head, marks):
            return
        if head.polarity != "affirmed" or head.mark.value.needs in {"negated"}:
            reason: UnusedReason = "recommendation" if head.polarity == "hypothetical" else "prior"
            self.unused.update({m.id: "other" if head.polarity == "affirmed" else reason for m in inside})
            return
        if not qualified(statement, head):
            node = head.mark.value.kind == "lymph_node"
            self.unused.update({m.id: "node" if node else "other" for m in inside})
            return
        sizes, priors = self._sizes(statement, head, inside)
        self._state(statement, head, sizes, priors, marks, references)

    def _names_last(self, statement: Statement, head: Head, marks: list[Mark]) -> bool:
        """Reads "It was evaluated as a cyst": a name for the lesion stated before."""
        last = self._last(2)
        before = statement.text[: head.mark.start - statement.start]
        if last is None or head.mark.value.diagnosis is None or not context.names_other(before):
            return False
        if any(m.category in {"place", "short"} and m.value.organ != last.organ for m in marks):
            return False
        if not _PRONOUN.match(statement.text) and len(before) > 34:
            return False
        named = Head(last.head or head.mark, "affirmed", [(head.mark, before)])
        self._name(last, named, "")
        if last.malignancy == "unknown" and head.mark.value.malignancy:
            last.malignancy, last.malignancy_basis = head.mark.value.malignancy, "diagnosis"
        self._last_at = self._index
        return True

    def _sizes(
        self, statement: Statement, head: Head, inside: Sequence[Measurement]
    ) -> tuple[list[Measurement], list[Measurement]]:
        sizes, priors = [], []
        for m in inside:
            reason = ownership.lesion_size(statement, m, head)
            if reason is not None:
                self.unused[m.id] = reason
            elif m.tense == "prior":
                priors.append(m)
            else:
                sizes.append(m)
        exact = [m for m in sizes if not m.worded]
        for m in sizes:
            if m.worded and exact:
                self.unused[m.id] = "other"
        return exact or sizes, priors

    def _state(
        self, statement: Statement, head: Head, sizes: list[Measurement], priors: list[Measurement],
        marks: list[Mark], references: list[Reference],
    ) -> None:  # fmt: skip
        index = next(
            (m for m in marks if m.category == "index" and any(s.start > m.start for s in sizes)), None
        )
        if index is not None and self._grouped(statement, head, sizes, priors, index):
            return
        listed = respectively(statement, head, sizes) or (
            pieces(statement, head, sizes) if len(sizes) > 1 else None
        )
        if listed is not None and len(listed) > 1:
            self._several(statement, head, listed, priors)
            return
        made = self._mention(statement, head, tuple(sizes), marks, references, None)
        if made is None:
            return
        made.priors = priors
        if (index is not None or any(m.category == "index" for m in marks)) and self._index_of_last(made):
            return
        if self._continues(statement, head, made):
            return
        last = self._last(2)
        if (
            last is not None
            and last.is_group
            and not last.sizes
            and made.sizes
            and made.organ == last.organ
            and (
                _MEMBER.search(statement.text)
                or (last.role == "remainder" and last.statement is not statement and self._members_of(last))
            )
        ):
            self._member(made, last)
        self._add(made)

    def _open_group(self) -> Mention | None:
        """The group that the mentions right before belong to."""
        last = self._last(2)
        if last is not None and last.role == "member":
            return next((m for m in self.mentions if m.group == last.group and m.role == "remainder"), last)
        return last

    def _members_of(self, group: Mention) -> bool:
        """True while the mentions since a group's own are its members."""
        return self.mentions[-1].role == "member" and self.mentions[-1].group == group.group

    def _grouped(
        self,
        statement: Statement,
        head: Head,
        sizes: list[Measurement],
        priors: list[Measurement],
        index: Mark,
    ) -> bool:
        """Reads "numerous metastases, the largest 3.4 cm in segment 7": an index lesion and the remainder."""
        if index.start < head.mark.start:
            return False
        count, count_kind = self._count(statement, head)
        if count == 1 and count_kind == "exact":
            return False
        group_marks = [m for m in statement.marks if head.start <= m.start < index.start]
        index_marks = [m for m in statement.marks if index.start <= m.start < head.end]
        group_refs = [r for r in statement.references if head.start <= r.start < index.start]
        index_refs = [r for r in statement.references if index.start <= r.start < head.end]
        remainder = self._mention(statement, head, (), group_marks, group_refs, None, end=index.start)
        if remainder is None:
            return True
        if remainder.location.organ is None or not place_marks(group_marks):
            later = [m for m in index_marks if m.category == "place"]
            if later and remainder.organ == "other":
                remainder.organ = later[0].value.organ or "other"
        largest = [m for m in sizes if m.start > index.start]
        lesion = self._mention(
            statement, head, tuple(largest[:1]), [*_attribute_marks(group_marks), *index_marks], index_refs, remainder,
            start=index.start,
        )  # fmt: skip
        if lesion is None:
            return True
        for m in sizes:
            if m not in largest[:1]:
                self.unused[m.id] = "other"
        lesion.priors = priors
        self._link(remainder, lesion)
        self._add(remainder)
        self._add(lesion)
        return True

    def _link(self, remainder: Mention, index: Mention) -> None:
        """Make two mentions the remainder and the index lesion of one group."""
        if remainder.group is None:
            self._groups += 1
            remainder.group = f"G{self._groups}"
        remainder.role, index.role, index.group = "remainder", "index", remainder.group
        index.count, index.count_kind = 1, "exact"
        if remainder.count is not None and remainder.count > 1:
            remainder.count -= 1
        if remainder.count == 1 and remainder.count_kind != "exact":
            remainder.count, remainder.count_kind = None, "multiple_unknown"

    def _index_of_last(self, made: Mention) -> bool:
        """Reads "The largest measures 3.4 cm": the index lesion of the group stated right before."""
        group = self._last(2)
        if group is None or not group.is_group or group.sizes or group.role != "individual":
            return False
        if made.organ not in {group.organ, "other"} or not made.sizes:
            return False
        made.organ = group.organ
        if not made.location.parts and made.location.organ is None:
            made.location = replace(made.location, organ=group.organ)
        self._inherit(made, group)
        self._link(group, made)
        self._add(made)
        return True

    def _several(self, statement: Statement, head: Head, listed: list, priors: list[Measurement]) -> None:  # type: ignore[type-arg]
        placed = [
            p
            for p in listed
            if any(m.category in {"place", "short"} for m in p.marks)
            or any(r.kind == "segment" for r in p.references)
        ]
        shared = placed[0] if placed else None
        explicit = listed[0].start == head.start and listed[0].end == head.end
        made_all = []
        for piece in listed:
            marks = list(piece.marks)
            sides = [m for m in marks if m.category == "side"]
            if any(m.value in {"left", "right"} for m in sides):
                marks = [m for m in marks if not (m.category == "side" and m.value == "bilateral")]
            references = list(piece.references)
            organ_named = any(m.category == "place" for m in marks) or any(
                r.kind == "segment" for r in references
            )
            if not organ_named and shared is not None:
                extra = [m for m in shared.marks if m.category == "place"]
                specific = any(m.category in {"short", "side"} for m in marks)
                if specific:
                    extra = [m for m in extra if not m.value.part] or extra[:1]
                marks += extra
                if not any(m.category == "short" for m in marks):
                    marks += [m for m in shared.marks if m.category == "short"]
                if not any(m.category == "side" for m in marks):
                    marks += [m for m in shared.marks if m.category == "side"]
                references += [r for r in shared.references if r.kind in {"segment", "vertebra"}]
            marks += [
                m
                for m in _attribute_marks(statement.marks)
                if head.start <= m.start < head.mark.end and m not in marks
            ]
            anchor = piece.sizes[0]
            made = self._mention(
                statement, head, piece.sizes, marks, references, None,
                start=head.start if explicit else piece.start, end=head.end if explicit else piece.end, anchor=anchor,
            )  # fmt: skip
            if made is None:
                continue
            made.count, made.count_kind = 1, "exact"
            made.priors = [p for p in priors if piece.start <= p.start < piece.end]
            made_all.append(made)
        last = self._last(2)
        if (
            last is not None
            and last.is_group
            and not last.sizes
            and _MEMBER.search(statement.text)
            and made_all
            and made_all[0].organ == last.organ
        ):
            for made in made_all:
                self._member(made, last)
        for made in made_all:
            self._add(made)

    def _member(self, made: Mention, group: Mention) -> None:
        if group.group is None:
            self._groups += 1
            group.group = f"G{self._groups}"
        group.role, made.role, made.group = "remainder", "member", group.group
        self._inherit(made, group)

    def _inherit(self, made: Mention, group: Mention) -> None:
        """What is said of the group holds for its members where they say nothing themselves."""
        if made.diagnosis is None:
            made.diagnosis, made.diagnosis_text = group.diagnosis, group.diagnosis_text
            made.diagnosis_certainty = group.diagnosis_certainty
        if made.kind in {"lesion", "other"}:
            made.kind = group.kind
        for name in ("attenuation", "enhancement", "malignancy", "change"):
            if getattr(made, name) == "unknown":
                setattr(made, name, getattr(group, name))
        if made.location.laterality is None and group.location.laterality in {"left", "right"}:
            made.location = replace(made.location, laterality=group.location.laterality)
        if not made.location.parts and group.location.parts and not made.location.spans:
            made.location = replace(
                made.location, parts=group.location.parts, relation=group.location.relation
            )

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
        if last is None or made.is_group != last.is_group or not made.refers_back:
            return False
        lead = statement.text[max(0, head.start - statement.start) : head.mark.start - statement.start]
        if re.search(r"\b(?:previous(?:ly)?|prior|known)\b", lead, re.IGNORECASE):
            return False  # speaks of an earlier study, not of the sentence before
        if last.statement.sentence.section != statement.sentence.section:
            return False
        if made.organ not in {last.organ, "other"} and made.location.organ is not None:
            return False
        if made.kind == "lymph_node" and last.kind != "lymph_node":
            return False
        if (
            made.location.parts
            and last.location.parts
            and not set(made.location.parts) & set(last.location.parts)
        ):
            return False
        if {made.location.laterality, last.location.laterality} == {"left", "right"}:
            return False
        if made.sizes and last.sizes and statement is last.statement:
            return False
        if made.sizes and last.sizes and not _same_size(made.sizes, last.sizes):
            return False
        _absorb(last, made)
        self._last_at = self._index
        return True

    def _add(self, made: Mention) -> None:
        self.mentions.append(made)
        self._last_at = self._index
        if self._list is not None and self._list is not made:
            self._list.tentative = True

    def _last(self, reach: int) -> Mention | None:
        if not self.mentions or self._index - self._last_at > reach:
            return None
        return self.mentions[-1]

    # --- one mention ----------------------------------------------------------------------------------------------

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
        made.presence = context.existence(before, after)
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

    # --- denials, sentences without a finding, leftovers ------------------------------------------------------------

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
        where = [m for m in place_marks(statement.marks) if low <= m.start < high]
        location = resolve(
            self.reading.text, where, references, anatomy=self.anatomy, head=head.mark, topic=statement.topic,
            inherited=self._inherited(statement),
        )  # fmt: skip
        organs = tuple(dict.fromkeys(m.value.organ for m in where if m.category == "place" and m.value.organ))
        if head.mark.value.kind == "lymph_node":
            organs = ("lymph_node",)
        organs = tuple(o for o in organs if o not in WEAK) or organs
        if not organs and location.organ is not None:
            organs = (
                statement.topic
                if statement.topic and location.organ in statement.topic
                else (location.organ,)
            )
        self.denials.append(
            Denial(head.mark.value, head.mark, statement, location, organs, head.polarity == "no_new")
        )

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
            self._list_item(statement, current, priors)
            return
        last = self._last(1)
        if last is None:
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
        if not _PRONOUN.match(statement.text) and (places or last.sizes):
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
            last.sizes = wanted[:1]
            last.spans.append(("diameters_mm", wanted[0].start, wanted[0].end))
        last.priors += priors
        self._last_at = self._index

    def _list_item(self, statement: Statement, current: list[Measurement], priors: list[Measurement]) -> None:
        heading = self._list
        if heading is None or heading.head is None:
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

    def _audit(self, statement: Statement) -> None:
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
        if places:
            strong = [organ for organ in places if organ not in {"other", "vessel"}] or places
            self._subject = strong[0]
            sides = [m for m in statement.marks if m.category == "side" and m.value in {"left", "right"}]
            self._subject_side = sides[0].value if len(sides) == 1 else None
            self._subject_line = statement.sentence.line


def _anchored(mark: Mark, anchor: Measurement | None) -> Mark:
    """In a list of sizes the place nearest to the size counts, not the one nearest to the shared noun."""
    if anchor is None or mark.start < anchor.start < mark.end:
        return mark
    return replace(mark, start=anchor.start, end=anchor.end)


def _without_umbrella(statement: Statement, heads: list[Head]) -> list[Head]:
    """Reads "fibroid uterus with multiple fibroids": the same finding named twice is stated once."""
    kept = []
    for position, head in enumerate(heads):
        following = heads[position + 1] if position + 1 < len(heads) else None
        if following is not None and head.polarity == following.polarity == "affirmed" and not head.plural:
            gap = statement.text[head.mark.end - statement.start : following.mark.start - statement.start]
            alike = head.mark.value.diagnosis is not None and head.mark.value == following.mark.value
            if alike and following.plural and re.fullmatch(r"\s(?:\w+\s)?with\s(?:\w+\s){0,3}", gap):
                following.start = head.start
                continue
        kept.append(head)
    return kept


def _attribute_marks(marks: Sequence[Mark]) -> list[Mark]:
    return [
        m
        for m in marks
        if m.category in {"attenuation", "enhancement", "change", "malignant", "benign", "indeterminate"}
    ]


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


__all__ = ["Denial", "LesionReader", "has_each"]
