"""What the findings of one sentence share, and where the words of each begin and end."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from llm_extract.cues import Cue
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.nouns import sizes_near
from llm_extract.rules.separators import cut_between
from llm_extract.rules.statements import Statement

if TYPE_CHECKING:
    from llm_extract.rules.heads import Head

_PROCESS = re.compile(
    r"thickening|effusion|opacit|granuloma|bulla|air cyst|bronchiect|tree-in-bud|shadow|splenule|accessory spleen",
    re.IGNORECASE,
)
"""What is named in its own right though it is no lesion."""


_LISTED = re.compile(
    r"\s?(?:,|or|and/or|/|,\s?or)\s?(?:(?!(?:except\w*|but|however|save|other|aside|apart|only|although|though)\b)\w+\s){0,3}",
    re.IGNORECASE,
)


def share_polarity(statement: Statement, heads: list[Head]) -> None:
    """Reads "No mass, nodule or cyst": a list keeps the negation of its first member."""
    for left, right in itertools.pairwise(heads):
        gap = statement.text[left.mark.end - statement.start : right.mark.start - statement.start]
        if (
            right.polarity == "affirmed"
            and left.polarity in {"negated", "no_new"}
            and _LISTED.fullmatch(gap)
            and not sizes_near(statement, right.mark)
        ):
            right.polarity = left.polarity


def share_names(statement: Statement, heads: list[Head]) -> None:
    """Reads "nodule and mass in the kidney, considered cysts": what is joined shares its reading."""
    for left, right in itertools.pairwise(heads):
        gap = statement.text[left.mark.end - statement.start : right.mark.start - statement.start]
        same = left.polarity == right.polarity and left.mark.value.diagnosis is None
        if same and gap.lower() == " and " and not left.names and right.mark.value.diagnosis is None:
            left.names = list(right.names)


def share_stretches(statement: Statement, heads: list[Head]) -> None:
    """Cut the sentence between its findings, at the last separator before each finding's own noun phrase."""
    end_of_text = statement.start + len(statement.text)
    start = max(statement.start, statement.title_end)
    start = _behind_other_thing(statement, heads[0], start) if heads else start
    for position, head in enumerate(heads):
        head.start = start
        behind = heads[position + 1].mark.start if position + 1 < len(heads) else end_of_text
        last = max((name.end for name, _ in head.names if name.start < behind), default=head.mark.end)
        if position + 1 == len(heads):
            head.end = _before_other_process(statement, head, last, end_of_text)
            break
        following = heads[position + 1]
        start = cut_between(statement, max(last, head.mark.end), following.mark.start)
        head.end = _before_other_process(statement, head, last, start)


_THING = re.compile(
    r"\b(?:stones?|calcul(?:us|i)|\w*lithiasis|hydronephrosis|effusions?|atelectasis|consolidations?|fractures?|diverticul\w+"
    r"|hernias?)\b"
)
"""What is no lesion, has a place of its own, and is told before the first one."""
_NEXT_THING = re.compile(r"[,;]\s(?:and\s)?(?=(?:an?|one|two|multiple|several|\d+)\s)")


def _behind_other_thing(statement: Statement, head: Head, start: int) -> int:
    """Reads "a stone in the lower pole of the kidney, and a cyst in the upper pole": its place is not the first."""
    low, offset = statement.low, statement.start
    thing = _THING.search(low, start - offset, head.mark.start - offset)
    if thing is None:
        return start
    cuts = [m.start() + offset for m in _NEXT_THING.finditer(low, thing.end(), head.mark.start - offset)]
    places = [m.start for m in statement.of("place", "short")]
    if not cuts or not any(start <= at < cuts[-1] for at in places):
        return start
    return cuts[-1] if any(at >= head.mark.end for at in places) else start


_OF_OTHER = re.compile(
    r"\b(?:stones?|calcul(?:us|i)|\w*lithiasis|atroph\w+|dilat\w+|ectasia|calcifications?|scars?|scarring|infarcts?)"
    r"(?:\s(?:of|in|at|with|measuring|the|is|are|seen|noted|main|pancreatic|ducts?|\d[\d.x]{0,6}|mm|cm)){0,8}\s$"
)
"""Before the part that something else than the lesion lies in."""
_AND = re.compile(r"(?:,|,?\s(?:and|or)|/)\s?(?:the\s)?")


def without_parts_of_others(statement: Statement, marks: list[Mark]) -> list[Mark]:
    """Reads "a cyst of the pancreatic body and atrophy of the tail": the tail is not where the cyst lies."""
    parts = [m for m in marks if m.category == "short" or (m.category == "place" and m.value.part)]
    if len(parts) < 2:
        return marks
    starts = [m.start - statement.start for m in parts if m.category == "short"]
    theirs = {at for at in starts if _OF_OTHER.search(statement.low[max(0, at - 70) : at])}
    for left, right in itertools.pairwise(m for m in parts if m.category == "short"):
        gap = statement.low[left.end - statement.start : right.start - statement.start]
        if left.start - statement.start in theirs and _AND.fullmatch(gap):
            theirs.add(right.start - statement.start)
    if not theirs or all(m.start - statement.start in theirs for m in parts):
        return marks
    return [m for m in marks if m.category != "short" or m.start - statement.start not in theirs]


_STATE = (
    r"(?:normal|unremarkable|natural|clear|intact|absent|spared|uninvolved|unaffected|within normal|surgically"
    r"|removed|(?:resected|operated)\b|not (?:seen|visuali|identified|enlarged|involved|affected|evaluat)"
    r"|without (?:lesion|mass|nodul|abnorm|focal|patho))"
)
_LOOK = (
    r"(?:atroph|small\b|enlarged|dilated|thick|thin\b|fatty|collapsed|homogen|heterogen|hypertroph|distended"
    r"|preserved|free)"
)
_CLAUSE = Cue(
    r"(?:[,;]|\b(?:and|while|whereas|but|although)\b)(?:\s(?:and|while|whereas|but|although))?\s(?P<subject>"
    r"(?:(?!(?:is|are|was|were|has|have|with|there|which|shows?|contains?)\b)[\w/-]+,?\s){1,7}?)"
    r"(?:(?:is|are|was|were|appears?|remains?|looks?)\s(?:\w+ly\s|also\s)?(?:" + _STATE + "|" + _LOOK + ")"
    r"|" + _STATE + r"(?=[\w\s]{0,12}(?:[.,;)]|$)))",
    "normal", "unremarkable", "natural", "clear", "intact", "absent", "spared", "uninvolved", "unaffected",
    "surgically", "removed", "resected", "operated", "not ", "without", "atroph", "small", "enlarged", "dilated",
    "thick", "thin", "fatty", "collapsed", "homogen", "heterogen", "hypertroph", "distended", "preserved", "free",
)  # fmt: skip
_WITH_NORMAL = re.compile(r",?\s(?:with|and)\s(?:an?\s|the\s)?(?:normal|unremarkable)[\s-]")
_PLACES = frozenset({"place", "short", "side"})


def _before_other_subject(statement: Statement, head: Head, last: int, end: int) -> int:
    """Reads "the left kidney holds a mass and the right kidney is normal": the right one is not where the mass is."""
    behind = [m.start for m in statement.marks if m.category in _PLACES and last <= m.start < end]
    behind += [
        r.start for r in statement.references if r.kind in {"segment", "vertebra"} and last <= r.start < end
    ]
    if not behind:
        return end
    low = statement.low[last - statement.start : end - statement.start]
    for match in _CLAUSE.finditer(low):
        subject = (last + match.start("subject"), last + match.end("subject"))
        if any(subject[0] <= at < subject[1] for at in behind):
            return _where_own(statement, head, last + match.start(), end)
    normal = _WITH_NORMAL.search(low)
    if normal is not None and any(0 <= at - last - normal.end() < 2 for at in behind):
        return _where_own(statement, head, last + normal.start(), end)
    return end


def _where_own(statement: Statement, head: Head, cut: int, end: int) -> int:
    """Where the words of a finding end: at a cut, if a place of its own is named before."""
    own = statement.heading or any(
        m.category in _PLACES and head.start <= m.start < cut for m in statement.marks
    )
    placed = own or any(
        r.kind in {"segment", "vertebra"} and head.start <= r.start < cut for r in statement.references
    )
    return cut if placed else end


_SPARED = re.compile(
    r"\b(?:spar(?:es|ed|ing)(?:\sof)?|but not|none(?:\s(?:in|of|at|within))?"
    r"|(?:not|without)\s(?:\w+ly\s)?(?:cross|exten[ds]|involv|reach|inva[ds]|affect|infiltrat)\w*(?:\s(?:in|of|to|into|towards?))?)"
    r"\s(?:the\s)?(?:(?!(?:with|measur\w*|which|is|in|but|involv\w+|extend\w*|invad\w+|located|seen|there)\b)[\w/-]+,?\s){0,4}$"
)


def is_spared(statement: Statement, start: int) -> bool:
    """True for a place that the text says the finding does not reach: "a mass of the body sparing the head".

    Args:
        statement: the sentence.
        start: where in the report the words for the place begin.
    """
    at = start - statement.start
    return _SPARED.search(statement.low, max(0, at - 70), at) is not None


def may_spare(statement: Statement) -> bool:
    """True where a sentence holds words that :func:`is_spared` needs."""
    low = statement.low
    return "spar" in low or "not " in low or "without" in low or "none" in low


_THINGS = Cue(
    r"(?:[,;]|\b(?:and|with)\b)(?:\s(?:and|with))?\s(?:(?!(?:is|are|was|were|of|in|at|to|surrounding|adjacent|distal|peripheral)\b)"
    r"[\w/-]+\s){0,4}?(?:shows?\s|has\s|contains?\s|with\s)?(?:(?!(?:no|without)\b)\w+\s){0,2}?"
    r"(?:atelectas[ie]s|consolidations?|effusions?|collapse|scarring|scars?|fibrosis|emphysema|infarct\w*|hydronephrosis|stones?"
    r"|calcul(?:us|i)|\w*lithiasis|pneumonia|bronchiectasis|atrophy|duplication|stents?|catheters?)\b",
    "atelectas", "consolidation", "effusion", "collapse", "scar", "fibrosis", "emphysema", "infarct", "hydronephrosis",
    "stone", "calcul", "lithiasis", "pneumonia", "bronchiectasis", "atrophy", "duplication", "stent", "catheter",
)  # fmt: skip


def _before_other_thing(statement: Statement, head: Head, last: int, end: int) -> int:
    """Reads "a nodule in the right lung, left lung shows atelectasis": the side of what is no lesion."""
    low, offset = statement.low, statement.start
    match = _THINGS.search(low[last - offset : end - offset])
    if match is None:
        return end
    cut = last + match.start()
    sized = any(last + match.end() <= m.start < end for m in statement.measurements)
    placed = any(m.category in _PLACES and cut <= m.start < end for m in statement.marks)
    return _where_own(statement, head, cut, end) if placed and not sized else end


def _before_other_process(statement: Statement, head: Head, last: int, end: int) -> int:
    """Reads "nodules in both lungs, septal thickening in one lobe": what is no lesion has its own place."""
    end = _before_other_thing(statement, head, last, _before_other_subject(statement, head, last, end))
    others = [
        m
        for m in statement.marks
        if m.category == "excluded"
        and last <= m.start < end
        and _PROCESS.search(statement.text, m.start - statement.start, m.end - statement.start)
    ]
    if not others:
        return end
    cut = cut_between(statement, last, others[0].start)
    places = [m.start for m in statement.marks if m.category in {"place", "short"}]
    own = any(head.start <= at < cut for at in places)
    theirs = any(others[0].end <= at < end for at in places)
    sized = any(cut <= m.start < end for m in statement.measurements)
    return cut if cut > last and own and theirs and not sized else end
