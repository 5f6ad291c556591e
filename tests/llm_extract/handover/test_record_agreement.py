"""Two sets of records of the same reports: known changes are found, counted and marked, and nothing else."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm_extract import ReportRecord
from llm_extract.certainty import lesion_certainty
from llm_extract.chat.consensus import disagreements
from llm_extract.cli import build_app
from llm_extract.handover.record_agreement import MEASURES, RecordAgreement, agree_records
from llm_extract.record_files import iter_records
from llm_extract.reports import Report
from llm_extract.rules import extract_record

SECRET = "Quirin Zapfmann"
TEXT = f"{SECRET}. Hypodense mass of 3.4 cm in segment 7 of the liver. Cyst of 9 mm in the left kidney. Normal spleen."


@pytest.fixture(scope="module")
def base() -> ReportRecord:
    record = extract_record(Report(report_id="R", text=TEXT))
    assert [(lesion.organ, lesion.diameters_mm) for lesion in record.lesions] == [
        ("liver", (34.0,)),
        ("kidney", (9.0,)),
    ]
    return record


def change(record: ReportRecord, place: int, **fields) -> ReportRecord:
    lesions = list(record.lesions)
    lesions[place] = lesions[place].model_copy(update=fields)
    return record.model_copy(update={"lesions": tuple(lesions)})


def write(path: Path, records) -> Path:
    path.write_text("".join(r.model_dump_json() + "\n" for r in records), "utf-8")
    return path


def rows(out: Path) -> list[tuple[str, ...]]:
    with (out / "disagreements.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def numbered(record: ReportRecord, n: int) -> ReportRecord:
    return record.model_copy(update={"report_id": f"R{n}"})


def test_equal_records_agree_in_everything(tmp_path, base):
    records = [numbered(base, n) for n in range(5)]
    source = write(tmp_path / "a.jsonl", records)
    summary = agree_records(source, write(tmp_path / "b.jsonl", records[::-1]), tmp_path / "out")
    assert summary["reports"]["compared"] == 5
    assert summary["reports"]["differ"] == summary["reports"]["review"] == 0
    assert (summary["lesions"]["value"], summary["lesions"]["paired"]) == (1.0, 10)
    assert all(field["agree"] == field["of"] == 10 for field in summary["fields"].values())
    assert summary["fields"]["organ"]["kappa"]["value"] == 1.0
    assert rows(tmp_path / "out") == []
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == source.read_bytes()


def test_each_planted_change_is_found_where_it_was_planted(tmp_path, base):
    """One change a record: the figures are those of the plan, and the marks those of the cross-check."""
    free = base.organs["spleen"].model_copy(update={"status": "lesion_present"})
    changed = [
        base,
        change(base, 0, diameters_mm=(30.0,)),
        change(base, 1, laterality="right"),
        change(base, 0, attenuation="hyper"),
        change(base, 0, attenuation="unknown"),
        base.model_copy(update={"lesions": base.lesions[:1]}),
        base.model_copy(update={"organs": {**base.organs, "spleen": free}}),
    ]
    first = [numbered(base, n) for n in range(len(changed))]
    second = [numbered(record, n) for n, record in enumerate(changed)]
    out = tmp_path / "out"
    summary = agree_records(write(tmp_path / "a.jsonl", first), write(tmp_path / "b.jsonl", second), out)
    assert rows(out) == [
        ("R1", "contradicts", "diameters_mm", "L1", "L1", "34", "30", "True"),
        ("R2", "contradicts", "laterality", "L2", "L2", "left", "right", "True"),
        ("R3", "contradicts", "attenuation", "L1", "L1", "hypo", "hyper", "False"),
        ("R4", "one_is_open", "attenuation", "L1", "L1", "hypo", "unknown", "False"),
        ("R5", "only_first", "lesion", "L2", "", "left kidney 9 mm", "", "True"),
        (
            "R6",
            "contradicts",
            "organs.spleen.status",
            "",
            "",
            "explicitly_lesion_free",
            "lesion_present",
            "True",
        ),
    ]
    unlike = {name: field for name, field in summary["fields"].items() if field["agree"] < 13}
    assert {name: (field["agree"], field["of"], field["contradict"]) for name, field in unlike.items()} == {
        "diameters_mm": (12, 13, 1), "laterality": (12, 13, 1), "attenuation": (11, 13, 1),
    }  # fmt: skip
    assert (summary["lesions"]["first"], summary["lesions"]["second"], summary["lesions"]["paired"]) == (
        14,
        13,
        13,
    )
    assert summary["organ_status"]["spleen"]["agree"] == 6
    assert (summary["reports"]["differ"], summary["reports"]["review"]) == (5, 4)
    marked = list(iter_records(out))
    assert [r.status for r in marked] == [
        base.status, "needs_review", "needs_review", "ok_with_warnings", base.status, "needs_review", "needs_review",
    ]  # fmt: skip
    for ours, theirs, made in zip(first, second, marked, strict=True):
        assert made.issues == (*ours.issues, *disagreements(ours, theirs))
        assert made.lesions == ours.lesions


def test_what_differs_is_less_certain_and_most_where_it_differs(tmp_path, base):
    agreement = tmp_path / "out"
    other = change(base, 0, diameters_mm=(30.0,))
    agree_records(write(tmp_path / "a.jsonl", [base]), write(tmp_path / "b.jsonl", [other]), agreement)
    (marked,) = iter_records(agreement)
    before = [lesion_certainty(lesion, base) for lesion in base.lesions]
    after = [lesion_certainty(lesion, marked) for lesion in marked.lesions]
    assert after[0] < after[1] < before[1]
    assert after[0] / before[0] < after[1] / before[1]


def test_what_cannot_be_compared_is_counted_and_left_as_it_is(tmp_path, base):
    other_text = numbered(base, 2).model_copy(update={"text_sha256": "1" * 64})
    failed = numbered(base, 3).model_copy(update={"status": "failed", "lesions": ()})
    first = [numbered(base, n) for n in range(4)]
    second = [numbered(base, 1), other_text, failed, numbered(base, 9)]
    source = write(tmp_path / "a.jsonl", first)
    summary = agree_records(source, write(tmp_path / "b.jsonl", second), tmp_path / "out")
    assert summary["reports"] == {
        "compared": 1, "differ": 0, "review": 0, "only_first": 1, "only_second": 1, "other_text": 1, "failed": 1,
    }  # fmt: skip
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == source.read_bytes()


def test_agreement_does_not_depend_on_who_comes_first(base):
    other = change(base.model_copy(update={"lesions": base.lesions[:1]}), 0, attenuation="hyper")
    ab, ba = RecordAgreement(), RecordAgreement()
    ab.add(base, other)
    ba.add(other, base)
    one, two = ab.summary(), ba.summary()
    assert one["fields"] == two["fields"]
    assert one["organ_status"] == two["organ_status"]
    assert one["lesions"]["value"] == two["lesions"]["value"]


def test_the_command_prints_a_table_and_no_word_of_a_report(tmp_path, base):
    a = write(tmp_path / "a.jsonl", [base])
    b = write(tmp_path / "b.jsonl", [change(base, 0, diameters_mm=(30.0,))])
    out = tmp_path / "out"
    done = CliRunner().invoke(build_app(), ["agree-records", str(a), str(b), "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    assert "1 reports compared: 1 differ, 1 of them" in done.stdout
    assert "diameters_mm" in done.stdout
    written = (out / "agreement.json").read_text() + (out / "disagreements.csv").read_text() + done.output
    assert SECRET not in written
    assert "segment 7" not in written
    as_json = CliRunner().invoke(build_app(), ["agree-records", str(a), str(b), "--out", str(out), "--json"])
    assert json.loads(as_json.stdout)["reports"]["compared"] == 1
    clash = CliRunner().invoke(build_app(), ["agree-records", str(out), str(b), "--out", str(out)])
    assert (clash.exit_code, "output_is_input" in clash.stderr) == (2, True)
    c = write(tmp_path / "c.jsonl", [numbered(base, 7)])
    none = CliRunner().invoke(build_app(), ["agree-records", str(a), str(c), "--out", str(tmp_path / "no")])
    assert (none.exit_code, "no_common_report" in none.stderr) == (3, True)
    assert list((tmp_path / "no").iterdir()) == []


def test_values_are_counted_only_where_kappa_is_wanted(base):
    agreement = RecordAgreement()
    agreement.add(base, change(base, 0, diameters_mm=(35.0,), organ="spleen"))
    for name, field in agreement._fields.items():
        assert bool(field.pairs) == (name not in MEASURES), name
        assert (field.summary()["kappa"] is None) == (name in MEASURES)
        assert field.share.of == 2
