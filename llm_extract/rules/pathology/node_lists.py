"""Several groups of lymph nodes in one statement, each with a ratio of its own: "right 2/12, left 3/10"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.anatomy import Anatomy
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import Location, resolve
from llm_extract.rules.pathology.nodes import NodeRatio, node_ratios
from llm_extract.rules.statements import Statement

_MAX_RATIOS = 12


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes with tumour at one place.

    Args:
        positive: how many.
        start, end: where the ratio stands, in the statement.
        place: station and side, as far as they are stated.
    """

    positive: int
    start: int
    end: int
    place: Location


def node_groups(statement: Statement, place: Location, text: str, *, anatomy: Anatomy) -> list[NodeGroup]:
    """The groups that hold tumour, those at one place taken together; empty where the statement has one ratio.

    Args:
        statement: a statement on nodes with tumour.
        place: where its specimen lies.
        text: the report.
        anatomy: table of organs.
    """
    ratios = _apart(node_ratios(statement.text))
    if not 2 <= len(ratios) <= _MAX_RATIOS:
        return []
    found: list[NodeGroup] = []
    for ratio, marks in zip(ratios, _own_marks(statement, ratios), strict=True):
        if not ratio.positive:
            continue
        own = _place_of(statement, marks, place, text, anatomy=anatomy)
        same = next(
            (g for g in found if (g.place.laterality, g.place.parts) == (own.laterality, own.parts)), None
        )
        if same is not None:
            found[found.index(same)] = replace(same, positive=same.positive + ratio.positive)
        else:
            found.append(NodeGroup(ratio.positive, ratio.start, ratio.end, own))
    return found


def _apart(ratios: Sequence[NodeRatio]) -> list[NodeRatio]:
    """Ratios without the sum of the others, which stands before or behind them, and without the same once more."""
    for whole in (ratios[0], ratios[-1]) if len(ratios) > 1 else ():
        others = [r for r in ratios if r is not whole]
        same = len(others) == 1 and (others[0].positive, others[0].total) == (whole.positive, whole.total)
        summed = (
            sum(r.positive for r in others) == whole.positive and sum(r.total for r in others) == whole.total
        )
        if same or summed:
            return others
    return list(ratios)


def _own_marks(statement: Statement, ratios: Sequence[NodeRatio]) -> list[list[Mark]]:
    """Place words of each ratio: those before it where the first has some, else those behind it."""
    marks = [m for m in statement.marks if m.category in {"place", "short", "side"}]
    starts = [statement.start + r.start for r in ratios]
    ends = [statement.start + r.end for r in ratios]
    opened = statement.start + max(statement.text.rfind(sign, 0, ratios[0].start) for sign in ":;") + 1
    before = [
        [m for m in marks if low <= m.start < high]
        for low, high in zip([opened, *ends[:-1]], starts, strict=True)
    ]
    if any(m.category == "side" or m.value.part for m in before[0] if m.category != "short"):
        return before
    last = statement.start + len(statement.text)
    return [
        [m for m in marks if low <= m.start < high]
        for low, high in zip(ends, [*starts[1:], last], strict=True)
    ]


def _place_of(
    statement: Statement, marks: Sequence[Mark], place: Location, text: str, *, anatomy: Anatomy
) -> Location:
    own = resolve(text, marks, (), anatomy=anatomy, head=None, topic=("lymph_node",), inherited="lymph_node")
    sides = {m.value for m in marks if m.category == "side"} & {"left", "right"}
    spans = tuple((m.start, m.end) for m in marks if m.category == "side")
    made = place
    if own.organ == "lymph_node" and own.parts:
        made = replace(made, parts=own.parts, relation=own.relation, spans=own.spans)
    if len(sides) == 1:
        made = replace(made, laterality=next(iter(sides)), side_spans=spans)
    elif made.laterality == "bilateral" or len({m.value for m in statement.of("side")}) > 1:
        made = replace(made, laterality=None, side_spans=())
    return made
