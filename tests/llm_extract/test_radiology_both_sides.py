"""Groups on both sides whose lesions are told by their side, and lesions that are too small to characterise."""

from __future__ import annotations

import pytest

from llm_extract.records import Lesion, ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record


def read(text: str) -> ReportRecord:
    return extract_record(Report(report_id="r1", text=text, kind="radiology"))


def told(lesion: Lesion) -> tuple[str, tuple[float, ...], float | None]:
    return lesion.laterality, lesion.diameters_mm, lesion.size_max_mm


PAIRS = {
    "Bilateral renal masses, right 3.3 cm, left subcentimeter.": [
        ("right", (33.0,), None),
        ("left", (), 10.0),
    ],
    "Bilateral renal masses, right subcentimeter, left 3.3 cm.": [
        ("right", (), 10.0),
        ("left", (33.0,), None),
    ],
    "Renal masses bilaterally, 41 mm left and millimetric right.": [
        ("left", (41.0,), None),
        ("right", (), 10.0),
    ],
    "Bilateral adrenal nodules, right too small to characterise, left 24 mm.": [
        ("right", (), 10.0),
        ("left", (24.0,), None),
    ],
    "Bilateral adrenal nodules measuring 2.1 cm on the right and 1.4 cm on the left.": [
        ("right", (21.0,), None),
        ("left", (14.0,), None),
    ],
    "Bilateral thyroid nodules (left 17 mm, right less than 1 cm).": [
        ("left", (17.0,), None),
        ("right", (), 10.0),
    ],
    "Bilateral renal masses. The right measures 3.3 cm and the left measures 1.2 cm.": [
        ("right", (33.0,), None),
        ("left", (12.0,), None),
    ],
    "Bilateral renal masses: right 3.3 x 2.1 cm; left 1.2 x 1.0 cm.": [
        ("right", (33.0, 21.0), None),
        ("left", (12.0, 10.0), None),
    ],
    "Bilateral adrenal nodules; on the right 1.5 cm, on the left 2.1 cm.": [
        ("right", (15.0,), None),
        ("left", (21.0,), None),
    ],
    "Nodules are seen in both adrenal glands. On the left 19 mm (previously 14 mm), on the right 11 mm.": [
        ("left", (19.0,), None),
        ("right", (11.0,), None),
    ],
}


@pytest.mark.parametrize("text", PAIRS)
def test_each_side_has_its_own_size(text: str) -> None:
    lesions = read(text).lesions
    assert [told(lesion) for lesion in lesions] == PAIRS[text]
    assert all(x.count == 1 and x.group_role == "individual" for x in lesions)


def test_each_side_has_its_own_earlier_size() -> None:
    left, right = read(list(PAIRS)[-1]).lesions
    assert (left.prior_diameters_mm, right.prior_diameters_mm) == ((14.0,), ())


ONE_MEASURED = {
    # bound of the others, roles of the group and of its lesion, side and size of the lesion
    "Bilateral renal masses, 3.3 cm on the right.": (None, "member", ("right", (33.0,), None)),
    "Bilateral renal masses, largest 3.3 cm on the right.": (33.0, "index", ("right", (33.0,), None)),
    "Bilateral adrenal nodules measuring up to 2.1 cm on the left.": (21.0, "index", ("left", (21.0,), None)),
    "Bilateral breast masses, larger on the left measuring 2.4 cm.": (
        None,
        "member",
        ("left", (24.0,), None),
    ),
    "Masses in both kidneys, subcentimeter on the left.": (None, "member", ("left", (), 10.0)),
    "Bilateral renal masses. The right one measures 3.3 cm.": (None, "member", ("right", (33.0,), None)),
}


@pytest.mark.parametrize("text", ONE_MEASURED)
def test_a_size_on_one_side_leaves_the_group_on_both(text: str) -> None:
    bound, role, lesion = ONE_MEASURED[text]
    group, made = read(text).lesions
    assert (group.laterality, group.count_kind, group.group_role) == (
        "bilateral",
        "multiple_unknown",
        "remainder",
    )
    assert (group.diameters_mm, group.size_max_mm) == ((), bound)
    assert (made.group_role, made.group_id, made.count) == (role, group.group_id, 1)
    assert told(made) == lesion


NO_PAIR = {
    # where there are more or larger ones says nothing of a side of all
    "Bilateral renal lesions, right larger than left, up to 3 cm.": [("bilateral", (), 30.0)],
    "Cysts in both kidneys, more on the right than on the left, up to 3 cm.": [("bilateral", (), 30.0)],
    # a size word that is said of the same lesions
    "A pleural-based millimetric (3 mm) nodule in the right lower lobe of the lung.": [
        ("right", (3.0,), None)
    ],
    "Several subcentimeter nodules in the right lung, largest 7 mm.": [
        ("right", (), 7.0),
        ("right", (7.0,), None),
    ],
    "Multiple cysts in both kidneys; big ones reach 31 mm on the right.": [
        ("bilateral", (), 31.0),
        ("right", (31.0,), None),
    ],
    "A mass in the right kidney, 4 cm, and a subcentimeter cyst in the left kidney.": [
        ("right", (40.0,), None),
        ("left", (), 10.0),
    ],
}


@pytest.mark.parametrize("text", NO_PAIR)
def test_sides_that_tell_no_lesion_apart(text: str) -> None:
    assert [told(lesion) for lesion in read(text).lesions] == NO_PAIR[text]


@pytest.mark.parametrize(
    "words",
    [
        "too small to characterize",
        "too small to characterise",
        "too small to fully characterise",
        "too small to further characterize",
        "too small to accurately characterize on CT",
        "too small to be definitively characterized",
        "too small for definitive characterization",
        "TSTC",
        "subcentimeter and too small to characterize",
    ],
)
def test_too_small_to_characterise_is_a_bound(words: str) -> None:
    (lesion,) = read(f"Hypodense lesion in the right kidney, {words}.").lesions
    assert (lesion.diameters_mm, lesion.size_max_mm, lesion.size_kind) == ((), 10.0, "upper_bound")


@pytest.mark.parametrize(
    ("text", "diameters_mm", "size_max_mm", "count"),
    [
        ("A 4 mm hypodense lesion of segment 4, too small to characterize.", (4.0,), None, 1),
        ("A 13 mm left renal lesion, too small to characterise.", (13.0,), None, 1),
        ("Several hypodense liver lesions are too small to characterize.", (), 10.0, None),
        ("Hypodense lesions in the spleen. These are too small to characterise.", (), 10.0, None),
        ("A hypodense lesion in the spleen. It is too small to characterise.", (), 10.0, 1),
        # said of some alone
        ("Several hypodense liver lesions, some of which are too small to characterize.", (), None, None),
        ("Several hypodense liver lesions, most too small to characterize.", (), None, None),
        ("The hypodense liver lesion is not too small to characterize.", (), None, 1),
        ("The hypodense liver lesion is too small to biopsy.", (), None, 1),
    ],
)
def test_whose_bound_it_is(text, diameters_mm, size_max_mm, count) -> None:
    (lesion,) = read(text).lesions
    assert (lesion.diameters_mm, lesion.size_max_mm, lesion.count) == (diameters_mm, size_max_mm, count)
