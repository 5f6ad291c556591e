"""Where the parts of a pathology report begin: titles, and what stands for one that the scan has lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_extract.rules.pathology.titles import (
    ANY_TITLE,
    BRACKETED,
    SECTION_OF,
    longer_title,
    misread_title,
)

_LINE_TITLE = re.compile(
    rf"^[^\w\n]{{0,8}}(?:PINAL\s)?(?P<title>{ANY_TITLE})[*_]{{0,3}}(?P<after>{BRACKETED}\s{{0,4}}:|\s{{0,4}}[:;=]"
    rf"|\s{{0,3}}[-.]{{1,3}}(?=\s|$|[A-Z])"
    r"|\s{0,4}(?=\n|$)|(?=\s?[\"“(\[])|(?=\s{0,2}[A-Z]))",
    re.IGNORECASE | re.MULTILINE,
)
_INNER_KEY = re.compile(
    r"(?<=[a-z\d.;,)\]\s])(?P<words>[A-Z][A-Za-z()/-]{2,18}(?:[ ]{1,3}[A-Za-z()/-]{2,18}){0,4})\s{0,3}:"
)
_ANY_DIAGNOSIS = re.compile(
    r"^[^\w\n]{0,6}(?!(?:[\w-]+\s){0,3}(?:pre|post|clin|frozen|intra|admit|operat|discrep|differ|working"
    r"|referr))(?:[A-Za-z/-]+\s){0,3}diagnos[ei]s\s?:?\s?$",
    re.IGNORECASE | re.MULTILINE,
)
_ANY_SYNOPTIC = re.compile(
    r"^[^\w\n]{0,6}(?:[\w-]+\s){0,5}(?:synopsis|synoptic|checklist|staging (?:information|summary|synopsis)"
    r"|tumou?r summary|case summary|(?:cancer|carcinoma|tumou?r|report(?:ing)?) (?:template|worksheet|protocol))"
    r"\b[^\n.)]{0,24}$",
    re.IGNORECASE | re.MULTILINE,
)
_LOST_DIAGNOSIS = re.compile(r"\bFINAL\s{1,3}D[I1l]AGN\w{0,6}|(?<![a-z] )\bPART\s{0,2}1\s{0,2}[:.](?=\s)")
_ANY_KEY = re.compile(
    r"^[^\w\n]{0,8}(?P<words>[A-Za-z][A-Za-z0-9 ]{6,44}[A-Za-z])\s{0,3}(?P<mark>:)", re.MULTILINE
)
_CAPITAL_TITLE = re.compile(r"(?<=[a-z\d.)])\s{1,3}(?P<title>DIAGNOSIS)\s?:(?=\s{0,3}(?:\n|[A-Z]))")
_FORM = re.compile(r"^[^\n]{0,60}?\bA neoplasm is\s{1,3}(?:PRESENT|identified)", re.MULTILINE)
"""First item of a form for staging, whose title is often lost."""
_EXCISED_AS = re.compile(
    r"^[A-Z][A-Z0-9 ,'()/-]{3,90}(?:BIOPSY|BIOPSIES|EXCISION|RESECTION|ECTOMY)\s?:\s{0,3}\n(?=[^\n]{12})",
    re.MULTILINE,
)
"""The heading of a specimen in capitals, which begins the diagnosis where no title does."""
_RECEIVED = re.compile(
    r"^[^\w\n]{0,4}(?:[A-Z1-9]\d?\s?[).:]{1,2}\s{0,3})?(?:the\s)?specimens?\s(?:is|are|was|were)\sreceived\b",
    re.IGNORECASE | re.MULTILINE,
)
"""Begins a gross description that has no title."""
_SCRAP = re.compile(r"[A-Z]?[^A-Za-z\n]{0,8}\w{0,3}[^A-Za-z\n]{0,3}(?:\n|$)")
_SQUEEZED = {title.replace(" ", ""): name for title, name in SECTION_OF.items()}


def openings(text: str) -> list[tuple[int, str, bool]]:
    """Start and name of every part that something opens, and whether a colon or the like makes it sure.

    Args:
        text: the report, look-alike characters mended.
    """
    return sorted([*_line_titles(text), *_inner_titles(text), *_lost_titles(text)])


def begins_gross(text: str, start: int) -> bool:
    """True at "The specimen is received", which begins a gross description without a title."""
    return _RECEIVED.match(text, start) is not None


def titles_list(text: str) -> bool:
    """True for the title of a checklist, such as "Colon cancer template", which names no specimen and no tumour."""
    return _ANY_SYNOPTIC.match(text) is not None


def _line_titles(text: str) -> Iterator[tuple[int, str, bool]]:
    for match in _LINE_TITLE.finditer(text):
        name = _name_of(match)
        if name is not None:
            yield match.start("title"), name, ":" in match[0]


def _inner_titles(text: str) -> Iterator[tuple[int, str, bool]]:
    """Titles in the middle of a line, which scanned text has many of: the words before a colon."""
    for match in _INNER_KEY.finditer(text):
        words = match["words"].split()
        for skip in range(len(words)):
            title = " ".join(words[skip:]).lower()
            name = SECTION_OF.get(title)
            before = text[max(0, match.start() - 2) : match.start()]
            if name is None or not words[skip][0].isupper():
                continue
            if "\n" in before or (
                skip == len(words) - 1 and not (skip == 0 and re.search(r"[.;)]\s?$", before))
            ):
                break
            at = match.start("words") + match["words"].index(words[skip])
            yield at, name, True
            break


def _lost_titles(text: str) -> Iterator[tuple[int, str, bool]]:
    """Titles of other wordings, a broken "FINAL DIAGN", and "PART 1:" where the title of the diagnosis is lost."""
    for pattern, name in (
        (_LOST_DIAGNOSIS, "diagnosis"),
        (_ANY_DIAGNOSIS, "diagnosis"),
        (_ANY_SYNOPTIC, "synoptic"),
        (_RECEIVED, "gross"),
        (_FORM, "synoptic"),
    ):
        for match in pattern.finditer(text):
            if not re.search(r"\b(?:see|for|refer)\b", match[0], re.IGNORECASE):
                yield match.start(), name, True
    for match in _CAPITAL_TITLE.finditer(text):
        yield match.start("title"), "diagnosis", True
    for match in _ANY_KEY.finditer(text):
        squeezed = "".join(match["words"].lower().split())
        if squeezed not in _SQUEEZED:
            found = misread_title(match["words"]) or longer_title(match["words"])
            if found is not None:
                yield match.start("words"), found, True


def untitled_diagnosis(text: str, starts: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Where the diagnosis begins though its title is lost and what was asked before it is still open."""
    if any(name in {"diagnosis", "comment"} for _, name in starts):
        return
    for match in _EXCISED_AS.finditer(text):
        before = [name for start, name in starts if start <= match.start()]
        if before and before[-1] in {"history", "procedure", "specimen"}:
            yield match.start(), "diagnosis"
            return


def _name_of(match: re.Match[str]) -> str | None:
    """The section a title opens; a single word needs a colon or a line of its own."""
    title = match["title"]
    words = " ".join(title.lower().split())
    name = SECTION_OF.get(words) or _SQUEEZED.get(words.replace(" ", ""))
    after = match["after"].strip()
    if after[:1] in {":", ";", "=", "("} or (after and title.isupper()):
        return name
    if after or title[:1].islower():
        return None
    following = match.string[match.end() : match.end() + 16].lstrip(" ")
    if following[:1] in {"\n", ""} or (title.isupper() and len(title) > 8 and _SCRAP.match(following)):
        return name
    return name if " " in words and title[:1].isupper() and following[:1].upper() == following[:1] else None
