"""Organs that a report calls normal or absent."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from llm_extract.drafts import OrganDraft
from llm_extract.records import Laterality
from llm_extract.rules import context
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import DIGESTIVE
from llm_extract.rules.statements import Statement

_NORMAL = re.compile(
    r"\b(?:normal|unremarkable|within normal limits|natural|intact|clear|no abnormalit(?:y|ies)"
    r"|without (?:focal )?abnormalit(?:y|ies)|wnl|nad|nothing significant"
    r"|no significant (?:abnormality|pathology|finding)s?|no pathology|no abnormal findings?|no "
    r"abnormality detected|free of abnormality|no tumou?r)\b",
)


_NOT_NORMAL = re.compile(
    r"\b(?:not|larger than|wider than|less than|smaller than|above|abnormal|than|return\w* to|upper "
    r"limits? of)\s(?:\w+\s)?$",
    re.IGNORECASE,
)


_SIZE_ONLY = re.compile(
    r"\b(?:sizes?|dimensions?|calib(?:er|re|ration)s?|diameters?|widths?|position\w*|location"
    r"|locali[sz]ation|course|length|volume|thickness|aeration|patency|patent|flow|opacification"
    r"|open)\b",
    re.IGNORECASE,
)


_TISSUE = re.compile(
    r"\b(?:parenchyma\w*|densit\w+|attenuation|appear\w*|contours?|enhancement|signal|structure"
    r"|echogenicity|morpholog\w+|configuration|texture|unremarkable)\b",
    re.IGNORECASE,
)


_ABSENT = re.compile(
    r"\b(?:surgically absent|is absent|are absent|has been (?:surgically )?(?:removed|resected)|have "
    r"been removed|was (?:removed|resected)|not present due to|surgically removed|absent|is not (?:seen"
    r"|visuali[sz]ed) "
    r"(?:due to|because of|secondary to) (?:surgery|resection|\w+ectomy)|(?:is|are|was|were) operated)\b"
    r"|\(operated\)",
)


_LIMITED = re.compile(
    r"\b(?:limited|suboptimal\w*|not optimal\w*|(?:cannot|could not|can not) be (?:\w+ )?"
    r"(?:evaluated|assessed|excluded|distinguished|differentiated)"
    r"|could not be evaluated|degraded|incompletely (?:imaged|visuali[sz]ed|evaluated|included)"
    r"|not (?:fully|completely|entirely|well) (?:imaged|visuali[sz]ed|seen|included|evaluated)"
    r"|partially (?:imaged|visuali[sz]ed|included)|lack of (?:iv |intravenous )?contrast|limits? "
    r"(?:the )?(?:evaluation|assessment|sensitivity)"
    r"|obscured|grossly|within the limits|as far as can be|visuali[sz]ed portions?|motion artifact)\b",
)


_NODES_NORMAL = re.compile(
    r"\b(?:not reach\w* (?:\w+ ){0,3}patholog\w+|not (?:in|of) (?:\w+ )?patholog\w+"
    r"|not (?:pathologically )?enlarged|no(?:t)? (?:pathologic\w*|significant\w*) (?:enlarged|size)"
    r"|not pathological)\b",
)


_MAX_PREDICATES = 30
"""Words such as "normal" that are read in one sentence."""


def normal_organs(
    statement: Statement, limited: frozenset[str], paired: frozenset[str]
) -> Iterator[OrganDraft]:
    """What one sentence calls normal or absent."""
    text = statement.text
    for match in itertools.islice(_ABSENT.finditer(statement.low), _MAX_PREDICATES):
        for organ, side in _subjects(statement, match.start(), match.end(), paired):
            if organ == "lymph_node":
                continue
            yield OrganDraft(
                organ=organ,
                status="surgically_absent",
                laterality=side,
                quote=text[:2000],
                quote_start=statement.start,
            )
    for match in itertools.islice(_NORMAL.finditer(statement.low), _MAX_PREDICATES):
        if _NOT_NORMAL.search(text[max(0, match.start() - 26) : match.start()]):
            continue
        clause = _clause(text, match.start(), match.end())
        if _SIZE_ONLY.search(clause) and not _TISSUE.search(clause):
            continue
        if re.match(
            r"\s(?:in\s)?(?:variant|size|calib\w+|caliber|position|width|course|diameter)\b(?!\s?(?:and|,))",
            text[match.end() :],
            re.IGNORECASE,
        ):
            continue
        if match[0] == "clear" and not any(
            m.category == "place" and m.value.organ in {"lung", "pleura"} for m in statement.marks
        ):
            continue
        exception = re.search(
            r"\b(?:except|aside from|apart from|other than|with the exception|besides)\b",
            text[match.end() :],
            re.IGNORECASE,
        )
        weak = is_limited(statement)
        for organ, side in _subjects(statement, match.start(), match.end(), paired):
            status = "no_statement_on_lesions" if exception else "explicitly_lesion_free"
            yield OrganDraft.model_validate(
                {"organ": organ, "status": status, "laterality": side, "limited": weak or organ in limited,
                 "quote": text[:2000], "quote_start": statement.start}
            )  # fmt: skip
    if _NODES_NORMAL.search(statement.low) and any(
        m.category in {"place", "finding"} and is_node(m) for m in statement.marks
    ):
        yield OrganDraft(
            organ="lymph_node",
            status="explicitly_lesion_free",
            quote=text[:2000],
            quote_start=statement.start,
            limited=is_limited(statement),
        )


def is_limited(statement: Statement) -> bool:
    """True for a sentence that says that something could not be seen well."""
    return _LIMITED.search(statement.low) is not None


def is_node(mark: Mark) -> bool:
    """True for a word for lymph nodes."""
    return (mark.category == "finding" and mark.value.kind == "lymph_node") or (
        mark.category == "place" and mark.value.organ == "lymph_node"
    )


_CLAUSE_START = re.compile(r"[;:]|\b(?:but|however|while|and no)\b")
_CLAUSE_END = re.compile(r"[;]|\b(?:but|however|while|and no)\b")


def _clause(text: str, start: int, end: int) -> str:
    cuts = [m.end() for m in _CLAUSE_START.finditer(text, 0, start)]
    stop = _CLAUSE_END.search(text, end)
    return text[cuts[-1] if cuts else 0 : stop.start() if stop else len(text)]


_SUBJECT_BREAK = re.compile(
    r"[;]|\b(?:but|however|while|whereas|is|are|was|were|appears?|shows?|adjacent|along|near|in the "
    r"region of|of normal)\b",
    re.IGNORECASE,
)


def _subjects(
    statement: Statement, start: int, end: int, paired: frozenset[str]
) -> Iterator[tuple[str, Laterality]]:
    """Organs that a predicate such as "is normal" speaks of, with a side for paired organs."""
    offset = statement.start
    places = [m for m in statement.marks if m.category == "place" and m.value.organ and not m.value.adjective]
    nodes = [m for m in statement.marks if m.category == "finding" and m.value.kind == "lymph_node"]
    before = statement.text[:start]
    verb = re.search(
        r"\b(?:is|are|was|were|appears?|remains?|look(?:s)?|has been|have been|:)\W*(?:\w+\W+){0,4}$",
        before,
        re.IGNORECASE,
    )
    low = 0
    for cut in _SUBJECT_BREAK.finditer(before[: verb.start()] if verb else before):
        low = cut.end()
    chosen = [m for m in (*places, *nodes) if low <= m.start - offset < start]
    if not chosen:
        follows = re.match(
            r"\W*(?:appearance of\s|appearing\s)?(?:the\s)?(?:\w+\s){0,2}", statement.text[end:]
        )
        stop = re.search(r"[.;:]|\b(?:with|is|are|but|in|on|at)\b", statement.text[end:])
        high = end + (stop.start() if stop else len(statement.text) - end)
        chosen = [m for m in places if end <= m.start - offset < high] if follows else []
    organs: dict[str, Mark | None] = {
        "lymph_node" if m.category == "finding" else m.value.organ: m
        for m in chosen
        if m.category == "finding" or not m.value.part or _whole(m) or _in_full(statement, m, start)
    }
    if not chosen and context.names_digestive_tract(before):
        for organ in DIGESTIVE:
            yield organ, "unknown"
        return
    if not chosen and (not places or re.match(r"[^:]{0,70}:\W*(?:\w+\s){0,3}$", before)):
        organs = dict.fromkeys(statement.topic)
    for organ, mark in organs.items():
        if organ in {"other", "vessel", "peritoneum"}:
            continue
        yield organ, _subject_side(statement, mark, organ, paired)


def _in_full(statement: Statement, mark: Mark, end: int) -> bool:
    """Reads "Pancreas head, body and tail are normal": parts listed from end to end are the whole organ."""
    if mark.value.organ != "pancreas":
        return False
    listed = [m for m in statement.of("place", "short") if m.start - statement.start < end]
    named = {m.value.part for m in listed if m.category == "place"} | {
        part for m in listed for organ, part in m.value.candidates if organ == "pancreas"
    }
    return {"pancreas_head", "pancreas_body", "pancreas_tail"} <= named


def _whole(mark: Mark) -> bool:
    return mark.value.organ in {"bone", "uterus", "colon", "lymph_node"}


def _subject_side(statement: Statement, mark: Mark | None, organ: str, paired: frozenset[str]) -> Laterality:
    if organ not in paired:
        return "unknown"
    sides = [m for m in statement.marks if m.category == "side"]
    near = [m for m in sides if mark is None or 0 <= mark.start - m.end < 22]
    values = {m.value for m in near}
    if len(values) == 1 and values & {"left", "right"}:
        return "left" if "left" in values else "right"
    return "unknown"
