"""No text makes a pattern run for long: none reads one stretch in many ways, and time grows as the text."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path
from re import _constants as codes
from re import _parser as parser

import pytest

import llm_extract
from llm_extract.cues import Cue
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from llm_extract.rules.separators import _MODIFIERS

PACKAGE = Path(llm_extract.__file__).parent
LOADS_A_LIBRARY = re.compile(r"\.(?:backends\.|cli|distributed)")
READ_BY_HAND = {
    r"[^\W\d_]+(?:['’-][^\W\d_]+)*": "a mark that is no letter stands between two runs of letters",
    r"[a-z]+(?:['-][a-z]+)*": "the same",
}
"""Patterns with a repeat in an unlimited repeat -> why a text can be read in one way only."""


def compiled(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, Cue):
        yield value.regex
    elif isinstance(value, dict):
        yield from compiled(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from compiled(each)


def patterns() -> dict[str, str]:
    """Every pattern of the extraction -> where it is: compiled in a module, or written where it is used."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(llm_extract.__path__, "llm_extract."):
        if not LOADS_A_LIBRARY.search(module.name):
            for value in vars(importlib.import_module(module.name)).values():
                for pattern in compiled(value):
                    found.setdefault(str(pattern.pattern), module.name)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            first = node.args[0]
            of_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
            if of_re and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.setdefault(first.value, f"{path.name}:{node.lineno}")
    return found


REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)


def inner(item: tuple) -> list:
    """The patterns inside of one item of a parsed pattern."""
    code, value = item
    if code in (*REPEATS, codes.POSSESSIVE_REPEAT):
        return [value[2]]
    if code is codes.SUBPATTERN:
        return [value[3]]
    if code is codes.BRANCH:
        return list(value[1])
    if code is codes.ATOMIC_GROUP:
        return [value]
    return [value[1]] if code in (codes.ASSERT, codes.ASSERT_NOT) else []


def is_unlimited(item: tuple) -> bool:
    return item[0] in REPEATS and item[1][1] is codes.MAXREPEAT


def repeats(parsed) -> bool:
    """True if a part may be read an unlimited number of times; what an atomic group has read it gives not back."""
    return any(
        is_unlimited(item) or (item[0] is not codes.ATOMIC_GROUP and any(map(repeats, inner(item))))
        for item in parsed
    )


def nested(parsed) -> bool:
    """True for an unlimited repeat of something with an unlimited repeat."""
    return any(
        (is_unlimited(item) and repeats(item[1][2])) or any(map(nested, inner(item))) for item in parsed
    )


def test_the_check_tells_them_apart():
    assert nested(parser.parse(r"(?:a|\w+ing)*!"))
    assert not nested(parser.parse(r"(?>a|\w+ing)*!"))
    assert not nested(parser.parse(r"(?:\w+\s){0,4}$"))
    assert nested(parser.parse(r"(?>(?:\w+)*!)"))


def test_no_pattern_repeats_a_repeat():
    found = patterns()
    assert len(found) > 400
    assert {where: p for p, where in found.items() if p not in READ_BY_HAND and nested(parser.parse(p))} == {}


@pytest.mark.parametrize("unit", ["xal", "1", "additional ", "led ed ", "an", "2x3x", "newly "])
def test_a_gap_between_findings_is_read_in_one_way(unit):
    started = time.process_time()
    assert _MODIFIERS.fullmatch(unit * 100 + "#") is None
    assert time.process_time() - started < 0.2  # without the atomic group, longer than anyone waits


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        ("radiology", "lesions:\n- "),
        ("radiology", "Target lesions:\n"),
        ("radiology", "is normal "),
        ("radiology", "3 of 12 nodes "),
        ("radiology", "mass in the "),
        ("radiology", "cyst 3 mm "),
        ("radiology", "LIVER:\n"),
        ("radiology", "["),
        ("radiology", "\n\x0c"),
        ("radiology", "e\u0301"),
        ("radiology", "6, 9 and "),
        ("radiology", "| 3 mm |\t"),
        ("pathology", "A. liver, "),
        ("pathology", "tumor size: "),
        ("pathology", "4 .1 x "),
        ("pathology", "LIVER, SEGMENT 4, RESECTION:\n"),
    ],
)
def test_time_grows_no_faster_than_the_text(kind, unit):
    seconds = []
    extract_record(Report(report_id="R", text="liver", kind=kind))
    for chars in (6_000, 24_000):
        text = "Findings: liver mass 3 cm. " + unit * (chars // len(unit))
        best = float("inf")
        for _ in range(3):  # the least disturbed of three
            started = time.process_time()
            extract_record(Report(report_id="R", text=text, kind=kind))
            best = min(best, time.process_time() - started)
            if best < 0.1:
                break
        seconds.append(best)
    assert seconds[1] < 8 * max(seconds[0], 0.05)  # 4 when linear, 16 when quadratic
