"""What the sizes of one finding are: its own, once more the same, of a part, of its organ, or of an earlier study."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm_extract.measurements import Measurement
from llm_extract.records import UnusedReason
from llm_extract.rules.heads import Head
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

_JOINS = re.compile(
    r"\b(?:and|another|other|respectively|others|within|contain\w*|including|component|cent(?:re|er|ral)"
    r"|core|necro\w+|cystic|solid|part|portion|cavit\w+|calcif\w+)\b|;"
)
_SEPARATES = frozenset({"place", "short", "side", "index", "finding"})
_PART = (
    r"(?:components?|necros[ie]s|cavit(?:y|ies|ations?)|calcifications?|sept(?:um|a|ations?)"
    r"|(?:mural|central|internal) nodules?"
    r"|(?:necrotic|cystic|solid|fatty|enhancing|calcified|internal|central) (?:areas?|cent(?:re|er)s?|cores?|parts?"
    r"|portions?|regions?|spaces?|zones?|foc(?:us|i)))"
)
_OF_PART = re.compile(
    r"\b(?:with|contain\w*|has|having|show\w*|includ\w*)\s(?:[\w-]+\s){0,4}?"
    + _PART
    + r"\s?[(,]?\s?(?P<link>(?:(?:of|measur\w+|which|that|is|up|to|approximately|about|sized?)\s){0,4})$"
)
_BRINGS_PART = re.compile(r"\b(?:with|contain\w*|has|having|show\w*|and|includ\w*)\s(?:an?\s)?(?:\w+ly\s)?$")
_PART_BEHIND = re.compile(
    r"\s(?:(?!(?:with|and|in|of|at|on|to|lesion|mass|nodule|cyst|tumou?r|which|has|is)\b)[\w-]+\s){0,3}?"
    + _PART
    + r"\b"
)
_LENGTH_OF = re.compile(
    r"[\s:]{0,2}(?:(?:is|are|was|were|measures?|measuring|measured|spans?|of|an?|the|in|at|its|size[ds]?|length|long|axis"
    r"|dimensions?|diameter|cranio-?caudal(?:ly)?|vertical|span|normal|enlarged|mildly|slightly|approximately|about|up|to"
    r"|with|has|having|longest|maximum|height|width|ap|antero-?posterior|transverse|increased|decreased)"
    r"[\s,:(]{1,2}){0,10}"
)
_OF_WHICH = re.compile(
    r",?\s(?:the\s)?(?:[\w-]+\s){0,2}(?:axis|length|size|diameter|dimension)s?\sof\swhich\s(?:is|was|measures?)\s(?:\w+\s)?"
)
"""Reads "in the spleen, the long axis of which is 13 cm, a nodule"."""
_AXES = r"(?:long(?:est)?|axis|length|cranio-?caudal|vertical|longitudinal|height|span|ap|antero-?posterior|transverse)"
_SUBJECT = re.compile(
    r"(?:^|[.;:,(]\s{0,2}|\b(?:and|while)\s)(?:the\s)?"
    r"(?:(?:" + _AXES + r"\s|maximum\s)?(?:axis|length|diameter|size|dimension|span|height)s?\sof\s)?"
    r"(?:(?:the|an?|left|right|both|enlarged|normal|atrophic|small)\s){0,3}$"
)
_BY_VERB = re.compile(r"\b(?:is|are|was|were|measur\w+|has|have|with)\b")
_ALONG_AXIS = re.compile(r"\s(?:(?:in|at|on|along)\s(?:(?:its|the)\s)?)?(?:maximum\s)?" + _AXES + r"\b")
_GOES_ON = re.compile(r"[,;]|\b(?:and|with)\b")
_HOLDS = re.compile(
    r"\b(?:with|contain\w*|has|have|shows?|demonstrates?|harbou?rs?|there\s(?:is|are|was|were))\s"
)
_ORGAN_LENGTH_MM = {"liver": 70.0, "spleen": 70.0, "kidney": 70.0, "uterus": 50.0, "prostate": 30.0}
"""From here the length beside an organ is its own: "right kidney 10.8 cm, 15 mm cyst"."""
_LONG_ORGANS = frozenset({"liver", "spleen", "kidney"})


def of_earlier_study(
    statement: Statement, head: Head, marks: Sequence[Mark], sizes: Sequence[Measurement]
) -> Measurement | None:
    """Reads "a mass of 47 x 17 mm, oval, 50 x 23 mm in size, with an increase": the first is earlier."""
    changes = {m.value for m in marks if m.category == "change"}
    if head.plural or len(sizes) != 2 or len(changes & {"larger", "smaller"}) != 1:
        return None
    first, second = sizes
    if min(len(first.values_mm), len(second.values_mm)) < 2 or len(first.values_mm) != len(second.values_mm):
        return None
    gap = statement.low[first.end - statement.start : second.start - statement.start]
    if _JOINS.search(gap) or any(
        first.end <= m.start < second.start for m in marks if m.category in _SEPARATES
    ):
        return None
    grew = max(second.values_mm) > max(first.values_mm)
    return first if grew == ("larger" in changes) else second


def is_repeated(measurement: Measurement, before: Sequence[Measurement]) -> bool:
    """True for the same two or three diameters once more: "a mass of 27 x 28 mm, measuring 27 x 28 mm"."""
    return len(measurement.values_mm) > 1 and any(m.values_mm == measurement.values_mm for m in before)


def is_exact(measurement: Measurement) -> bool:
    """True for a size that is no bound."""
    return measurement.qualifier in {"exact", "approximate", "range"} and not measurement.worded


def of_part(statement: Statement, size: Measurement, *, alone: bool) -> bool:
    """Reads "a mass with a necrotic centre of 2 cm": the length of something inside the finding.

    Args:
        statement: the sentence.
        size: a length in it.
        alone: True if the finding has no other size, which "with central necrosis measuring 5 cm" then gives.
    """
    start, end = size.start - statement.start, size.end - statement.start
    before = statement.low[max(0, start - 90) : start]
    if _PART_BEHIND.match(statement.low, end) and _BRINGS_PART.search(before):
        return True
    held = _OF_PART.search(before)
    return held is not None and not (alone and ("measur" in held["link"] or "," in held[0][-4:]))


def of_whole_organ(statement: Statement, size: Measurement, head: Head) -> bool:
    """Reads "The spleen measures 14 cm and contains a lesion": the length of what holds the finding."""
    if size.end > head.mark.start:
        return False
    before = [
        m for m in statement.marks if m.end <= size.start and m.category in {"place", "finding", "excluded"}
    ]
    if not before or before[-1].category != "place" or before[-1].value.adjective:
        return False
    place, low, offset = before[-1], statement.low, statement.start
    if place.value.part is None and _OF_WHICH.fullmatch(low, place.end - offset, size.start - offset):
        return True
    if not _LENGTH_OF.fullmatch(low, place.end - offset, size.start - offset):
        return False
    if not _SUBJECT.search(low[max(0, place.start - offset - 40) : place.start - offset]):
        return False
    later = [m for m in statement.measurements if size.end <= m.start < head.end and m.tense == "current"]
    holds = _HOLDS.search(low, size.end - offset, head.mark.start - offset)
    if holds is None:
        long = max(size.values_mm) >= _ORGAN_LENGTH_MM.get(place.value.organ, float("inf"))
        said = _BY_VERB.search(low, place.end - offset, size.start - offset) is not None
        along = _ALONG_AXIS.match(low, size.end - offset) is not None
        apart = _GOES_ON.search(low, size.end - offset, head.mark.start - offset) is not None
        own = long and (bool(later) and place.value.organ in _LONG_ORGANS)
        return place.value.part is None and (own or (apart and said and (long or along)))
    between = (m for m in statement.of("finding") if size.end <= m.start < offset + holds.start())
    return not any(between) and (place.value.part is None or bool(later))


def not_its_own(statement: Statement, size: Measurement, head: Head, *, alone: bool) -> UnusedReason | None:
    """What a length beside a finding measures if it is a part of it or the organ that holds it."""
    if of_whole_organ(statement, size, head):
        return "organ_size"
    return "other" if of_part(statement, size, alone=alone) else None
