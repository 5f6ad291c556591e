import importlib
import re
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_extract import references
from llm_extract.lower_case import lowered
from llm_extract.references import scan_references

READ_IN_LOWER_CASE = (
    "llm_extract.measurements",
    "llm_extract.tense",
    "llm_extract.rules.context",
    "llm_extract.rules.ownership",
)
"""Modules in which a pattern without IGNORECASE is given lower case."""


def test_every_letter_keeps_its_place():
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    low = lowered(every)
    assert len(low) == len(every)
    assert [(a, b) for a, b in zip(every, low, strict=True) if b != a.lower() and a != "\u0130"] == []


@pytest.mark.parametrize("module", READ_IN_LOWER_CASE)
def test_a_pattern_that_is_given_lower_case_holds_no_capital_letter(module):
    wrong = []
    for name, value in vars(importlib.import_module(module)).items():
        if isinstance(value, re.Pattern) and not value.flags & re.IGNORECASE:
            plain = re.sub(r"\\.|\(\?P[<=]|A-Z", "", value.pattern)
            wrong += [name] if re.search(r"[A-Z]", plain) else []
    assert wrong == []


@pytest.mark.parametrize("index", range(len(references._COMPILED)))
def test_no_number_is_passed_over_for_its_outline(index):
    """A pattern is tried only where the outline of a text holds one of a few stretches: every match must hold one."""
    kind, needs, pattern = references._COMPILED[index]
    as_written = kind in references._AS_WRITTEN

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.from_regex(re.compile(pattern.pattern)))
    def holds(text):
        low = lowered(text)
        if pattern.search(text if as_written else low):
            outline = references._outline(low)
            assert any(need in outline for need in needs), text

    holds()


def test_numbers_are_found_as_without_the_outline(monkeypatch):
    texts = [
        "On 5/12/2020 (4/112) series 3, image 12; LI-RADS 4 in segment IVa/5, -20 HU, 12 cc, L1-2, 10%.",
        "SERIES 3 IMAGE 12 SE 4 IM 9 s3,i9 DATED 2019 AT 12:30 PM 3 Jan 2020 2020-01-03 [DATE] BOSNIAK IIF",
        "A 62-year-old, 62 years, 5 mg, 3 of 12, 2nd, grade 2, No. 4, SUV max of 3.4, S7 of the liver, 12 cm³, 4 mm³",
        "\u0130mage 12, series\u00a03, \u0663 of \u0663, 5\u20095% 1\u2007st",
    ]
    found = [scan_references(text) for text in texts]
    monkeypatch.setattr(references, "_COMPILED", tuple((k, ("",), p) for k, _, p in references._COMPILED))
    assert [scan_references(text) for text in texts] == found
    assert all(len(each) >= 8 for each in found[:3])
