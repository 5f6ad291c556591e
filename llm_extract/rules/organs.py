"""What a report says about focal lesions of each organ: normal, denied, absent, limited or merely mentioned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llm_extract.cues import Cue
from llm_extract.drafts import OrganDraft
from llm_extract.records import Laterality, OrganScope
from llm_extract.rules.making import Denial
from llm_extract.rules.normal_organs import is_limited, is_node, none_of_them, normal_organs
from llm_extract.rules.statements import Statement
from llm_extract.rules.subjects import WHOLE_PANCREAS, is_airway

_SOLID = re.compile(
    r"\b(?:solid (?:\w+ )?organs?|abdominal organs|upper abdomen|abdominal (?:solid|structures|viscera)"
    r"|viscera|parenchymal organs|(?:evaluation|examination|study|assessment|exam)\s(?:is|was)\s)",
    re.IGNORECASE,
)
MAX_STATEMENTS = 1000
"""Statements on organs read from one report."""
_SOLID_ORGANS = ("liver", "pancreas", "spleen", "kidney", "adrenal_gland")
_PATHOLOGIC = Cue(
    r"\b(?:suspicious|worrisome|concerning|aggressive|malignan\w+|cancer\w*|tumou?r\w*|neoplas\w+)\b",
    "suspicious", "worrisome", "concerning", "aggressive", "malignan", "cancer", "tumo", "neoplas",
)  # fmt: skip
"""Given lower case."""
_OCCLUSIVE = re.compile(r"\b(?:occlu\w+|obstruct\w+|stenos\w+|stenotic)\s(?:[\w-]+\s){0,2}$", re.IGNORECASE)
"""Reads "no occlusive pathology": an open tube, which may hold or touch any lesion."""
_PERITONEUM = re.compile(r"peritone|oment|mesent")
_LUMEN = re.compile(r"\b(?:trache\w*|bronch\w+|airways?|lum(?:en|ens|ina))\b")
_SOLID_OR = re.compile(
    r"\bsolid\s?(?:or|and|-|/|and/or|,)\s?(?:\w+\s)?cystic\b|\bcystic\s?(?:or|-|/)\s?solid\b", re.IGNORECASE
)
_SPECIFIC_BENIGN = frozenset(
    {
        "simple_cyst",
        "cyst",
        "hemangioma",
        "pseudocyst",
        "leiomyoma",
        "lipoma",
        "angiomyolipoma",
        "teratoma",
        "benign_tumor",
        "bone_island",
        "hydatid_cyst",
        "adenoma",
        "hamartoma",
    }
)


def organ_drafts(
    statements: Sequence[Statement],
    denials: Sequence[Denial],
    paired: frozenset[str],
    *,
    phase: str = "unknown",
) -> list[OrganDraft]:
    """All statements on organs, in text order; lesions are added by assembly.

    Args:
        statements: the report.
        denials: findings it denies.
        paired: organs that exist on both sides.
        phase: contrast phase; without contrast a denial of solid-organ lesions is a weak one.
    """
    drafts: list[OrganDraft] = []
    limited = _limited_organs(statements) | (
        frozenset(_SOLID_ORGANS) if phase == "non_contrast" else frozenset()
    )
    named: set[str] = set()
    by_statement: dict[int, list[Denial]] = {}
    for denial in denials:
        by_statement.setdefault(id(denial.statement), []).append(denial)
    for before, statement in zip((None, *statements), statements, strict=False):
        if not statement.current or len(drafts) >= MAX_STATEMENTS:
            continue
        if before is not None and before.current:
            drafts += none_of_them(statement, before)
        drafts += _denied(by_statement.get(id(statement), ()), limited, paired)
        drafts += normal_organs(statement, limited, paired)
        drafts += _mentioned(statement, named)
    return drafts


def _denied(
    denials: Sequence[Denial], limited: frozenset[str], paired: frozenset[str]
) -> Iterator[OrganDraft]:
    for denial in denials:
        scope = _scope(denial)
        if scope is None:
            continue
        text = denial.statement.text
        airway = _is_of_airway(denial)
        weak = is_limited(denial.statement)
        for organ in denial.organs:
            if organ in {"other", "vessel"} or (organ == "peritoneum" and len(denial.organs) > 1):
                continue
            if (airway and organ in {"lung", "pleura"}) or (organ == "peritoneum" and _is_of_bed(denial)):
                continue
            side = _denied_side(denial, organ, paired)
            yield OrganDraft.of_own(
                organ=organ, status="no_statement_on_lesions" if denial.no_new else "explicitly_lesion_free",
                scope=scope, laterality=side, limited=weak or organ in limited, quote=text[:2000],
                quote_start=denial.statement.start,
            )  # fmt: skip


def _is_of_airway(denial: Denial) -> bool:
    """True where only the trachea, the bronchi or a lumen is spoken of: that says nothing of the lung around them."""
    statement = denial.statement
    named = [m for m in statement.of("place") if m.value.organ == "lung"]
    if named:
        return all(is_airway(statement, m) for m in named)
    return _LUMEN.search(statement.low) is not None


def _denied_side(denial: Denial, organ: str, paired: frozenset[str]) -> Laterality:
    side = denial.location.laterality
    if organ in paired and side in {"left", "right"} and not denial.location.parts:
        return "left" if side == "left" else "right"
    parts = set(denial.location.parts)
    if parts >= WHOLE_PANCREAS or (organ == "peritoneum" and _names_whole(denial)):
        return "unknown"
    if parts and organ not in {"lymph_node", "bone"}:
        return "midline"  # a denial about a part says nothing about the whole organ
    return "unknown"


def _is_of_bed(denial: Denial) -> bool:
    """True where only a bed, a hilum or a gutter is spoken of, which is little of the peritoneum."""
    text, start = denial.statement.low, denial.statement.start
    named = [m for m in denial.statement.of("place") if m.value.organ == "peritoneum"]
    return bool(named) and not any(_PERITONEUM.search(text, m.start - start, m.end - start) for m in named)


def _names_whole(denial: Denial) -> bool:
    """Reads "no mass in the peritoneum and omentum": the organ beside one of its parts."""
    return any(m.value.organ == "peritoneum" and not m.value.part for m in denial.statement.of("place"))


def _scope(denial: Denial) -> OrganScope | None:
    finding, text = denial.finding, denial.statement.text
    low, high = denial.mark.start - denial.statement.start, denial.mark.end - denial.statement.start
    before, window = text[max(0, low - 60) : low], denial.statement.low[max(0, low - 60) : high + 30]
    if finding.diagnosis is None and _OCCLUSIVE.search(before):
        return None
    if finding.needs == "recurrence" or "recurren" in window:
        return "recurrence_only"
    if finding.kind == "metastasis" or "metasta" in window:
        return "metastasis_only"
    if finding.kind == "cyst" and _SOLID_OR.search(window):
        return "any_focal_lesion"
    if finding.diagnosis in _SPECIFIC_BENIGN or finding.kind in {"polyp"}:
        return None
    if finding.needs in {"density", "alone"}:
        return None
    if finding.kind == "wall_thickening":
        return (
            "any_focal_lesion"
            if denial.organs
            and set(denial.organs) <= {"esophagus", "stomach", "colon", "bladder", "small_bowel"}
            else None
        )
    if finding.malignancy == "malignant" or finding.kind == "tumor" or _PATHOLOGIC.search(window):
        return "suspicious_only"
    return "any_focal_lesion"


def _mentioned(statement: Statement, named: set[str]) -> Iterator[OrganDraft]:
    """Organs that the text names for the first time; ``named`` is extended."""
    seen: dict[str, None] = {}
    nodes, swollen = False, False
    for mark in reversed(statement.marks):
        if mark.category == "place":
            if mark.value.organ:
                seen[mark.value.organ] = None
        elif mark.category == "finding":
            nodes = nodes or is_node(mark)
        elif mark.category == "sign":
            swollen = swollen or mark.value[1] == "hydronephrosis"
    if nodes:
        seen.setdefault("lymph_node")
    if swollen:
        seen.setdefault("kidney")
    for organ in seen:
        if organ not in {"other", "vessel"} and organ not in named:
            named.add(organ)
            yield OrganDraft.of_own(
                organ=organ,
                status="no_statement_on_lesions",
                quote=statement.text[:2000],
                quote_start=statement.start,
            )


def _limited_organs(statements: Sequence[Statement]) -> frozenset[str]:
    """Organs whose evaluation the report calls limited."""
    found: set[str] = set()
    for statement in statements:
        if not is_limited(statement) or re.search(
            r"\b(?:visuali[sz]ed portions?|grossly|as far as|limited to)\b", statement.text, re.IGNORECASE
        ):
            continue
        if not re.search(
            r"\b(?:evaluat|assess|examin|stud|sensitiv|detect|imaged|visuali|includ|contrast|motion|artifact"
            r"|exam\b)",
            statement.text,
            re.IGNORECASE,
        ):
            continue
        named = {m.value.organ for m in statement.marks if m.category == "place" and m.value.organ}
        found |= named - {"other", "vessel", "soft_tissue"}
        if _SOLID.search(statement.text) or not named:
            found |= set(_SOLID_ORGANS)
    return frozenset(found)
