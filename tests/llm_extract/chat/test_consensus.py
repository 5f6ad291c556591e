import json

from llm_extract.chat.consensus import Agreement, disagreements, needs_review, pair_lesions, write_agreement
from llm_extract.chat.drafting import with_issues
from llm_extract.records import Lesion, OrganStatement, Provenance, ReportRecord


def lesion(name: str, organ: str = "liver", **fields) -> Lesion:
    return Lesion(lesion_id=name, organ=organ, **fields)


def record(*lesions: Lesion, **organs: str) -> ReportRecord:
    return ReportRecord(
        report_id="R1", source="radiology", text_sha256="0" * 64, text_chars=10, status="ok", lesions=lesions,
        organs={name: OrganStatement(status=status) for name, status in organs.items()},
        provenance=Provenance(backend="x", version="1"),
    )  # fmt: skip


def fields_of(a: ReportRecord, b: ReportRecord) -> list[str]:
    return [issue.field for issue in disagreements(a, b)]


def test_a_record_agrees_with_itself():
    same = record(lesion("L1", diameters_mm=(34.0,), measurement_ids=("M1",)), liver="lesion_present")
    assert disagreements(same, same) == ()


def test_lesions_pair_by_their_measurements_whatever_their_order():
    a = [lesion("L1", measurement_ids=("M1",)), lesion("L2", measurement_ids=("M2",))]
    pairing = pair_lesions(a, a[::-1])
    assert [(x.lesion_id, y.lesion_id) for x, y in pairing.pairs] == [("L1", "L1"), ("L2", "L2")]
    assert pairing.only_first == pairing.only_second == ()


def test_another_organ_for_the_same_measurement_is_a_disagreement_on_the_organ():
    a = record(lesion("L1", "liver", measurement_ids=("M1",), diameters_mm=(9.0,)))
    b = record(lesion("L1", "kidney", measurement_ids=("M1",), diameters_mm=(9.0,)))
    assert fields_of(a, b) == ["L1.organ"]


def test_left_and_right_are_never_one_lesion_without_a_shared_measurement():
    a, b = (
        record(lesion("L1", "kidney", laterality="left")),
        record(lesion("L1", "kidney", laterality="right")),
    )
    assert fields_of(a, b) == ["L1.lesion", "other.L1.lesion"]


def test_what_one_leaves_open_is_no_disagreement_but_a_size_is():
    a = record(lesion("L1", attenuation="hypo", laterality="left"))
    b = record(lesion("L1", diameters_mm=(9.0,)))
    assert fields_of(a, b) == ["L1.diameters_mm"]
    c = record(lesion("L1", attenuation="hyper"))
    assert fields_of(a, c) == ["L1.attenuation"]
    assert needs_review(disagreements(a, b))
    assert not needs_review(disagreements(a, c))


def test_an_organ_free_for_one_and_not_for_the_other():
    assert fields_of(record(liver="explicitly_lesion_free"), record(liver="lesion_present")) == [
        "organs.liver.status"
    ]
    assert fields_of(record(spleen="explicitly_lesion_free"), record()) == ["organs.spleen.status"]
    assert fields_of(record(spleen="no_statement_on_lesions"), record(spleen="explicitly_lesion_free")) == []


def test_agreement_over_many_records_adds_up(tmp_path):
    base = record(
        lesion("L1", measurement_ids=("M1",)), lesion("L2", "spleen"), lung="explicitly_lesion_free"
    )
    others = [
        base,
        record(lesion("L1", measurement_ids=("M1",), count=2), lung="explicitly_lesion_free"),
        record(*base.lesions, lesion("L3", "bone")),
    ]
    path = tmp_path / "records.1-of-2.jsonl"
    agreement = Agreement()
    with path.open("w") as file:
        for other in others:
            found = disagreements(base, other)
            marked = with_issues(base, found, review=needs_review(found))
            agreement.add(marked)
            file.write(marked.model_dump_json() + "\n")
    summary = agreement.summary()
    assert (summary["records"], summary["records_that_differ"], summary["lesions"]) == (3, 2, 6)
    assert (summary["paired"], summary["only_first"], summary["only_second"]) == (5, 1, 1)
    assert summary["fields"]["count"] == {"agree": 4, "of": 5}
    assert summary["fields"]["organ"] == {"agree": 5, "of": 5}
    assert summary["free_organs"] == {"agree": 2, "of": 3}
    written = write_agreement(path)
    assert written.name == "agreement.1-of-2.json"
    assert json.loads(written.read_text()) == summary
