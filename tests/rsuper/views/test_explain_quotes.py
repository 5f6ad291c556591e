"""The words of a sentence beside what they name: organ, part, or both in one."""

from __future__ import annotations

import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from rsuper.errors import UsageError
from rsuper.views.explain import explain
from rsuper.views.explain_json import explanation_facts
from rsuper.views.explain_page import render_explain_page
from rsuper.views.explain_quotes import quoted_fields
from rsuper.views.explain_words import count_story


def fields(text):
    (lesion,) = extract_record(Report(report_id="r", text=text)).lesions
    return {
        quote.text: field
        for field, quote in quoted_fields(lesion, load_anatomy())
        if field in ("organ", "parts", "organ and part")
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.8 cm mass in the interpolar left kidney.", {"interpolar": "parts", "kidney": "organ"}),
        ("2 cm mass in the lower pole of the right kidney.", {"lower pole": "parts", "kidney": "organ"}),
        ("2 cm mass in the left renal upper pole.", {"renal upper pole": "organ and part"}),
        ("2 cm mass in hepatic segment 4.", {"hepatic": "organ", "segment 4": "parts"}),
        ("2 cm lesion in segment VI of the liver.", {"segment VI": "parts", "liver": "organ"}),
        ("2 cm mass of the pancreas.", {"pancreas": "organ"}),
        ("2 cm mass in the pancreatic head.", {"pancreatic head": "organ and part"}),
        ("1 cm nodule in the right upper lobe.", {"right upper lobe": "organ and part"}),
        ("1 cm nodule in the right upper lobe of the lung.", {"right upper lobe": "parts", "lung": "organ"}),
        ("Uncinate process 2 cm mass of the pancreas.", {"Uncinate process": "parts", "pancreas": "organ"}),
    ],
)
def test_words_of_place_are_named_by_what_they_name(text, expected):
    assert fields(text) == expected


def test_the_page_and_the_facts_say_the_same():
    explanation = explain("1.8 cm mass in the interpolar left kidney.")
    page = render_explain_page(explanation)
    for name, word in (
        ("part → step 3", "interpolar"),
        ("organ → step 3", "kidney"),
        ("size → step 2", "1.8 cm"),
    ):
        assert f"<dt>{name}</dt><dd>“{word}”</dd>" in page
    (lesion,) = explanation_facts(explanation)["classes"][0]["lesions"]
    words = {item["field"]: explanation.text[item["start"] : item["end"]] for item in lesion["evidence"]}
    assert (words["organ"], words["parts"], words["laterality"]) == ("kidney", "interpolar", "left")
    assert words["lesion"] == explanation.text


def test_words_of_ones_own_are_explained(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("organs: {pancreas: {synonyms: [sweetbread]}}")
    explanation = explain("2 cm mass in the sweetbread.", anatomy=mine)
    assert [lesson.lesion_class for lesson in explanation.lessons][:1] == ["pancreas_lesion"]
    with pytest.raises(UsageError, match="bad_anatomy"):
        explain("2 cm mass in the liver.", anatomy=tmp_path / "nowhere.yaml")
    rules = tmp_path / "rules.yaml"
    rules.write_text("presets: {mine: {rules: [{organ: [livr], then: count}]}}")
    with pytest.raises(UsageError, match="did you mean liver"):
        explain("2 cm mass in the liver.", policy=str(rules))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Renal masses on both sides.", ["at least one on each side is searched for"]),
        (
            "Three 1 cm masses in both kidneys.",
            ["each of this size. At least one is searched for on each side."],
        ),
        ("Multiple renal masses.", ["at least two are searched for"]),
        (
            "Multiple bilateral renal masses, the largest in the left kidney measuring 3.4 cm.",
            ["one is searched for on the right, where the largest is not", ""],
        ),
    ],
)
def test_the_page_says_on_which_sides_lesions_are_searched(text, said):
    lesions = extract_record(Report(report_id="r", text=text)).lesions
    stories = [count_story(lesion, lesions if lesion.group_id else ()) for lesion in lesions]
    for story, words in zip(stories, said, strict=True):
        assert words in story if words else story == ""


def test_painted_lesions_on_both_sides_lie_one_a_side():
    explanation = explain("Two 2 cm masses in both kidneys.")
    kidneys = explanation.case.organs
    (first, second) = explanation.case.seats
    assert kidneys["kidney_left"][first.voxel]
    assert kidneys["kidney_right"][second.voxel]
    for guess in explanation.lessons[0].guesses:
        assert len(guess.balls) == 2
        assert len({ball.centre[0] > explanation.lessons[0].ct_hu.shape[0] // 2 for ball in guess.balls}) == 2
