from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_extract.grounding import ground, locate
from llm_extract.records import Section


def test_the_place_nearest_to_the_hint_is_taken():
    text = "cyst here and cyst there"
    assert locate(text, "cyst") == (0, 4, "exact")
    assert locate(text, "cyst", near=12) == (14, 18, "exact")


def test_white_space_and_case_may_differ_and_are_marked():
    assert locate("A  Small\nCyst.", "small cyst") == (3, 13, "normalised")


def test_what_the_text_does_not_hold_is_not_evidence():
    sections = (Section(start=0, end=7, name="findings"),)
    assert ground("A cyst.", sections, "lesion", "a mass") is None
    assert ground("A cyst.", sections, "lesion", "   ") is None


@given(st.text(min_size=1, max_size=60), st.data())
def test_every_slice_is_found_and_equals_its_span(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    quote = text[start:end]
    found = locate(text, quote, near=start)
    if quote.strip():
        assert found == (start, end, "exact")
    else:
        assert found is None
