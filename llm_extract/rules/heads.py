"""The findings of a sentence: which nouns are lesions, what is said of their existence, and the stretch each owns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_extract.measurements import Measurement
from llm_extract.rules import context, hedges
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.statements import Statement

_GENERIC = frozenset({"mass", "nodule", "lesion", "tumor", "metastasis", "cyst"})
_COMPOUND = re.compile(r"[\s-]{0,2}(?:of\s|type\s|\()?")
_DESCRIBED = re.compile(
    r"\s(?:(?:low|high|mixed|fluid|soft|tissue|fat|density|hypodense|hyperdense|attenuation|round|oval"
    r"|solid|cystic"
    r"|nodular|shaped|like)[\s-]){1,4}",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"[,;(•]|\b(?:and|with|plus|as well as|in addition to|along with|including|while|but|whereas|also"
    r"|another|or|other than|which|there (?:is|are))\b|\s-\s|:",
    re.IGNORECASE,
)
_MODIFIERS = re.compile(
    r"\s{0,2}(?:and\s|with\s)?(?:an?|the|another|additional|one|two|three|up to|approximately|about"
    r"|small|large|new|stable|left|right|[\d.,]+|x|×|mm|cm|by|\s|-"
    r"|\w+(?:ed|ing|al|ic|ous|ar|ary|ense|le|ly))*\s{0,2}",
    re.IGNORECASE,
)
_QUALIFIES = frozenset({"abnormal", "malignant"})
MAX_FINDINGS = 40
"""Findings read in one sentence; more is not language."""
NODE_LIMIT_MM = 10.0
"""Short axis from which a node counts as enlarged where the text does not say (RECIST 1.1)."""
_WALL = re.compile(
    r"(?:concerning|suspicious|malignan|tumou?r|neoplas|mass|asymmetric|irregular|nodular|focal"
    r"|circumferential|space.occupying)",
    re.IGNORECASE,
)
_NORMAL_NODE = re.compile(
    r"\b(?:normal|non-?pathological|non-?enlarged|not (?:pathologically )?enlarged|subcentimet\w+"
    r"|sub-centimet\w+|millimet\w+|small|reactive|benign|physiologic|non-?specific"
    r"|not (?:\w+ ){0,3}pathologic\w*"
    r"|insignificant|fatty hilum|fatty hilus|visible|nonspecific)\b",
    re.IGNORECASE,
)


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
    found = [m for m in statement.marks if m.category == "finding"]
    marks = _compounds(statement, found[:MAX_FINDINGS])
    heads: list[Head] = []
    for mark, inner in marks:
        if not _counts(statement, mark):
            continue
        before = statement.text[: mark.start - statement.start]
        if heads:
            last = heads[-1].names[-1][0] if heads[-1].names else heads[-1].mark
            between = statement.text[last.end - statement.start : mark.start - statement.start]
            if _is_name(statement, heads[-1], mark, between):
                asked = re.match(r"[\s)]{0,2}\?", statement.text[mark.end - statement.start :]) is not None
                heads[-1].names.append((mark, between + "?" if asked else between))
                continue
            if last.value.needs == "named" and len(between) < 2 and mark.value.diagnosis is None:
                continue  # "considering metastatic tumour": the noun of the adjective
        if mark.value.needs == "named":
            continue
        measured = bool(_near(statement, mark))
        polarity = context.polarity(
            statement.text, mark.start - statement.start, mark.end - statement.start, measured=measured
        )
        if polarity == "affirmed" and not measured and context.is_origin(before) and not heads:
            polarity = "history"
        head = Head(mark, polarity, [(m, "") for m in inner], plural=mark.plural)
        heads.append(head)
    _share_polarity(statement, heads)
    _stretch(statement, heads)
    return heads


def _compounds(statement: Statement, marks: Sequence[Mark]) -> list[tuple[Mark, list[Mark]]]:
    """Reads "metastatic lesion", "cystic mass": neighbours make one finding, named by the specific word."""
    joined: list[tuple[Mark, list[Mark]]] = []
    for mark in marks:
        if joined:
            last = joined[-1][0]
            gap = statement.text[last.end - statement.start : mark.start - statement.start]
            if (
                last.value.needs != "named"
                and (_COMPOUND.fullmatch(gap) or _DESCRIBED.fullmatch(gap))
                and mark.value.kind in _GENERIC
                and mark.value.diagnosis is None
            ):
                inner = joined.pop()
                joined.append((mark, [*inner[1], inner[0]]))
                continue
        joined.append((mark, []))
    return joined


_READ_AS = (
    r"(?:compatible|consistent|in favou?r|in the direction|suggest\w*|consider\w*|which (?:is|are|may be)"
    r"|secondary|due"
    r"|represent\w*|indicat\w*|likely|probabl[ey]|evaluated|reflect\w*|belong\w*)[^.;]{0,40}\b"
)
_EXPLAINED = re.compile(
    _READ_AS + r"(?:accessory spleen|splenule|calcul\w+|stones?|\w*lithiasis|\w*steatosis|fatty|fat spar\w+"
    r"|adipos\w+|calcifi\w+|plaques?|effusions?|postoperative|post-operative|post-\w+|surgery|surgical"
    r"|operation"
    r"|implant\w*|pneumoni\w+|infect\w+|inflamm\w+|sequel\w+|atelecta\w+|fibro(?:sis|tic)|scars?|scarring"
    r"|thromb\w+|h(?:a)?ematoma|fractures?|degenerat\w+|catheter\w*|stents?|pacemaker|artifacts?"
    r"|arteriosclerosis"
    r"|atherosclero\w+|thickening|secretions?|mucus|residue|food|hernias?|bulla[e]?|emphysema|pacemaker)\b",
    re.IGNORECASE,
)
_STONE = re.compile(
    _READ_AS + r"(?:accessory spleen|splenule|calcul\w+|stones?|\w*lithiasis|catheter\w*|stents?)\b",
    re.IGNORECASE,
)
_SPLEEN = re.compile(r"[^.;]{0,60}\([^()]{0,20}(?:accessory spleen|splenule|calcul\w+|stone)", re.IGNORECASE)
_SPREAD_OUT = re.compile(
    r"\b(?:diffuse\w*|patchy|linear|line-like|strip(?:e|-like|s)?|cylindrical|band-?like|flaky"
    r"|cloud-?like|streaky|speckled|flocculent|ground[- ]glass|infiltrat\w+|reticular|consolidat\w+"
    r"|nodular thickening)\b[^.;,]{0,40}$",
    re.IGNORECASE,
)


def _counts(statement: Statement, mark: Mark) -> bool:
    """A noun that needs a qualifying word has one, and is not a stone, plaque or effusion in other words."""
    needs = mark.value.needs
    before = statement.text[: mark.start - statement.start]
    after = statement.text[mark.end - statement.start :]
    if mark.value.diagnosis is None and mark.value.kind == "lesion":
        if _SPREAD_OUT.search(before) or _EXPLAINED.search(after[:110]) or _SPLEEN.match(after[:110]):
            return False
        if mark.value.attenuation and mark.value.needs is None and _fluid(before, after):
            return False
    if mark.value.kind == "nodule" and mark.value.diagnosis is None and _STONE.search(after[:110]):
        return False
    if needs == "size":
        later = [m.start for m in statement.marks if m.category == "finding" and m.start >= mark.end]
        return any(m.start < min(later, default=m.end) for m in _near(statement, mark))
    if needs == "density_or_size" and (_near(statement, mark) or _in_solid_organ(statement)):
        return True
    if needs in {"density", "density_or_size"}:
        return any(m.category == "attenuation" and _describes(statement, m, mark) for m in statement.marks)
    return True


def _fluid(before: str, after: str) -> bool:
    """True for "fluid with low density", which is no lesion."""
    return bool(
        re.search(
            r"\b(?:fluid|effusion|ascites|liver|parenchyma\w*|bone(?:s)?)\b[^.;,]{0,24}(?:with|of|shows?"
            r"|has)\s(?:\w+\s)?$",
            before,
            re.IGNORECASE,
        )
    ) or bool(
        re.match(
            r"\s(?:of|in) (?:the )?(?:\w+ )?(?:parenchyma|fluid|liver parenchyma)\b", after, re.IGNORECASE
        )
    )


def _in_solid_organ(statement: Statement) -> bool:
    named = {m.value.organ for m in statement.marks if m.category == "place"} | set(statement.topic)
    return bool(named & {"liver", "pancreas", "kidney", "spleen", "adrenal_gland"})


def _short_axis(statement: Statement, size: Measurement) -> bool:
    low, high = size.start - statement.start, size.end - statement.start
    around = statement.text[max(0, low - 25) : low] + " " + statement.text[high : high + 25]
    return re.search(r"\bshort\b", around, re.IGNORECASE) is not None


def _large(statement: Statement, head: Head) -> bool:
    """True if a node is as large as RECIST calls enlarged; its short axis decides where it is stated."""
    near = _near(statement, head.mark)
    short = [m for m in near if _short_axis(statement, m)]
    return any(
        min(m.values_mm[:2]) >= NODE_LIMIT_MM and not m.worded and not m.bound_is_strict
        for m in short or near
    )


def _describes(statement: Statement, density: Mark, mark: Mark) -> bool:
    """True for "hypodense oval area" and "area of low density"."""
    if density.end <= mark.start:
        gap = statement.text[density.end - statement.start : mark.start - statement.start]
        return len(gap) < 30 and not re.search(r"[,.;:()]|\b(?:in|of|to|and|the|at|on)\b", gap)
    gap = statement.text[mark.end - statement.start : density.start - statement.start]
    return bool(re.fullmatch(r"\s(?:of|with|in)\s(?:\w+\s)?", gap, re.IGNORECASE))


def qualified(statement: Statement, head: Head) -> bool:
    """True if a node or a thickened wall is called abnormal in its stretch."""
    if head.mark.value.needs != "qualified":
        return True
    stretch = statement.text[max(0, head.start - statement.start) : head.end - statement.start]
    if head.mark.value.kind == "lymph_node" and not _NORMAL_NODE.search(stretch) and _large(statement, head):
        return True
    if head.mark.value.kind == "wall_thickening":
        return bool(_WALL.search(stretch))
    if _NORMAL_NODE.search(stretch):
        return False
    return any(m.category in _QUALIFIES and head.start <= m.start < head.end for m in statement.marks) or any(
        name.value.malignancy == "malignant" for name, _ in head.names
    )


def _is_name(statement: Statement, head: Head, mark: Mark, between: str) -> bool:
    """True if ``mark`` only names the finding before it."""
    after = statement.text[mark.end - statement.start :]
    if re.search(r"\([\w\s,-]{0,30}$", between) and re.match(r"[\w\s,-]{0,24}[?)]", after):
        return True
    own_size = any(
        head.mark.end <= m.start < mark.start and m.tense == "current" for m in statement.measurements
    )
    new_size = own_size and _adjacent_size(statement, mark)
    if new_size or mark.value.needs == "qualified":
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


def _adjacent_size(statement: Statement, mark: Mark) -> bool:
    return any(
        0 <= mark.start - m.end < 40
        and not re.search(r"[,;]", statement.text[m.end - statement.start : mark.start - statement.start])
        for m in statement.measurements
    )


def _near(statement: Statement, mark: Mark) -> list[Measurement]:
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


def _share_polarity(statement: Statement, heads: list[Head]) -> None:
    """Reads "No mass, nodule or cyst": a list keeps the negation of its first member."""
    for left, right in itertools.pairwise(heads):
        gap = statement.text[left.mark.end - statement.start : right.mark.start - statement.start]
        if (
            right.polarity == "affirmed"
            and left.polarity in {"negated", "no_new"}
            and re.fullmatch(r"\s?(?:,|or|and/or|/|,\s?or)\s?(?:\w+\s){0,3}", gap, re.IGNORECASE)
            and not _near(statement, right.mark)
        ):
            right.polarity = left.polarity


def _stretch(statement: Statement, heads: list[Head]) -> None:
    """Cut the sentence between its findings, at the last separator before each finding's own noun phrase."""
    end_of_text = statement.start + len(statement.text)
    start = max(statement.start, statement.title_end)
    for position, head in enumerate(heads):
        head.start = start
        if position + 1 == len(heads):
            head.end = end_of_text
            break
        following = heads[position + 1]
        last = head.names[-1][0].end if head.names else head.mark.end
        head.end = start = _cut(statement, max(last, head.mark.end), following.mark.start)


def _cut(statement: Statement, left: int, right: int) -> int:
    gap = statement.text[left - statement.start : right - statement.start]
    masked = _mask(statement, left, right, gap)
    cuts = [m.start() for m in _SEPARATOR.finditer(masked)]
    if not cuts:
        return left
    chosen = len(cuts) - 1
    while chosen > 0:
        piece = gap[cuts[chosen - 1] : cuts[chosen]].lstrip(",;:( ")
        piece = re.sub(r"^(?:and|with|plus|also)\s", "", piece, flags=re.IGNORECASE)
        if not piece or not _MODIFIERS.fullmatch(piece):
            break
        chosen -= 1
    return left + cuts[chosen]


def joined_places(statement: Statement) -> list[tuple[int, int]]:
    """The words between two places of one organ, or two sides, that only join them."""
    places = [m for m in statement.marks if m.category in {"place", "short", "side"}]
    found = []
    for left, right in itertools.pairwise(places):
        gap = statement.text[left.end - statement.start : right.start - statement.start]
        if re.fullmatch(r"(?:\s?,)?\s?(?:and|or|/|&|,)\s?(?:the\s)?", gap, re.IGNORECASE) and _same_organ(
            left, right
        ):
            found.append((left.end, right.start))
    return found


def _same_organ(left: Mark, right: Mark) -> bool:
    if left.category == "side" or right.category == "side":
        return left.category == right.category
    owners = [
        {o for o, _ in m.value.candidates} if m.category == "short" else {m.value.organ}
        for m in (left, right)
    ]
    return bool(owners[0] & owners[1])


def _mask(statement: Statement, left: int, right: int, gap: str) -> str:
    """Hide separators inside sizes, segment lists, image numbers and joined places ("body and tail")."""
    chars = list(gap)
    inside = [(m.start, m.end) for m in statement.measurements] + [
        (r.start, r.end) for r in statement.references
    ]
    inside += joined_places(statement)
    for start, end in inside:
        for at in range(max(start, left), min(end, right)):
            chars[at - left] = "_"
    return "".join(chars)
