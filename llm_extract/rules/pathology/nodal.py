"""Reads what a pathology report says of lymph nodes: a metastasis of their own, or free of tumour."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from llm_extract.measurements import Measurement
from llm_extract.rules.lexicon import Finding, Mark
from llm_extract.rules.locations import Location
from llm_extract.rules.making import Denial
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology.members import MemberReader
from llm_extract.rules.pathology.node_lists import node_groups
from llm_extract.rules.pathology.nodes import (
    NodeFinding,
    mentions_nodes,
    only_sampled,
    opens_list,
    read_nodes,
)
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_NODE = Finding("metastasis", "metastasis", "malignant", organ="lymph_node")
_NONE_EXAMINED = re.compile(r"\bexamined\s{0,2}:\s{0,2}(?:0|O|none|zero)\b", re.IGNORECASE)
_OF_DEPOSIT = re.compile(
    r"\b(?:focus|foci|deposit|metastas[ei]s)\b[^.;]{0,40}?\b(?:measur\w+|size|is|are)\b|\b(?:largest|greatest|size)\b[^.;]{0,30}?"
    r"\b(?:focus|deposit|metasta\w+)\b",
    re.IGNORECASE,
)
_SIZE_BEHIND = re.compile(
    r"\b(?:largest|greatest|measur\w+|up to|size|(?:micro|macro)?-?metast\w+|deposit)\b[^.;]{0,50}$",
    re.IGNORECASE,
)
_DEPOSIT_BEHIND = re.compile(
    r"\s?(?:\w+\s){0,2}(?:(?:micro|macro)?-?metasta\w+|(?:tumou?r\s)?(?:deposits?|foc(?:us|i)))\b",
    re.IGNORECASE,
)
_NODE_NOUN = re.compile(r"\b(?:lymph\s?nod\w+|nodes?|nodal)\b", re.IGNORECASE)


@dataclass(slots=True)
class NodeReader(MemberReader):
    """Takes the statements about lymph nodes."""

    def _read_nodes(self, statement: Statement, specimen: Specimen | None) -> bool:
        """True if the statement is about nodes and nothing else."""
        heading = specimen is not None and specimen.organ == "lymph_node"
        section = statement.sentence.section
        found = read_nodes(statement, heading=heading)
        if found is None:
            if section == "gross" and only_sampled(statement) and not measured_mass(statement):
                self.unused.update({m.id: "node" for m in statement.measurements})
                return True
            stated = bool(statement.measurements) and section != "gross"
            return (stated and self._adds_size(statement, specimen)) or heading
        if section == "gross" or (section == "comment" and self._decided):
            return heading
        if found.positive == 0:
            self._deny_nodes(statement, found)
        elif found.positive is None and self._adds_size(statement, specimen):
            return True
        else:
            self._state_positive(statement, found, specimen)
        return heading or not _other_tumour(statement)

    def _adds_size(self, statement: Statement, specimen: Specimen | None) -> bool:
        """Reads "Largest metastatic focus: 4 mm" under a heading of nodes: the size of the metastasis stated before."""
        last = self._sightings[-1] if self._sightings else None
        if last is None or last.specimen is not specimen or last.mention.organ != "lymph_node":
            return False
        if mentions_nodes(statement.text) or not _OF_DEPOSIT.search(statement.text):
            return False
        sizes = self._deposit(statement, 0)
        if sizes and not last.mention.sizes:
            last.mention.sizes = sizes
        return True

    def _deny_nodes(self, statement: Statement, found: NodeFinding) -> None:
        earlier = self.reading.statements[max(0, self._index - 3) : self._index]
        if any(_NONE_EXAMINED.search(s.text) for s in (*earlier, statement)):
            return
        start = statement.start + found.start
        mark = Mark(start, statement.start + found.end, "finding", _NODE)
        self.denials.append(
            Denial(
                Finding("tumor", organ="lymph_node"),
                mark,
                statement,
                Location("lymph_node"),
                ("lymph_node",),
                no_new=False,
            )
        )

    def _state_positive(self, statement: Statement, found: NodeFinding, specimen: Specimen | None) -> None:
        place = Location("lymph_node")
        if specimen is not None and specimen.organ == "lymph_node":
            place = specimen.location
        groups = (
            node_groups(statement, place, self.reading.text, anatomy=self.anatomy) if found.positive else []
        )
        for group in groups:
            self._add_nodes(statement, group.positive, (group.start, group.end), group.place)
        if groups:
            sizes = self._deposit(statement, found.start)
            self.mentions[-len(groups)].sizes = sizes if len(groups) == 1 else []
            return
        sides = {m.value for m in statement.of("side")} & {"left", "right"}
        if opens_list(statement.text, found.start):
            sides = set()  # each item of the list has its own
        if len(sides) == 1:
            place = replace(place, laterality=next(iter(sides)))
        self._add_nodes(statement, found.positive, (found.start, found.end), place)
        self.mentions[-1].sizes = self._deposit(statement, found.start)

    def _add_nodes(
        self, statement: Statement, positive: int | None, at: tuple[int, int], place: Location
    ) -> None:
        """State a metastasis in so many nodes; ``at`` is where the number stands, in the statement."""
        low, high = statement.start + at[0], statement.start + at[1]
        mark = Mark(low, high, "finding", _NODE, plural=positive != 1)
        span = (statement.start, statement.start + len(statement.text))
        made = Mention(
            mark,
            "lymph_node",
            place,
            statement,
            span,
            kind="metastasis",
            diagnosis="metastasis",
            malignancy="malignant",
        )
        made.malignancy_basis = "pathology"
        made.count, made.count_kind = (positive, "exact") if positive else (None, "multiple_unknown")
        made.spans.append(("kind", low, high))
        self.mentions.append(made)

    def _deposit(self, statement: Statement, start: int) -> list[Measurement]:
        """Size of a nodal metastasis, which a statement on nodes may give; extents of fat and margins are none."""
        held = []
        for size in statement.measurements:
            if size.end - statement.start < start and _other_tumour(statement):
                continue
            before = statement.text[: size.start - statement.start]
            after = statement.text[size.end - statement.start :]
            if _SIZE_BEHIND.search(before) or _DEPOSIT_BEHIND.match(after):
                held.append(size)
            else:
                self.unused[size.id] = "node"
        return held[:1]


def measured_mass(statement: Statement) -> bool:
    """True if a size stands beside a tumour noun."""
    return (
        bool(statement.measurements)
        and re.search(
            r"\b(?:mass|tumou?r|lesion|neoplasm|carcinoma|nodule|polyp)s?\b", statement.text, re.IGNORECASE
        )
        is not None
    )


def _other_tumour(statement: Statement) -> bool:
    """True if a statement on nodes states a tumour besides: "adenocarcinoma of the head, with one positive node"."""
    text = statement.text
    node = _NODE_NOUN.search(text)
    for mark in statement.marks:
        if mark.category != "finding" or mark.value.kind not in {"tumor", "mass", "polyp", "cyst"}:
            continue
        if node is None:
            return True
        low, high = mark.start - statement.start, mark.end - statement.start
        between = text[high : node.start()] if high <= node.start() else text[node.end() : low]
        if len(between) > 90 or re.search(r";|\bwith\b|, |\band\b|\bwithout\b", between):
            return True
    return False
