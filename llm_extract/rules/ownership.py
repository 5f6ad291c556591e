"""What a length measures: a lesion, or a duct, vessel, organ, stone, specimen, margin, device and so on."""

from __future__ import annotations

import re

from llm_extract.measurements import Measurement
from llm_extract.records import UnusedReason
from llm_extract.rules.heads import Head
from llm_extract.rules.statements import Statement

_NOUNS: tuple[tuple[UnusedReason, str], ...] = (
    ("stone", r"stones?|calcul(?:us|i|ous)|\w*lithiasis|gallstones?|phleboliths?|concretions?|calcifications?"),
    ("effusion",
        r"effusions?|ascites|pneumothora\w+|h(?:a)?ematomas?|fluid(?!\s?attenuation)|collections?|seromas?"
        r"|abscess(?:es)?"),
    ("device",
        r"stents?|catheters?|tubes?|clips?|drains?|filters?|needles?|grafts?|coils?|pacemaker|wires?"
        r"|prosthes[ie]s|screws?|ports?|balloon"),
    ("vessel",
        r"aneurysms?|aneurysmal|(?<!-)aort(?:a|ic)|veins?|arter(?:y|ies)|arterial|thromb(?:us|osis)|vascular"
        r"|venous|pulmonary conus|vena cava|trunk|ectasia|dissection"
               r"|vessels?|sma|smv|ivc|varices"),
    ("duct",
        r"ducts?|ductal|cbd|biliary|choledochus|wirsung|ureter(?:al|s)?|pelvicaly\w+|renal pelvis"
        r"|collecting system|appendi(?:x|ceal)(?! (?:mass|tumor))"),
    ("specimen",
        r"specimens?|fragments?|portions?|pieces?|aggregate|(?<!soft )tissue|ellipse|container|cores?"
        r"|cassettes?|segment of \w+|loops? of|length of|strips?|biops(?:y|ies)"
                 r"|received|excision of|block|cuff|slices?|sections?"),
    ("margin", r"margins?|distance|resection line|clearance|away"),
    ("other",
        r"hernias?|herniation|defects?|wall(?!s? mass)|thick(?:ness|ened)?|collimation|intervals?"
        r"|reconstruct\w*|acquisition|increments?|sum of|sum|consolidations?|atelectas[ie]s|diverticul\w+"

        r"|bulla[e]?|emphysema|fractures?|listhesis|height loss|step|shift|scars?|bands?|caliber|calibre"
        r"|canal|disc|protrusion|incision|depth|invasion|invades|infiltration|spleniculus|accessory spleen"
        r"|splenule"

        r"|infarct\w*|cardiothoracic|curve|diastasis|needle|capsule|tumou?r (?:thickness|deposit)|cavity"
        r"|wedge|extraocular"),
)  # fmt: skip
_NOUN = tuple((reason, re.compile(rf"\b(?:{pattern})\b")) for reason, pattern in _NOUNS)
_ANY_NOUN = re.compile(rf"\b(?:{'|'.join(pattern for _, pattern in _NOUNS)})\b")
"""Both read lower case."""
_DISTANCE = re.compile(
    r"\s{0,2}(?:away\s|in\sdistance\s)?(?:apart|from(?!\s(?:an?\s|about\s|approximately\s)?\d)"
    r"|above|below|proximal to|distal to|deep to|inferior to"
    r"|superior to|lateral to|medial to|to the (?:nearest|closest)|anterior to|posterior to"
    r"|caudal|cranial|beyond|cephalad)\b",
)
_EXTENT = re.compile(
    r"\b(?:over (?:an?\s)?(?:approximately\s|about\s|length of\s|distance of\s|segment of\s)?|for a "
    r"length of\s|a length of\s|segment measuring\s)$",
)
_MEASURING = re.compile(r"\b(?:measur\w+|in size|sized?|dimensions?|diameters?|axis)(?:\s\w+){0,4}\s{0,2}$")
_ATTRIBUTE = re.compile(
    r"\b(?:with|contain\w*|causing|encas\w+|abut\w*|invad\w+|show\w*|and)\b[^;]{0,90}[,)]\s[^,;]{0,60}$",
)
_CORRECTED = re.compile(
    r"\b(?:not|instead of|rather than|(?:incorrectly|erroneously|wrongly|mistakenly)\s(?:\w+\s){1,2}(?:as|to be))"
    r"\s(?:at\s|of\s|as\s|the\s)?$",
)
_THICKEST = re.compile(r"\s?(?:in|at)\s(?:its|the)\sthickest\b", re.IGNORECASE)
_SEGMENT_AFTER = re.compile(
    r"\s?-?\s?(?:long\s)?(?:segment(?!s?\s(?:\d|[iv]+[ab]?\b))|portion|length|stretch|in length)\b"
)
_IN_LENGTH = re.compile(r"\s?in length\b")
_BESIDE = re.compile(r"[\s,(]{0,2}(?:(?:of|is|about|approximately)\s){0,2}")
"""Words between a mass and its own length: "a mass 6 cm in length"."""
_DEPTH = re.compile(
    r"\b(?:depth|thickness|invades?|invading|invasion|infiltrat\w+|penetrat\w+)\b[^.;,]{0,30}$"
)
_OWNED = re.compile(
    r"\b(?:stones?|calcul(?:us|i)|\w*lithiasis|effusions?|hernias?|diverticul\w+|splenules?|accessory spleens?|stents?"
    r"|aneurysms?|collections?|calcifications?|veins?|arter(?:y|ies)|aorta|ducts?|cbd|calib(?:er|re)|thrombus)"
    r"[\s:]{0,2}(?:(?:of|is|are|was|measur\w+|with|up to|about|approximately|an?|the|diameter|size|\w+al|maximum)"
    r"\s){0,5}\(?$"
)
_BESIDE_IT = re.compile(
    r"\b(?:adjacent to|near|vicinity of|next to|beside|along|abutting|behind|in|from)\s(?:the\s)?(?:\w+\s){0,2}$"
)
_OWN_ENDS = re.compile(r"[,;)]|\b(?:and|in|at|on|is|are|with|there)\b")


def _is_owned(low: str, start: int, end: int, head_start: int) -> bool:
    """Reads "a stone of 11 mm and a cyst": the size right behind what is no lesion, apart from the one that follows."""
    owner = _OWNED.search(low, max(0, start - 90), start)
    if owner is None or _BESIDE_IT.search(low, max(0, owner.start() - 40), owner.start()):
        return False
    return _OWN_ENDS.search(low, end, head_start) is not None


_REACHES_AND = re.compile(
    r"\s(?:also\s)?(?:invades?|infiltrates?|abuts?|encases?|extends? (?:in)?to)\s"
    r"(?:[\w-]+\s){1,6}and\s(?:now\s)?measures?\s(?:\w+\s){0,2}"
)
"""Reads "the mass invades the duodenum and measures 3 cm": the size of the mass, not a depth."""


def lesion_size(statement: Statement, measurement: Measurement, head: Head) -> UnusedReason | None:
    """None if the length is the size of ``head``, else what it measures instead."""
    text = statement.low
    start, end = measurement.start - statement.start, measurement.end - statement.start
    head_start, head_end = head.mark.start - statement.start, head.mark.end - statement.start
    if _CORRECTED.search(text[:start]):
        return "other"
    if _DISTANCE.match(text[end:]) and not text[max(0, start - 25) : start].rstrip().endswith(
        ("measuring", "measures", "size")
    ):
        return "margin"
    following = _following_noun(text[end:])
    if end <= head_start and _EXTENT.search(text[:start]):
        return "other"
    if end <= head_start and _is_owned(text, start, end, head_start):
        return plain_reason(statement, measurement, pathology=False) or "other"
    if end <= head_start:
        return (
            following
            if following is not None and not text[end:head_start].strip(" -")
            else _intruder(text[end:head_start], last=True)
        )
    measured = _MEASURING.search(text[head_end:start]) is not None or (
        _BESIDE.fullmatch(text, head_end, start) is not None and _IN_LENGTH.match(text, end) is not None
    )
    if (
        head.mark.value.kind == "wall_thickening"
        or _EXTENT.search(text[:start])
        or _THICKEST.match(text[end:])
        or (_SEGMENT_AFTER.match(text[end:]) and not measured)
    ):
        return "other"
    if following is not None:
        return following
    between = text[head_end:start]
    if _REACHES_AND.fullmatch(between):
        return None
    if _DEPTH.search(between):
        return "other"
    return None if measured and _ATTRIBUTE.search(between) else _intruder(between, last=False)


def plain_reason(statement: Statement, measurement: Measurement, *, pathology: bool) -> UnusedReason | None:
    """What a length outside any finding measures; None where nothing says."""
    text = statement.low
    start, end = measurement.start - statement.start, measurement.end - statement.start
    following = _following_noun(text[end:])
    if following is not None:
        return following
    before = text[max(0, start - 300) : start]
    offset = max(0, start - 300)
    nearest: tuple[int, UnusedReason] | None = None
    for reason, pattern in _NOUN if _ANY_NOUN.search(before) else ():
        for match in pattern.finditer(before):
            if nearest is None or match.start() + offset > nearest[0]:
                nearest = (match.start() + offset, reason)
    place = next(
        (
            m
            for m in reversed(statement.marks)
            if m.category in {"place", "finding", "excluded"} and m.end <= measurement.start
        ),
        None,
    )
    if place is not None and (nearest is None or place.start - statement.start > nearest[0]):
        if place.category == "place" and place.value.organ == "vessel":
            return "vessel"
        if place.category == "place" and place.value.organ == "lymph_node":
            return "node"
        if place.category == "finding":
            return "node" if place.value.kind == "lymph_node" else "other"
        return "specimen" if pathology else "organ_size"
    if nearest is not None:
        return nearest[1]
    if any(m.category == "place" and m.value.organ not in {"vessel", "other"} for m in statement.marks):
        return "specimen" if pathology else "organ_size"
    return "specimen" if pathology else None


def _following_noun(after: str) -> UnusedReason | None:
    """Reads "a 5 mm calculus": the noun right after the size."""
    window = after[:46]
    stop = re.search(
        r"[.,;:()]|\b(?:in|of|and|with|is|are|at|on|to|adjacent|next|near|beside|between|behind|close|abutting|along"
        r"|mass|lesion|nodule|cyst|tumou?r|metasta\w+|x|\w+ing\s(?:the|an?|its|both|to|into|from)"
        r"|(?:invade|infiltrate|abut|encase|extend|involve|displace|contact|surround|encircle)s)\b",
        window,
    )
    window = window[: stop.start()] if stop else window
    if not _ANY_NOUN.search(window):
        return None
    for reason, pattern in _NOUN:
        match = pattern.search(window)
        if match is not None:
            return reason
    return None


def _intruder(between: str, *, last: bool) -> UnusedReason | None:
    """A noun of another kind between a finding and a length, unless it is only a neighbour of the finding."""
    best: tuple[int, UnusedReason] | None = None
    if not _ANY_NOUN.search(between):
        return None
    for reason, pattern in _NOUN:
        if reason in {"specimen", "margin"} and not last:
            continue
        for match in pattern.finditer(between):
            before = between[: match.start()]
            if re.search(
                r"\b(?:in|of|at|within|on|to|from|along|near|the|abuts?|abutting|adjacent|encasing|posterior"
                r"|anterior|between|through|segment|hepatic|portal|right|left)\s(?:\w+\s)?(?:\w+\s)?$",
                before,
            ) and not re.search(r"\b(?:with|and|causing|dilat\w+)\s(?:\w+\s){0,4}$", before):
                continue
            if best is None or match.start() > best[0]:
                best = (match.start(), reason)
    return best[1] if best else None
