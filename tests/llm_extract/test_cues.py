from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _constants as codes
from re import _parser as parser

import pytest

import llm_extract
from llm_extract.cues import Cue

OPEN = "\0"
"""Stands for anything that is not known to be one letter or a few."""


def cues() -> dict[str, Cue]:
    found: dict[str, Cue] = {}
    for module in pkgutil.walk_packages(llm_extract.__path__, "llm_extract."):
        if module.name.startswith("llm_extract.rules") or module.name.count(".") == 1:
            if re.search(r"\.(?:cli|distributed)", module.name):
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                for number, cue in enumerate(held(value)):
                    found[f"{module.name}.{name}.{number}"] = cue
    return found


def held(value: object) -> Iterator[Cue]:
    if isinstance(value, Cue):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from held(each)


def ways(parsed, needs: tuple[str, ...]) -> set[str]:
    """The texts that a pattern matches, what is open left open; without those that hold a need."""
    texts = {""}
    for code, value in parsed:
        ends = endings(code, value, needs)
        texts = {text + end for text in texts for end in ends}
        texts = {text for text in texts if not any(need in text for need in needs)}
        assert len(texts) < 200_000
    return texts


def endings(code, value, needs: tuple[str, ...]) -> set[str]:
    if code is codes.LITERAL:
        return {chr(value)}
    if code is codes.SUBPATTERN:
        return ways(value[3], needs)
    if code is codes.ATOMIC_GROUP:
        return ways(value, needs)
    if code is codes.BRANCH:
        return set().union(*(ways(branch, needs) for branch in value[1]))
    if code is codes.IN and all(kind is codes.LITERAL for kind, _ in value):
        return {chr(letter) for _, letter in value}
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        low, high, inner = value
        once = ways(inner, needs)
        if (low, high) == (0, 1):
            return {"", *once}
        return {OPEN + text + OPEN for text in once} if low else {OPEN}
    return {""} if code in (codes.AT, codes.ASSERT, codes.ASSERT_NOT) else {OPEN}


CUES = cues()


@pytest.mark.parametrize("name", CUES)
def test_no_match_is_without_a_need(name):
    cue = CUES[name]
    assert not ways(parser.parse(cue.regex.pattern, cue.regex.flags), cue.needs)


@pytest.mark.parametrize("name", CUES)
def test_a_cue_is_lower_case(name):
    pattern = CUES[name].regex.pattern
    assert not CUES[name].regex.flags & re.IGNORECASE
    written = re.sub(r"\\[A-Z]|\(\?P<", "", pattern)
    assert written == written.lower()


def test_a_need_that_is_forgotten_is_found():
    forgotten = Cue(r"\b(?:stents?|in the (?:duct|wall))\b", "stent", "duct")
    assert ways(parser.parse(forgotten.regex.pattern), forgotten.needs) == {"in the wall"}


def test_a_cue_finds_what_its_pattern_finds():
    cue = Cue(r"\b(?:no|never)\b", "no", "never")
    text = "no mass, never seen, no node"
    assert [m.span() for m in cue.finditer(text)] == [m.span() for m in cue.regex.finditer(text)]
    assert cue.search(text).span() == cue.match(text).span() == (0, 2)
    assert cue.search("a mass") is None
    assert cue.match("a mass") is None
    assert list(cue.finditer("a mass")) == []
