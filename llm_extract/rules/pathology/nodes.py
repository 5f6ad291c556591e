"""Lymph nodes of a pathology report: how many hold tumour, how many were looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm_extract.rules.pathology.node_counts import NUMBER, number_of, roman_of, some_of
from llm_extract.rules.statements import Statement

_NODE = re.compile(r"\b(?:lymph\s?nod(?:e|es|s)|nodes?|nodal|lymphonod\w+|LNs?)\b", re.IGNORECASE)
_FRACTION = re.compile(
    r"(?<![\w/.])(?:(?P<n>\d{1,3})\s?[/I|!]\s?(?P<of>\d{1,3})(?![\w/]|\s?(?:cm|mm))"
    r"|(?P<roman>\d{1,2}|[IVX]{1,6})\s?/\s?(?P<all>[IVXL]{1,8})(?![\w/]))"
)
_NONE_OF = re.compile(r"\(\s?0\s?[1lI|/]\s?(?P<total>\d{1,2})\s?\)")
"""None of so many, whose stroke may be read as a digit or letter: no other number in brackets begins with 0."""
_OTHER_RATIO = re.compile(
    r"\b(?:grade|score|gleason|figo|stage|block|slide|section|core)s?\W{0,3}$", re.IGNORECASE
)
"""Before a ratio that counts no nodes."""
_ENDS = re.compile(r"[,;.]|:(?=\s)")
_OF = re.compile(
    rf"\b(?P<n>{NUMBER})\s?(?:\(\d{{1,3}}\)\s)?(?:out\s)?of\s(?:the\s|a total of\s)?(?P<of>{NUMBER})\b",
    re.IGNORECASE,
)
_COUNT = re.compile(
    rf"\b(?P<n>{NUMBER})\s{{0,2}}(?:\(\d{{1,3}}\s?\)\s)?(?:\w+\s){{0,3}}lymph\s?nodes?\b", re.IGNORECASE
)
_FEW = re.compile(rf"\b(?P<n>{NUMBER})\s(?:lymph\s?)?nodes\b", re.IGNORECASE)
_TUMOUR = re.compile(
    r"\b(?:(?:micro|macro)?-?metast\w+|positive|carcinoma|adenocarcinoma|tumou?r|malignan\w+|involved|neoplas\w+|melanoma"
    r"|sarcoma|involv(?:e?ment))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"no\s(?:\w+\s)?evidence\sof\b|\b(?:negative|no (?:evidence|tumou?r|malignan\w+|metast\w+|carcinoma|neoplas\w+"
    r"|residual|lymph node metast\w+|regional"
    r"|signs?|infiltration)|free\b|benign|without|absence|absent|uninvolved|not involved|none (?:of"
    r"|involved)|neither|reactive"
    r"|not identified|tumou?r\s?-?\s?free|unremarkable|not (?:displaying|show\w*)|cannot be (?:assessed"
    r"|evaluated|determined))",
    re.IGNORECASE,
)
_POSITIVE_KEY = re.compile(
    rf"(?:nodes?\s(?:involved|positive|with (?:tumou?r|metast\w+|carcinoma)|containing metast\w+(?: \w+)?)"
    rf"|number\s(?:of\s)?(?:\w+\s){{0,3}}?(?:positive|involved|(?:with|containing) (?:metast\w+"
    rf"|tumou?r))(?:\slymph)?(?:\snodes?)?"
    rf"|positive(?:\slymph)?\snodes?)(?:\s(?:by|for|with)\s\w+){{0,2}}\s{{0,2}}(?:\(\w+\)\s{{0,2}})?(?:[:;=]|--)\s{{0,2}}(?P<n>{NUMBER})?(?![\w/])",
    re.IGNORECASE,
)
_SPREAD = re.compile(
    r"\b(?:(?:micro|macro)?-?metast\w+|positive|involved|involvement|replaced|deposits?|locali[sz]ations?)\b",
    re.IGNORECASE,
)
_SAYS_NOTHING = re.compile(
    r"(?:\b(?:no|not|without|negative for)\s(?:[\w-]+\s){0,3}?)?\b(?:extra-?\s?(?:nodal|capsular)|perinodal|capsular)\b"
    r"[^.;,]{0,60}"
    r"|(?:[,;]|\b(?:and|but|while))\s(?:the\s)?(?:others?|remaining|remainder|rest)\b[^.]*"
    rf"|\b(?:and|but)\s{NUMBER}\s(?:nodes?\s)?(?:(?:is|are)\s)?(?:without|negative|free)\b[^.]*",
    re.IGNORECASE,
)
"""What lies beyond the nodes with tumour, or is said of the others, frees none of these."""
_SAMPLE = re.compile(
    r"\b(?:possible|probable|candidate|recovered|identified|palpa\w+|dissected|submitted|examined|found in"
    r" the fat"
    r"|bisected|cassettes?|grossly)\b",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    r"cannot be (?:assessed|evaluated|determined)|not (?:specified|assessed|applicable|reported|submitted"
    r"|sampled)"
    r"|none (?:submitted|present|identified|sampled)|pNX|no (?:lymph\s)?nodes?\b|no lymph(?:oid)? (?:tissue"
    r"|node)",
    re.IGNORECASE,
)
_ONE_DEPOSIT = re.compile(
    r"\b(?:an?|one|single|solitary)\s(?:[\w-]+\s){0,3}(?:lymph\s?node|nodal)\s(?:metastasis|deposit)\b",
    re.IGNORECASE,
)
_LEGEND = re.compile(
    r"\W{0,4}p?[TNM]\s?(?:[0-4][a-d]?|[OX])(?:\s\w{1,5})?\s{0,2}[:=)\s-]\s{0,2}(?!\s?p?[TNM]\s?[0-4OX])\D*$"
)
"""A code of the stage and what it stands for: "N1: positive regional node"."""
_BEYOND = re.compile(r"\bextra-?\s?(?:capsular|nodal)\b[^:;]{0,60}:", re.IGNORECASE)
"""A key about what grows out of a node."""
_MARGIN = re.compile(r"\bmargins?\b", re.IGNORECASE)
_ELSEWHERE = re.compile(r"\bdistant\s(?:site\s)?metasta", re.IGNORECASE)
_STAGE = re.compile(
    r"\bp?T\s?\d[a-d]?\s?p?N|\bpN\s?[0-3OX]|regional lymph\s?nodes? \(p|\bstage\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """What a statement says of lymph nodes.

    Args:
        positive: number with tumour; None for some without a number; 0 for none.
        start, end: where the number or the noun stands, in the statement.
    """

    positive: int | None
    start: int
    end: int


def read_nodes(statement: Statement, *, heading: bool) -> NodeFinding | None:
    """What a statement says about tumour in lymph nodes, or None.

    Args:
        statement: the statement.
        heading: True under a heading that names nodes.
    """
    text = statement.text
    if _ELSEWHERE.search(text) or _is_legend(text):
        return None
    key = _POSITIVE_KEY.search(text)
    if key is not None:
        count = number_of(key["n"])
        return NodeFinding(count, key.start(), key.end()) if count is not None else None
    noun = _NODE.search(text)
    fraction = next((m for m in _FRACTION.finditer(text) if _plausible(m)), None)
    if noun is None and (
        _MARGIN.search(text) or not (heading and (fraction or _TUMOUR.search(text) or _DENIED.search(text)))
    ):
        return None
    if _UNKNOWN.search(text):
        return None
    none = _NONE_OF.search(text)
    ratio = fraction or next((m for m in (*_OF.finditer(text), *some_of(text)) if _plausible(m)), None)
    if none is not None or (ratio is not None and _part_and_total(ratio)[0] == 0):
        some = _some_elsewhere(text)
        if some is not None:
            return NodeFinding(_part_and_total(some)[0], some.start(), some.end())
    if none is not None:
        return NodeFinding(0, none.start(), none.end())
    tumour = _TUMOUR.search(text)
    if ratio is not None and (tumour or _DENIED.search(text) or noun or heading):
        count = _part_and_total(ratio)[0]
        if count and opens_list(text, ratio.start()):
            whole = _COUNT.search(text, 0, ratio.start()) or _FEW.search(text, 0, ratio.start())
            count = (number_of(whole["n"]) if whole is not None else None) or None
        if count == 0:
            return NodeFinding(0, ratio.start(), ratio.end())
        around = _SAYS_NOTHING.sub("", _around(text, ratio.start(), ratio.end(), noun))
        if _DENIED.search(around) and not re.search(
            r"positive|metastatic|metastases to", text, re.IGNORECASE
        ):
            return NodeFinding(0, ratio.start(), ratio.end())
        if tumour or re.search(r"positive", text, re.IGNORECASE):
            return NodeFinding(count, ratio.start(), ratio.end())
        return None
    return _without_ratio(text, noun, tumour, heading=heading)


@dataclass(frozen=True, slots=True)
class NodeRatio:
    """A ratio of nodes with tumour to nodes examined.

    Args:
        positive, total: its two numbers.
        start, end: where it stands, in the statement.
    """

    positive: int
    total: int
    start: int
    end: int


def node_ratios(text: str) -> list[NodeRatio]:
    """All ratios of a statement that may count nodes, in figures or, where there are fewer, in words.

    >>> [(r.positive, r.total) for r in node_ratios("right pelvic (0/12), left pelvic (1/10)")]
    [(0, 12), (1, 10)]
    """
    best: list[NodeRatio] = []
    for pattern in (_FRACTION, _OF):
        found = []
        for match in pattern.finditer(text):
            part, total = _part_and_total(match)
            counted = _plausible(match) and not _OTHER_RATIO.search(text[: match.start()])
            if counted and part is not None and total is not None:
                found.append(NodeRatio(part, total, match.start(), match.end()))
        best = found if len(found) > len(best) else best
    return best


def _some_elsewhere(text: str) -> re.Match[str] | None:
    """The first ratio above none of a list that also holds an empty one: "level I (0/3), level II 2/7 positive".

    Words such as "three of three (0/3)" say of the same nodes how many were looked at, and a ratio that is denied or
    is that of a grade counts none.
    """
    empty = {int(m["total"]) for m in _NONE_OF.finditer(text)}
    fractions, words = ([m for m in pattern.finditer(text) if _plausible(m)] for pattern in (_FRACTION, _OF))
    empty |= {_part_and_total(m)[1] or 0 for m in fractions if _part_and_total(m)[0] == 0}
    for match in (*fractions, *(m for m in words if _part_and_total(m)[1] not in empty)):
        if not _part_and_total(match)[0] or _OTHER_RATIO.search(text[: match.start()]):
            continue
        opened = max(text.rfind(sign, 0, match.start()) for sign in ",;.:") + 1
        closed = _ENDS.search(text, match.end())
        clause = text[opened : closed.start() if closed is not None else None]
        if _DENIED.search(clause):
            continue
        if _TUMOUR.search(clause) or (_TUMOUR.search(text) and not _DENIED.search(text)):
            return match
    return None


def _without_ratio(
    text: str, noun: re.Match[str] | None, tumour: re.Match[str] | None, *, heading: bool
) -> NodeFinding | None:
    """Reads "three benign lymph nodes" and "nodes positive for carcinoma"."""
    anchor = noun if noun is not None else tumour
    if anchor is None or text.rstrip().endswith(":") or _BEYOND.search(text):
        return None
    if _DENIED.search(text):
        near = _around(text, anchor.start(), anchor.end(), None)
        return NodeFinding(0, anchor.start(), anchor.end()) if _DENIED.search(near) else None
    linked = heading or _linked(text)
    if tumour is None or _STAGE.search(text) or not linked or (noun is None and not _SPREAD.search(text)):
        return None
    counted = _COUNT.search(text) or _FEW.search(text)
    number = number_of(counted["n"]) if counted is not None else None
    if number is None and _ONE_DEPOSIT.search(text):
        number = 1
    if number is None and heading and re.search(r"\bnode\b(?!s)|\bstation\s?\d", text, re.IGNORECASE):
        number = 1
    return NodeFinding(number or None, anchor.start(), anchor.end())


def opens_list(text: str, start: int) -> bool:
    """True for the first item of a bracket that goes on in the next statement: "two nodes (1 of 3 right;"."""
    opened = text.rfind("(", 0, start)
    return opened >= 0 and ")" not in text[opened:] and text.rstrip().endswith(";")


def only_sampled(statement: Statement) -> bool:
    """True for a gross statement that counts or measures nodes and says nothing of tumour in them."""
    return _NODE.search(statement.text) is not None and _SAMPLE.search(statement.text) is not None


def mentions_nodes(text: str) -> bool:
    """True if a stretch names lymph nodes."""
    return _NODE.search(text) is not None


def _plausible(match: re.Match[str]) -> bool:
    part, total = _part_and_total(match)
    return part is not None and total is not None and part <= total and 0 < total <= 150


def _part_and_total(match: re.Match[str]) -> tuple[int | None, int | None]:
    """How many hold tumour, of how many; either may be a Roman number."""
    groups = match.groupdict()
    if groups.get("all") is None:
        return number_of(groups["n"]), number_of(groups["of"])
    part = groups["roman"]
    return (int(part) if part.isdigit() else roman_of(part)), roman_of(groups["all"])


def _is_legend(text: str) -> bool:
    """True for the definition of a stage, which counts no node."""
    return _LEGEND.match(text) is not None or (
        re.match(r"\W{0,4}p?[TM]\s?[0-4][a-d]?\b", text) is not None
        and re.search(r"\b(?:OR|and/or)\b", text) is not None
    )


def counted_nodes(text: str) -> int | None:
    """Number of nodes with tumour where a list has said that each of its items holds some.

    >>> counted_nodes("b. Two of three left iliac lymph nodes (2/3)."), counted_nodes("iliac lymph nodes")
    (2, None)
    """
    ratio = next((m for p in (_FRACTION, _OF) for m in p.finditer(text) if _plausible(m)), None)
    found = ratio or _COUNT.search(text)
    return number_of(found["n"]) if found is not None else None


def _linked(text: str) -> bool:
    """True if tumour and nodes are joined: "metastatic carcinoma in a lymph node", "nodes positive for"."""
    noun = r"(?:lymph\s?nodes?|nodes?|LNs?|nodal)"
    return bool(
        re.search(
            rf"(?:metast\w+|carcinoma|tumou?r)\b[^.;]{{0,40}}\b(?:in|to|involving|into|involves|within"
            rf"|of)\s(?:[\w-]+\s){{0,7}}{noun}\b"
            rf"|\b{noun}\b[^.;]{{0,60}}\b(?:positive|involved|with metast|contain\w*|show\w*|replaced"
            rf"|metastas[ei]s\b|:\s?metast)"
            rf"|\b(?:positive|metastatic)\s(?:\w+\s){{0,2}}{noun}\b|\b{noun}\smetastas[ei]s\b",
            text,
            re.IGNORECASE,
        )
    )


def _around(text: str, start: int, end: int, noun: re.Match[str] | None) -> str:
    low = min(start, noun.start() if noun is not None else start)
    high = max(end, noun.end() if noun is not None else end)
    return text[max(0, low - 60) : high + 70]
