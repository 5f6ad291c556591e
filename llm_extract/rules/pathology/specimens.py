"""Specimens of a pathology report: which statement speaks of which, and the organ, side and part of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_extract.anatomy import Anatomy
from llm_extract.rules.locations import SIDELESS, WEAK, Location, resolve
from llm_extract.rules.pathology.headings import (
    BESIDE,
    IMPLANT,
    PELVIC,
    names_whole,
    only_places,
    organs_of,
    says_where,
    states,
    vague_span,
    vote,
)
from llm_extract.rules.pathology.layout import CURRENT, titles_list
from llm_extract.rules.statements import Statement

_LABEL = re.compile(
    r"\W{0,4}(?:(?P<word>PART|Part|part|SPECIMEN|Specimen|Labeled|Source of"
    r" Tissue|Container|CONTAINER|Jar|JAR)\s{0,2}[:#]?\s{0,2})?[#\"(]{0,2}"
    r"(?P<label>[A-Z](?![a-z])|\d{1,2}|[IVX]{1,4}(?![A-Za-z]))(?:\s?[.):,#\"_]{1,3}"
    r"|\s-|(?(word)\s(?!of\b)|(?!)))\s{0,4}(?:SP\s?:\s?)?(?=\S|$)"
)
_PROCEDURE = re.compile(
    r"\b(?:\w*biops(?:y|ies)|excisions?|resections?|\w+ectom(?:y|ies)|\w+otomy|dissections?|amputation"
    r"|curett\w+"
    r"|TURBT?|TURP|turbt?|removal|debulking|transplant\w*|explant\w*|fine needle|aspirat\w+|washings?"
    r"|cytology|brushings?"
    r"|shave|donuts?|polypectomy|ectomy|whipple|product of|core|cores|procedure|operation|sampling"
    r"|sectorectomy)\b",
    re.IGNORECASE,
)
_PIECE = re.compile(
    r"\b(?:biops\w+|cores?|needle|fragments?|shave|curett\w+|TUR\w*|cytology|brushings?|washings?|wedge|aspirat\w+)\b",
    re.IGNORECASE,
)
_MARGIN = re.compile(r"\b(?:margins?|donuts?|doughnuts?|anastomotic rings?|resection line)\b", re.IGNORECASE)
_LABELLED_AS = re.compile(
    r"(?:labell?ed(?:\s(?:as|with))?|designated(?:\sas)?|identified as|submitted as"
    r"|marked)[^\"“:]{0,70}?[:\s]?[\"“'](?P<name>[^\"”]{3,110})[\"”']"
    r"|(?:labell?ed|designated)(?:\sas)?\s(?P<bare>[^.:;\"]{3,80}?)\s(?:is|are|consists?|there|were|was)\b"
    r"|^\W{0,3}(?:[A-Z]|\d{1,2})?[.,)]?\s?[\"“](?P<first>[^\"”]{3,90})[\"”]",
    re.IGNORECASE | re.MULTILINE,
)
_ENDS = re.compile(r":(?!\d)|\s-{1,2}(?=\s|$|[A-Z])|(?<=[A-Z)])-{1,2}(?=\s{0,2}(?:[A-Z]|$))|-(?=\s?\n)")
_KEY_ONLY = re.compile(
    r"\b(?:tumou?r|histolog\w*|grade|size|dimension|margins?|invasion|extension|stage|staging|site|location"
    r"|focality|type"
    r"|status|involve\w*|examined|findings?|extent|number|weight|distance|laterality|comment|note|treatment"
    r"|resection status"
    r"|pathologic|metasta\w+|implants?)\b",
    re.IGNORECASE,
)
_NUMBERED_TUMOUR = re.compile(r"\b(?:tumou?r|mass|lesion)\s{0,2}#\s?\d", re.IGNORECASE)
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|shows?|showing|free|negative|positive|identified|seen|present|invad\w+|involv\w+"
    r"|measur\w+|received|consists?"
    r"|no|not|extend\w*|infiltrat\w+|examined|appears?)\b",
    re.IGNORECASE,
)
_PRIMARY = re.compile(r"\bprimary\s(?:\w+\s){1,3}tumou?rs?\b", re.IGNORECASE)
_LABELLED = re.compile(
    r"\W{0,6}\w{0,4}specimen\s(?:is\s)?(?:labell?ed|designated|submitted as)\b", re.IGNORECASE
)
_CONTAINER = re.compile(r"\W{0,4}(?:specimen|container|jar|part)\b", re.IGNORECASE)
_MAX_HEADING = 190
_MAX_NAME = 80
"""Characters of a heading that is the name of its specimen and nothing else."""


@dataclass(slots=True)
class Specimen:
    """One specimen, or one organ of it, as its heading names it.

    Args:
        label: its letter or number, or None.
        organ: the organ it was taken from; None where the heading names none.
        organs: every organ the heading names.
        location: organ, side and part of the heading.
        margin: True for a separately sent margin.
        bare: True for a numbered item without a heading of its own.
        is_tumour: True for a numbered tumour that is the whole specimen ("tumor #2").
        sampled: True for a biopsy, which says nothing of the rest of its organ.
    """

    label: str | None = None
    organ: str | None = None
    organs: tuple[str, ...] = ()
    location: Location = field(default_factory=Location)
    margin: bool = False
    bare: bool = False
    is_tumour: bool = False
    sampled: bool = False


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
        section = ""
        for statement in statements:
            if statement.sentence.section != section:
                section, current = statement.sentence.section, None
            if section not in CURRENT:
                assigned.append(None)
                continue
            opened, lasting = self._opened(statement)
            if opened is None and _follows(statement, current):
                current = None
            if opened is None and section in {"diagnosis", "preamble", "microscopic"}:
                opened = _numbered(statement, current)
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
        match = _LABEL.match(statement.text)
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
            statement.sentence.section == "specimen" or alone or _PROCEDURE.search(statement.text[:end])
        ):
            self._by_label[_key(match)] = made

    def _opened(self, statement: Statement) -> tuple[Specimen | None, bool]:
        """The specimen that a heading opens, and whether it lasts beyond this statement."""
        text, section = statement.text, statement.sentence.section
        match = _LABEL.match(text)
        label = match["label"] if match is not None else None
        key = _key(match) if match is not None else ""
        if section == "gross":
            return self._opened_in_gross(statement, label)
        if titles_list(text):
            statement.title_end = statement.start + len(text)
            return None, False
        primary = _PRIMARY.search(text) if section == "synoptic" else None
        if primary is not None:
            made = self._specimen(statement, 0, len(text), None)
            statement.title_end = statement.start + len(text)
            return (made, True) if made.organ is not None else (None, False)
        start = match.end() if match is not None else 0
        end = _body_end(text, start)
        body = text[start:end]
        made = self._specimen(statement, start, end, label)
        named = made.organ is not None
        procedure = _PROCEDURE.search(body) is not None
        closed = (end < len(text) and text[end] in ":-") or text.rstrip().endswith((":", "-"))
        if label is not None and not named and key in self._by_label and (closed or not body.strip()):
            return self._by_label[key], True
        word = (match is not None and match["word"] is not None) or _LABELLED.match(text) is not None
        named_only = label is not None and len(body) < 45 and not text[end:].strip(" :-\n")
        sure = closed and (procedure or (named_only and says_where(statement, start, end)))
        if not named and label is not None and (word or sure):
            if procedure:
                statement.title_end = statement.start + end
            return self._by_label.get(key, Specimen(label, bare=not sure)), True
        if not named or len(body) > _MAX_HEADING or states(statement, start, end, sure=sure):
            return None, False
        if not (label is not None and closed) and _SENTENCE.search(body):
            return None, False
        content = text[end:].strip(" :-\n")
        alone = label is None and only_places(body) and made.organ not in WEAK
        if not (procedure or closed or word or alone):
            return None, False
        if section in {"synoptic", "comment", "microscopic"} and content and not procedure and not word:
            if _KEY_ONLY.search(body) and made.organ != "lymph_node":
                return None, False
            statement.title_end = statement.start + end
            return made, False
        if _KEY_ONLY.search(body) and not procedure and label is None and not word:
            return None, False
        statement.title_end = statement.start + end
        lasting = not content or procedure or (label is not None and closed)
        return made, lasting

    def _opened_in_gross(self, statement: Statement, label: str | None) -> tuple[Specimen | None, bool]:
        named = _LABELLED_AS.search(statement.text)
        known = self._by_label.get(label, self._by_label.get(f"PART {label}")) if label is not None else None
        if named is not None:
            name = next(n for n in ("name", "bare", "first") if named[n])
            made = self._specimen(statement, named.start(name), named.end(name), label)
            if made.organ is not None:
                if known is not None and known.organ is not None and known.organ != made.organ:
                    return known, True
                statement.title_end = statement.start + named.end(name)
                return made, True
        worded = _CONTAINER.match(statement.text) is not None or 3 < _body_end(statement.text, 3) < _MAX_NAME
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
        marks = [m for m in statement.marks if low <= m.start < high]
        body = statement.text[start:end]
        where = [m for m in marks if m.category in {"place", "short", "side"}]
        organs = organs_of(marks)
        if not organs and not BESIDE.search(body):
            return Specimen(label, None, (), Location(), _MARGIN.search(body) is not None)
        organ = organs[0] if organs else "peritoneum"
        if organ != "lymph_node" and (
            not organs
            or IMPLANT.search(body)
            or (organ == "other" and PELVIC.search(body))
            or ("peritoneum" in organs and self.main not in organs and organ != "peritoneum")
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
        lateral = None if organ in SIDELESS else self._side(organ, side or place.laterality)
        location = Location(
            organ, parts, place.relation if parts else "unknown", lateral, spans, side_spans if side else ()
        )
        numbered = _NUMBERED_TUMOUR.search(body) is not None
        margin = _MARGIN.search(body) is not None
        sampled = _PIECE.search(body) is not None
        return Specimen(label, organ, organs, location, margin=margin, is_tumour=numbered, sampled=sampled)

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
    match = _LABEL.match(statement.text)
    if match is None or current is None or current.label is None or current.bare:
        return False
    old, new = current.label, match["label"]
    if old.isdigit() and new.isdigit():
        return int(new) == int(old) + 1
    return len(old) == len(new) == 1 and ord(new) == ord(old) + 1


def _numbered(statement: Statement, current: Specimen | None) -> Specimen | None:
    """A numbered item of a list without headings is a specimen of its own; under a heading it is a remark."""
    match = _LABEL.match(statement.text)
    if match is None or match["label"] is None or not (current is None or current.bare):
        return None
    return Specimen(match["label"], bare=True)


def _body_end(text: str, start: int) -> int:
    match = _ENDS.search(text, start)
    return match.start() if match is not None else len(text)
