"""The class state of a case: a table of what reports may say, and what follows."""

from __future__ import annotations

import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.records import OrganStatement, SideStatement, Technique
from rsuper.supervision import load_policy
from rsuper.supervision.states import organ_evidence, settled_malignancy

ANATOMY = load_anatomy()
FREE = OrganStatement(status="explicitly_lesion_free")


def evidence(*records, organ="pancreas", policy=None):
    return organ_evidence(
        records,
        organ,
        lesion_class=ANATOMY.organs[organ].lesion_class,
        anatomy=ANATOMY,
        policy=policy or load_policy(),
    )


@pytest.mark.parametrize(
    ("statement", "state"),
    [
        (FREE, "absent"),
        (OrganStatement(status="explicitly_lesion_free", limited=True), "unknown"),
        (OrganStatement(status="explicitly_lesion_free", scope="metastasis_only"), "unknown"),
        (OrganStatement(status="explicitly_lesion_free", scope="suspicious_only"), "unknown"),
        (OrganStatement(status="explicitly_lesion_free", scope="recurrence_only"), "unknown"),
        (OrganStatement(status="no_statement_on_lesions"), "unknown"),
        (OrganStatement(status="indeterminate"), "unknown"),
        (OrganStatement(status="surgically_absent"), "unknown"),
        (OrganStatement(status="not_mentioned"), "unknown"),
        (OrganStatement(status="lesion_present"), "unknown"),
        (None, "unknown"),
    ],
)
def test_only_a_full_strength_statement_makes_a_negative(make_record, statement, state):
    organs = {} if statement is None else {"pancreas": statement}
    assert evidence(make_record(organs=organs)).state == state


def test_a_limited_examination_or_an_uncertain_record_makes_no_negative(make_record):
    organs = {"pancreas": FREE}
    assert evidence(make_record(organs=organs, technique=Technique(limited=True))).state == "unknown"
    assert evidence(make_record(organs=organs, status="needs_review")).state == "unknown"
    assert evidence(make_record(organs=organs, status="failed")).state == "unknown"
    assert evidence(make_record(organs=organs, source="pathology")).state == "unknown"


def test_without_any_record_nothing_is_known():
    assert evidence().state == "unknown"
    assert evidence().codes == ("no_record",)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "reported"),
        ({"presence": "probable"}, "reported"),
        ({"presence": "possible"}, "unknown"),
        ({"kind": "cyst"}, "unknown"),
        ({"malignancy": "benign"}, "unknown"),
        ({"treated": True}, "unknown"),
        ({"evidence": ()}, "unknown"),
    ],
)
def test_a_lesion_reports_only_if_it_counts_and_is_grounded(make_lesion, make_record, fields, state):
    found = make_lesion(**fields)
    assert (
        evidence(make_record(found, organs={"pancreas": OrganStatement(status="lesion_present")})).state
        == state
    )


def test_a_resolved_lesion_says_nothing(make_lesion, make_record):
    gone = make_lesion(change="resolved")
    assert evidence(make_record(gone, organs={"pancreas": FREE})).state == "absent"


def test_a_lesion_beats_a_free_statement(make_lesion, make_record):
    assert evidence(make_record(make_lesion(), organs={"pancreas": FREE})).state == "reported"


def test_a_lesion_of_another_organ_says_nothing_here(make_lesion, make_record):
    report = make_record(make_lesion("adrenal_gland", laterality="left"), organs={"kidney": FREE})
    assert evidence(report, organ="kidney").state == "absent"
    assert evidence(report, organ="adrenal_gland").state == "reported"


def test_sides_of_a_paired_organ_are_known_apart(make_lesion, make_record):
    left = make_lesion("kidney", laterality="left")
    said = OrganStatement(
        status="lesion_present",
        sides={
            "left": SideStatement(status="lesion_present"),
            "right": SideStatement(status="explicitly_lesion_free"),
        },
    )
    both_known = evidence(make_record(left, organs={"kidney": said}), organ="kidney")
    assert both_known.state == "reported"
    assert both_known.free_sides == {"right"}
    assert both_known.unmentioned_sides == frozenset()
    one_known = evidence(
        make_record(left, organs={"kidney": OrganStatement(status="lesion_present")}), organ="kidney"
    )
    assert one_known.unmentioned_sides == {"right"}
    free = OrganStatement(sides={"right": SideStatement(status="explicitly_lesion_free")})
    half = evidence(make_record(organs={"kidney": free}), organ="kidney")
    assert half.state == "unknown"
    assert half.free_sides == {"right"}
    whole = evidence(make_record(organs={"kidney": FREE}), organ="kidney")
    assert whole.state == "absent"
    assert whole.free_sides == {"left", "right"}


def test_two_records_of_one_lesion_count_once(make_lesion, make_record):
    first = make_record(make_lesion(diameters_mm=(20.0,), presence="probable"), report_id="R1")
    second = make_record(make_lesion(diameters_mm=(21.0,)), report_id="R2")
    merged = evidence(first, second)
    assert len(merged.counted) == 1
    assert merged.counted[0].record.report_id == "R2"
    other = make_record(make_lesion(diameters_mm=(45.0,)), report_id="R3")
    assert len(evidence(first, second, other).counted) == 2


def test_records_that_disagree_never_make_a_negative(make_record):
    said = make_record(organs={"pancreas": FREE}, report_id="R1")
    unsure = make_record(organs={"pancreas": OrganStatement(status="indeterminate")}, report_id="R2")
    silent = make_record(report_id="R3")
    found = evidence(said, unsure)
    assert found.state == "unknown"
    assert "records_disagree" in found.codes
    assert evidence(said, silent).state == "absent"


def test_pathology_overrides_the_malignancy_of_what_it_matches(make_lesion, make_record):
    seen = make_lesion(parts=("pancreas_head",), diameters_mm=(30.0,), malignancy="indeterminate")
    removed = make_lesion(parts=("pancreas_head",), diameters_mm=(28.0,), malignancy="malignant")
    elsewhere = make_lesion(parts=("pancreas_tail",), malignancy="benign")
    radiology = make_record(seen, report_id="R1")
    for lesions, expected in (
        ((removed,), True),
        ((elsewhere,), None),
        ((removed, elsewhere), True),
        ((), None),
    ):
        pathology = make_record(*lesions, report_id="P1", source="pathology")
        assert evidence(radiology, pathology).counted[0].malignant is expected


def test_mixed_pathology_is_settled_by_size_or_not_at_all(make_lesion):
    seen = make_lesion(diameters_mm=(30.0,))
    malignant = make_lesion(diameters_mm=(29.0,), malignancy="malignant")
    benign = make_lesion(diameters_mm=(8.0,), malignancy="benign")
    assert settled_malignancy(seen, [malignant, benign]) is True
    assert settled_malignancy(make_lesion(), [malignant, benign]) is None
    assert settled_malignancy(make_lesion(diameters_mm=(8.0,)), [malignant, benign]) is False


def test_pathology_alone_is_unknown_unless_chosen(make_lesion, make_record):
    pathology = make_record(make_lesion(malignancy="malignant"), source="pathology")
    assert evidence(pathology).state == "unknown"
    assert "pathology_alone" in evidence(pathology).codes
    chosen = load_policy().model_copy(update={"pathology_alone": "reported"})
    assert evidence(pathology, policy=chosen).state == "reported"
