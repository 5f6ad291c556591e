"""Specimens of a pathology report: which statement speaks of which, and the organ, side and part of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.anatomy import Anatomy
from llm_extract.rules.locations import SIDELESS, WEAK, Location, resolve
from llm_extract.rules.pathology.heading_words import (
    ABSENT,
    BARE_KEY,
    CONTAINER,
    ENDS,
    EXCISED_WITH,
    INVASION,
    KEY_ONLY,
    LABEL,
    LABELLED,
    LABELLED_AS,
    MARGIN,
    NUMBERED_TUMOUR,
    PIECE,
    PRIMARY,
    PROCEDURE,
    SENTENCE,
    SENTINEL,
    SPARED,
    STATE,
    TIMES,
    is_next,
)
from llm_extract.rules.pathology.headings import (
    BESIDE,
    IMPLANT,
    PELVIC,
    excised_part,
    lies_on_lining,
    names_whole,
    only_places,
    organs_of,
    says_where,
    states,
    vague_span,
    vote,
)
from llm_extract.rules.pathology.layout import CURRENT
from llm_extract.rules.pathology.openings import titles_list
from llm_extract.rules.pathology.specimen import Specimen
from llm_extract.rules.statements import Statement

_LISTED = frozenset({"diagnosis", "preamble", "microscopic"})
"""Sections that go through the specimens and, under each, through its organs."""
_MAX_HEADING = 190
_MAX_NAME = 80
"""Characters of a heading that is the name of its specimen and nothing else."""


class SpecimenReader:
    """Walks through the statements and says which specimen each speaks of.

    Args:
        text: the report.
        anatomy: table of organs.
    """

    def __init__(self, text: str, anatomy: Anatomy) -> None:
        self._text = text
        self._anatomy = anatomy
        self._by_label: dict[str, Specimen] = {}
        self.main: str | None = None
        self.side: str | None = None

    def assign(self, statements: Sequence[Statement]) -> list[Specimen | None]:
        """The specimen of each statement; headings are marked by ``title_end`` and set ``topic``."""
        self.main, self.side = vote(statements)
        for statement in statements:
            if statement.sentence.section in {"specimen", "diagnosis", "preamble"}:
                self._learn(statement)
        assigned: list[Specimen | None] = []
        current: Specimen | None = None
        parent: Specimen | None = None
        section = ""
        for statement in statements:
            if statement.sentence.section != section:
                section, current, parent = statement.sentence.section, None, None
            if section not in CURRENT:
                assigned.append(None)
                continue
            invaded = INVASION.match(statement.text) is not None
            opened, lasting = (
                (None, False) if invaded else self._excised(statement) or self._opened(statement)
            )
            if opened is None and _follows(statement, current):
                current = parent = None
            if opened is None and parent is not None and BARE_KEY.fullmatch(statement.text):
                current = parent
            if opened is not None and section in _LISTED:
                outer, parent = parent or current, None
                if outer is not None and _is_inside(statement, opened, outer):
                    opened, parent = _inherit(opened, outer), outer
            if opened is None and section in {"diagnosis", "preamble", "microscopic"}:
                opened = self._lettered(statement, current) or _numbered(statement, current)
                lasting = opened is not None
            if opened is not None and lasting:
                current = opened
            held = opened or current
            assigned.append(held)
            if held is not None and held.organ is not None:
                statement.topic = (held.organ,)
        return assigned

    def _learn(self, statement: Statement) -> None:
        """Remember what a letter stands for, for sections that only give the letter."""
        match = LABEL.match(statement.text)
        if match is None or _key(match) in self._by_label:
            return
        end = _body_end(statement.text, match.end())
        made = self._specimen(statement, match.end(), end, match["label"])
        alone = (
            end < len(statement.text)
            and len(statement.text) < _MAX_NAME
            and not statement.text[end:].strip(" :-")
        )
        if made.organ is not None and (
            statement.sentence.section == "specimen" or alone or PROCEDURE.search(statement.text[:end])
        ):
            self._by_label[_key(match)] = made

    def _lettered(self, statement: Statement, current: Specimen | None) -> Specimen | None:
        """The specimen whose letter stands before a sentence of the microscopy: "II: One of both nodes is positive".

        Below a specimen only a later letter of the same list is one.
        """
        match = LABEL.match(statement.text)
        if match is None or statement.sentence.section != "microscopic":
            return None
        known = self._by_label.get(_key(match))
        listed = list(self._by_label.values())
        if known is None or not (current is None or current.bare or current in listed[: listed.index(known)]):
            return None
        organs = organs_of(statement.marks)
        return known if not organs or set(organs) & {*known.organs, "lymph_node"} else None

    def _excised(self, statement: Statement) -> tuple[Specimen, bool] | None:
        """Reads "Sigmoid resection specimen with a carcinoma": a heading and what it says in one sentence."""
        text = statement.text
        label = LABEL.match(text)
        start = label.end() if label is not None else 0
        named = EXCISED_WITH.match(text, start) if statement.sentence.section == "diagnosis" else None
        if named is None:
            return None
        made = self._specimen(
            statement, start, named.end("name"), label["label"] if label is not None else None
        )
        return (made, True) if made.organ is not None else None

    def _opened(self, statement: Statement) -> tuple[Specimen | None, bool]:
        """The specimen that a heading opens, and whether it lasts beyond this statement."""
        text, section = statement.text, statement.sentence.section
        match = LABEL.match(text)
        label = match["label"] if match is not None else None
        key = _key(match) if match is not None else ""
        if section == "gross":
            return self._opened_in_gross(statement, label)
        if titles_list(text):
            statement.title_end = statement.start + len(text)
            return None, False
        primary = PRIMARY.search(text) if section == "synoptic" else None
        if primary is not None:
            made = self._specimen(statement, 0, len(text), None)
            statement.title_end = statement.start + len(text)
            return (made, True) if made.organ is not None else (None, False)
        start = match.end() if match is not None else 0
        end = _body_end(text, start)
        body = text[start:end]
        made = self._specimen(statement, start, end, label)
        named = made.organ is not None
        procedure = PROCEDURE.search(body) is not None
        closed = (end < len(text) and text[end] in ":-") or text.rstrip().endswith((":", "-"))
        if label is not None and not named and key in self._by_label and (closed or not body.strip()):
            return self._by_label[key], True
        word = (match is not None and match["word"] is not None) or LABELLED.match(text) is not None
        named_only = label is not None and len(body) < 45 and not text[end:].strip(" :-\n")
        sure = closed and (procedure or (named_only and says_where(statement, start, end)))
        if not named and label is not None and (word or sure):
            if procedure:
                statement.title_end = statement.start + end
            return self._by_label.get(key, Specimen(label, bare=not sure)), True
        if not named or len(body) > _MAX_HEADING or states(statement, start, end, sure=sure):
            return None, False
        if not (label is not None and closed) and SENTENCE.search(body):
            return None, False
        content = text[end:].strip(" :-\n")
        alone = (
            label is None
            and only_places(body)
            and made.organ not in WEAK
            and not STATE.search(text[: end + 1])
        )
        if not (procedure or closed or word or alone):
            return None, False
        if section in {"synoptic", "comment", "microscopic"} and content and not procedure and not word:
            if KEY_ONLY.search(body) and made.organ != "lymph_node":
                return None, False
            statement.title_end = statement.start + end
            return made, False
        if KEY_ONLY.search(body) and not procedure and label is None and not word:
            return None, False
        statement.title_end = statement.start + end
        lasting = not content or procedure or (label is not None and closed)
        return made, lasting

    def _opened_in_gross(self, statement: Statement, label: str | None) -> tuple[Specimen | None, bool]:
        named = LABELLED_AS.search(statement.text)
        known = self._by_label.get(label, self._by_label.get(f"PART {label}")) if label is not None else None
        if named is not None:
            name = next(n for n in ("name", "bare", "first") if named[n])
            made = self._specimen(statement, named.start(name), named.end(name), label)
            if made.organ is not None:
                if known is not None and known.organ is not None and known.organ != made.organ:
                    return known, True
                statement.title_end = statement.start + named.end(name)
                return made, True
        worded = CONTAINER.match(statement.text) is not None or 3 < _body_end(statement.text, 3) < _MAX_NAME
        segment = any(r.kind == "segment" for r in statement.references)
        if known is not None and segment and known.organ not in {"liver", "lung", None}:
            return None, False  # an entry of a list of tumours: "#2 - segment 4, a nodule"
        if known is not None and (
            len(statement.text) < 90 or named is not None or worded or "eceived" in statement.text
        ):
            return known, True
        if label is not None:
            end = _body_end(statement.text, 3)
            made = self._specimen(statement, 0, end, label)
            if made.organ is not None and len(statement.text) < 80 and not statement.measurements:
                statement.title_end = statement.start + len(statement.text)
                return made, True
        return None, False

    def _specimen(self, statement: Statement, start: int, end: int, label: str | None) -> Specimen:
        low, high = statement.start + start, statement.start + end
        body = statement.text[start:end]
        marks = [
            m
            for m in statement.marks
            if low <= m.start < high
            and not (ABSENT.search(body[: m.start - low][-40:]) or SPARED.match(body, m.end - low))
        ]
        where = [m for m in marks if m.category in {"place", "short", "side"}]
        organs = organs_of(marks)
        if SENTINEL.search(body) and set(organs) <= WEAK:
            organs = ("lymph_node", *organs)
        if not organs and not BESIDE.search(body):
            return Specimen(label, None, (), Location(), MARGIN.search(body) is not None)
        organ = organs[0] if organs else "peritoneum"
        if organ != "lymph_node" and (
            not organs
            or IMPLANT.search(body)
            or (organ == "other" and PELVIC.search(body))
            or ("peritoneum" in organs and self.main not in organs and organ != "peritoneum")
            or lies_on_lining(self._text, marks)
        ):
            organ, organs = "peritoneum", ("peritoneum",)
        elif organ != "lymph_node" and self.main in organs:
            organ = self.main or organ
        elif organ in WEAK:
            organ = next((o for o in organs if o not in WEAK), organ)
        own = [m for m in where if m.category != "place" or m.value.organ == organ]
        place = resolve(
            self._text, own, [r for r in statement.references if low <= r.start < high and r.kind == "segment"],
            anatomy=self._anatomy, head=None, topic=(organ,),
        )  # fmt: skip
        sides = {m.value for m in where if m.category == "side"} & {"left", "right"}
        side = next(iter(sides)) if len(sides) == 1 else ("bilateral" if len(sides) == 2 else None)
        named = [m for m in own if m.category == "place"] or [m for m in where if m.category == "place"]
        spans = tuple((m.start, m.end) for m in named) or vague_span(body, low)
        side_spans = tuple((m.start, m.end) for m in where if m.category == "side")
        whole = (organ == "uterus" and len(organs) > 1) or names_whole(self._text, own)
        parts = place.parts if place.organ == organ and not whole else ()
        parts = parts or (() if whole else excised_part(self._text, marks, organ))
        lateral = None if organ in SIDELESS else self._side(organ, side or place.laterality)
        location = Location(
            organ,
            parts,
            (place.relation if place.parts else "within") if parts else "unknown",
            lateral,
            spans,
            side_spans if side else (),
        )
        times = TIMES.search(body)
        return Specimen(
            label, organ, organs, location, margin=MARGIN.search(body) is not None,
            is_tumour=NUMBERED_TUMOUR.search(body) is not None, sampled=PIECE.search(body) is not None,
            times=int(times["n"]) if times is not None else None,
        )  # fmt: skip

    def _side(self, organ: str, side: str | None) -> str | None:
        """Both sides of a heading are two organs; of an organ that is one, they are those of its neighbours."""
        paired = organ in self._anatomy.organs and self._anatomy.organs[organ].paired
        return None if side == "bilateral" and not paired else side


def _key(match: re.Match[str]) -> str:
    """Parts and the numbered remarks under them have names of their own."""
    label: str = match["label"]
    return f"PART {label}" if (match["word"] or "").upper() == "PART" else label


def _follows(statement: Statement, current: Specimen | None) -> bool:
    """True for the letter after the current specimen's: it ends that specimen though its heading cannot be read."""
    match = LABEL.match(statement.text)
    if match is None or current is None or current.label is None or current.bare:
        return False
    return is_next(current.label, match["label"])


def _is_inside(statement: Statement, opened: Specimen, outer: Specimen) -> bool:
    """True for one organ of the specimen that is open: "Ovary:" under "C. Left tube and ovary:"."""
    sides = {opened.location.laterality, outer.location.laterality} & {"left", "right"}
    own = opened.label is None and opened.organ in outer.organs and len(sides) < 2
    return own and PROCEDURE.search(statement.text) is None


def _inherit(opened: Specimen, outer: Specimen) -> Specimen:
    """The organ of a specimen with the letter and the side of that specimen."""
    place = opened.location
    if place.laterality is None and opened.organ == outer.organ:
        place = replace(place, laterality=outer.location.laterality, side_spans=outer.location.side_spans)
    return replace(
        opened, label=outer.label, location=place, margin=opened.margin or outer.margin,
        sampled=opened.sampled or outer.sampled,
    )  # fmt: skip


def _numbered(statement: Statement, current: Specimen | None) -> Specimen | None:
    """A numbered item of a list without headings is a specimen of its own; under a heading it is a remark."""
    match = LABEL.match(statement.text)
    if match is None or match["label"] is None or not (current is None or current.bare):
        return None
    return Specimen(match["label"], bare=True)


def _body_end(text: str, start: int) -> int:
    match = ENDS.search(text, start)
    return match.start() if match is not None else len(text)


__all__ = ["Specimen", "SpecimenReader"]
