"""Groups and lists of lesions: index and remainder, members, one size a lesion, and what a later sentence adds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
from llm_extract.rules.counting import count_of
from llm_extract.rules.heads import Head
from llm_extract.rules.largest import many_each, start_of_all, with_leading_side
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.list_places import (
    comes_after_two,
    names_unknown_place,
    organ_alone,
    shared_places,
    shared_with,
)
from llm_extract.rules.making import MentionMaker
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.neighbours import is_neighbour
from llm_extract.rules.pieces import Piece, pieces
from llm_extract.rules.several_organs import places_by_organ
from llm_extract.rules.statements import Statement

_MEMBER = re.compile(
    r"\b(?:for reference|reference|representative|for example|for instance|e\.g\.|including|index"
    r"|target|such as|as follows|examples?|among them|one of (?:which|these|them))\b",
    re.IGNORECASE,
)


_ANOTHER = re.compile(r"\b(?:others?|another|second|third|smaller|smallest|next|remaining)\b", re.IGNORECASE)


@dataclass(slots=True)
class GroupReader(MentionMaker):
    """Reads what a report says about several lesions together."""

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
        count, count_kind = count_of(statement, head)
        if count == 1 and count_kind == "exact":
            return False
        group_marks = [m for m in statement.marks if head.start <= m.start < index.start]
        index_marks = [m for m in statement.marks if index.start <= m.start < head.end]
        organs = places_by_organ(self.reading.text, group_marks, head)
        if organs and not self._one_of_several(statement, head, organs, index_marks):
            self.unused.update({m.id: "other" for m in sizes})
            return True
        if organs:
            theirs = [
                m for places in organs if _organ_named(places) != _organ_named(index_marks) for m in places
            ]
            group_marks = [m for m in group_marks if m not in theirs]
        after = start_of_all(statement, sizes, index, head)
        own = [m for m in place_marks(group_marks) if m.end != head.mark.end]
        if after is not None and not any(
            m.category == "side" or m.value.part for m in own if m.category != "short"
        ):
            group_marks += [m for m in index_marks if m.start >= after]
            head = replace(head, end=after)
        group_refs = [r for r in statement.references if head.start <= r.start < index.start]
        remainder = self._mention(statement, head, (), group_marks, group_refs, None, end=index.start)
        if remainder is None:
            return True
        if remainder.location.organ is None or not place_marks(group_marks):
            later = [m for m in index_marks if m.category == "place"]
            if later and remainder.organ == "other":
                remainder.organ = later[0].value.organ or "other"
        largest = [m for m in sizes if m.start > index.start]
        if largest:
            listed = pieces(statement, replace(head, start=index.start), largest)
        else:  # "nodules of 7 mm in both lungs, the largest in the left lower lobe"
            behind = tuple(r for r in statement.references if index.start <= r.start < head.end)
            listed = [Piece(index.start, head.end, tuple(sizes), tuple(index_marks), behind)]
        lesion = self._of_group(statement, head, listed[0], group_marks, remainder)
        if lesion is None:
            return True
        others = [p for p in listed[1:] if _stands_alone(statement, p)]
        made = [self._of_group(statement, head, p, group_marks, remainder) for p in others]
        members = [m for m in made if m is not None]
        used = {m.id for one in (lesion, *members) for m in one.sizes}
        self.unused.update({m.id: "other" for m in sizes if m.id not in used})
        lesion.priors = [p for p in priors if not others or p.start < others[0].start]
        self._close_group(remainder, lesion, members)
        return True

    def _one_of_several(
        self, statement: Statement, head: Head, organs: Sequence[Sequence[Mark]], index_marks: Sequence[Mark]
    ) -> bool:
        """State the organs of a list that the largest lesion does not lie in; False if the text does not say where."""
        known, own = _organ_named(index_marks), head.mark.value.organ
        inside = any((_organ_named(places) or own) == known for places in organs)
        rest = [places for places in organs if not inside or (_organ_named(places) or own) != known]
        self._spread(statement, head, rest, ())
        return inside

    def _spread(
        self,
        statement: Statement,
        head: Head,
        organs: Sequence[Sequence[Mark]],
        sizes: tuple[Measurement, ...],
    ) -> None:
        """Reads "metastases in the liver and both lungs": one group an organ."""
        others = [
            m for m in statement.marks if head.start <= m.start < head.end and m not in place_marks([m])
        ]
        for places in organs:
            low = places[0].start if places else head.mark.start
            high = places[-1].end if places else head.mark.end
            references = [r for r in statement.references if low <= r.start < high + 24]
            made = self._mention(statement, head, sizes, [*others, *places], references, None)
            if made is not None:
                made.count, made.count_kind = None, "multiple_unknown"
                self._add(made)

    def _of_group(
        self, statement: Statement, head: Head, piece: Piece, marks: Sequence[Mark], group: Mention
    ) -> Mention | None:
        """One lesion that is picked out of a group."""
        made = self._mention(
            statement, head, piece.sizes, [*_attribute_marks(marks), *piece.marks], piece.references, group,
            start=piece.start, end=piece.end, anchor=piece.sizes[0],
        )  # fmt: skip
        if made is not None:
            made.count, made.count_kind = 1, "exact"
            if not any(r.kind in {"segment", "vertebra"} for r in piece.references):
                self._inherit(made, group)
        return made

    def _close_group(self, remainder: Mention, index: Mention, members: Sequence[Mention]) -> None:
        """Link the lesions of a group, or let them stand alone where they are all there are."""
        exact = remainder.count_kind == "exact" and remainder.count is not None
        if exact and members and len(members) + 1 >= (remainder.count or 0):
            for made in (index, *members):
                self._add(made)
            return
        self._link(remainder, index)
        self._add(remainder)
        self._add(index)
        for made in members:
            made.role, made.group = "member", remainder.group
            if remainder.count is not None:
                remainder.count -= 1
            self._add(made)

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
        if group is None or not group.is_group or group.role != "individual":
            return False
        if any(not m.worded and not m.bound_is_strict for m in group.sizes):
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

    def _several(
        self, statement: Statement, head: Head, listed: list[Piece], priors: list[Measurement]
    ) -> None:
        placed = [
            p
            for p in listed
            if any(m.category in {"place", "short"} for m in p.marks)
            or any(r.kind == "segment" for r in p.references)
        ]
        shared = placed[0] if placed else None
        explicit = listed[0].start == head.start and listed[0].end == head.end
        each = many_each(statement, head, listed)
        made_all: list[Mention] = []
        for piece in listed:
            marks = with_leading_side(statement, listed, piece)
            sides = [m for m in marks if m.category == "side"]
            if any(m.value in {"left", "right"} for m in sides):
                marks = [m for m in marks if not (m.category == "side" and m.value == "bilateral")]
            references = list(piece.references)
            organ_named = any(r.kind == "segment" for r in references) or any(
                m.category == "place" and not is_neighbour(self.reading.text, m, None) for m in marks
            )
            elsewhere = not organ_named and (
                names_unknown_place(statement, piece) or comes_after_two(piece, placed)
            )
            theirs = shared_with(piece, placed, self.reading.text)
            if not organ_named and theirs is not None and not elsewhere:
                marks += shared_places(marks, theirs)
                references += [r for r in theirs.references if r.kind in {"segment", "vertebra"}]
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
            if elsewhere and shared is not None:
                made.organ, made.location = organ_alone(made, made_all)
            made.count, made.count_kind = (None, "multiple_unknown") if each else (1, "exact")
            made.priors = [p for p in priors if owner_of(p, listed) is piece]
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

    def _members_of(self, group: Mention) -> bool:
        """True while the mentions since a group's own are its members."""
        return self.mentions[-1].role == "member" and self.mentions[-1].group == group.group

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
        nouns = {(m.start, m.end) for m in made.statement.of("finding")}
        placed = any(span not in nouns for span in made.location.spans)
        own = made.location.laterality is not None or placed
        if not own and group.location.laterality in {"left", "right"}:
            made.location = replace(made.location, laterality=group.location.laterality)
        if not made.location.parts and group.location.parts and not placed:
            relation = "one_of" if len(group.location.parts) > 1 else group.location.relation
            made.location = replace(made.location, parts=group.location.parts, relation=relation)


def _organ_named(marks: Sequence[Mark]) -> str | None:
    """Organ of the first place among some marks."""
    return next((m.value.organ for m in marks if m.category == "place"), None)


def owner_of(prior: Measurement, listed: Sequence[Piece]) -> Piece:
    """The lesion that an earlier size is about: the one right behind it ("from 8 to 12 mm") or the last stated."""
    ahead = [p for p in listed if 0 <= p.sizes[0].start - prior.end < 8]
    if ahead:
        return ahead[0]
    stated = [p for p in listed if p.sizes[-1].end <= prior.start]
    return stated[-1] if stated else listed[0]


def _stands_alone(statement: Statement, piece: Piece) -> bool:
    """True if a further size of a group has a place of its own or is called another one."""
    text = statement.text[piece.start - statement.start : piece.end - statement.start]
    placed = any(m.category in {"place", "short", "side"} for m in piece.marks)
    return placed or any(r.kind == "segment" for r in piece.references) or _ANOTHER.search(text) is not None


def _attribute_marks(marks: Sequence[Mark]) -> list[Mark]:
    return [
        m
        for m in marks
        if m.category in {"attenuation", "enhancement", "change", "malignant", "benign", "indeterminate"}
    ]


def is_member(sentence: str) -> bool:
    """True for "for reference" and other words that pick members out of a group."""
    return _MEMBER.search(sentence) is not None
