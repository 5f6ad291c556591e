"""Lesions that are picked out of a group by their place: "the one in segment 5 is 41 mm, the one in segment 2 22"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
from llm_extract.rules.grouping import GroupReader
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.pieces import Piece, axes
from llm_extract.rules.statements import Statement

_THE_ONE = re.compile(
    r"\b(?:the|and|while|whereas)\s(?:other\s|second\s|third\s)?one\s"
    r"(?:(?:which|that)\s(?:is\s)?)?(?:located\s|seen\s|observed\s|situated\s|lying\s)?(?:in|at|on|within|of)\s"
)
_NOUN = len("the one")


def member_pieces(statement: Statement, sizes: Sequence[Measurement], *, start: int, end: int) -> list[Piece]:
    """One piece for each "the one in ..." of a stretch that states its size; none where a piece holds several.

    Args:
        statement: the sentence.
        sizes: lengths of today in the stretch.
        start: first code point of the stretch.
        end: one past its last.
    """
    low = statement.low
    if " one " not in low[start - statement.start : end - statement.start]:
        return []
    found = _THE_ONE.finditer(low, start - statement.start, end - statement.start)
    starts = [m.start() + statement.start for m in found]
    if not starts:
        return []
    listed = []
    for first, last in zip(starts, [*starts[1:], end], strict=True):
        own = [m for m in sizes if first <= m.start < last]
        marks = tuple(m for m in statement.marks if first <= m.start < last)
        references = tuple(r for r in statement.references if first <= r.start < last)
        placed = bool(place_marks(marks)) or any(r.kind in {"segment", "vertebra"} for r in references)
        along = axes(statement, own) if own else []
        if len(along) > 1 or (own and not placed):
            return []
        if own:
            listed.append(Piece(first, last, tuple(along[0]), marks, references))
    return listed


def head_of(piece: Piece, mark: Mark) -> Head:
    """The finding of a member: its words "the one" stand for the noun of the group."""
    noun = replace(mark, start=piece.start, end=piece.start + _NOUN, plural=False)
    return Head(noun, "affirmed", [], piece.start, piece.end)


def leave_rest(group: Mention, members: Sequence[Mention]) -> None:
    """What a group keeps when its members are told: neither their number nor, of two places and more, theirs."""
    if group.count is not None:
        group.count = max(1, group.count - len(members))
    theirs = {part for made in members for part in made.location.parts}
    rest = tuple(part for part in group.location.parts if part not in theirs)
    if rest and len(rest) < len(group.location.parts):
        group.location = replace(group.location, parts=rest)


@dataclass(slots=True)
class MemberReader(GroupReader):
    """Reads the lesions that a report picks out of a group."""

    def _with_members(
        self, statement: Statement, head: Head, sizes: list[Measurement], priors: list[Measurement],
        marks: Sequence[Mark],
    ) -> bool:  # fmt: skip
        """Reads "metastases in both lobes; the one in segment 5 is 41 mm, the one in segment 2 22 mm"."""
        listed = member_pieces(statement, sizes, start=head.mark.end, end=head.end) if head.plural else []
        if not listed or any(m.start < listed[0].start for m in sizes):
            return False
        end = listed[0].start
        references = [r for r in statement.references if head.start <= r.start < end]
        group = self._mention(
            statement, replace(head, end=end), (), [m for m in marks if m.start < end], references, None
        )
        if group is None:
            return False
        self._pick_out(statement, listed, group, priors, head.mark)
        return True

    def _members_behind(
        self, statement: Statement, sizes: list[Measurement], priors: list[Measurement]
    ) -> bool:
        """Reads "Of these, the one in the right upper lobe is 18 mm" behind the group."""
        group = next((m for m in reversed(self.mentions[-8:]) if m.is_group and m.role != "member"), None)
        if group is None or group.head is None or self._last(3) is None:
            return False
        if group is not self.mentions[-1] and not self._members_of(group):
            return False
        listed = member_pieces(statement, sizes, start=statement.start, end=statement.sentence.end)
        if not listed or any(m.start < listed[0].start for m in sizes):
            return False
        self._pick_out(statement, listed, group, priors, group.head)
        return True

    def _pick_out(
        self, statement: Statement, listed: Sequence[Piece], group: Mention, priors: Sequence[Measurement],
        noun: Mark,
    ) -> None:  # fmt: skip
        """State the members of a group; the group goes before them unless they are all there is of it."""
        members = []
        for piece in listed:
            made = self._of_group(statement, head_of(piece, noun), piece, (), group)
            if made is not None:
                made.priors = [p for p in priors if piece.start <= p.start < piece.end]
                members.append(made)
        stated = group in self.mentions
        if not stated and group.count_kind == "exact" and len(members) >= (group.count or 0):
            self.mentions += members
        else:
            if not stated:
                self._add(group)
            leave_rest(group, members)
            for made in members:
                self._member(made, group)
                self._add(made)
        self._last_at = self._index
