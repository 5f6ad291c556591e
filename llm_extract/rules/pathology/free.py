"""Organs that a pathology report calls benign or unremarkable, specimen by specimen."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from llm_extract.drafts import OrganDraft
from llm_extract.records import Laterality, OrganScope
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology.layout import CURRENT
from llm_extract.rules.pathology.nodes import mentions_nodes
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_UNREMARKABLE = re.compile(
    r"\b(?:unremarkable|within normal limits|histologically normal|no (?:significant |specific |diagnostic"
    r" )?(?:histo)?(?:patholog\w+|diagnostic|histologic)"
    r"\s(?:abnormalit\w+|changes?|findings?|alterations?|diagnos[ie]s)|no significant abnormalit\w+|no"
    r" abnormalit\w+|normal|no (?:gross )?lesions?)\b",
    re.IGNORECASE,
)
_FREE_OF_TUMOUR = re.compile(
    r"\b(?:free of (?:tumou?r|neoplas\w+|carcinoma|malignan\w+)|negative for\s?(?:\w+\s){0,2}(?:tumou?r"
    r"|neoplas\w+|carcinoma|malignan\w+)|benign"
    r"|no (?:evidence of\s|residual\s|invasive\s)?(?:\w+\s)?(?:tumou?r|neoplas\w+|carcinoma|malignan\w+)"
    r"|(?:absence|lack) of (?:neoplas\w+|tumou?r|malignan\w+|carcinoma)"
    r"|tumou?r\s?-?\s?free|uninvolved|not involved)\b",
    re.IGNORECASE,
)
_PART_ONLY = re.compile(
    r"\b(?:margins?|mucosa|serosa\w*|capsule|vein|vessels?|invasion|surface|wall|section|lumen|remainder"
    r"|remaining|adjacent|uninvolved|background"
    r"|non-?neoplastic|rest|otherwise|surrounding|resection|extension|fat|atrophic|edges?"
    r"|fibroadipose|adipose|connective|mesothelial|soft tissue"
    r"|skeletal muscle|residual|in situ|perineural|pelvis|calyc\w+|cut surface|cortex|cortical|external"
    r"|parenchymal)\b",
    re.IGNORECASE,
)
_TISSUE = re.compile(
    r"\bbenign\s(?:[\w-]+\s){0,3}(?:tissue|parenchyma|mucosa|epithelium|urothelium|prostatic glands)\b",
    re.IGNORECASE,
)
_CELLS = re.compile(r"\b(?:normal|benign|unremarkable)\s(?:[\w-]+\s){0,3}(?:cells|elements)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"-\s|[.;]\s")
_BLOCK = re.compile(r"\W{0,3}[A-Z]{1,2}\d{1,2}\b")
_TUBE = re.compile(r"\b(?:fallopian|tubes?|tubal|mesosalpin\w+)\b", re.IGNORECASE)
_OVARY = re.compile(r"\b(?:ovar\w+|adnex\w+)\b", re.IGNORECASE)
_MARGIN_KEY = re.compile(
    r"\W{0,4}(?:surgical\s|resection\s|status of\s){0,2}margins?(?:\s(?:status|of resection|involvement))?"
    r"\s{0,2}:?\s{0,2}",
    re.IGNORECASE,
)
_KEY = re.compile(r"[A-Za-z /()-]{3,60}:\s{0,2}")
_MAX_MARGINS = 8
"""Lines of a list of margins."""
_INVOLVES = re.compile(
    r"\b(?:tumou?r|carcinoma|adenocarcinoma|neoplasm)\s(?:(?:also|extensively|focally|directly|\w+ly|does)\s){0,2}"
    r"(?:involves|invades|infiltrates|extends (?:in)?to|penetrates|replaces)\b",
    re.IGNORECASE,
)
_INVOLVED_KEY = re.compile(
    r"\b(?:involve(?:d|ment)|invasion|invaded)(?:\sby\stumou?r)?\s{0,2}:\s{0,2}(?:yes|present|positive|identified)\b",
    re.IGNORECASE,
)
"""Reads "Bladder neck involved: yes", which speaks of its own line."""
_NOT_INVOLVED = re.compile(
    r"\b(?:not?|without|none|negative|free|adjacent|up to|margins?|close)\b|\?", re.IGNORECASE
)
_REACH = 60
"""Characters behind such a verb in which the organs stand that it takes."""
_LINE = 100
"""Characters of a line of a list."""
_BOTH_SIDES = re.compile(
    r"\b(?:both|bilateral|right and left|left and right|ovaries|kidneys|lungs|breasts|adrenals|glands)\b",
    re.IGNORECASE,
)
_SHAPE = re.compile(r"\b(?:intact|clear)\b", re.IGNORECASE)
_SOUND = re.compile(r"\b(?:unremarkable|normal|no (?:tumou?r|abnormal\w*|lesions?))\b", re.IGNORECASE)
_REST = re.compile(r"\b(?:remainder|remaining|rest of|adjacent|surrounding|background)\b", re.IGNORECASE)
_AT_MARGIN = re.compile(rf"{_REST.pattern}|\b(?:margins?|attached portion)\b", re.IGNORECASE)
_LESION_WORD = re.compile(
    r"\b(?:nodules?|polyps?|cysts?|leiomyomas?|adenomas?|masses|lesions? (?:is|are)|except|otherwise"
    r"|with\b(?! no))",
    re.IGNORECASE,
)


_LINING = frozenset({"peritoneum", "soft_tissue"})


def free_organs(statements: Sequence[Statement], assigned: Sequence[Specimen | None]) -> Iterator[OrganDraft]:
    """Statements that call the organ of a specimen, or an organ they name, free of tumour.

    Args:
        statements: the report.
        assigned: specimen of each statement.
    """
    beside = at_margins(statements)
    for index, (statement, specimen) in enumerate(zip(statements, assigned, strict=True)):
        if index in beside or statement.sentence.section not in CURRENT or mentions_nodes(statement.text):
            continue
        text = statement.text
        if (specimen is not None and specimen.margin) or is_tube(text):
            continue
        match = _UNREMARKABLE.search(text) or _FREE_OF_TUMOUR.search(text)
        if match is None or is_cells(text):
            continue
        gross = statement.sentence.section == "gross"
        named = _named(statement, match)
        part = _PART_ONLY.search(text) is not None
        if named and not (part and not _whole(statement, match)):
            organs = named
        elif (
            not named
            and not part
            and not gross
            and specimen is not None
            and specimen.organ
            and not specimen.margin
        ):
            organs = (specimen.organ,)
        else:
            continue
        if _holds_lesion(statement) or (gross and _FREE_OF_TUMOUR.search(text)):
            continue
        scope: OrganScope = (
            "any_focal_lesion"
            if _UNREMARKABLE.search(text) or "benign" in text.lower()
            else "suspicious_only"
        )
        for organ in organs:
            yield OrganDraft(
                organ=organ, status="explicitly_lesion_free", scope=scope, laterality=_side(statement, specimen, organ),
                quote=text[:2000], quote_start=statement.start,
            )  # fmt: skip


def _linings(held: Sequence[Mention]) -> frozenset[str]:
    """The peritoneum and the soft tissue where either holds tumour: fibrous tissue without any frees none of both."""
    return _LINING if {m.organ for m in held} & _LINING else frozenset()


def _holds_lesion(statement: Statement) -> bool:
    """True if something is said to be in the organ; "benign ovary with corpora albicantia" holds no lesion."""
    word = _LESION_WORD.search(statement.text)
    if word is None or word[0].lower() != "with":
        return word is not None
    benign = "benign" in statement.low[: word.start()]
    return not benign or any(
        m.category == "finding" for m in statement.marks if m.start >= statement.start + word.end()
    )


def _named(statement: Statement, match: re.Match[str]) -> tuple[str, ...]:
    """Whole organs that the predicate is about; parts, adjectives, vague regions and the next clause are none."""
    clause = _CLAUSE.search(statement.text, match.end())
    end = statement.start + (clause.start() if clause is not None else len(statement.text))
    found = {
        m.value.organ: None for m in statement.marks
        if m.category == "place" and m.value.organ and not m.value.adjective and m.start < end
        and m.value.organ not in {"other", "vessel", "peritoneum", "soft_tissue", "lymph_node", "pleura"}
    }  # fmt: skip
    return tuple(found)


def _whole(statement: Statement, match: re.Match[str]) -> bool:
    """True if the predicate follows the organ itself: "spleen parenchyma is unremarkable", "benign adrenal gland"."""
    return any(
        m.category == "place"
        and not m.value.part
        and abs(m.end - statement.start - match.start()) < 24
        and not _AT_MARGIN.search(statement.text[max(0, m.start - statement.start - 24) : match.start()])
        for m in statement.marks
    )


def is_cells(text: str) -> bool:
    """True for "normal adrenal cortical cells", which a puncture brings up beside a lesion as well."""
    return _CELLS.search(text) is not None


def is_tube(text: str) -> bool:
    """True for words on the tube alone, which say nothing of the ovary that stands for both."""
    return _TUBE.search(text) is not None and _OVARY.search(text) is None


def at_margins(statements: Sequence[Statement]) -> frozenset[int]:
    """Numbers of the statements that stand in a list below a line "Margins:".

    Args:
        statements: the report.
    """
    found: list[int] = []
    left = 0
    for index, statement in enumerate(statements):
        text = statement.text
        if _MARGIN_KEY.fullmatch(text):
            left = _MAX_MARGINS
        elif left and (
            "margin" in statement.low or (len(text) < _LINE and ":" in text and not _KEY.fullmatch(text))
        ):
            found.append(index)
            left -= 1
        else:
            left = 0
    return frozenset(found)


def is_margin(statement: Statement) -> bool:
    """True for a short line on a margin or a block: "Bile duct margin: no tumor present", "F4 normal stomach"."""
    found = re.search(r"\bmargins?\b", statement.text, re.IGNORECASE) or _BLOCK.match(statement.text)
    return len(statement.text) < _LINE and found is not None


def weakened(
    drafts: Sequence[OrganDraft],
    statements: Sequence[Statement],
    assigned: Sequence[Specimen | None],
    paired: frozenset[str],
    *,
    held: Sequence[Mention] = (),
) -> Iterator[OrganDraft]:
    """What is said of a whole organ counts as limited where only a piece, or one of two, was looked at.

    Args:
        drafts: organs called free and the like.
        statements: the report.
        assigned: specimen of each statement.
        paired: organs that exist on both sides.
        held: lesions of the report.
    """
    starts = [statement.start for statement in statements]
    invaded = _invaded(statements) | _linings(held)
    for draft in drafts:
        if draft.status == "explicitly_lesion_free" and draft.organ in invaded:
            continue
        index = bisect_right(starts, -1 if draft.quote_start is None else draft.quote_start) - 1
        specimen = assigned[index] if index >= 0 else None
        piece = (specimen is not None and specimen.sampled) or _TISSUE.search(draft.quote) is not None
        one = draft.organ in paired and draft.laterality == "unknown" and not _BOTH_SIDES.search(draft.quote)
        piece = piece or (index >= 0 and _is_of_part(statements[index], specimen, draft.organ))
        if draft.status == "explicitly_lesion_free" and (piece or one):
            yield draft.model_copy(update={"limited": True})
        else:
            yield draft


def _is_of_part(statement: Statement, specimen: Specimen | None, organ: str) -> bool:
    """True where only a part of the organ is named: "normal appendix" tells little of the colon.

    Args:
        statement: what calls the organ free.
        specimen: whose heading names the part where the statement names no place.
        organ: the organ called free.
    """
    if organ == "lymph_node":  # of which a report only ever names stations
        return False
    places = [m for m in statement.marks if m.category == "place" and m.value.organ]
    if places:
        own = [m for m in places if m.value.organ == organ]
        return bool(own) and all(m.value.part for m in own)
    return specimen is not None and specimen.organ == organ and bool(specimen.location.parts)


def _invaded(statements: Sequence[Statement]) -> frozenset[str]:
    """Organs that a tumour is said to involve, of which no other word can say that they are free."""
    found: set[str] = set()
    for statement in statements:
        spans = _taken(statement.text) if statement.sentence.section in CURRENT else ()
        places = [
            m for m in statement.marks
            if m.category == "place" and any(low <= m.start - statement.start < high for low, high in spans)
        ]  # fmt: skip
        found |= {m.value.organ for m in places if not m.value.adjective} - {"lymph_node", "other", "vessel"}
    return frozenset(found)


def _taken(text: str) -> list[tuple[int, int]]:
    """Where the words stand that name what a tumour involves: behind the verb, or before "involved: yes"."""
    found: list[tuple[int, int]] = []
    match = _INVOLVES.search(text)
    if match is not None and not _NOT_INVOLVED.search(text):
        found.append((match.end(), match.end() + _REACH))
    for key in _INVOLVED_KEY.finditer(text):
        low = text.rfind("\n", 0, key.start()) + 1
        if not _NOT_INVOLVED.search(text, low, key.start()):
            found.append((low, key.start()))
    return found


def is_shape(statement: Statement) -> bool:
    """True for "an intact gallbladder", which says how it was received and nothing of lesions."""
    return _SHAPE.search(statement.text) is not None and _SOUND.search(statement.text) is None


def is_rest(text: str) -> bool:
    """True for words on what is left of an organ beside its lesion: "the remainder of the gland"."""
    return _REST.search(text) is not None


def _side(statement: Statement, specimen: Specimen | None, organ: str) -> Laterality:
    sides = {m.value for m in statement.of("side")} & {"left", "right"}
    if (
        not sides
        and specimen is not None
        and specimen.organ == organ
        and specimen.location.laterality in {"left", "right"}
    ):
        sides = {specimen.location.laterality}
    if len(sides) == 1:
        return "left" if "left" in sides else "right"
    return "unknown"
