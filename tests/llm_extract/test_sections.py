from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.sections import MAX_SENTENCE_CHARS, split_sections, split_sentences


def sentences(text: str) -> list[tuple[str, str]]:
    return [(s.section, text[s.start : s.end]) for s in split_sentences(text)]


def test_headings_on_lines_and_inline():
    text = "Clinical history: pain.\nTECHNIQUE: helical CT.\nFindings\nLiver normal.\nIMPRESSION: Normal."
    assert [s.name for s in split_sections(text)] == ["history", "technique", "findings", "impression"]


def test_without_a_heading_of_their_own_the_findings_follow_the_technique_paragraph():
    text = "Technique: portal venous CT.\n\nThe spleen holds a cyst.\n\nImpression: cyst."
    assert [s.name for s in split_sections(text)] == ["technique", "findings", "impression"]


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("Clinical information: cough for 10 days. The trachea is open. Nodule of 8 mm.", "The trachea"),
        ("History: treated metastasis of 3 cm. Rising markers. The liver is normal.", "The liver"),
        ("Technique: CT with contrast. Oral contrast was given. There is a mass in the liver.", "There is"),
        ("Reason: weight loss. There is a question of a mass. No mass in the pancreas.", "No mass"),
        ("Indication: pain. A mass is seen on ultrasound. Please assess.", None),
        ("History: known cyst. There is a history of trauma. Prior CT: cyst is seen.", None),
        ("Indication: a mass is seen.", None),
    ],
)
def test_a_paragraph_that_opens_with_a_title_goes_on_with_what_is_seen(text, opened):
    starts = [text[s.start :] for s in split_sections(text) if s.name == "findings"]
    assert len(starts) == (opened is not None)
    assert opened is None or starts[0].startswith(opened)


def test_quoted_lines_at_the_end_of_a_prose_report_are_its_impression():
    text = 'The liver is normal. A cyst is seen in the spleen. No fluid. No nodes. " Splenic cyst'
    assert [s.name for s in split_sections(text)] == ["preamble", "impression"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A 2.5 cm cyst. No mass.", 2),
        ("Seen by Dr. Smith vs. prior study.", 1),
        ("LI-RADS 5. Liver is cirrhotic.", 2),
        ("A mass in the\nliver is seen.", 1),
        ("Liver normal\nSpleen normal", 2),
        ("1. Cyst of 3 mm\n2. Cyst of 4 mm", 2),
        ("Hypodense lesion (cyst?) in the liver.", 1),
        ("Normal liver; cyst in the spleen", 2),
        ("Largest 3.1 cm in segment 7. 14 mm mass of the left kidney.", 2),
        ("A cyst of 2. 4 cm in the liver.", 1),
    ],
)
def test_sentence_breaks(text, count):
    assert len(sentences(text)) == count


@given(st.text(alphabet='ABab .:;,\n"•?()1-', max_size=200))
def test_sections_tile_the_text_and_sentences_lie_in_order(text):
    sections = split_sections(text)
    assert sections[0].start == 0
    assert sections[-1].end == len(text)
    assert all(a.end == b.start for a, b in itertools.pairwise(sections))
    found = split_sentences(text)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    assert all(0 <= s.start < s.end <= len(text) for s in found)


def test_sentences_have_a_greatest_length():
    assert max(s.end - s.start for s in split_sentences("word " * 2000)) <= MAX_SENTENCE_CHARS


@pytest.mark.parametrize(
    "tail",
    [
        ".radiology, chest pain, liver mass, ct abdomen, pelvis, kidney, cysts, spleen,",
        ".\nct chest, lung, lymph node, metastasis, oncology, neck",
        ". Keywords: liver, mass, cyst",
    ],
)
def test_words_that_a_report_is_filed_under_are_a_note(tail):
    text = "FINDINGS: A cyst of the liver is seen, likely simple" + tail
    assert split_sentences(text)[-1].section == "note"


@pytest.mark.parametrize(
    "tail",
    [
        "\nIMPRESSION: renal mass, liver metastases, lung nodules, ascites, splenomegaly",
        "\nliver, spleen, pancreas, kidneys, bladder are normal",
        "\nliver, spleen, pancreas, kidneys, no bladder mass",
        "\nrenal mass, liver metastases, lung nodules, ascites, splenomegaly",
        "\nliver, spleen, pancreas: normal",
    ],
)
def test_a_list_that_says_something_is_no_list_of_keywords(tail):
    text = "FINDINGS: A cyst of the liver is seen, likely simple." + tail
    assert split_sentences(text)[-1].section in {"findings", "impression"}
