"""Where the tumour of a specimen lies, from keys such as "Tumor site" and sentences that only say where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import SIDELESS, Location, resolve
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.pathology import wording
from llm_extract.rules.pathology.nodal import NodeReader
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_LOCATED = re.compile(
    r"\b(?:tumou?r|focus|nodule|lesion|mass|carcinoma|neoplasm)\b(?:\s\w+){0,3}?\s(?:is|was|are)\s(?:\w+\s){0,2}?"
    r"(?:located|situated|cent(?:er|r)ed)\s(?:in|at|within|on)\b",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"\W{0,4}(?:it|(?:this|the|these)\s(?:[\w-]+\s){0,2}?(?:tumou?r|focus|foci|lesion|mass|nodule|carcinoma))\b",
    re.IGNORECASE,
)
_EXTENDS = re.compile(r"\b(?:present in|extensively in|focally in|extend\w* (?:in|to|into))\b", re.IGNORECASE)
_FROM_TO = re.compile(
    r"\b(?:tumou?r|mass|lesion|carcinoma)\s(?:[\w-]+\s){0,2}?extends?\sfrom\s(?P<first>(?:[\w-]+\s{1,3}){1,5}?)"
    r"(?:in)?to\s(?:[\w-]+[\s,.;]{1,3}){1,4}",
    re.IGNORECASE,
)
_AT_MARGIN = re.compile(r"\bmargins?\b", re.IGNORECASE)
_MAX_VALUES = 8
"""Lines of values below one key."""
_MAX_VALUE = 60
_SITE_WORD = re.compile(
    r"(?:left|right|anterior|posterior|lateral|medial|superior|inferior|proximal|distal|upper|lower|mid(?:dle)?|central"
    r"|apical|basal|apex|base|lobes?|zones?|walls?|poles?|quadrants?|and|of|the|to|posterolateral|anterolateral|both"
    r"|bilateral|peripheral|transitional?|side)$",
    re.IGNORECASE,
)
_BOTH_LOBES = re.compile(
    r"\b(?:both|bilateral|(?:both\s)?(?:left\s?(?:and|&)\s?right|right\s?(?:and|&)\s?left))\s(?:\w+\s)?lobes?\b"
    r"|\binvolv\w+\s(?:the\s)?(?:\w+\s){0,3}bilaterally\b",
    re.IGNORECASE,
)
_LOBED = frozenset({"prostate", "thyroid"})
"""Organs that are one and have a left and a right side."""


@dataclass(slots=True)
class SiteReader(NodeReader):
    """Collects what a report says of the place of its tumours apart from the tumours themselves."""

    def _read_site(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "Tumor site: hepatic flexure" and "Laterality: left": where the tumour of the specimen lies."""
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        if organ is None or organ == "lymph_node":
            return
        key = wording.SITE.match(statement.text) or wording.SITE_LINE.fullmatch(statement.text)
        if key is None:
            both = _BOTH_LOBES.search(statement.text) if organ in _LOBED else None
            if both is not None and statement.sentence.section not in {"gross", "history"}:
                self._sites.append(Location(organ, laterality="bilateral"))
            return
        earlier = self.reading.statements[max(0, self._index - 3) : self._index]
        if "tumo" not in key[0].lower() and any(_AT_MARGIN.search(s.text) for s in earlier):
            return
        low = statement.start + key.end()
        own = [m for m in place_marks(statement.marks) if m.start >= low]
        below = self._values_below(wanting=not statement.text[key.end() :].strip(" .:"))
        marks = [*own, *(m for s in below for m in place_marks(s.marks))]
        if not marks:
            return
        words = " ".join((statement.text[key.end() :], *(s.text for s in below)))
        where = [m for m in marks if organ not in _LOBED or m.value != "bilateral"]
        place = resolve(
            self.reading.text, where, (), anatomy=self.anatomy, head=None, topic=(organ,), inherited=organ
        )
        sides = {w.lower() for w in re.findall(r"\b(left|right|bilateral)\b", words, re.IGNORECASE)}
        if len(place.parts) > 3 or (len(below) > 1 and _names_more(words, marks, self.reading.text)):
            place = replace(place, parts=(), relation="unknown")
        if place.organ == organ and (place.parts or sides):
            side = next(iter(sides)) if len(sides) == 1 else "bilateral"
            self._sites.append(replace(place, laterality=side if sides and organ not in SIDELESS else None))

    def _values_below(self, *, wanting: bool) -> list[Statement]:
        """The lines below a key that hold its values; the first may be worded freely where the key has none."""
        found: list[Statement] = []
        for statement in self.reading.statements[self._index + 1 : self._index + 1 + _MAX_VALUES]:
            free = wanting and not found
            if ":" in statement.text or not (free or _is_value(statement)):
                break
            found.append(statement)
        return found

    def _read_place(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "The second focus is located in the left transition zone": where what is measured next lies."""
        match = _LOCATED.search(statement.text)
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        if match is None or organ is None:
            if organ is not None:
                self._read_extent(statement, organ)
            return
        low = statement.start + match.end()
        stop = re.search(
            r"[.;(]|\band (?:it|extend|measur|invad)",
            self.reading.text[low : statement.start + len(statement.text)],
        )
        high = low + stop.start() if stop is not None else statement.start + len(statement.text)
        marks = [m for m in place_marks(statement.marks) if low <= m.start < high]
        if not marks:
            return
        place = resolve(
            self.reading.text, marks, (), anatomy=self.anatomy, head=None, topic=(organ,), inherited=organ
        )
        sides = {m.value for m in marks if m.category == "side"} & {"left", "right"}
        if place.organ == organ and (place.parts or len(sides) == 1):
            side = next(iter(sides)) if len(sides) == 1 and organ not in SIDELESS else None
            self._placed = (self._index, replace(place, laterality=side))

    def _read_extent(self, statement: Statement, organ: str) -> bool:
        """Reads "The tumor extends from the upper pole to the mid pole": it spans both."""
        match = _FROM_TO.search(statement.text)
        if match is None:
            return False
        low = statement.start + match.start("first")
        marks = [m for m in place_marks(statement.marks) if low <= m.start < statement.start + match.end()]
        place = resolve(
            self.reading.text, marks, (), anatomy=self.anatomy, head=None, topic=(organ,), inherited=organ
        )
        if place.organ != organ or len(place.parts) != 2:
            return False
        self._sites.append(replace(place, relation="spanning", laterality=None))
        return True

    def _as_placed(self, made: Mention) -> None:
        """What is measured in the next sentence lies where the one before says; where it extends to is no place."""
        if not made.sizes or not _SAID.match(made.statement.text):
            return
        if self._placed is not None and 0 <= self._index - self._placed[0] <= 1:
            place = self._placed[1]
            if place.organ == made.organ:
                made.location, made.refers_back = place, False
        elif _EXTENDS.search(made.statement.text):
            made.location = replace(made.location, parts=(), relation="unknown")

    def _place_at_sites(self, kept: Sequence[Mention]) -> None:
        """The only malignant tumour of an organ lies where the list of sites says; both sides outweigh one."""
        for site in sorted(self._sites, key=lambda s: s.laterality == "bilateral"):
            here = [
                m
                for m in kept
                if m.organ == site.organ and m.kind not in {"polyp", "cyst"} and m.malignancy != "benign"
            ]
            if len(here) != 1:
                continue
            place = here[0].location
            others = [s.parts for s in self._sites if s is not site and s.organ == site.organ]
            if place.parts and site.parts and place.parts in others:
                continue  # the site is that of another tumour
            narrower = place.relation == "one_of" and set(site.parts) < set(place.parts)
            wider = site.relation == "spanning" and set(site.parts) > set(place.parts)
            if site.parts and (narrower or wider or not set(site.parts) & set(place.parts)):
                place = replace(
                    place, parts=site.parts, relation=site.relation, spans=(*place.spans, *site.spans)
                )
            if site.laterality == "bilateral" and not self._paired(site.organ or ""):
                place = replace(place, laterality="bilateral" if here[0].is_group else None, side_spans=())
            elif place.laterality is None and site.laterality in {"left", "right"}:
                place = replace(place, laterality=site.laterality, side_spans=site.side_spans)
            here[0].location = place


def _is_value(statement: Statement) -> bool:
    """True for a line of nothing but words that say where."""
    if len(statement.text) > _MAX_VALUE or statement.measurements:
        return False
    return not _unplaced(statement.text, place_marks(statement.marks), statement.start, known=_SITE_WORD)


def _unplaced(text: str, marks: Sequence[Mark], offset: int, *, known: re.Pattern[str]) -> list[str]:
    """Words that are neither part of a mark nor known."""
    held = [(m.start - offset, m.end - offset) for m in marks]
    return [
        word[0]
        for word in re.finditer(r"\w+", text)
        if not any(a <= word.start() < b for a, b in held) and not known.match(word[0])
    ]


def _names_more(words: str, marks: Sequence[Mark], text: str) -> bool:
    """True for a list that names a place of which no part is known ("posterior", "basal")."""
    known = " ".join(text[m.start : m.end] for m in marks).lower()
    return any(
        word in words.lower() and word not in known
        for word in (
            "anterior",
            "posterior",
            "lateral",
            "medial",
            "basal",
            "base",
            "mid",
            "apical",
            "apex",
            "central",
        )
    )
