"""Organs that a report calls absent: removed, or looked for and not there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from llm_extract.cues import Cue
from llm_extract.drafts import OrganDraft
from llm_extract.records import Laterality
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.seeing import SEEN
from llm_extract.rules.statements import Statement
from llm_extract.rules.subjects import side_of_subject, subjects

_REMOVED = Cue(
    r"\b(?:surgically absent|is absent|are absent|has been (?:surgically )?(?:removed|resected)|have "
    r"been removed|was (?:removed|resected)|not present due to|surgically removed|absent|is not (?:seen"
    r"|visuali[sz]ed) "
    r"(?:due to|because of|secondary to) (?:surgery|resection|\w+ectomy)|(?:is|are|was|were) operated)\b"
    r"|\(operated\)",
    "absent", "removed", "resected", "not present due", "is not seen", "is not visuali", "operated",
)  # fmt: skip
_SEEN = rf"(?:{SEEN}|displayed|found|present)"
_NOT_THERE = Cue(
    r"\b(?:(?:(?:is|are|was|were)\s|(?:could|can)\s)?(?:not|cannot)\s(?:be\s|been\s)?" + _SEEN + r")\b"
    r"|\b(?:incomplete(?:ly)?\s(?:visuali[sz]ation|visuali[sz]ed|displayed?))\b",
    "not", "incomplete",
)  # fmt: skip
_NO_MORE_OF = Cue(
    r"\b(?:absence|non-?\s?visuali[sz]ation|non-?\s?display|incomplete (?:visuali[sz]ation|display))\sof\s"
    r"(?:the\s|both\s)?",
    "absence", "visuali", "display",
)  # fmt: skip
_OPERATED = Cue(
    r"\b(?:operat(?:ed|ion|ive)|post-?\s?op\w*|surg(?:ery|ical(?:ly)?)|resect\w+|removed|removal|excis\w+"
    r"|\w{3,20}ectom(?:y|ies|i[sz]ed))\b(?!\s?\?)",
    "operat", "post", "surg", "resect", "remov", "excis", "ectom",
)  # fmt: skip
_OTHER_CAUSE = re.compile(
    r"\b(?:contrast|artifacts?|evaluat\w+|optimal\w*|sections?|field|includ\w+|due|because|contracted|empty|collaps\w+"
    r"|distend\w*|agenesis|clearly|motion|technique|atroph\w+|ectopic|decompress\w*|separate\w*"
    r"|enlarg\w*|on th(?:is|ese))\b"
)
_NO_MORE_SAID = re.compile(
    r"\W*$|\s?[,.;:(]|\s(?:and|but|due|after|because|secondary|following|since|post\w*)\b"
    r"|\s(?:in|at|within)\s(?:(?:the|its|their|his|her|this|current|present|normal|usual|own|right|left|both"
    r"|\w+al|\w+ar)\s){0,4}(?:lodges?|loge|locali[sz]ations?|locations?|place|fossa|bed|positions?|sides?"
    r"|examination|study|images?|pelvis|area|region)\b"
)
"""What may follow a plain "is not seen"; "not seen to be enlarged" speaks of something else."""
_OF_A_SUBJECT = re.compile(
    r"(?:\W|\b(?:the|both|his|her|and|or|a|native|patient|s|glands?|tissue|in|its|their|lodges?|loge|locali[sz]ation"
    r"|location|bed|normal|structures?|of|left|right|bilateral)\b)*+"
)
_PLAINLY_MISSED = frozenset({"kidney", "breast", "spleen", "gallbladder", "uterus", "prostate"})
"""Organs that a CT shows wherever they are; where it does not, they were taken out."""
MAX_PREDICATES = 30
"""Words such as "normal" or "absent" that are read in one sentence."""


def absent_organs(statement: Statement, paired: frozenset[str]) -> Iterator[OrganDraft]:
    """What one sentence calls absent."""
    for match in itertools.islice(_REMOVED.finditer(statement.low), MAX_PREDICATES):
        for organ, side in subjects(statement, match.start(), match.end(), paired):
            if organ != "lymph_node":
                yield _absent(statement, organ, side)
    missed = [(m, organ) for m, organ in not_there(statement) if not m.value.part or organ == "uterus"]
    plain = any(organ in _PLAINLY_MISSED or _is_operated_on(statement, organ) for _, organ in missed)
    for mark, organ in missed:
        side = _side(statement, mark, paired)
        if plain or (organ == "lung" and side in {"left", "right"}):
            yield _absent(statement, organ, side)


def not_there(statement: Statement) -> Iterator[tuple[Mark, str]]:
    """Organs and parts that the sentence says are not seen, with their organ."""
    low = statement.low
    unseen = list(itertools.islice(_NOT_THERE.finditer(low), MAX_PREDICATES))
    missing = list(itertools.islice(_NO_MORE_OF.finditer(low), MAX_PREDICATES))
    if not unseen and not missing:
        return
    operated = is_operated(statement)
    other_cause = _OTHER_CAUSE.search(low) is not None
    if other_cause and not operated:
        return
    for match in unseen:
        if _NO_MORE_SAID.match(low, match.end()):
            for mark, organ in _named_alone(statement, match.start(), operated=operated):
                if not other_cause or _is_operated_on(statement, organ):
                    yield mark, organ
    if other_cause and statement.of("operation"):
        return
    for match in missing:
        at = statement.start + match.end()
        for mark in statement.of("place"):
            rest = low[mark.end - statement.start :]
            if (
                0 <= mark.start - at < 28
                and mark.value.organ
                and re.match(r"\s?(?:[,.;(]|$|due|after)", rest)
            ):
                yield mark, mark.value.organ


def is_operated(statement: Statement) -> bool:
    """True for a sentence that speaks of an operation."""
    return _OPERATED.search(statement.low) is not None or bool(statement.of("operation"))


def _is_operated_on(statement: Statement, organ: str) -> bool:
    """True unless the operations that a sentence names are all on other organs."""
    done = {m.value.organ for m in statement.of("operation")}
    return organ in done or (not done and is_operated(statement))


def _named_alone(statement: Statement, end: int, *, operated: bool) -> Iterator[tuple[Mark, str]]:
    """Organs that make up the whole subject of "was not observed"; "enhancement of the kidney" is none."""
    opened = max(statement.low.rfind(mark, 0, end) for mark in ",.;:")
    first = opened + 1
    while opened >= 0 and re.fullmatch(r"[^a-z]*", statement.low[first:end]):
        opened = statement.low.rfind(",", 0, opened)
        first = opened + 1
    low, high = statement.start + first, statement.start + end
    marks = [m for m in statement.of("place", "side") if low <= m.start < high]
    named = [m for m in marks if m.category == "place" and m.value.organ not in {None, "other", "vessel"}]
    words = list(statement.low[first:end])
    for mark in marks:
        words[mark.start - low : mark.end - low] = " " * (mark.end - mark.start)
    rest = "".join(words)
    if _OF_A_SUBJECT.fullmatch(rest) and (operated or "normal" not in rest):
        for mark in named:
            yield mark, mark.value.organ


def _side(statement: Statement, mark: Mark, paired: frozenset[str]) -> Laterality:
    side = side_of_subject(statement, mark, mark.value.organ, paired)
    return "bilateral" if side == "unknown" and mark.plural and mark.value.organ in paired else side


def _absent(statement: Statement, organ: str, side: Laterality) -> OrganDraft:
    return OrganDraft.of_own(
        organ=organ,
        status="surgically_absent",
        laterality=side,
        quote=statement.text[:2000],
        quote_start=statement.start,
    )
