"""What a length in a pathology report measures: a tumour, a distance, or the tissue that was received."""

from __future__ import annotations

import re

from llm_extract.measurements import Measurement
from llm_extract.rules.heads import Head
from llm_extract.rules.pathology.axes import depth_of, is_depth
from llm_extract.rules.statements import Statement

_DISTANCE_BEFORE = re.compile(
    r"(?:\bto within|\bwithin|\bdistance\b[^.;]{0,60}|\b(?:closest|nearest)\b[^.;]{0,60}"
    r"|\bmargins?\b[^.;()]{0,30}(?:\bis|\bby|:)|\bclear(?:ance|ed)?(?: of| by|:)[^.;]{0,30}"
    r"|\bdepth\b[^.;]{0,50}|\bthick\w*\b[^.;]{0,20}|\bbeyond\b[^.;]{0,30}|\blocated"
    r"|\binvad\w+\b[^.;]{0,40}\b(?:to|for|by)|\b(?:away|separated) by|\bextend\w*"
    r"|\binvasion\b[^.;]{0,40}|\b(?:weigh|length)\w*\b[^.;]{0,14}|\bextension\b[^.;]{0,30}"
    r"|\bapproach\w*\b[^.;]{0,50}|\bto less than|\bstud(?:s|ding|ded)?\b[^.;]{0,30}"
    r"|\bover\b[^.;]{0,30}\b(?:area|distance|length|span|segment|front|width|stretch|breadth|zone))"
    r"\s{0,2}(?:of\s|is\s|to\s|about\s|approximately\s|a\s|within\s|up to\s|less than\s|measures?\s"
    r"|measuring\s|:\s?){0,4}$",
    re.IGNORECASE,
)
_DISTANCE_AFTER = re.compile(
    r"(?P<listed>(?:\s?(?:,?\s?and|to|or|,)\s?\d[\d.]{0,4}\s?(?:cm|mm|em)){0,3})\s{0,2}[.]?\s{0,2}"
    r"(?:away\b|from\b|of the (?:inked"
    r"|nearest|closest|surrounding|margin|capsul\w+"
    r"|surface|serosal?"
    r"|overlying|adrenal)"
    r"|apart\b|distant\b|(?:up|down)stream\b|(?:lateral|medial|superior|inferior|anterior|posterior|cranial|caudal)(?:ly)?\s"
    r"(?:to|from|of)\b|to\s(?!\d)|proximal to|distal to|above|below|in thickness|thick\b|deep\b"
    r"|beyond|into|beneath|in depth|in length|long\b|clear)",
    re.IGNORECASE,
)
_NEAR = r"(?:[^.;]|\.(?=\d)){0,30}"
_BY_AXES = re.compile(
    rf"measur\w+{_NEAR}\bin length\b{_NEAR}\bin width\b|measur\w+{_NEAR}\bin width\b{_NEAR}\bin length\b",
    re.IGNORECASE,
)
_BY_AXIS = re.compile(r"\s?in (?:length|width|thickness|height)\b", re.IGNORECASE)
_TISSUE_AFTER = re.compile(
    r"\s{0,2}(?:in (?:aggregate|greatest dimension|maximum"
    r" dimension)\s)?(?:(?!at\b|within\b|near\b|from\b|located\b|aris\w+\s|involving\b"
    r"|in\b(?!\s(?:diameter|length|width|aggregate|greatest|maxim\w+|largest|overall|dimension\w*|size|thickness))"
    r"|on\b|lies?\b|is\b|was\b|which\b|that\b|occup\w+|replac\w+|fill(?:s|ing)\b|invad\w+|extend\w*|confined\b"
    r"|limited\b)[\w-]+[\s,]{1,2}){0,4}?"
    r"(?:fragments?|pieces?|portions?|segments?|specimens?"
    r"|aggregates?"
    r"|tissues?|cores?|kidney|liver|spleen|uterus|prostate|ovary|bladder|pancreas|gallbladder|colon|lobe"
    r"|wedge|omentum|ureter|appendix"
    r"|section of|ellipse|strip|cuff|collection|nodes?|fallopian|tubes?|cervix|vagina|seminal|sleeve|fat"
    r"|adipose|hysterectomy"
    r"|nephrectomy|resection|gland\b|rim\b|defect|scar|area of (?:fibrosis|necrosis|hemorrhage))\b",
    re.IGNORECASE,
)
_TISSUE_BEFORE = re.compile(
    r"\b(?:fragments?|pieces?|portions?|segments?(?!\s(?:\d|[IVX]{1,4}[ab]?\b))|specimens?|aggregates?|tissues?|cores?|ellipse|strip|kidney"
    r"|spleen|uterus|prostate|ureter|gallbladder"
    r"|bladder|omentum|appendix|vagina|organs?|node|nodes|cuff|tubes?|sheets?|aprons?|lobectomy|nephrectomy|hysterectomy"
    r"|colectomy|resection)\b"
    r"[^.;]{0,30}(?:measur\w+|dimensions?|size|\(|is|are|of|,)\s{0,2}(?:\w+\s){0,4}$",
    re.IGNORECASE,
)
MASS = re.compile(
    r"\b(?:mass(?:es)?|tumou?rs?|lesions?|neoplasms?|carcinomas?|nodules?|polyps?|cysts?|adenocarcinomas?"
    r"|leiomyomas?|fibroids?|implants?|ad[ec]nomas?|(?!stroma|stoma|h[ae]*matoma)\w{3,}oma(?:s|ta)?|myomas?|cancers?"
    r"|hcc|rcc|tcc|gists?|ipmns?|carcinoids?|pseudocysts?|nodular hyperplasia"
    r"|meyenburg complex(?:es)?|metastas[ei]s)\b",
    re.IGNORECASE,
)


_THEN_DISTANCE = re.compile(r"\s{0,2},\s{1,2}\d[\d.,]{0,4}\s?(?:cm|mm|em)\b", re.IGNORECASE)
_SIZE_OF_MASS = re.compile(
    MASS.pattern
    + r"(?:(?!\b(?:margins?|distan\w+|located|lies|within|away|from|is|are|extend\w*)\b)[^.;:\d]){0,60}$",
    re.IGNORECASE,
)
"""Before the first of two lengths: "a polyp of 12 mm, 9 cm above the tumor" has a size and a distance."""
_FOCUS = re.compile(r"\bfoc(?:us|i)\b", re.IGNORECASE)
_WITHIN = re.compile(
    r"\b(?:of|in|within|from|into|involving|occupying|comprising|at|on|to)\s(?:the\s)?(?:\w+\s){0,2}$",
    re.IGNORECASE,
)
_CONSISTS = re.compile(r"\bconsist\w*\sof\s(?:the\s|an?\s)?(?:[\w/-]+\s){0,2}$", re.IGNORECASE)
_SHOWS = re.compile(r"\b(?:shows?|reveals?|contain\w*|with|having|demonstrat\w+|there)\b", re.IGNORECASE)
_MEASURED = re.compile(
    r"\s{0,2}(?:,?\s?(?:itself|which|that|received|with attached \w+))?\s{0,2}(?:measur\w+|is|are"
    r"|dimensions?|,|\()\s{0,2}(?:\w+\s){0,4}(?:\w+,\s(?:and\s)?(?:measur\w+\s|is\s)?)?$",
    re.IGNORECASE,
)
_OF_TUMOUR = re.compile(
    r"\b(?:fragments?|pieces?|portions?|cores?)\sof\s(?:the\s)?(?:(?!(?:with|and|containing|showing|including)\b)[\w-]+\s){0,4}"
    r"(?:tumou?r|carcinoma|neoplasm)\b,?[^.;,]{0,30}$",
    re.IGNORECASE,
)
_OF = re.compile(
    r"\s{0,2}(?:,\s?)?(?:of|measuring|(?:which|that) measures|measures|\()\s{0,2}"
    r"(?:about\s|approximately\s|up to\s)?",
    re.IGNORECASE,
)
_PLACED_AND_MEASURED = re.compile(
    r"\s(?:on|in|at|within|along|involving|occupying|near|arising)\b(?:(?!fragment|piece|specimen|portion)[^.;:(\d]){0,80}"
    r"\smeasur(?:ing|es)\s{0,2}(?:about\s|approximately\s|up to\s)?",
    re.IGNORECASE,
)


_LIMIT = re.compile(r"[^()\n]{0,30}\)\s{0,2}:")
"""Behind the limit in the brackets of a key: "Dominant nodule (at least 1 cm in size):"."""
_NO_OR_OWN = re.compile(r"\s{0,3}(?:not?\b|none|absent|n/a|[^.;\n]{0,30}\d)", re.IGNORECASE)
_IS_A = re.compile(r"\b(?:is|was|are|were)\s(?:also\s)?an?\s{0,2}$", re.IGNORECASE)
_NAMED_NEXT = re.compile(rf"\s{{1,2}}(?:[\w-]+,?\s{{1,2}}){{0,4}}?{MASS.pattern}", re.IGNORECASE)
"""Between a place and a size, and behind the size, in "bulging from the gland is a 7 cm ruptured cyst"."""
_HELD_AND_MEASURED = re.compile(
    r"\s(?:with|containing|including|bearing)\s(?:[\w-]+\s){1,5}?(?:measures|measured|was|is)\s{0,2}(?:\w+\s){0,2}$",
    re.IGNORECASE,
)
"""Between an organ and its size: "the pancreas with tumor measures 9 cm", in which the verb is the organ's."""


_IN_TITLE = re.compile(
    r"(?:(?!\b(?:margins?|distance|away|within|from|depth|thick\w*|invad\w+|invasion|extend\w*|extension"
    r"|infiltrat\w+|penetrat\w+|nodes?|specimen|weigh\w*|fragments?|pieces?|cores?|duct is|wall is|dilat\w+|stones?"
    r"|ulcer\w*|scar|infarct)\b)[^.;:\n\d]){0,90}?(?:,|\(|-)\s{0,2}"
    r"(?:largest\s|greatest\s|measuring\s|size\s|up to\s|about\s|approximately\s){0,2}",
    re.IGNORECASE,
)
"""Between the name of a tumour in a diagnosis and its size: "neoplasm, branch duct type, 9 mm"."""


_TAKEN = re.compile(r"\b(?:by|replaced|occupied|distorted)\b", re.IGNORECASE)
"""Between an organ and the size of what has taken its place: "the ovary is replaced by a 7 cm tumor"."""


def _organ_measured(statement: Statement, size: Measurement) -> bool:
    """True for "the head of the pancreas measures 7 x 4 cm": the organ is the subject, no tumour in it.

    A diagnosis gives the size of an ovary where the tumour has replaced it.
    """
    if statement.sentence.section == "diagnosis" and statement.topic == ("ovary",):
        return False
    places = [m for m in statement.marks if m.category in {"place", "short"} and m.end <= size.start]
    if not places:
        return False
    text = statement.text
    last = places[-1]
    gap = text[last.end - statement.start : size.start - statement.start]
    before = text[: last.start - statement.start]
    after = text[size.end - statement.start : size.end - statement.start + 50]
    if _IS_A.search(gap) and _NAMED_NEXT.match(after):
        return False
    plain = _MEASURED.fullmatch(gap) if MASS.search(gap) is None and not _TAKEN.search(gap) else None
    measured = plain or _HELD_AND_MEASURED.fullmatch(gap)
    return measured is not None and not (MASS.search(before) or _FOCUS.search(before))


def _is_limit(text: str, start: int, end: int) -> bool:
    """True for the limit in the brackets of a key whose value denies it or gives a length of its own."""
    opened = text.rfind("(", 0, start)
    if opened < 0 or ")" in text[opened:start]:
        return False
    key = _LIMIT.match(text, end)
    return key is not None and _NO_OR_OWN.match(text, key.end()) is not None


def is_distance(statement: Statement, size: Measurement) -> bool:
    """True for a distance, depth, thickness or the limit of a key, but not for a tumour given by length and width."""
    text = statement.text
    start, end = size.start - statement.start, size.end - statement.start
    if _is_limit(text, start, end) or is_depth(statement, size):
        return True
    if depth_of(statement, size) is not None:
        return False
    if _BY_AXES.search(text) and _BY_AXIS.match(text[end:]) and MASS.search(text[:start]):
        return False
    if _DISTANCE_BEFORE.search(text[:start]) is not None:
        return True
    if _THEN_DISTANCE.match(text, end) is not None and _SIZE_OF_MASS.search(text[:start]) is not None:
        return False
    after = _DISTANCE_AFTER.match(text[end:])
    return after is not None and not (after["listed"] and len(size.values_mm) > 1)


def is_tissue(statement: Statement, size: Measurement) -> bool:
    """True for the size of a specimen, fragment or organ: no tumour noun stands nearer than the tissue's."""
    text = statement.text
    start, end = size.start - statement.start, size.end - statement.start
    after = _TISSUE_AFTER.match(text[end : end + 80])
    if after is not None:
        return MASS.search(after[0]) is None
    if _organ_measured(statement, size) or _OF_TUMOUR.search(text[:start]):
        return True
    if _is_of_tube(text, start, end) or _organ_then_size(statement, size) or _BANKED.search(text[:start]):
        return True
    before = _TISSUE_BEFORE.search(text[:start])
    if before is not None and _CONSISTS.search(text[: before.start()]):
        return True
    if (
        before is None
        or _SHOWS.search(before[0])
        or MASS.search(before[0])
        or _WITHIN.search(text[: before.start()])
    ):
        return False
    following = MASS.search(text[end : end + 60])
    return (
        following is None
        or re.search(
            r"[.,;]|\b(?:with|and|which|that|has|have|showing|contain\w*|(?:caked|replaced|infiltrated|occupied|studded|involved)\sby)\b",
            text[end : end + following.start()],
        )
        is not None
    )


_BANKED = re.compile(
    r"(?:\b(?:tissues?|samples?|portions?|pieces?|specimens?|material)\b[^.;:]{0,40}\b(?:given|submitted|taken|procured|sent"
    r"|saved|allocated|banked|provided|released|collected)\s[^.;:]{0,40}\b(?:research|bank\w*|biobank\w*|procurement|protocol"
    r"|stud(?:y|ies)|repository|cytogenetics|culture)\b|\b(?:research|bank|biobank|procurement|repository)\s?:)"
    r"(?:[^.;]|\.(?=\d)){0,100}$",
    re.IGNORECASE,
)
"""Before the size of tissue that went elsewhere."""
_SECOND_AXIS = re.compile(
    r"\d\s?(?:cm|mm|em)\.?\s{1,2}(?:long|in length)\s{1,2}(?:x|by|and|,)\s{1,2}$", re.IGNORECASE
)
_TUBE_OPENS = re.compile(
    r"(?:^|[.;]\s{1,2})(?:the\s|a\s|left\s|right\s|attached\s|\W){0,4}(?:fallopian\s|uterine\s)?(?:tubes?|oviducts?)\b"
    r"(?:(?!\b(?:with|contain\w*|shows?|has|holds?|bears?)\b)(?:[^.;]|\.(?=\d))){0,100}$",
    re.IGNORECASE,
)
_TUBE_AXIS = re.compile(r"\s{0,2}(?:long|wide|in (?:length|diameter|width)|across)\b", re.IGNORECASE)
_ORGAN_THEN_SIZE = re.compile(r"(?:(?:the|left|right|attached|both|remaining)\s|[^\w.]){0,5}", re.IGNORECASE)
"""Before an organ that opens a clause of the gross description: "Right ovary 3 x 2 cm, with a cyst"."""


_IS_MASS = re.compile(
    rf"\s{{1,2}}(?:(?!(?:with|contain\w*|and|which|that|has|shows?|holds?)\b)[\w-]+\s{{1,2}}){{0,4}}?{MASS.pattern}",
    re.IGNORECASE,
)


def _is_of_tube(text: str, start: int, end: int) -> bool:
    """True for the length and the width of a fallopian tube: "5 cm long x 0.5 cm"."""
    if _TUBE_OPENS.search(text[:start]) is None:
        return False
    return _TUBE_AXIS.match(text, end) is not None or _SECOND_AXIS.search(text[:start]) is not None


def _organ_then_size(statement: Statement, size: Measurement) -> bool:
    """True for "Right ovary 3 x 2 x 1 cm, with a cyst": an organ that opens its clause and then its own size."""
    if statement.sentence.section != "gross":
        return False
    places = [m for m in statement.marks if m.category == "place" and m.end <= size.start]
    if not places or places[-1].value.adjective or places[-1].value.part:
        return False
    text, low = statement.text, places[-1].start - statement.start
    clause = text[max(text.rfind(sign, 0, low) for sign in ".;") + 1 : low]
    return (
        not text[places[-1].end - statement.start : size.start - statement.start].strip()
        and _ORGAN_THEN_SIZE.fullmatch(clause) is not None
        and _IS_MASS.match(text[size.end - statement.start : size.end - statement.start + 50]) is None
    )


def is_plain(statement: Statement, size: Measurement, head: Head) -> bool:
    """True for "a nodule of 3 x 2 cm" and "mass (4 cm)": nothing stands between the noun and its size."""
    between = statement.text[head.mark.end - statement.start : max(0, size.start - statement.start)]
    plain = _OF.fullmatch(between) or _PLACED_AND_MEASURED.fullmatch(between)
    if (
        plain is None
        and statement.sentence.section in {"diagnosis", "preamble"}
        and head.mark.value.diagnosis
    ):
        plain = _IN_TITLE.fullmatch(between)
    return size.tense == "current" and not size.worded and plain is not None
