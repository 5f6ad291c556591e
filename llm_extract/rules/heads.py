"""The findings of a sentence: which nouns are lesions, what is said of their existence, and the stretch each owns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_extract.cues import Cue
from llm_extract.rules import context, hedges, readings
from llm_extract.rules.appositions import describes_last, is_alternative, is_last_word, is_unplaced, restates
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.nouns import counts, sizes_near
from llm_extract.rules.statements import Statement
from llm_extract.rules.stretches import share_names, share_polarity, share_stretches

_GENERIC = frozenset({"mass", "nodule", "lesion", "tumor", "metastasis", "cyst"})
_COMPOUND = re.compile(r"[\s-]{0,2}(?:of\s|type\s|like\s|shaped\s|\()?")
_FORM_OF = re.compile(
    r"\s(?:(?:belonging to|in the form of)\s(?:an?\s)?(?:[\w-]+\s){0,2}|\([^()]{1,24}\)\s)", re.IGNORECASE
)
"""Reads "a lesion in the form of a dense nodule", "low density (20 HU) lesion"."""
_WHERE_IT_WAS = re.compile(r"\s(?:localization|localisation|location|site|bed)\b")
_CONTACT = re.compile(r"\bcontact with\s(?:[\w-]+\s){1,4}$", re.IGNORECASE)
_IN_THE = re.compile(r"\b(?:in|at|of)\s(?:the\s)?(?:[\w-]+\s){0,2}$", re.IGNORECASE)
_WITH_DENSITY = re.compile(
    r"[^.;,]{0,90}?\bwith\s(?:(?!(?:in|of|with|and|at|on)\b)[\w-]+\s){0,3}", re.IGNORECASE
)
_SHOWING = re.compile(
    r"\s(?:with|of|showing)\s(?:(?!(?:in|of|with|and|at|on)\b)[\w-]+\s){0,3}", re.IGNORECASE
)
_ANOTHER_HEDGED = re.compile(
    r"\band\s(?:an?\s)?(?:possible|probable|likely|suspected|questionable)\s(?:[\w-]+\s){0,2}$", re.IGNORECASE
)
"""Reads "a mass in the liver and a possible cyst"."""
_ASKED = re.compile(r"[\s)]{0,2}\?|\s(?:versus|vs\.?|or)\s")
"""Behind a name: "cyst?", "cyst versus a solid nodule"."""
_NEXT_WORD = re.compile(r",\s(?:an?\s)?$")
"""Reads "a nodule in the wall, tumour possible"."""
_CORTEX = re.compile(r"\b(?:with|showing|having)\s(?:[\w-]+\s){0,3}$", re.IGNORECASE)
"""Reads "nodes with cortical thickening": what a node looks like."""
_FORMED = re.compile(r"(?:formation|structure|shadow|image|opacity|density)s?\b")
_DESCRIBED = re.compile(
    r"\s(?:(?:low|high|mixed|fluid|soft|tissue|fat|density|hypodense|hyperdense|attenuation|round|oval"
    r"|solid|cystic"
    r"|nodular|shaped|like)[\s-]){1,4}",
    re.IGNORECASE,
)
MAX_FINDINGS = 40
"""Findings read in one sentence; more is not language."""


_MULTIPLIED = Cue(
    r"\b(?:multiple|numerous|several|innumerable|many|few)\s(?:(?!(?:in|of|with|and|on|to|the|[cm]m|millim\w+|centim\w+)\b)"
    r"[\w-]+\s){0,3}$",
    "multiple", "numer", "several", "many", "few",
)  # fmt: skip
"""Given lower case."""
_WITHIN = Cue(r"\b(?:within|inside)\s(?:the|this|these|those|that)\s(?:described\s)?$", "within", "inside")


@dataclass(slots=True)
class Head:
    """A finding with the names it is given and the stretch of text that belongs to it.

    Args:
        mark: the noun.
        polarity: affirmed, negated, no_new, resolved, hypothetical or history.
        names: diagnoses given to it in the same sentence, with the words that lead to them.
        start, end: its stretch, positions of the report.
    """

    mark: Mark
    polarity: context.Polarity
    names: list[tuple[Mark, str]] = field(default_factory=list)
    start: int = 0
    end: int = 0
    plural: bool = False

    @property
    def anchors(self) -> list[Mark]:
        """The noun and its names."""
        return [self.mark, *(mark for mark, _ in self.names)]


def find_heads(statement: Statement) -> list[Head]:
    """Findings of a sentence in text order, each with its stretch."""
    found = [m for m in statement.marks if m.category == "finding" and m.start >= statement.title_end]
    if not found:
        return []
    marks = _compounds(statement, found[:MAX_FINDINGS])
    heads: list[Head] = []
    for mark, inner in marks:
        if not counts(statement, mark) or (heads and is_alternative(statement, heads[-1], mark)):
            continue
        before = statement.text[: mark.start - statement.start]
        if readings.is_unlikely(before.lower(), statement.low[mark.end - statement.start :]):
            continue
        if heads:
            last = heads[-1].names[-1][0] if heads[-1].names else heads[-1].mark
            between = statement.text[last.end - statement.start : mark.start - statement.start]
            node = heads[-1].mark.value.kind == "lymph_node" and mark.value.kind == "wall_thickening"
            if node and _CORTEX.search(between):
                continue
            link = _link(statement, heads[-1], mark, between)
            if link is not None:
                heads[-1].names.append((mark, link))
                continue
            if last.value.needs == "named" and len(between) < 2 and mark.value.diagnosis is None:
                continue  # "considering metastatic tumour": the noun of the adjective
        if mark.value.needs == "named" or _only_holds(statement, mark, before):
            continue
        measured = bool(sizes_near(statement, mark))
        only_there = _is_landmark(statement, mark, before) and not _has_own_size(statement, mark)
        if only_there or (heads and describes_last(statement, heads[-1], mark, before)):
            continue
        polarity = context.polarity(
            statement.text, mark.start - statement.start, mark.end - statement.start, measured=measured
        )
        if polarity == "affirmed" and not measured and context.is_origin(before) and not heads:
            polarity = "history"
        head = Head(
            mark, polarity, [(m, "") for m in inner], plural=mark.plural or _is_multiplied(statement, mark)
        )
        heads.append(head)
    share_polarity(statement, heads)
    share_names(statement, heads)
    share_stretches(statement, heads)
    return heads


def _is_landmark(statement: Statement, mark: Mark, before: str) -> bool:
    """True for "boundary with the mass", "in the metastatic nodule localization"."""
    if mark.value.diagnosis is None and context.is_landmark_noun(before):
        own = any(0 <= mark.start - m.end < 2 for m in statement.of("place"))
        return not (
            own and _CONTACT.search(before[-60:])
        )  # "a lung mass in contact with the mediastinal mass"
    return (
        _WHERE_IT_WAS.match(statement.low, mark.end - statement.start) is not None
        and _IN_THE.search(before) is not None
    )


def _has_own_size(statement: Statement, mark: Mark) -> bool:
    """True if a length beside a noun is not that of a finding in between: "the 12 mm nodule next to the mass"."""
    others = [m.start for m in statement.marks if m.category == "finding" and m is not mark]
    return any(
        not any(min(m.start, mark.start) <= at < max(m.start, mark.start) for at in others)
        for m in sizes_near(statement, mark)
    )


def _link(statement: Statement, head: Head, mark: Mark, between: str) -> str | None:
    """The words that make ``mark`` a name of the finding before it, "?" for a hedge behind them; None for a lesion."""
    after = statement.low[mark.end - statement.start :]
    asked = "?" if _ASKED.match(after) is not None else readings.hedge_behind(after) or ""
    if _is_name(statement, head, mark, between):
        return between + asked
    if asked and mark.value.kind == "tumor" and not head.plural and _NEXT_WORD.search(between):
        return between + asked
    if head.polarity != "affirmed" or _adjacent_size(statement, mark):
        return None
    if _shows_density(statement, head, mark, between):
        return ""
    if restates(statement, head, mark, between) or is_last_word(statement, head, mark, between):
        return between + asked
    start = head.mark.end - statement.start
    since = statement.low[start : mark.start - statement.start]
    if readings.is_undecided(since) and not re.search(r"[.;]", since):
        return between + "?"
    words = readings.clause_head(between.lower(), after)
    if words is not None and is_unplaced(statement, head, mark, len(words)):
        return between + asked
    before = statement.low[: mark.start - statement.start]
    if mark.value.diagnosis is not None and readings.is_advised_for(before):
        return between + "?"
    return _alternative(statement, head, mark, between)


def _alternative(statement: Statement, head: Head, mark: Mark, between: str) -> str | None:
    """Reads "possibly haemangioma and cyst": under one hedge a second name is another possibility."""
    if not head.names or mark.value.diagnosis is None:
        return None
    first, link = head.names[-1]
    if not readings.is_alternative(between.lower()) or hedges.certainty(link) == "definite":
        return None
    if mark.value.organ not in {None, first.value.organ} and first.value.organ is not None:
        return None
    rest = re.split(r"[,;.]", statement.text[mark.end - statement.start :], maxsplit=1)[0]
    placed = any(
        m.category in {"place", "short", "side"} and mark.end <= m.start < mark.end + len(rest)
        for m in statement.marks
    )
    return None if placed else f"{link}?"


def _shows_density(statement: Statement, head: Head, mark: Mark, between: str) -> bool:
    """Reads "cysts with low density", "lesions with multiple dense shadows": how a finding looks is no second one."""
    if mark.value.diagnosis is not None or mark.value.kind != "lesion" or not mark.value.attenuation:
        return False
    noun = statement.low[mark.start - statement.start : mark.end - statement.start]
    if noun.endswith(("density", "densities", "attenuation")):
        return _WITH_DENSITY.fullmatch(between) is not None
    if _SHOWING.fullmatch(between) is None:
        return False
    rest = re.split(
        r"[,;.]|\b(?:and|is|are|was|were)\b", statement.low[mark.end - statement.start :], maxsplit=1
    )[0]
    placed = [
        m
        for m in statement.marks
        if m.category in {"place", "short"} and mark.end <= m.start < mark.end + len(rest)
    ]
    return all(m.category == "place" and m.value.organ == head.mark.value.organ for m in placed)


def _is_multiplied(statement: Statement, mark: Mark) -> bool:
    """Reads "multiple parenchymal nodule": a number word makes a singular noun a plural."""
    return _MULTIPLIED.search(statement.low[: mark.start - statement.start]) is not None


def _only_holds(statement: Statement, mark: Mark, before: str) -> bool:
    """Reads "vessels within the lesion": a look back at what holds something else."""
    if (
        mark.value.diagnosis is not None
        or _WITHIN.search(before.lower()) is None
        or sizes_near(statement, mark)
    ):
        return False
    later = [m for m in statement.marks if m.start >= mark.end]
    named = any(m.category == "finding" and m.value.diagnosis for m in later)
    return not named and not any(m.category in {"place", "short"} for m in later)


def _compounds(statement: Statement, marks: Sequence[Mark]) -> list[tuple[Mark, list[Mark]]]:
    """Reads "metastatic lesion", "cystic mass": neighbours make one finding, named by the specific word."""
    joined: list[tuple[Mark, list[Mark]]] = []
    for mark in marks:
        if joined:
            last = joined[-1][0]
            gap = statement.text[last.end - statement.start : mark.start - statement.start]
            if (
                last.value.needs != "named"
                and (_COMPOUND.fullmatch(gap) or _DESCRIBED.fullmatch(gap) or _FORM_OF.fullmatch(gap))
                and mark.value.kind in _GENERIC
                and mark.value.diagnosis is None
            ):
                if last.value.kind in {"nodule", "mass"} and _FORMED.match(
                    statement.low, mark.start - statement.start
                ):
                    continue  # "nodule formation"
                inner = joined.pop()
                joined.append((mark, [*inner[1], inner[0]]))
                continue
        joined.append((mark, []))
    return joined


_OF_LUNG = re.compile(
    r"\b(?:intra-?\s?pulmonary|pulmonary|peri-?\s?fissural|fissural|sub-?pleural|intra-?mammary)\s$"
)


def _is_node_of_lung(statement: Statement, head: Head, mark: Mark, between: str) -> bool:
    """Reads "a nodule on the fissure, considered an intrapulmonary lymph node": what the nodule is."""
    if mark.value.kind != "lymph_node" or head.mark.value.kind not in {"nodule", "lesion"}:
        return False
    low = statement.low[: mark.start - statement.start]
    inside = _OF_LUNG.search(low)
    before = between[: len(between) - len(inside[0])] if inside is not None else ""
    return inside is not None and not mark.plural and hedges.names_other(before)


def _is_name(statement: Statement, head: Head, mark: Mark, between: str) -> bool:
    """True if ``mark`` only names the finding before it."""
    after = statement.text[mark.end - statement.start :]
    if re.search(r"\([\w\s,-]{0,30}$", between) and re.match(r"[\w\s,-]{0,24}[?)]", after):
        return True
    own_size = any(
        head.mark.end <= m.start < mark.start and m.tense == "current" for m in statement.measurements
    )
    new_size = own_size and _adjacent_size(statement, mark) and not _links_to_size(statement, head, mark)
    if new_size or (mark.value.needs == "qualified" and not _is_node_of_lung(statement, head, mark, between)):
        return False
    if not head.names and _ANOTHER_HEDGED.search(between):
        return False
    if hedges.names_other(between):
        bare_or = re.search(
            r"\b(?:or|are|is an?|was a|were|as an?)\W*(?:\w+\s){0,2}$", between, re.IGNORECASE
        )
        if head.polarity != "affirmed" and bare_or:
            return False
        return not (
            bare_or
            and mark.value.kind in {"mass", "nodule", "lesion"}
            and not mark.value.diagnosis
            and "or" in between
        )
    specific = mark.value.diagnosis is not None and mark.value.diagnosis not in {"cyst"}
    generic_head = head.mark.value.diagnosis is None
    return specific and generic_head and hedges.is_apposition(between) and head.polarity == "affirmed"


def _links_to_size(statement: Statement, head: Head, mark: Mark) -> bool:
    """Reads "a nodule compatible with a 16 mm adenoma": the size comes with the name."""
    first = next(m.start for m in statement.measurements if m.start >= head.mark.end)
    return hedges.names_other(statement.text[head.mark.end - statement.start : first - statement.start])


_LED_FROM_SIZE = re.compile(
    r"[,;]|\b(?:(?:compatible|consistent|in keeping|in line) with|suggest\w*|suspicious|concerning for|in favou?r of"
    r"|evaluated|considered|interpreted|regarded|assessed|thought|represent\w*|indicative of|characteristic of|typical"
    r"|(?:may|might|could) (?:be|represent|belong)|favou?r\w*)\s"
)
"""Reads "a nodule of 18 mm consistent with adenoma": the size before such words is not that of the name behind them."""


def _adjacent_size(statement: Statement, mark: Mark) -> bool:
    return any(
        m.tense == "current"
        and 0 <= mark.start - m.end < 40
        and not _LED_FROM_SIZE.search(statement.low, m.end - statement.start, mark.start - statement.start)
        for m in statement.measurements
    )
