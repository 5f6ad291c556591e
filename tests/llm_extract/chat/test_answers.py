import json
import time

import pytest

from llm_extract.chat.answers import ERROR_CODES, check_answer

TEXT = (
    "HISTORY: Known liver mass of 9 cm.\n"
    "FINDINGS: A hypodense mass of 3.4 cm in segment 7 of the liver, previously 2.8 cm. "
    "Two cysts of the left kidney, up to 12 mm. Pancreatic duct 3 mm. The spleen is normal in size.\n"
    "No pancreatic mass. The right adrenal gland is unremarkable.\n"
    "IMPRESSION: Growing liver mass of 3.4 cm.\n"
)
MASS = {"quote": "mass of 3.4 cm in segment 7", "organ": "liver", "kind": "mass"}
CYSTS = {"quote": "Two cysts of the left kidney", "organ": "kidney", "kind": "cyst"}


def checked(prepare, lesions=(), free=(), finish_reason="stop"):
    raw = json.dumps({"lesions": list(lesions), "free": list(free)})
    return check_answer(raw, finish_reason=finish_reason, prepared=prepare(TEXT))


def mark_of(prepared, words):
    at = TEXT.index(words)
    return next(m.id for m in prepared.measurements if m.start <= at < m.end)


def test_a_good_answer_is_grounded_where_the_text_says_it(prepare):
    prepared = prepare(TEXT)
    size = [mark_of(prepared, "3.4 cm in"), prepared.measurements[-1].id]
    prior = [mark_of(prepared, "2.8 cm")]
    lesions = [
        MASS | {"size": size, "prior": prior, "place": "segment 7", "density": "hypo"},
        CYSTS | {"side": "left", "count": 2, "size": [mark_of(prepared, "12 mm")]},
    ]
    free = [{"quote": "No pancreatic mass", "organs": ["pancreas"]}]
    answer = checked(prepare, lesions, free)
    assert answer.errors == ()
    assert [TEXT[x.start : x.end] for x in answer.lesions] == [MASS["quote"], CYSTS["quote"]]
    assert [m.values_mm for m in answer.lesions[0].sizes] == [(34.0,), (34.0,)]
    assert [m.values_mm for m in answer.lesions[0].priors] == [(28.0,)]
    assert TEXT[answer.free[0].start : answer.free[0].end] == "No pancreatic mass"


def test_quotes_with_marks_line_breaks_and_other_case_are_found(prepare):
    for quote in ("MASS of 3.4 cm[M2] in segment 7", "normal  in size. No pancreatic"):
        answer = checked(prepare, [MASS | {"quote": quote}])
        assert "quote_not_in_report" not in answer.errors


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "answer_not_json"),
        ("The liver shows a mass.", "answer_not_json"),
        ('{"lesions": [', "answer_not_json"),
        ("[" * 100_000, "answer_not_json"),
        ("[]", "answer_not_json"),
        ("null", "answer_not_json"),
        ("{}", "answer_against_schema"),
        ('{"lesions": [], "free": [], "note": "x"}', "answer_against_schema"),
        ('{"lesions": [{"quote": "mass"}], "free": []}', "answer_against_schema"),
        ('{"lesions": [{"quote": "mass", "organ": "liver", "size": [3.4]}], "free": []}', "answer_against_schema"),
        ('{"lesions": [{"quote": "mass", "organ": "liver", "count": 9999}], "free": []}', "answer_against_schema"),
        ('{"lesions": [{"quote": "mass", "organ": "liver", "diameter": "9 cm"}], "free": []}', "answer_against_schema"),
        ('{"lesions": "none", "free": []}', "answer_against_schema"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_named(prepare, raw, code):
    assert check_answer(raw, finish_reason="stop", prepared=prepare(TEXT)).errors == (code,)


@pytest.mark.parametrize("fenced", ["```json\n{}\n```", "```{}```", " ```\n\n{} ``` \n", "```json{}```"])
def test_a_fenced_answer_is_read(prepare, fenced):
    raw = fenced.replace("{}", '{"lesions": [], "free": []}')
    assert check_answer(raw, finish_reason="stop", prepared=prepare(TEXT)).errors == ()


@pytest.mark.parametrize("raw", ["`" * 3, "`" * 4, "`" * 5, "```json", "```json ```"])
def test_a_fence_without_an_answer_is_none(prepare, raw):
    assert check_answer(raw, finish_reason="stop", prepared=prepare(TEXT)).errors == ("answer_not_json",)


def test_a_fence_that_never_closes_around_white_space_takes_no_time(prepare):
    prepared = prepare(TEXT)
    started = time.process_time()
    for space in (" ", "\n", "\t \n"):
        raw = "```" + space * 200_000 + "x"
        assert check_answer(raw, finish_reason="stop", prepared=prepared).errors == ("answer_not_json",)
    assert time.process_time() - started < 1.0


def test_a_cut_off_answer_is_a_failure_even_if_it_parses(prepare):
    assert checked(prepare, finish_reason="length").errors == ("answer_cut_off",)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quote": "mass of 5 cm in segment 7"}, "quote_not_in_report"),
        ({"quote": "Known liver mass of 9 cm"}, "quote_in_history"),
        ({"size": ["M77"]}, "unknown_mark"),
        ({"prior": ["M77"]}, "unknown_mark"),
        ({"size": ["2.8 cm"]}, "size_is_prior"),
        ({"organ": "uterus"}, "organ_not_in_report"),
        ({"side": "bilateral"}, "side_not_in_report"),
        ({"count": 7}, "count_not_in_report"),
        ({"quote": "No pancreatic mass", "organ": "pancreas"}, "lesion_denied"),
    ],
)
def test_a_lesion_that_the_report_does_not_carry_is_named(prepare, change, code):
    prepared = prepare(TEXT)
    size = [i if i.startswith("M") else mark_of(prepared, i) for i in change.get("size", [])]
    answer = checked(prepare, [MASS | change | ({"size": size} if size else {})])
    assert answer.errors == (code,)
    assert answer.lesions == ()
    assert code in ERROR_CODES


def test_one_size_for_two_lesions_and_a_lesion_twice(prepare):
    size = [mark_of(prepare(TEXT), "3.4 cm in")]
    other = MASS | {"quote": "A hypodense mass of 3.4 cm", "size": size}
    assert checked(prepare, [MASS | {"size": size}, other]).errors == ("mark_used_twice",)
    assert checked(prepare, [MASS, MASS]).errors == ("lesion_twice",)
    assert "answer_loops" in checked(prepare, [MASS] * 9).errors


def test_a_size_far_from_its_lesion(prepare):
    text = TEXT.replace(
        "No pancreatic mass.", "The bowel is normal. " * 40 + "A nodule in the right lung of 8 mm."
    )
    prepared = prepare(text)
    nodule = next(m.id for m in prepared.measurements if m.values_mm == (8.0,))
    raw = json.dumps({"lesions": [MASS | {"size": [nodule]}], "free": []})
    assert check_answer(raw, finish_reason="stop", prepared=prepared).errors == ("size_far_from_quote",)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"quote": "Growing liver mass of 3.4 cm", "organs": ["liver"]}, "free_not_supported"),
        ({"quote": "No pancreatic mass", "organs": ["uterus"]}, "organ_not_in_report"),
        ({"quote": "No pancreatic mass", "organs": ["heart"]}, "answer_against_schema"),
        ({"quote": "The liver is normal", "organs": ["liver"]}, "quote_not_in_report"),
        ({"quote": "The spleen is normal", "organs": ["spleen"]}, None),
        ({"quote": "The right adrenal gland is unremarkable", "organs": ["adrenal_gland"], "side": "right"}, None),
    ],
)  # fmt: skip
def test_an_organ_is_free_only_where_the_quote_says_so(prepare, entry, code):
    assert checked(prepare, free=[entry]).errors == (() if code is None else (code,))


def test_an_organ_with_a_lesion_is_not_free(prepare):
    free = [{"quote": "The spleen is normal in size.\nNo pancreatic mass", "organs": ["pancreas"]}]
    lesion = {"quote": "Pancreatic duct 3 mm", "organ": "pancreas"}
    assert "free_and_lesion" in checked(prepare, [lesion], free).errors
