from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.measurements import scan_measurements
from llm_extract.references import scan_references


def values(text: str) -> list[tuple[float, ...]]:
    return [m.values_mm for m in scan_measurements(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mass of 3 cm", [(30.0,)]),
        ("cyst, .8 cm", [(8.0,)]),
        ("cyst, 2,4 cm", [(24.0,)]),
        ("2.2 x 1.7 x 1.1 cm mass", [(22.0, 17.0, 11.0)]),
        ("31×24mm", [(31.0, 24.0)]),
        ("a mass of 5.4 x   \n3.1 cm", [(54.0, 31.0)]),
        ("a mass of 5.4   \r\n    x 3.1 x \n 2 cm", [(54.0, 31.0, 20.0)]),
        ("a mass of 5.4 x \n\n 3.1 cm", [(31.0,)]),
        ("too small to characterise", [(10.0,)]),
        ("2.6 cm x 19 mm", [(26.0, 19.0)]),
        ("41 mm by 33 mm", [(41.0, 33.0)]),
        ("a 2-cm nodule", [(20.0,)]),
        ("two and a half centimeter mass", [(25.0,)]),
        ("4.1 (AP) x 3.2 (TR) x 5.0 (CC) cm", [(41.0, 32.0, 50.0)]),
        ("cysts of 5, 8 and 11 mm", [(5.0,), (8.0,), (11.0,)]),
        ("6.5 x 4 em tumor", [(65.0, 40.0)]),
        ("nodules of 3-5 mm", [(3.0, 5.0)]),
        ("between 4 and 9 mm", [(4.0, 9.0)]),
        ("series 4 image 88, 5/12", []),
        ("on 3/7/2021 at 12:30 pm", []),
        ("LI-RADS 4, Bosniak 2F, segment 7", []),
        ("lesion (4:113) of 45 HU and 12 cc, 63-year-old, 40% necrosis", []),
        ("area of 4 cm2", []),
        ("", []),
    ],
)
def test_values(text, expected):
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "qualifier"),
    [
        ("mass of 3 cm", "exact"),
        ("approximately 3 cm", "approximate"),
        ("up to 3 cm", "upper_bound"),
        ("less than 3 cm", "upper_bound"),
        ("<3 cm", "upper_bound"),
        ("3 cm or smaller", "upper_bound"),
        ("at least 3 cm", "lower_bound"),
        (">3 cm", "lower_bound"),
        ("2-3 cm", "range"),
        ("subcentimetre cyst", "upper_bound"),
        ("cyst, too small to characterise", "upper_bound"),
    ],
)
def test_qualifiers(text, qualifier):
    assert [m.qualifier for m in scan_measurements(text)] == [qualifier]


@pytest.mark.parametrize(
    ("text", "tenses"),
    [
        ("now 24 mm, previously 18 mm", ["current", "prior"]),
        ("previously 18 mm, now 24 mm", ["prior", "current"]),
        ("24 mm (prior 18 mm)", ["current", "prior"]),
        ("24 mm (was 18 mm)", ["current", "prior"]),
        ("24 mm, was 18 mm", ["current", "prior"]),
        ("increased from 18 to 24 mm", ["prior", "current"]),
        ("measures 24 mm, increased from 18 mm", ["current", "prior"]),
        ("18 -> 24 mm", ["prior", "current"]),
        ("The mass has grown to 24 mm from 18 mm", ["current", "prior"]),
        ("The mass is 24 mm, up from about 18 mm", ["current", "prior"]),
        ("Cysts from 18 mm to the smallest", ["current"]),
        ("The mass measuring 24 mm has decreased from 28 mm", ["current", "prior"]),
        ("The 24 mm mass has grown slightly from 18 mm", ["current", "prior"]),
        ("Nodules of 24 mm and 9 mm, previously 18 mm and 7 mm", ["current", "current", "prior", "prior"]),
        ("A nodule of 24 mm, previously 18 mm and a cyst of 7 mm", ["current", "prior", "current"]),
        ("24 mm compared to 18 mm", ["current", "prior"]),
        ("24 mm, formerly 18 mm", ["current", "prior"]),
        ("24 mm versus 18 mm on the prior study", ["current", "prior"]),
        ("A node of 24 mm is seen (it was 18 mm)", ["current", "prior"]),
        ("The mass is 24 mm in the left lobe, it had been 18 mm", ["current", "prior"]),
        ("A cyst of 24 mm is seen, its diameter was 18 mm", ["current", "prior"]),
        ("24 mm (prev. 18 mm) in segment 5", ["current", "prior"]),
        ("24 mm (18 mm prev.)", ["current", "prior"]),
        ("24 mm (before: 18 mm)", ["current", "prior"]),
        ("24 mm today, 18 mm then", ["current", "prior"]),
        ("24 mm (18 mm six months ago)", ["current", "prior"]),
        ("24 mm (used to be 18 mm)", ["current", "prior"]),
        ("24 mm, 18 mm in the former examination", ["current", "prior"]),
        ("The previously described 18 mm cyst in the liver measures 24 mm today", ["prior", "current"]),
        (
            "The previously described 18 mm cyst is unchanged, a nodule of 24 mm is new",
            ["current", "current"],
        ),
        ("A cyst was found in the left kidney, it was 18 mm", ["current"]),
        ("A cyst of 24 mm and another cyst are seen, it was 18 mm", ["current", "current"]),
        ("A cyst of 24 mm was found in the liver, it was 18 mm", ["current", "current"]),
        ("a 24 mm cyst, 18 mm then nodular thickening", ["current", "current"]),
        ("24 mm today, 18 mm on the MRI of March", ["current", "prior"]),
        ("In 2019 the cyst measured 18 mm; it now measures 24 mm", ["prior", "current"]),
        ("Compared to the prior study, the 24 mm mass is unchanged", ["current"]),
        ("the nodule was 24 mm in diameter", ["current"]),
        ("24 mm in the junction of two lobes", ["current"]),
        ("24 mm at the marked site", ["current"]),
        ("24 mm today and 18 mm in March", ["current", "prior"]),
    ],
)
def test_tense(text, tenses):
    assert [m.tense for m in scan_measurements(text)] == tenses


def test_a_missing_unit_is_inferred_only_beside_a_word_of_measuring_and_is_marked():
    found = scan_measurements("A splenic mass measuring 5.1 x 4.2 is seen.")
    assert [(m.values_mm, m.unit_source) for m in found] == [((51.0, 42.0), "inferred")]
    assert scan_measurements("grid of 5.1 x 4.2") == ()


def test_precision_is_half_a_unit_of_the_last_digit():
    assert [m.precision_mm for m in scan_measurements("3 cm, then 2.1 cm, then 15 mm")] == [5.0, 0.5, 0.5]


def test_ids_count_up_in_text_order():
    assert [m.id for m in scan_measurements("3 mm, and 4 mm; 5 mm")] == ["M1", "M2", "M3"]


@given(
    st.lists(st.decimals(min_value="0.1", max_value="40", places=1), min_size=1, max_size=3),
    st.sampled_from(["mm", "cm"]),
    st.sampled_from([" x ", "x", " × ", " by "]),
)
def test_what_is_written_is_read_back(numbers, unit, times):
    text = f"The mass measures {times.join(map(str, numbers))} {unit} today."
    (found,) = scan_measurements(text)
    factor = 10 if unit == "cm" else 1
    assert found.values_mm == pytest.approx([float(n) * factor for n in numbers])
    assert text[found.start : found.end].endswith(unit)


@given(st.text(alphabet="0123456789 .,x×/-:()cm\n<>→aSI", max_size=120))
def test_any_text_gives_ordered_spans_inside_it(text):
    found = scan_measurements(text)
    assert all(0 <= m.start < m.end <= len(text) for m in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    assert all(0 < value <= 2000 for m in found for value in m.values_mm)


@pytest.mark.parametrize(
    ("text", "kind", "fields"),
    [
        ("(series 5, image 61)", "series_image", {"series": "5", "image": "61"}),
        ("image 61 of series 5", "series_image", {"series": "5", "image": "61"}),
        ("nodule (5:61)", "series_image", {"series": "5", "image": "61"}),
        ("LI-RADS 5", "score", {"system": "LI-RADS", "value": "5"}),
        ("Bosniak IIF", "score", {"system": "Bosniak", "value": "IIF"}),
        ("-12 HU", "hounsfield", {"hu": "-12"}),
        ("a volume of 9 cc", "volume", {"volume": "9", "vunit": "cc"}),
    ],
)
def test_references(text, kind, fields):
    (reference,) = scan_references(text)
    assert reference.kind == kind
    assert {key: reference.get(key) for key in fields} == fields


@pytest.mark.parametrize(
    "text",
    [
        "The nodule which was 7 mm has grown to 11 mm.",
        "The 7 mm nodule in the right middle lobe has grown to 11 mm.",
        "The lesion in segment 4, which measured 7 mm, has increased in size to 11 mm.",
    ],
)
def test_what_has_grown_to_a_size_had_the_first_one_before(text):
    first, second = scan_measurements(text)
    assert (first.tense, second.tense) == ("prior", "current")


def test_a_size_behind_a_vertebra_is_no_vertebra():
    measured = scan_measurements("Lesions of 2.1 cm in L3 and 1.4 cm in L5 and 12 x 9 mm in T4-6.")
    assert [m.values_mm for m in measured] == [(21.0,), (14.0,), (12.0, 9.0)]
