"""Sections and statements of a pathology report, from how such reports are laid out.

Prose is wrapped at the page, lists are not; scanned text loses line ends, spaces after headings and full stops.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from llm_extract.records import Section
from llm_extract.rules.pathology.openings import begins_gross, openings, untitled_diagnosis
from llm_extract.rules.pathology.titles import ANY_TITLE, BRACKETED
from llm_extract.sections import Sentence, limit_cuts, section_at

CURRENT = frozenset({"preamble", "diagnosis", "gross", "microscopic", "synoptic", "comment"})
"""Sections that speak of the specimen at hand."""
_SUBORDINATE = frozenset({"procedure", "specimen"})
_CHECKLIST = re.compile(
    r"^\W{0,4}(?P<key>tumou?r[\s.]{1,3}(?:site|size|focality|location)|histologic(?:al)?\s(?:type|grade))\b",
    re.IGNORECASE | re.MULTILINE,
)
_DETAILED = frozenset({"gross", "synoptic", "microscopic"})


_KEY_TO_BLOCKS = re.compile(r"block|section|cassette|code|slide", re.IGNORECASE)
_NEXT_SPECIMEN = re.compile(
    r"^\s{0,6}(?:\(?[A-Z]\s?[.)]\s{0,3}[\"A-Z(]|\d{1,2}\s?[.)]\s{0,3}[\"A-Z(]|Received|The specimen"
    r"|(?:Container|Part|Jar|Specimen)\s[\"#]?(?:[A-Z]|\d{1,2})\b)",
    re.MULTILINE,
)
_TITLE_HERE = re.compile(rf"(?:{ANY_TITLE})(?:{BRACKETED}\s{{0,4}}:|\s{{0,3}}[:;=-]?)", re.IGNORECASE)
_ITEM = (
    r"(?:[-*=>_+]{1,3}\s{0,3}(?=[A-Za-z(\d])|o\s{1,3}(?=[A-Z(\d])|\(?(?:[A-Z]|\d{1,2}|[IVX]{1,4})\s?[.):](?!\d)\s{0,4}(?=\S)"
    r"|(?:[A-Z]|\d{1,2})\s-\s(?=[A-Z])|(?:PART|Part|Specimen|SPECIMEN)\s(?:[A-Z]|\d{1,2})\b|\#\s?\d{1,2}\b)"
)
_STARTS_ITEM = re.compile(rf"\s{{0,8}}\"?{_ITEM}")
_KEY_LINE = re.compile(r"\s{0,8}[A-Z][A-Za-z /()&,'-]{2,48}\s?:(?!\d)")
_HEADING_LINE = re.compile(
    r"\s{0,8}[A-Z][^\n]{4,150}(?:ectomy|resection|biopsy|excision|dissection)\b[^\n]{0,20}[:-]\s?$",
    re.IGNORECASE,
)
_CAPITAL_HEADING = re.compile(
    r"\s{0,8}[A-Z][A-Z ]{2,30},[A-Z \"'(),/-]{0,100}(?:ECTOMY|RESECTION|BIOPSY|EXCISION)\s{0,2}"
)
_HANGING = re.compile(
    r"(?:,|\b(?:and|of|the|a|an|with|in|to|for|is|are|was|x|by|from|or|at|no|on|as|that|which|involving"
    r"|measuring|into"
    r"|within|approximately|greatest|maximum|lymph|cell|into|through|moderately|poorly|well|up)|\d\s?x"
    r"|(?-i:[a-z]-))$",
    re.IGNORECASE,
)
_WHOLE_VALUE = re.compile(
    r"\W{0,4}(?:not (?:involved|identified|present|applicable|seen)|uninvolved|unremarkable|negative|normal|absent"
    r"|none identified)\W{0,2}",
    re.IGNORECASE,
)
"""A line that is the whole value of the key above it."""
_LETTER_LEFT = re.compile(r"[.;)]\s?[a-h][.)]$")
"""The small letter of the next item, left behind at the end of a line."""
_EXCISED = re.compile(r"\s{0,3}(?:BIOPSY|BIOPSIES|EXCISION|RESECTION|[A-Z]{4,14}ECTOMY)\b")
"""What a heading ends with, behind a comma that may have been read as a full stop."""
_STOP = re.compile(r"(?:[.]+[\"”')\]]{0,2}(?=\s|$|[A-Z\"(])|[!?]+(?=\s))|;|\s[.](?=[A-Z])")
_INLINE_KEY = re.compile(
    r"(?<=[\w.)])\s{1,3}(?=[A-Z][a-z])(?=(?i:histologic(?:al)?\s(?:type|grade)|tumou?r\s(?:size|site|location"
    r"|extent|grade|type|focality)"
    r"|(?:surgical\s)?margins?|lymph\snodes?|(?:venous|lymphatic|lymphovascular|perineural|vascular"
    r"|angiolymphatic)\s"
    r"(?:invasion|spread)|pathologic(?:al)?\s(?:stage|staging)|additional\spathologic\sfindings|comments?"
    r"|procedure"
    r"|specimen\stype|treatment\seffect|other\sfindings|microscopic\stumor\sextension"
    r"|evidence\sof\sneo-?adjuvant"
    r"|greatest\sdimension|additional\sdimensions?)(?:\s?\([^)]{0,30}\))?\s{0,2}:"
    r"|(?<=[a-z]\s)(?!unremarkable|negative|normal|benign|not\s)(?:[A-Z][a-z]{4,12}\s)?[A-Za-z]{4,14}\s?:"
    r"\s?(?:Unremarkable|Not involved|Negative|Normal|Benign)\b)",
)
_INLINE_PART = re.compile(
    r"(?<=[\w.)\]:;-])\s{0,3}(?=(?:PART\s\d{1,2}\s?:|Part\s[A-Z]\s?:|[A-Z]\.\s?\"[A-Z]"
    r"|\d{1,2}\.\s?(?:SP\s?:|[A-Z]{3,})))"
    r"|(?<=[.;)])\s{0,3}(?=[b-h](?:\.\s{0,2}|\)\s{1,2})[A-Z][a-z])"
)
_NO_STOP = re.compile(
    r"(?:\b(?:dr|mr|mrs|no|approx|vs|cf|ca|fig|e\.g|i\.e|incl|max|min|st|ca|resp|avg|diam|dim))$",
    re.IGNORECASE,
)
_LOOKED_BACK = 80
"""Characters before a full stop that can show that it is none."""
_LENGTH_BEFORE = re.compile(r"\d\s{0,2}(?:cms?|mm|em|gm?|grams?|crn)$", re.IGNORECASE)
_DASH = re.compile(r"(?<=[a-z]{3})-\s(?=(?:the|an?|no|on|there|opening|sectioning|cut)\s)")
"""A dash that ends a clause; behind the hyphen of a torn word none of these stands."""
_LENGTH_END = re.compile(r"\d\s?(?:cm|mm|em)\.?\s{0,2}$", re.IGNORECASE)
_LENGTH_AHEAD = re.compile(r"^;[^()]{0,30}\d\s?(?:cm|mm|em)\b", re.IGNORECASE)
_REST_OF_LENGTH = re.compile(r"\d{1,2}\s{0,3}(?:x|cm|mm|em|crn|om)\b", re.IGNORECASE)
_VALUE = re.compile(
    r"\d{1,2}(?:[.,]\s?\d{1,2})?\s?(?:x\s?\d|cm\b|mm\b|em\b|\(\s?\d|/\s?\d{1,2}\b|(?:out )?of\s\d)",
    re.IGNORECASE,
)
"""A number with its unit or total, which is the value of the key on the line before."""
_SIZE_ALONE = re.compile(r"\d{1,2}(?:[.,]\d{1,2})?\s?x[\d\sx.,lIO]{1,20}(?:cms?|mm|em|crn)\.?", re.IGNORECASE)
_BRACKETED_LENGTH = re.compile(r"\(\s?\d{1,2}(?:[.,]\s?\d{1,2})?\s?(?:x|cm|mm|em|crn)\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]{2}")
_PRINTED = re.compile(r"\b[A-Za-z]*[aeouAEOU][A-Za-z]{2,}")
"""A word; a bar code is read as capital letters without any of these vowels."""


def split_pathology(text: str) -> tuple[tuple[Section, ...], tuple[Sentence, ...]]:
    r"""Sections and statements of a pathology report.

    Args:
        text: the report, look-alike characters mended.

    >>> sections, sentences = split_pathology("GROSS:\nA 2 cm. tan mass.\nDIAGNOSIS:\nLiver, biopsy:\nHepatoma")
    >>> [s.name for s in sections], len(sentences)
    (['gross', 'diagnosis'], 5)
    """
    sections = _sections(text)
    cuts = {0, len(text), *(s.start for s in sections)}
    cuts.update(_line_cuts(text))
    cuts.update(m.end() for pattern in (_INLINE_KEY, _INLINE_PART) for m in pattern.finditer(text))
    cuts.update(m.end() for m in _DASH.finditer(text))
    cuts.update(_title_ends(text, sections))
    cuts.update(_stops(text, sorted(cuts)))
    sentences: list[Sentence] = []
    line, seen = 0, 0
    for start, end in itertools.pairwise(limit_cuts(text, sorted(cuts))):
        stripped = text[start:end].strip(" \r\n")
        if not stripped or not (_WORD.search(stripped) or any(c.isdigit() for c in stripped)):
            continue
        first = start + text[start:end].index(stripped)
        line += text.count("\n", seen, first)
        seen = first
        item = _STARTS_ITEM.match(stripped) is not None
        sentences.append(Sentence(first, first + len(stripped), section_at(sections, first), line, item))
    return sections, tuple(sentences)


def _ends_list(text: str, start: int) -> bool:
    """False for "Clinical data: PSA 4", one more key of a checklist."""
    return not re.match(
        r"clinical (?:data|information)\s?:[^\n]{0,60}\S", text[start : start + 90], re.IGNORECASE
    )


def _sections(text: str) -> tuple[Section, ...]:
    starts: list[tuple[int, str]] = []
    resumed: list[tuple[int, str]] = []
    for start, name, sure in openings(text):
        held = starts[-1][1] if starts else "preamble"
        if (name == held and name in {"diagnosis", "synoptic"}) or (starts and start == starts[-1][0]):
            continue
        if text.startswith("PART", start) and held not in {"preamble", "history", "procedure", "note"}:
            continue
        if name in _SUBORDINATE and held in _DETAILED:
            continue
        if begins_gross(text, start) and held not in {"diagnosis", "synoptic"}:
            continue
        if (
            held == "synoptic"
            and name in {"history", "intraoperative"}
            and not (sure and _ends_list(text, start))
        ):
            continue
        starts += [(start, name), *_checklist_below(text, start, name)]
        described = next((n for _, n in reversed(starts) if n != "note"), "preamble")
        if name == "note" and described == "gross" and _KEY_TO_BLOCKS.search(text, start, start + 30):
            again = _NEXT_SPECIMEN.search(text, start + 8)
            if again is not None:
                resumed.append((again.start(), "gross"))
    titled = [start for start, _ in starts]
    for start, name in resumed:  # the next specimen ends a key to blocks, unless another title came first
        before = [s for s in titled if s < start]
        if before and starts[titled.index(before[-1])][1] == "note":
            starts.append((start, name))
    starts = sorted({**dict(starts), **dict(untitled_diagnosis(text, starts))}.items())
    if not starts or text[: starts[0][0]].strip():
        starts.insert(0, (0, "preamble"))
    if all(name != "diagnosis" for _, name in starts):
        starts = [(start, "diagnosis" if name == "comment" else name) for start, name in starts]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return tuple(Section(start=s, end=e, name=n) for (s, n), e in zip(starts, ends, strict=True))


def _checklist_below(text: str, start: int, name: str) -> list[tuple[int, str]]:
    """The first key on a tumour below a procedure begins a checklist that has no title."""
    keys = _CHECKLIST.search(text, start, start + 240) if name == "procedure" else None
    return [(keys.start("key"), "synoptic")] if keys is not None else []


def _title_ends(text: str, sections: tuple[Section, ...]) -> Iterator[int]:
    """A heading and what follows it on its line are two statements."""
    for section in sections:
        match = _TITLE_HERE.match(text, section.start) if section.name != "preamble" else None
        if match is not None:
            yield match.end()


def _line_cuts(text: str) -> Iterator[int]:
    width = _page_width(text)
    for match in re.finditer(r"\n", text):
        at = match.start()
        if _ends_here(text, at, width):
            yield at + 1


def _page_width(text: str) -> int:
    lengths = sorted(len(line.rstrip()) for line in text.split("\n") if len(_PRINTED.findall(line)) >= 4)
    return lengths[int(0.9 * (len(lengths) - 1))] if lengths else 80


def _ends_here(text: str, at: int, width: int) -> bool:
    previous = text[text.rfind("\n", 0, at) + 1 : at].rstrip()
    stop = text.find("\n", at + 1)
    following = text[at + 1 : stop if stop >= 0 else len(text)].rstrip()
    ahead = following.lstrip()
    if not previous.strip() or not ahead:
        return bool(previous.strip()) and text[at + 1 : at + 400].lstrip()[:1].isupper()
    if previous[-1] in "xX×" and previous[:-1].rstrip()[-1:].isdigit():
        return False
    if (previous[-1] == ":" and _VALUE.match(ahead)) or (
        previous[-1] == "." and _SIZE_ALONE.fullmatch(ahead)
    ):
        return False
    if _LETTER_LEFT.search(previous):
        return False
    if _WHOLE_VALUE.fullmatch(previous):
        return True
    if previous[-1] == "." and previous.isupper() and len(previous) < 60 and _EXCISED.match(following):
        return False
    if _STARTS_ITEM.match(following) or previous[-1] in ".:;?!":
        return not (_LENGTH_BEFORE.search(previous[:-1]) and ahead[:1].islower())
    if _HANGING.search(previous):
        return False
    if ahead[0].islower() or ahead[0] in ",.;)" or _BRACKETED_LENGTH.match(ahead):
        return False
    if _KEY_LINE.match(following) or _HEADING_LINE.match(following) or _CAPITAL_HEADING.fullmatch(following):
        return True
    if ahead[0].isdigit() and re.match(r"\d{1,2}(?:[.,]\d{1,2})?\s?(?:x|cm|mm|em)\b", ahead, re.IGNORECASE):
        return False
    return len(previous.strip()) < 0.78 * width


def _stops(text: str, cuts: list[int]) -> Iterator[int]:
    for start, end in itertools.pairwise(cuts):
        last = start
        for match in _STOP.finditer(text, start, end):
            before = text[max(last, match.start() - _LOOKED_BACK) : match.start()]
            ahead = text[match.end() : match.end() + 12].lstrip()
            if match[0] == ";" and _bracketed(text, match.start()):
                continue
            if match[0][0] != ";" and (
                len(before.strip(' "(#-')) <= 3
                or (before[-1:].isspace() and _EXCISED.match(text, match.end()))
                or _NO_STOP.search(before)
                or (_LENGTH_BEFORE.search(before) and ahead[:1].islower())
                or (before[-1:].isdigit() and _REST_OF_LENGTH.match(ahead))
                or re.match(r"\d{0,2}\s?(?:cm|mm|x)\b", ahead)
                or _SIZE_ALONE.fullmatch(text[match.end() : end].strip())
                or re.match(r"[a-z]", ahead)
            ):
                continue
            last = match.end()
            yield match.end()


def _bracketed(text: str, at: int) -> bool:
    """True between the sizes of one bracket: "(right 15 cm; left 8 cm)"."""
    before, after = text[max(0, at - 60) : at], text[at : at + 60]
    opened = before.rfind("(")
    inside = opened > before.rfind(")") and ")" in after.partition("(")[0]
    return inside and _LENGTH_END.search(before) is not None and _LENGTH_AHEAD.search(after) is not None
