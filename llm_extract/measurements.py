"""Deterministic scan of a report for lengths, before any model sees it: every length gets an id, M1 … Mn.

A backend may only point at these ids, so a size that the text does not state cannot occur. Numbers that are no
lengths (dates, series and image numbers, scores, segments, HU) are recognised first and masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from llm_extract.lower_case import lowered
from llm_extract.references import Reference, scan_references
from llm_extract.size_words import WordLength, lengths_in_words
from llm_extract.tense import is_prior

MAX_MEASUREMENTS = 1000
"""Lengths read from one report; more is not a report."""

Unit = Literal["mm", "cm"]
UnitSource = Literal["stated", "shared", "inferred"]
Qualifier = Literal["exact", "approximate", "upper_bound", "lower_bound", "range"]
Tense = Literal["current", "prior"]

_NUMBER = r"(?:\d{1,4}(?:[.,]\d{1,2})?(?!\d)|(?<![\d])[.]\d{1,2}(?!\d))"
_UNIT = r"(?:mm|cms?|em|crn|milli?met(?:er|re)s?|centimet(?:er|re)s?)(?![a-z0-9²³^])"
_GLUED_UNIT = rf"(?:{_UNIT}|[cm]m(?=[a-z]{{5}}))"
_AXIS = r"(?:\s?\(?(?:ap|tr|tv|trv|trans|cc|si|ml|craniocaudal|transverse|anteroposterior|axial)\b\)?)?"
_GAP = r"(?:\s{0,2}|[ \t]{0,20}\r?\n[ \t]{0,20})"
"""Blanks within a chain, which a line's end may break up."""
_TIMES = rf"{_GAP}(?:x|×|✕|\*|by){_GAP}"
_CHAIN_OF = (
    r"(?<![\w.,/:])(?P<n1>NUMBER)(?:AXIS[\s-]{0,2}(?P<u1>UNIT))?"
    r"(?:AXISTIMES(?P<n2>NUMBER)(?:AXIS[\s-]{0,2}(?P<u2>UNIT))?)?"
    r"(?:AXISTIMES(?P<n3>NUMBER)(?:AXIS[\s-]{0,2}(?P<u3>UNIT))?)?"
)


def _chain(number: str, *, blanks: int = 2) -> re.Pattern[str]:
    """Up to three numbers joined by x, each with or without its unit, and at most so many blanks between them.

    More blanks make the pattern of scanned text, where a unit may be glued to the word behind it and a number to
    the comma or the verb before it.
    """
    scanned = blanks > 2
    pattern = _CHAIN_OF.replace("NUMBER", number).replace("UNIT", _GLUED_UNIT if scanned else _UNIT)
    pattern = pattern.replace("AXIS", _AXIS).replace("TIMES", _TIMES)
    if scanned:
        pattern = pattern.replace(
            r"(?<![\w.,/:])", r"(?:(?<![\w.,/])(?<!\d:)|(?<=[a-z]{3},)|(?<=easures)|(?<=easuring))"
        )
    return re.compile(pattern.replace("{0,2}", f"{{0,{blanks}}}"))


_CHAIN = _chain(_NUMBER)
# scanned text often loses the blank after a colon, and has no image numbers
_SPACED_CHAIN = _chain(rf"(?:\d{{1,2}}(?:\s\.\s?|\.\s)\d(?!\d)|{_NUMBER})", blanks=12)
_NUMBER_START = re.compile(r"[\d.](?:(?<![\w.,/].)|(?<=[a-z]{3},.)|(?<=easures.)|(?<=easuring.))")
_HAS_LENGTH = re.compile(
    r"(?:mm|cms?|em|crn)\b|\d\s{0,2}[x×✕*]|\d by \d|met(?:er|r)|milim|sub-?\s?cent"
    r"|too[\s-]small|tstc"
)

_APPROXIMATE = re.compile(
    r"(?:approximately|approximate|approx\.?|about|around|roughly|circa|\bca\.|nearly|almost"
    r"|estimated(?: at)?|~|≈)\s{0,2}$",
)
_UPPER = re.compile(
    r"(?:up to(?: the)?|less than|smaller than|under|below|within|at most|not exceeding|no (?:more|larger"
    r"|greater|bigger) than|none\s(?:of\s(?:which|these|them)\s)?(?:(?:is|are|being|measur\w+)\s)?"
    r"(?:(?:more|larger|greater|bigger) than|exceeding|exceeds?|over|above|>)"
    r"|not (?:more|larger|greater) than|maximum of|max\.? of|<\s?=?|≤|\bsub-?)\s{0,2}$",
)
_UP_TO = re.compile(r"(?:up to(?: the)?|maximum of|max\.? of)\s{0,2}$")
_LOWER = re.compile(
    r"(?:at least|more than|greater than|larger than|bigger than|exceeding|in excess of|minimum of|over|above"
    r"|(?<![-=])>\s?=?|≥)\s{0,2}$",
)
_AFTER_UPPER = re.compile(r"\s?or (?:less|smaller|below|under)\b")
_AFTER_LOWER = re.compile(r"\s?(?:or (?:more|greater|larger|above)\b|\+)")

_GAP_RANGE = re.compile(r"\s?(?:-|–|—|to|or)\s?")
_GAP_LIST = re.compile(r"\s?(?:,|,? ?and|&|/)\s?")
_GAP_ARROW = re.compile(r"\s?(?:->|→|=>|-->)\s?")
_CHANGED = re.compile(
    r"(?:increas|decreas|grow|grew|enlarg|shr[aiu]nk|chang|progress|regress|reduc|declin|diminish|went)[a-z]*"
    r"[^.;]{0,40}\bfrom\s{1,2}(?:\w+ )?$",
)
_MEASURING = re.compile(r"measur\w{0,5}[^.;\d]{0,25}$|\bsize[^.;\d]{0,12}$")
_LESION_AFTER = re.compile(r"\s?(?:\w{1,14}\s){0,3}(?:mass|lesion|nodule|tumou?r|cyst)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One length of the text.

    Args:
        id: M1 … Mn in text order.
        start, end: code points of the number(s) with their unit.
        values_mm: 1 to 3 lengths; a range holds its two ends, ascending.
        qualifier: what the words beside it make of it.
        tense: ``prior`` where the text gives it as a value of an earlier examination.
        unit_source: written on the number, shared with a neighbour, or inferred (flagged).
        precision_mm: half a unit of the last stated digit.
        worded: True for size words such as "subcentimetre".
        bound_is_strict: True for "less than", which no single lesion equals; False for "up to".
    """

    id: str
    start: int
    end: int
    values_mm: tuple[float, ...]
    qualifier: Qualifier = "exact"
    tense: Tense = "current"
    unit_source: UnitSource = "stated"
    precision_mm: float = 0.5
    worded: bool = False
    bound_is_strict: bool = False


@dataclass(slots=True)
class _Atom:
    start: int
    end: int
    numbers: tuple[str, ...]
    units: tuple[str | None, ...]
    source: UnitSource = "stated"
    tense: Tense | None = None


@dataclass(slots=True)
class _Found:
    start: int
    end: int
    values_mm: tuple[float, ...]
    qualifier: Qualifier
    source: UnitSource
    precision_mm: float
    tense: Tense | None = None
    worded: bool = False


def scan_measurements(
    text: str,
    references: tuple[Reference, ...] | None = None,
    *,
    bounds: tuple[int, ...] = (),
    writing: Literal["typed", "scanned"] = "typed",
) -> tuple[Measurement, ...]:
    """Every length in a text, in order.

    Args:
        text: the report exactly as read.
        references: numbers that are no lengths; scanned here if not given.
        bounds: starts of sentences, beyond which no cue of tense is looked for.
        writing: ``scanned`` also reads numbers that character recognition has spaced out, such as "4 .1 cm".

    >>> [m.values_mm for m in scan_measurements("A 1.5 x 1,2 cm cyst, previously 9 mm (4/112).")]
    [(15.0, 12.0), (9.0,)]
    """
    low = lowered(text)
    if not _HAS_LENGTH.search(low):
        return ()
    marks = scan_references(text) if references is None else references
    atoms = _read_atoms(low, marks, _CHAIN if writing == "typed" else _SPACED_CHAIN)
    found = [*_combine(low, atoms), *(_of_words(words) for words in lengths_in_words(low))]
    found.sort(key=lambda item: (item.start, -item.end))
    kept: list[_Found] = []
    for item in found:
        if not kept or item.start >= kept[-1].end:
            kept.append(item)
    return tuple(_finish(low, kept, bounds))


def _read_atoms(low: str, references: tuple[Reference, ...], chain: re.Pattern[str]) -> list[_Atom]:
    masked = [(r.start, r.end) for r in references]
    atoms: list[_Atom] = []
    position = 0
    for match in _chains(low, chain):
        if len(atoms) >= 2 * MAX_MEASUREMENTS:
            break
        start, end = match.span()
        while position < len(masked) and masked[position][1] <= start:
            position += 1
        if position < len(masked) and masked[position][0] < end:
            continue
        numbers = tuple(n.replace(" ", "") for n in match.group("n1", "n2", "n3") if n is not None)
        units = match.group("u1", "u2", "u3")[: len(numbers)]
        atoms.append(_Atom(start, end, numbers, units))
    return atoms


def _chains(low: str, chain: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """All matches of a chain, tried only where a number can begin."""
    end = 0
    for number in _NUMBER_START.finditer(low):
        if number.start() >= end:
            match = chain.match(low, number.start())
            if match is not None:
                end = match.end()
                yield match


def _combine(low: str, atoms: list[_Atom]) -> Iterator[_Found]:
    """Join neighbours into ranges and lists, and share or infer missing units."""
    _share_units(low, atoms)
    index = 0
    while index < len(atoms):
        atom = atoms[index]
        following = atoms[index + 1] if index + 1 < len(atoms) else None
        if atom.units[-1] is None and not _infer(low, atom):
            index += 1
            continue
        if following is not None and _is_range(low, atom, following):
            ends = tuple(sorted((*_values(atom), *_values(following))))
            yield _Found(atom.start, following.end, ends, "range", atom.source, _precision(following))
            index += 2
            continue
        yield _Found(
            atom.start,
            atom.end,
            _values(atom),
            _qualifier(low, atom),
            atom.source,
            _precision(atom),
            atom.tense,
        )
        index += 1


def _share_units(low: str, atoms: list[_Atom]) -> None:
    """Reads "6, 9 and 15 mm" and "2-3 mm": the unit is written once; "grew from 12 to 15 mm" is tense."""
    shared = True
    while shared:  # one pass from the right settles every list; "and" opens it, commas continue it
        shared = False
        for left, right in reversed(list(pairwise(atoms))):
            gap = low[left.end : right.start]
            if _GAP_ARROW.fullmatch(gap) or (
                gap.strip().lower() == "to" and _CHANGED.search(low[max(0, left.start - 90) : left.start])
            ):
                left.tense, right.tense = "prior", "current"
            if left.units[-1] is not None or right.units[-1] is None or not _is_alike(left, right, gap):
                continue
            comma = gap.strip() in {",", "/"}
            if (
                _GAP_RANGE.fullmatch(gap)
                or _GAP_ARROW.fullmatch(gap)
                or (_GAP_LIST.fullmatch(gap) and (not comma or right.source == "shared"))
            ):
                left.units = tuple(right.units[-1] if unit is None else unit for unit in left.units)
                left.source = "shared"


def _is_alike(left: _Atom, right: _Atom, gap: str) -> bool:
    """True for as many numbers, and for "23x15 and 6 mm": lengths of two lesions under one unit."""
    if len(left.numbers) == len(right.numbers):
        return True
    small = all(len(number) < 4 for number in left.numbers)
    return len(left.numbers) > 1 and len(right.numbers) == 1 and small and gap.strip() == "and"


def _is_range(low: str, left: _Atom, right: _Atom) -> bool:
    if len(left.numbers) != 1 or len(right.numbers) != 1 or right.units[-1] is None or left.tense is not None:
        return False
    gap = low[left.end : right.start]
    if _GAP_RANGE.fullmatch(gap):
        return True
    return gap.strip().lower() == "and" and low[max(0, left.start - 9) : left.start].lower().endswith(
        "between "
    )


def _infer(low: str, atom: _Atom) -> bool:
    """Units missing altogether: two or three numbers joined by x beside a word of measuring, never silent."""
    if len(atom.numbers) < 2:
        return False
    before, after = low[max(0, atom.start - 45) : atom.start], low[atom.end : atom.end + 30]
    if not (_MEASURING.search(before) or _LESION_AFTER.match(after)):
        return False
    decimals = any("." in number or "," in number for number in atom.numbers)
    whole = [float(number) for number in atom.numbers if "." not in number and "," not in number]
    if not decimals and min(whole) < 10:
        return False
    atom.units = ("cm" if decimals else "mm",) * len(atom.numbers)
    atom.source = "inferred"
    return True


def _factor(unit: str | None) -> float:
    return 10.0 if unit is not None and unit[0] in "cCeE" else 1.0


def _values(atom: _Atom) -> tuple[float, ...]:
    last = next((unit for unit in reversed(atom.units) if unit is not None), None)
    values = []
    for position, number in enumerate(atom.numbers):
        unit = next((u for u in atom.units[position:] if u is not None), last)
        values.append(round(float(number.replace(",", ".")) * _factor(unit), 3))
    return tuple(value for value in values if 0 < value <= 2000)


def _precision(atom: _Atom) -> float:
    number = atom.numbers[0].replace(",", ".")
    decimals = len(number.partition(".")[2])
    unit = next((u for u in atom.units if u is not None), None)
    return round(0.5 * _factor(unit) / 10.0**decimals, 4)


def _qualifier(low: str, atom: _Atom) -> Qualifier:
    before = low[max(0, atom.start - 44) : atom.start]
    after = low[atom.end : atom.end + 14]
    if _UPPER.search(before) or _AFTER_UPPER.match(after):
        return "upper_bound"
    if _LOWER.search(before) or _AFTER_LOWER.match(after):
        return "lower_bound"
    return "approximate" if _APPROXIMATE.search(before) else "exact"


def _of_words(words: WordLength) -> _Found:
    qualifier: Qualifier = "upper_bound" if words.is_bound else "exact"
    return _Found(
        words.start,
        words.end,
        (words.value_mm,),
        qualifier,
        "stated",
        words.precision_mm,
        worded=words.is_bound,
    )


def _finish(low: str, found: list[_Found], bounds: tuple[int, ...]) -> Iterator[Measurement]:
    from bisect import bisect_right

    number = 0
    for index, item in enumerate(found[:MAX_MEASUREMENTS]):
        if not item.values_mm:
            continue
        number += 1
        place = bisect_right(bounds, item.start)
        before = found[index - 1].end if index and not found[index - 1].worded else 0  # "millimetric (2 mm)"
        left = max(bounds[place - 1] if place else 0, before, item.start - 120)
        right = min(
            bounds[place] if place < len(bounds) else len(low),
            found[index + 1].start if index + 1 < len(found) else len(low),
            item.end + 80,
        )
        sentence = max(bounds[place - 1] if place else 0, item.start - 240)
        tense = item.tense or (
            "prior"
            if is_prior(
                low[left : item.start],
                low[item.end : right],
                context=low[sentence : item.start],
                followed=index + 1 < len(found) and found[index + 1].start == right,
            )
            else "current"
        )
        yield Measurement(
            id=f"M{number}", start=item.start, end=item.end, values_mm=item.values_mm, qualifier=item.qualifier,
            tense=tense, unit_source=item.source, precision_mm=item.precision_mm, worded=item.worded,
            bound_is_strict=item.qualifier == "upper_bound"
            and not _UP_TO.search(low[max(0, item.start - 24) : item.start]),
        )  # fmt: skip
