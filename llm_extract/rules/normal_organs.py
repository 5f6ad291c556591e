"""Organs that a report calls normal or absent."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from llm_extract.cues import Cue
from llm_extract.drafts import OrganDraft
from llm_extract.rules.absent_organs import MAX_PREDICATES, absent_organs
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.seeing import SEEN
from llm_extract.rules.statements import Statement
from llm_extract.rules.subjects import subjects

_NORMAL = Cue(
    r"\b(?:normal|unremarkable|within normal limits|natural|intact|clear|no abnormalit(?:y|ies)"
    r"|(?:normally|naturally) (?:observed|seen|evaluated|visuali[sz]ed)"
    r"|without (?:focal )?abnormalit(?:y|ies)|wnl|nad|nothing significant"
    r"|no significant (?:abnormality|pathology|finding)s?|no pathology|no abnormal findings?|no "
    r"abnormality detected|free of abnormality|no tumou?r)\b",
    "normal", "unremarkable", "natural", "intact", "clear", "wnl", "nad", "significant", "pathology", "no tumo",
)  # fmt: skip
_NOT_NORMAL = re.compile(
    r"\b(?:not|larger than|wider than|less than|smaller than|above|abnormal|than|return\w* to|upper "
    r"limits? of)\s(?:\w+\s)?$",
)
_SIZE_ONLY = re.compile(
    r"\b(?:sizes?|dimensions?|calib(?:er|re|ration)s?|diameters?|widths?|heights?|position\w*|location"
    r"|locali[sz]ation|course|length|volume|thickness|aeration|patency|patent|flow|opacification"
    r"|alignments?|curvature|lordosis|kyphosis|(?:disc|disk|joint|intervertebral) spaces?|open)\b",
)
_TISSUE = re.compile(
    r"\b(?:parenchyma\w*|densit\w+|attenuation|appear\w*|contours?|enhancement|signal|structure"
    r"|echogenicity|morpholog\w+|configuration|texture|unremarkable)\b",
)
_NOT_OF_TISSUE = re.compile(
    r"\s(?:in\s)?(?:variant|size|calib\w+|caliber|position|width|course|diameter)\b(?!\s?(?:and|,))"
)
_WALL = re.compile(r"\bwall thickness\b")
_CALIBRE = re.compile(r"\bcalib(?:er|re|ration)s?\b")
_THICKENED = re.compile(r"\bthicken")
"""Behind a normal calibre: a thickening, or its denial, which is read as such."""
_TUBE = frozenset({"esophagus"})
"""Organs of which a report says that they hold nothing by calling their calibre normal."""
_ALL_WALL = frozenset({"esophagus", "stomach", "colon", "bladder", "small_bowel"})
"""Organs that are all wall: where its thickness is normal there is no lesion."""
_EXCEPTION = Cue(
    r"\b(?:except|aside from|apart from|other than|with the exception|besides)\b",
    "except", "aside from", "apart from", "other than", "besides",
)  # fmt: skip
_LIMITED = Cue(
    r"\b(?:limited|suboptimal\w*|not optimal\w*|(?:cannot|could not|can not) be (?:\w+ )?"
    r"(?:evaluated|assessed|excluded|distinguished|differentiated)"
    r"|could not be evaluated|degraded|incompletely (?:imaged|visuali[sz]ed|evaluated|included)"
    r"|not (?:fully|completely|entirely|well) (?:imaged|visuali[sz]ed|seen|included|evaluated)"
    r"|partially (?:imaged|visuali[sz]ed|included)|lack of (?:iv |intravenous )?contrast|limits? "
    r"(?:the )?(?:evaluation|assessment|sensitivity)"
    r"|obscured|grossly|within the limits|within (?:the )?limitations|as far as can be"
    r"|visuali[sz]ed portions?|motion artifact)\b",
    "limit", "optimal", "not be", "degraded", "incompletely", "not fully", "not completely", "not entirely",
    "not well", "partially", "lack of", "obscured", "grossly", "as far as", "portion", "motion",
)  # fmt: skip
_PIECE_OF_LUNG = re.compile(r"\blung (?:apices|apex|bases?)\b|\b(?:apices|apex|bases?) of the lungs?\b")
_WALL_NOT_THICK = Cue(
    r"\bwalls?\b[^.;,]{0,60}?\b(?:(?:is|are|was|were|appears?)\s)?(?:not\s(?:\w+ly\s)?(?:thick|increased)"
    r"|of\s(?:normal|natural|usual)\s(?:wall\s)?thickness)"
    r"|\bwall thickness(?:es)?\s(?:is|are|was|were)\s(?:\w+ly\s)?(?:natural|normal)\b"
    r"|\bwithout\s(?:an?\s)?(?:\w+\s){0,3}?wall\s(?:thick|mass)"
    r"|\besophageal calib\w+\s(?:is|was|are|were)\s(?:\w+ed\s)?(?:as\s)?(?:natural|normal)",
    "wall",
    "calib",
)
_NODES_NORMAL = Cue(
    r"\b(?:none (?:of (?:them|these|which|those)\s)?(?:\w+\s){0,4}(?:patholog\w+|enlarged)"
    r"|not reach\w* (?:\w+ ){0,3}patholog\w+|not (?:in|of) (?:\w+ )?patholog\w+"
    r"|not (?:pathologically )?enlarged|no(?:t)? (?:pathologic\w*|significant\w*) (?:enlarged|size)"
    r"|not pathological)\b",
    "patholog", "enlarged", "significant",
)  # fmt: skip
_NONE_OF_THEM = re.compile(
    r"\W{0,3}(?:(?:but|and|however),?\s)?(?:none(?: of (?:them|these|those))?"
    r"|(?:they|these|all(?: of them)?) (?:are|were|do|did) not)"
    r"\s(?:\w+\s){0,4}(?:patholog\w+|enlarged)\b"
)
_OUTLINE = re.compile(
    r"\b(?:boundar|margin|border|edge|outline|contour|demarcat|interface|fat\b|evidence|distin)"
)


def normal_organs(
    statement: Statement, limited: frozenset[str], paired: frozenset[str]
) -> Iterator[OrganDraft]:
    """What one sentence calls normal or absent."""
    text, low = statement.text, statement.low
    yield from absent_organs(statement, paired)
    for match in itertools.islice(_NORMAL.finditer(low), MAX_PREDICATES):
        if _NOT_NORMAL.search(low[max(0, match.start() - 26) : match.start()]):
            continue
        if _is_not_displayed(text, match.start(), match.end()):
            continue
        clause = low[_clause(text, match.start(), match.end())]
        of_size = _SIZE_ONLY.search(clause) is not None and _TISSUE.search(clause) is None
        of_wall = of_size and _WALL.search(clause) is not None
        of_tube = of_size and _CALIBRE.search(clause) is not None and not _THICKENED.search(low, match.end())
        if of_size and not (of_wall or of_tube):
            continue
        if _NOT_OF_TISSUE.match(low, match.end()):
            continue
        if match[0] == "clear" and not _clears_lung(statement, match.start(), match.end()):
            continue
        exception = _EXCEPTION.search(low[match.end() :])
        weak = is_limited(statement)
        for organ, side in subjects(statement, match.start(), match.end(), paired):
            if organ == "bone" and match[0] == "intact":
                continue  # not broken, which says nothing of lesions
            if of_size and organ not in (_ALL_WALL if of_wall else _TUBE):
                continue
            piece = organ == "lung" and _PIECE_OF_LUNG.search(low) is not None
            status = "no_statement_on_lesions" if exception else "explicitly_lesion_free"
            yield OrganDraft.of_own(
                organ=organ, status=status, laterality=side, limited=weak or piece or organ in limited,
                quote=text[:2000], quote_start=statement.start,
            )  # fmt: skip
    yield from _thin_walls(statement, limited)
    if _NODES_NORMAL.search(statement.low) and any(
        m.category in {"place", "finding"} and is_node(m) for m in statement.marks
    ):
        yield OrganDraft.of_own(
            organ="lymph_node",
            status="explicitly_lesion_free",
            quote=text[:2000],
            quote_start=statement.start,
            limited=is_limited(statement),
        )


def _thin_walls(statement: Statement, limited: frozenset[str]) -> Iterator[OrganDraft]:
    """Reads "Esophagus without wall thickening", "its walls are not thick" of organs that are nothing but wall."""
    match = _WALL_NOT_THICK.search(statement.low)
    if match is None or _THICKENED.search(statement.low, match.end()):
        return
    clause = _clause(statement.text, match.start(), match.end())
    low, high = statement.start + clause.start, statement.start + clause.stop
    named = (m.value.organ for m in statement.of("place") if low <= m.start < high)
    for organ in dict.fromkeys(organ for organ in named if organ in _ALL_WALL):
        yield OrganDraft.of_own(
            organ=organ, status="explicitly_lesion_free", limited=is_limited(statement) or organ in limited,
            quote=statement.text[:2000], quote_start=statement.start,
        )  # fmt: skip


def none_of_them(statement: Statement, before: Statement) -> Iterator[OrganDraft]:
    """Reads "none of them is of pathological size" behind a sentence on nodes."""
    if _NONE_OF_THEM.match(statement.low) is None or statement.of("place", "finding"):
        return
    if any(m.category in {"place", "finding"} and is_node(m) for m in before.marks):
        yield OrganDraft.of_own(
            organ="lymph_node", status="explicitly_lesion_free", limited=is_limited(statement),
            quote=statement.text[:2000], quote_start=statement.start,
        )  # fmt: skip


def _clears_lung(statement: Statement, start: int, end: int) -> bool:
    """True for "the lungs are clear", not for "a nodule of the lung with clear borders"."""
    around = statement.low[max(0, start - 40) : end + 24]
    return _OUTLINE.search(around) is None and any(
        m.category == "place" and m.value.organ in {"lung", "pleura"} for m in statement.marks
    )


def is_limited(statement: Statement) -> bool:
    """True for a sentence that says that something could not be seen well."""
    return _LIMITED.search(statement.low) is not None


def is_node(mark: Mark) -> bool:
    """True for a word for lymph nodes."""
    return (mark.category == "finding" and mark.value.kind == "lymph_node") or (
        mark.category == "place" and mark.value.organ == "lymph_node"
    )


_NOT_DISPLAYED = re.compile(
    r"(?:(?!\b(?:is|are|was|were|but|which|while|with)\b)[^.;,]){0,90}?\b(?:(?:is|are|was|were|can|could|has|have)\s)?"
    r"(?:not|no longer|hardly|cannot|never|incompletely|poorly|partially)\s(?:be\s|been\s)?(?:\w+ly\s)?"
    rf"(?:{SEEN}|displayed|imaged|evaluated|included|preserved|distinguished)\b",
    re.IGNORECASE,
)
_LOST = Cue(
    r"\b(?:incomplete\s\w+|absence|loss|lack|non-?\s?visuali[sz]ation|disappearance|disruption|lost|without"
    r"|interruption|displacement)\s(?:of\s)?(?:the\s|its\s|their\s)?$",
    "incomplete", "absence", "los", "lack", "visuali", "disappear", "disruption", "without", "interrup", "displace",
)  # fmt: skip
_COPULA = re.compile(
    r"\b(?:is|are|was|were|be|been|appears?|remains?|looks?|of|in|as|have|has)\s(?:\w+ly\s)?(?:an?\s)?$",
    re.IGNORECASE,
)


def _is_not_displayed(text: str, start: int, end: int) -> bool:
    """Reads "Normal structure of the uterus is not displayed": what is not seen is not called normal."""
    before = text[max(0, start - 60) : start]
    if _LOST.search(before.lower()):
        return True
    return _COPULA.search(before) is None and _NOT_DISPLAYED.match(text, end, end + 160) is not None


_CLAUSE_START = re.compile(r"[;:]|\b(?:but|however|while|and no)\b")
_SAID = re.compile(r"\b(?:is|are|was|were|has|have)\b[^,;]{1,60}?(?:,|\band\b)\s")
"""Reads "Heights are preserved, the bones are normal": a verb and a comma end what was said before."""
_CLAUSE_END = re.compile(r"[;]|\b(?:but|however|while|and no|and there)\b")


def _clause(text: str, start: int, end: int) -> slice:
    cuts = [m.end() for m in _CLAUSE_START.finditer(text, 0, start)]
    stop = _CLAUSE_END.search(text, end)
    said = [m.end() for m in _SAID.finditer(text, cuts[-1] if cuts else 0, start)]
    cuts += said
    return slice(cuts[-1] if cuts else 0, stop.start() if stop else len(text))
