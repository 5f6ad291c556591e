"""Which nouns are findings: not every node, thickened wall, density or area is one."""

from __future__ import annotations

import re

from llm_extract.cues import Cue
from llm_extract.lower_case import lowered
from llm_extract.measurements import Measurement
from llm_extract.rules.contents import is_content
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

_READ_AS = (
    r"(?:compatible|consistent|in favou?r|in the direction|suggest\w*|consider\w*|which (?:is|are|may be)"
    r"|secondary|due"
    r"|represent\w*|indicat\w*|likely|probabl[ey]|evaluated|interpreted|regarded|assessed|reflect\w*|belong\w*"
    r"|(?:thought|felt|believed|presumed|assumed|known|considered) to be|thought of as)[^.;]{0,40}\b"
)
_READINGS = (
    "compatib", "consisten", "favo", "direction", "suggest", "consider", "which ", "secondary", "due", "represent",
    "indicat", "likely", "probabl", "evaluated", "interpreted", "regarded", "assessed", "reflect", "belong", "to be",
    "thought of",
)  # fmt: skip
_NO_LESION = (
    r"(?:accessory spleen|splenule|calcul\w+|(?:gall(?:bladder\s)?)?stones?|\w*lithiasis|\w*steatosis|fatty|fat spar\w+"
    r"|infarct\w*|focal fat|fat deposition|perfusion (?:defects?|alterations?|anomal\w+|differences?)"
    r"|adipos\w+|calcifi\w+|plaques?|effusions?|postoperative|post-operative|post-\w+|surgery|surgical"
    r"|operation"
    r"|(?:breast|dental|silicone|metal\w*|mesh) implants?"
    r"|pneumoni\w+|infect\w+|inflamm\w+|sequel\w+|atelecta\w+|fibro(?:sis|tic)|scars?|scarring"
    r"|thromb\w+|h(?:a)?ematomas?|fractures?|degenerat\w+|catheter\w*|stents?|pacemaker|artifacts?"
    r"|arteriosclerosis|(?:arterio\w+\s)?shunts?(?:ing)?|dissection|aneurysms?|variants?|variations?"
    r"|calyx-shaped|pulmonary cysts?|air cysts?|osteopeni\w+|osteopor\w+|extrarenal pelvis|hydronephrosis"
    r"|atherosclero\w+|thickening|secretions?|mucus|residue|food|hernias?|bulla[e]?|emphysema)\b"
)
_EXPLAINED = Cue(_READ_AS + _NO_LESION, *_READINGS)
"""Given lower case."""
_EXPLAINED_BEHIND = Cue(
    r"(?:,|;|\band)\s(?:[\w-]+\s){0,3}?"
    + _NO_LESION
    + r"(?:\s[\w-]+){0,2}\s(?:is|are|was|were)\s(?:considered|suspected|thought of)\b"
    r"|,\s(?:[\w-]+\s){0,2}?post-?operative(?:\s\w+)?\s?\?",
    "considered", "suspected", "thought of", "operative",
)  # fmt: skip
"""Reads ", gallbladder stones are considered" and ", postoperative?"."""
_STONE_NOUN = (
    r"(?:accessory spleen|splenule|calcul\w+|(?:gall(?:bladder\s)?)?stones?"
    r"|\w*lithiasis|catheter\w*|stents?|calcifications? of the (?:ligament|tendon|muscle|vessel|artery))\b"
)
_STONE = re.compile(
    r"(?P<read>"
    + _READ_AS
    + _STONE_NOUN
    + r")|[^.;]{0,60}(?:,|\band)\s(?:[\w-]+\s){0,3}?"
    + _STONE_NOUN
    + r"\s(?:is|are)\s(?:considered|suspected)\b",
    re.IGNORECASE,
)
_OLD = re.compile(
    r"\b(?:consider\w*|suggest\w*|indicat\w*)\s(?:\w+\s)?(?:chronic|old|healed|inactive)\s(?:\w+\s)?$",
    re.IGNORECASE,
)
"""Reads "cords and patches, considering chronic old lesions"."""
_EXPLANATION = re.compile(r"\W{0,3}(?:[\w-]+\s){1,7}?" + _NO_LESION, re.IGNORECASE)
_JOINED_BY_WITH = re.compile(r",\s?with\s(?:[\w-]+\s){0,4}$", re.IGNORECASE)
_SPLEEN = re.compile(
    r"[^.;]{0,60}\([^()]{0,20}(?:accessory spleen|splenule|calcul\w+|stone)"
    r"|[^.;]{0,160}?(?:compatible|consistent|consider\w*|favou?r|represent\w*|belong\w*|likely|suggest\w*|evaluated|\()"
    r"[^.;,]{0,40}?\b(?:accessory spleen|splenule)"
    r"|[^.;]{0,200}?\bisodense\s(?:appearance\s)?(?:with|to)\s(?:the\s)?spleen",
    re.IGNORECASE,
)
_OF_SPLEEN = re.compile(
    r"\b(?:accessory spleens?|splenules?)\s(?:in|of|with)\s(?:an?\s)?(?:\w+\s){0,2}$", re.IGNORECASE
)
_NO_MASS = re.compile(
    r"[^.;]{0,160}?\b(?:does|do|did)\snot\s(?:show|have|form)\s(?:an?\s)?mass\s(?:configuration|formation|appearance)",
    re.IGNORECASE,
)
_FOCAL_OR = re.compile(
    r"\b(?:nodular|mass|focal|solid|space-occupying)\s?(?:,|or|and/or|and|/|-)\s?(?:[\w-]+\s){0,2}$",
    re.IGNORECASE,
)
"""Reads "no nodular or infiltrative lesion", "nodular and linear shadows": one focal adjective is enough."""
_COUNTABLE = re.compile(r"(?:shadow|foc(?:us|i)|area|lesion|region|nodul\w*|densities|lucenc)", re.IGNORECASE)
_PREDICATE = re.compile(r"\b(?:is|are|was|were|appears?)\s(?:of\s)?(?:\w+ly\s)?$", re.IGNORECASE)
"""Reads "It is low density": a property, not another lesion."""
_ITS = re.compile(
    r"\b(?:its|their|whose|the|parenchymal?|(?:contours?|sizes?|dimensions?|thickness|structures?|shape|parenchyma)"
    r"(?:,|\s(?:and|or)))\s(?:parenchymal\s|internal\s)?$",
    re.IGNORECASE,
)
_IS_NATURAL = re.compile(
    r"\s(?:(?:is|are|was|were|appears?|looks?)\s)?(?:\w+ly\s)?(?:natural|normal|homogen|heterogen|decreas|increas|reduc|low"
    r"|preserv|slight|unremark|within|similar|compatib|consistent)",
    re.IGNORECASE,
)
_OR_LESION = re.compile(
    r"[^.;]{0,30}\bor\b[^.;]{0,40}\b(?:lesions?|mass(?:es)?|tumou?rs?|metasta\w+|cysts?|nodules?|cancer|carcinoma)\b",
    re.IGNORECASE,
)
_CALCIFIED = re.compile(r"\b(?:calcifi\w+|plaques?|atheroscl\w+)\b", re.IGNORECASE)
_LOOK = re.compile(r"\b(?:appearances?|densit(?:y|ies)|structures?|areas?)$", re.IGNORECASE)
_OF_LOOK = re.compile(r"\b(?:in|of|with)\s(?:an?\s)?(?:[\w-]+\s){1,2}$", re.IGNORECASE)
_SPREAD_OUT = Cue(
    r"\b(?:diffuse\w*|patchy|linear|line-like|strip(?:e|-like|s)?|cylindrical|band-?like|flaky"
    r"|cloud-?like|streaky|speckled|flocculent|ground[- ]glass|infiltrat\w+|reticular|consolidat\w+"
    r"|nodular thickening)\b[^.;,]{0,40}$",
    "diffuse", "patchy", "linear", "line-like", "strip", "cylindrical", "band", "flaky", "cloud", "streaky", "speckled",
    "flocculent", "ground", "infiltrat", "reticular", "consolidat", "nodular thickening",
)  # fmt: skip
"""Given lower case."""


def counts(statement: Statement, mark: Mark) -> bool:
    """A noun that needs a qualifying word has one, and is not a stone, plaque or effusion in other words."""
    before = statement.text[: mark.start - statement.start]
    after = statement.text[mark.end - statement.start :]
    noun = statement.text[mark.start - statement.start : mark.end - statement.start]
    if mark.value.diagnosis is None and mark.value.kind == "lesion":
        spread = _SPREAD_OUT.search(lowered(before))
        solid = spread is not None and spread[0].lower().startswith("patchy") and _in_solid_organ(statement)
        cut = statement.sentence.section == "gross"  # what was cut open has the size that is stated
        round_ = (cut or noun.lower().startswith("nodul")) and bool(sizes_near(statement, mark))
        if spread is not None and not solid and not round_ and _FOCAL_OR.search(before) is None:
            return False
        behind = lowered(_up_to_next(statement, mark))
        if _explained_behind(statement, mark, behind) or _OLD.search(before):
            return False
        reading = _EXPLAINED.search(behind)
        if reading is not None and not _OR_LESION.match(after, reading.end()):
            return False
        if _SPLEEN.match(after) or _OF_SPLEEN.search(before) or _NO_MASS.match(after):
            return False
        if (
            mark.value.attenuation
            and mark.value.needs is None
            and not mark.plural
            and _fluid(before, noun, after)
        ):
            return False
        if mark.value.attenuation and _COUNTABLE.search(noun) is None and _PREDICATE.search(before):
            return False
    if mark.value.diagnosis == "cyst" and mark.value.organ is None and _is_air_cyst(statement, mark, noun):
        return False
    if mark.value.kind == "nodule" and mark.value.diagnosis is None:
        stone = _STONE.search(lowered(after[:110]))
        if stone is not None and (stone["read"] or not sizes_near(statement, mark)):
            return False
    if is_content(statement, mark, before, after):
        return False
    if mark.value.diagnosis is None and (
        (_LOOK.search(noun) and _is_attribute(statement, mark)) or _is_its_look(mark, before, after)
    ):
        return False
    return _is_placed(statement, mark, noun.lower()) and _has_its_need(statement, mark, after)


def _is_its_look(mark: Mark, before: str, after: str) -> bool:
    """Reads "its contour and density are natural": how an organ looks, no density in it."""
    looks = mark.value.needs == "size" and _IS_NATURAL.match(after) is not None
    return looks and (_ITS.search(before) is not None or before.endswith(", "))


_NOT_OF_AIR = re.compile(
    r"\b(?:hydatid|fluid|hypodense|hyperdense|densit\w+|hu|solid|complicated|infected|septa\w*|mediastin\w+|soft tissue"
    r"|enhanc\w+|bronchogenic|congenital|duplication|pericardial|simple)\b"
)
_OF_AIR = re.compile(r"\b(?:thin-?\s?walled|air|emphysem\w+|bulla\w*|paraseptal)\b")


def _is_air_cyst(statement: Statement, mark: Mark, noun: str) -> bool:
    """Reads "cysts in both lungs": a cyst of the lung holds air unless something else or its size is said of it."""
    named = {m.value.organ for m in statement.marks if m.category == "place"} | set(statement.topic)
    if named - {"other", "pleura", "vessel"} != {"lung"} or _NOT_OF_AIR.search(statement.low):
        return False
    if _OF_AIR.search(statement.low):
        return True
    return noun.lower().endswith(("cyst", "cysts")) and not sizes_near(statement, mark)


def _explained_behind(statement: Statement, mark: Mark, behind: str) -> bool:
    """True for "foci in the gallbladder, gallbladder stones are considered": no size, and no other place behind.

    Behind "and" it speaks of the same thing only if the finding had a verb of its own before.
    """
    match = _EXPLAINED_BEHIND.search(behind)
    if match is None or sizes_near(statement, mark):
        return False
    if re.match(r"(?:[,;]\s)?and\b", match[0]) and not _HAD_VERB.search(behind, 0, match.start()):
        return False
    at = mark.end + match.start()
    places = [m for m in statement.of("place") if m.value.organ]
    there = {m.value.organ for m in places if at <= m.start < mark.end + match.end()}
    return there <= {m.value.organ for m in places if m.start < at} | set(statement.topic)


_HAD_VERB = re.compile(r"\b(?:is|are|was|were)\b")
_OCCUPATIONS = frozenset({"occupation", "occupations", "occupancy", "occupancies"})
_SPACE = re.compile(r"\bspace[\s-]$")
_LED_TO = re.compile(r"\s(?:is\s|was\s)?(?:seen\s|noted\s|observed\s)?(?:in|of|at)\s(?:\w+\s){0,4}")


def _is_placed(statement: Statement, mark: Mark, noun: str) -> bool:
    """False for an occupation of no place or size: "low-density occupation in the liver" is one, work is none."""
    if noun not in _OCCUPATIONS:
        return True
    low, start = statement.low, statement.start
    if _SPACE.search(low[: mark.start - start]) or sizes_near(statement, mark):
        return True
    return any(
        0 <= mark.start - m.end < 2 or _LED_TO.fullmatch(low, mark.end - start, max(m.start - start, 0))
        for m in statement.marks
        if m.category in {"place", "short"}
    )


def _has_its_need(statement: Statement, mark: Mark, after: str) -> bool:
    """True if the words that make a vague noun a finding are there: a size, a density."""
    needs = mark.value.needs
    if needs == "alone":
        return not any(
            m.category == "finding" and m is not mark and m.value.needs is None for m in statement.marks
        )
    if needs == "size":
        later = [m.start for m in statement.marks if m.category == "finding" and m.start >= mark.end]
        return any(m.start < min(later, default=m.end) for m in sizes_near(statement, mark))
    if needs == "density_or_size" and (sizes_near(statement, mark) or _in_solid_organ(statement)):
        return True
    if needs == "density" and _CALCIFIED.search(after[:90]):
        return False
    if needs in {"density", "density_or_size"}:
        after_of = re.match(r"\sof\s(?:the\s|an?\s)?", after)
        at = mark.end + after_of.end() if after_of is not None else -1
        if any(m.category == "excluded" and m.start == at for m in statement.marks):
            return False
        return any(m.category in _DENSITIES and _describes(statement, m, mark) for m in statement.marks)
    return True


def _is_attribute(statement: Statement, mark: Mark) -> bool:
    """Reads "a nodule of isodense appearance", "accessory spleen appearance": it only says how something looks."""
    before = statement.text[: mark.start - statement.start]
    if any(m.category == "excluded" and 0 <= mark.start - m.end < 2 for m in statement.marks):
        return not before.rstrip().lower().endswith("density")
    earlier = any(
        m.category == "finding" and m.end <= mark.start and m.value.needs in {None, "size", "qualified"}
        for m in statement.marks
    )
    return earlier and _OF_LOOK.search(before) is not None


def _up_to_next(statement: Statement, mark: Mark) -> str:
    """Words behind a noun, as far as they can still speak of it."""
    later = (
        m.start
        for m in statement.marks
        if m.category == "finding" and m.start >= mark.end and not _goes_with(statement, m)
    )
    end = max(mark.end + 110, min(next(later, mark.end + 240), mark.end + 240))
    return statement.text[mark.end - statement.start : end - statement.start]


def _goes_with(statement: Statement, mark: Mark) -> bool:
    """Reads "a dense shadow in the wall, with dense shadows of wires": they share the reading behind them."""
    if mark.value.diagnosis is not None or mark.value.needs not in {"density", "density_or_size"}:
        return False
    return _JOINED_BY_WITH.search(statement.text[: mark.start - statement.start]) is not None


def explains(sentence: str) -> bool:
    """True for a sentence that names what is no lesion first: "Consider a haematoma of the wall"."""
    return _EXPLANATION.match(sentence) is not None


def _fluid(before: str, noun: str, after: str) -> bool:
    """True for "fluid with low density", which is no lesion."""
    return bool(
        re.search(
            r"\b(?:fluid|effusion|ascites|liver|parenchyma\w*|bone(?:s)?)\b[^.;,]{0,24}(?:with|of|shows?"
            r"|has)\s(?:\w+\s)?$",
            before,
            re.IGNORECASE,
        )
    ) or (
        _COUNTABLE.search(noun) is None
        and re.match(
            r"\s(?:of|in) (?:the )?(?:\w+ )?(?:parenchyma|fluid|liver parenchyma)\b", after, re.IGNORECASE
        )
        is not None
    )


_DENSITIES = frozenset({"attenuation", "bone_density"})
SOLID = frozenset({"liver", "pancreas", "kidney", "spleen", "adrenal_gland", "thyroid", "prostate", "uterus"})


def _in_solid_organ(statement: Statement) -> bool:
    named = {m.value.organ for m in statement.marks if m.category == "place"} | set(statement.topic)
    return bool(named & SOLID)


def _describes(statement: Statement, density: Mark, mark: Mark) -> bool:
    """True for "hypodense oval area" and "area of low density"."""
    if density.end <= mark.start:
        gap = statement.text[density.end - statement.start : mark.start - statement.start]
        return len(gap) < 30 and not re.search(r"[,.;:()]|\b(?:in|of|to|and|the|at|on)\b", gap)
    gap = statement.text[mark.end - statement.start : density.start - statement.start]
    return bool(re.fullmatch(r"\s(?:of|with|in)\s(?:\w+\s)?", gap, re.IGNORECASE))


def sizes_near(statement: Statement, mark: Mark) -> list[Measurement]:
    """Current lengths that read as the size of a noun."""
    found = []
    for m in statement.measurements:
        if m.tense != "current" or m.worded:
            continue
        if m.end <= mark.start:
            gap = statement.text[m.end - statement.start : mark.start - statement.start]
            if len(gap) < 60 and not re.search(
                r"[;.]|,\s(?:no|and|with)\b|\b(?:is|are|was|were|no|without)\b", gap
            ):
                found.append(m)
        elif m.start >= mark.end:
            gap = statement.text[mark.end - statement.start : m.start - statement.start]
            if len(gap) < 110 and not re.search(
                r"[;]|\b(?:less|smaller|larger|greater|more|bigger) than\b|[<>]|\bno\b", gap
            ):
                found.append(m)
    return found
