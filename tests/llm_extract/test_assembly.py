"""Drafts as any backend could return them, right or wrong, and the records they become."""

from __future__ import annotations

from llm_extract.assembly import assemble
from llm_extract.drafts import LesionDraft, OrganDraft, RecordDraft, SignDraft
from llm_extract.measurements import scan_measurements
from llm_extract.records import Provenance, ReportRecord
from llm_extract.reports import Report
from llm_extract.sections import split_sections


def record(text: str, *lesions: LesionDraft, **fields) -> ReportRecord:
    return assemble(
        Report(report_id="r", text=text),
        RecordDraft(lesions=lesions, **fields),
        measurements=scan_measurements(text),
        sections=split_sections(text),
        source="radiology",
        provenance=Provenance(backend="test", version="1"),
    )


def test_ids_become_sizes_and_the_quote_becomes_offsets():
    text = "A 3.1 x 2.2 cm mass in the pancreatic tail."
    made = record(
        text,
        LesionDraft(
            organ="pancreas", parts=("pancreas_tail",), quote="3.1 x 2.2 cm mass", measurement_ids=("M1",)
        ),
    )
    (lesion,) = made.lesions
    assert lesion.diameters_mm == (31.0, 22.0)
    assert [(e.field, e.text) for e in lesion.evidence] == [
        ("lesion", "3.1 x 2.2 cm mass"),
        ("diameters_mm", "3.1 x 2.2 cm"),
    ]
    assert made.status == "ok"


def test_an_invented_quote_gives_an_issue_and_no_lesion():
    made = record("The liver is normal.", LesionDraft(organ="liver", quote="a 3 cm mass"))
    assert made.lesions == ()
    assert [i.code for i in made.issues] == ["ungrounded_quote"]
    assert made.status == "needs_review"


def test_an_id_that_does_not_exist_gives_no_size():
    made = record("A liver mass.", LesionDraft(organ="liver", quote="liver mass", measurement_ids=("M7",)))
    assert made.lesions[0].diameters_mm == ()


def test_an_invented_part_is_not_kept():
    made = record("A liver mass.", LesionDraft(organ="liver", quote="liver mass", parts=("liver_toe",)))
    assert made.lesions[0].parts == ()


def test_findings_and_impression_are_one_lesion_with_the_fuller_size():
    text = "FINDINGS: 18 mm mass in the liver, 3 cm cyst in the liver.\nIMPRESSION: 1.8 x 1.4 cm liver mass."
    made = record(
        text,
        LesionDraft(organ="liver", kind="mass", quote="18 mm mass in the liver", measurement_ids=("M1",)),
        LesionDraft(organ="liver", kind="cyst", quote="3 cm cyst", measurement_ids=("M2",)),
        LesionDraft(organ="liver", kind="mass", quote="1.8 x 1.4 cm liver mass", measurement_ids=("M3",)),
    )
    assert [(lesion.kind, lesion.diameters_mm) for lesion in made.lesions] == [
        ("mass", (18.0, 14.0)),
        ("cyst", (30.0,)),
    ]
    assert len(made.lesions[0].mentions) == 2


def test_a_contradicted_side_becomes_unknown_with_a_conflict():
    text = "FINDINGS: 26 mm left renal mass.\nIMPRESSION: 26 mm right renal mass."
    made = record(
        text,
        LesionDraft(
            organ="kidney", laterality="left", quote="26 mm left renal mass", measurement_ids=("M1",)
        ),
        LesionDraft(
            organ="kidney", laterality="right", quote="26 mm right renal mass", measurement_ids=("M2",)
        ),
    )
    (lesion,) = made.lesions
    assert lesion.laterality == "unknown"
    assert lesion.conflict == ("laterality",)
    assert made.status == "needs_review"


def test_a_contradicted_size_keeps_the_findings_value():
    text = "FINDINGS: 26 mm splenic mass.\nIMPRESSION: 62 mm splenic mass."
    made = record(
        text,
        LesionDraft(organ="spleen", quote="26 mm splenic mass", measurement_ids=("M1",)),
        LesionDraft(organ="spleen", quote="62 mm splenic mass", measurement_ids=("M2",)),
    )
    (lesion,) = made.lesions
    assert lesion.diameters_mm == (26.0,)
    assert lesion.conflict == ("diameters_mm",)


def test_a_group_with_a_bound_has_no_diameters_and_one_lesion_up_to_has():
    text = "Cysts up to 9 mm. A mass up to 15 mm. Nodules less than 4 mm."
    made = record(
        text,
        LesionDraft(
            organ="liver",
            quote="Cysts up to 9 mm",
            measurement_ids=("M1",),
            count=None,
            count_kind="multiple_unknown",
        ),
        LesionDraft(organ="spleen", quote="A mass up to 15 mm", measurement_ids=("M2",)),
        LesionDraft(organ="lung", quote="Nodules less than 4 mm", measurement_ids=("M3",), count=3),
    )
    assert [(x.diameters_mm, x.size_max_mm, x.size_kind) for x in made.lesions] == [
        ((), 9.0, "upper_bound"),
        ((15.0,), None, "exact"),
        ((), 4.0, "upper_bound"),
    ]


def test_the_remainder_of_a_group_is_bounded_by_its_index():
    text = "Many cysts in the liver, the largest 41 mm."
    made = record(
        text,
        LesionDraft(
            organ="liver",
            quote="Many cysts",
            count=None,
            count_kind="multiple_unknown",
            group="a",
            group_role="remainder",
        ),
        LesionDraft(
            organ="liver", quote="the largest 41 mm", measurement_ids=("M1",), group="a", group_role="index"
        ),
    )
    assert [(x.group_role, x.diameters_mm, x.size_max_mm) for x in made.lesions] == [
        ("remainder", (), 41.0),
        ("index", (41.0,), None),
    ]


def test_a_size_no_organ_can_hold_is_flagged():
    made = record(
        "A 95 cm thyroid nodule.",
        LesionDraft(organ="thyroid", quote="95 cm thyroid nodule", measurement_ids=("M1",)),
    )
    assert "implausible_size" in {i.code for i in made.issues}


def test_a_length_that_nothing_explains_warns():
    made = record("The gizmo shows 33 mm.")
    assert made.status == "ok_with_warnings"
    assert [u.reason for u in made.unused_measurements] == ["other"]


def test_every_organ_has_a_statement_and_sides_are_kept_apart():
    text = "The right kidney is normal. The left kidney is surgically absent."
    made = record(
        text,
        organs=(
            OrganDraft(
                organ="kidney",
                status="explicitly_lesion_free",
                laterality="right",
                quote="The right kidney is normal.",
            ),
            OrganDraft(
                organ="kidney",
                status="surgically_absent",
                laterality="left",
                quote="left kidney is surgically absent",
            ),
        ),
    )
    assert len(made.organs) >= 27
    assert made.organs["kidney"].status == "explicitly_lesion_free"
    assert {k: v.status for k, v in made.organs["kidney"].sides.items()} == {
        "left": "surgically_absent",
        "right": "explicitly_lesion_free",
    }
    assert made.organs["pancreas"].status == "not_mentioned"


def test_a_sign_keeps_its_size_out_of_the_lesions():
    text = "The pancreatic duct measures 8 mm."
    made = record(
        text,
        signs=(
            SignDraft(
                organ="pancreas",
                sign="duct_dilatation",
                quote="pancreatic duct measures 8 mm",
                measurement_ids=("M1",),
            ),
        ),
    )
    assert made.lesions == ()
    assert made.signs[0].value_mm == 8.0
