"""Lesions of a group on both sides that the text tells by their side: "bilateral masses, right 3.3 cm, left 12 mm"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
from llm_extract.rules.grouping import owner_of
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.members import MemberReader
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.pieces import Piece, axes, pieces
from llm_extract.rules.sides import one_side
from llm_extract.rules.statements import Statement

_BOTH = frozenset({"left", "right"})


def own_side(piece: Piece) -> str | None:
    """Left or right, where the words of one size name one of them; "" where they name none; None for both."""
    sides = {m.value for m in piece.marks if m.category == "side"} & _BOTH
    return None if len(sides) > 1 else next(iter(sides), "")


def on_either_side(statement: Statement, head: Head, sizes: Sequence[Measurement]) -> bool:
    """True for sizes that are told by their sides or organs: "right 3.3 cm, left subcentimetre".

    Args:
        statement: the sentence.
        head: the finding.
        sizes: its sizes, also such as "subcentimetre".
    """
    if len(sizes) < 2 or len(statement.of("side", "place")) < 2:
        return False
    listed = pieces(statement, head, sizes)
    organs = [{m.value.organ for m in piece.marks if m.category == "place"} for piece in listed]
    if (
        head.plural
        and all(len(named) == 1 for named in organs)
        and len(set[str]().union(*organs)) == len(listed)
    ):
        return True
    sides = [own_side(piece) for piece in listed]
    return len(sides) > 1 and bool(sides[0]) and None not in sides and set(sides) >= _BOTH


@dataclass(slots=True)
class SidedReader(MemberReader):
    """Reads the lesions of a group on both sides that are told by their side."""

    def _on_one_side(
        self, statement: Statement, head: Head, sizes: list[Measurement], priors: list[Measurement]
    ) -> bool:
        """Reads "bilateral masses, 3.3 cm on the right": the size of one of them, the group is on both sides."""
        listed = axes(statement, sizes)
        if not head.plural or len(listed) != 1 or sizes[0].start < head.mark.end:
            return False
        start = self._start_of_side(statement, head, sizes[0])
        if start is None:
            return False
        marks = [m for m in statement.marks if head.start <= m.start < start]
        references = [r for r in statement.references if head.start <= r.start < start]
        group = self._mention(statement, replace(head, end=start), (), marks, references, None)
        if group is None or group.location.laterality != "bilateral":
            return False
        behind = tuple(m for m in statement.marks if start <= m.start < head.end)
        places = tuple(r for r in statement.references if start <= r.start < head.end)
        made = self._of_group(
            statement, head, Piece(start, head.end, tuple(listed[0]), behind, places), marks, group
        )
        if made is None or made.organ != group.organ:
            return False
        made.priors = priors
        self._add(group)
        if all(m.qualifier == "upper_bound" and not m.bound_is_strict for m in sizes):
            self._link(group, made)  # "up to 21 mm on the left": of all of them the largest
        else:
            self._member(made, group)
        self._add(made)
        return True

    @staticmethod
    def _start_of_side(statement: Statement, head: Head, size: Measurement) -> int | None:
        """Where behind the words on both sides those on the one side of a size begin; None if there are none."""
        inside = [m for m in statement.of("side") if head.start <= m.start < head.end]
        both = [m.end for m in inside if m.value == "bilateral" and m.start < size.start]
        sides = [m for m in inside if m.value in _BOTH]
        if not both or not sides or len({m.value for m in sides}) > 1 or sides[0].start < both[-1]:
            return None
        first = min(sides[0].start, size.start)
        if first < head.mark.end or not one_side(statement.low, sides[0].start - statement.start):
            return None
        placed = [m.end for m in place_marks(statement.marks) if m.end <= first]
        return max(head.mark.end, *both, *placed)

    def _sides_behind(
        self, statement: Statement, sizes: list[Measurement], priors: list[Measurement]
    ) -> bool:
        """Reads "The right measures 3.3 cm and the left 1.2 cm." behind a group on both sides."""
        if not statement.of("side") or statement.of("place", "short", "finding") or self._last(1) is None:
            return False
        group = next((m for m in reversed(self.mentions[-4:]) if m.role in {"individual", "remainder"}), None)
        if group is None or group.head is None or not group.is_group or group.sizes:
            return False
        if group.location.laterality != "bilateral" or (
            group is not self.mentions[-1] and not self._members_of(group)
        ):
            return False
        noun = group.head
        whole = Head(noun, "affirmed", [], statement.start, statement.sentence.end, plural=True)
        listed = pieces(statement, whole, sizes)
        if not all(own_side(piece) for piece in listed) or (len(listed) == 1 and statement.of("index")):
            return False
        for piece in listed:
            made = self._of_group(statement, _named(whole, piece), piece, (), group)
            if made is not None:
                made.priors = [p for p in priors if owner_of(p, listed) is piece]
                self._member(made, group)
                self._add(made)
        self._drop_if_told(group)
        self._last_at = self._index
        return True

    def _drop_if_told(self, group: Mention) -> None:
        """Leave a group out that says no more than its two lesions, one on either side."""
        members = [m for m in self.mentions if m.group == group.group and m.role == "member"]
        if len(members) != 2 or {m.location.laterality for m in members} != _BOTH or _is_many(group):
            return
        for made in members:
            made.role, made.group = "individual", None
        self.mentions = [m for m in self.mentions if m is not group]


def _named(head: Head, piece: Piece) -> Head:
    """The finding of one side: the word for the side stands for the noun of the group."""
    side = next(m for m in piece.marks if m.category == "side" and m.value in _BOTH)
    noun: Mark = replace(head.mark, start=side.start, end=side.end, plural=False)
    return Head(noun, "affirmed", [], piece.start, piece.end)


def _is_many(group: Mention) -> bool:
    """True for "multiple" and for more than two."""
    both = {(m.start, m.end) for m in group.statement.of("side")}  # "both" is such a word as well
    said = [m for m in group.statement.of("multiple") if (m.start, m.end) not in both]
    return any(group.span[0] <= m.start < group.span[1] for m in said) or (group.count or 2) > 2


__all__ = ["SidedReader", "on_either_side", "own_side"]
