import csv
import stat

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_extract import Evidence, Lesion, OrganStatement, ReportRecord
from llm_extract.records import Issue, Provenance, Score, Span
from llm_extract.tables import (
    TableWriter,
    lesion_columns,
    lesion_rows,
    spreadsheet_safe,
    study_columns,
    study_row,
)

ORGANS = ("liver", "kidney")


def record(**fields) -> ReportRecord:
    base = {
        "report_id": "R1",
        "source": "radiology",
        "text_sha256": "0" * 64,
        "text_chars": 10,
        "status": "ok",
        "provenance": Provenance(backend="x", version="1"),
    }
    return ReportRecord(**base | fields)


FULL = Lesion(
    lesion_id="L1",
    organ="liver",
    parts=("liver_segment_6", "liver_segment_7"),
    location_text='=HYPERLINK("x")',
    diameters_mm=(34.0, 28.5),
    size_kind="exact",
    measurement_ids=("M1",),
    hounsfield=-12.0,
    score=(Score(system="LI-RADS", value="4"),),
    evidence=(Evidence(field="kind", start=2, end=6, text="mass", section="findings"),),
    mentions=(Span(start=2, end=6),),
    conflict=("size",),
)


def test_columns_are_report_case_and_every_field_of_a_lesion():
    assert list(lesion_columns()) == ["report_id", "case_id", *Lesion.model_fields]
    types = lesion_columns()
    assert (types["count"], types["size_min_mm"], types["treated"], types["diameters_mm"]) == (
        int,
        float,
        bool,
        str,
    )
    assert {types[name] for name in ("organ", "laterality", "series", "hounsfield")} == {str, int, float}


def test_lists_are_joined_by_semicolons():
    (row,) = lesion_rows(record(lesions=(FULL,)))
    assert row["parts"] == "liver_segment_6;liver_segment_7"
    assert row["diameters_mm"] == "34;28.5"
    assert row["score"] == "LI-RADS 4"
    assert row["evidence"] == "kind@2:6"
    assert row["mentions"] == "2:6"
    assert (row["report_id"], row["case_id"], row["count"]) == ("R1", "R1", 1)


def test_a_study_row_names_the_status_of_each_organ():
    organs = {"kidney": OrganStatement(status="explicitly_lesion_free")}
    some = record(organs=organs, lesions=(FULL,), case_id="CT1", issues=(Issue(code="missing_id"),) * 2)
    row = study_row(some, organs=ORGANS, attempts=2, tokens=9, seconds=0.12345)
    assert list(row) == list(study_columns(ORGANS))
    assert list(row.values()) == [
        *("R1", "CT1", "ok", 1, "not_mentioned", "explicitly_lesion_free", 2, 9, 0.1235),
        "missing_id",
    ]


def test_csv_and_parquet_hold_the_same_rows(tmp_path):
    rows = lesion_rows(record(lesions=(FULL, Lesion(lesion_id="L2", organ="kidney"))))
    with TableWriter(tmp_path / "lesions", lesion_columns()) as table:
        for row in rows:
            table.write(row)
    with (tmp_path / "lesions.csv").open(newline="", encoding="utf-8") as file:
        from_csv = list(csv.DictReader(file))
    from_parquet = pq.read_table(tmp_path / "lesions.parquet").to_pylist()
    assert from_parquet == rows
    assert from_csv[0]["hounsfield"] == "-12.0"
    assert from_csv[0]["location_text"] == '\'=HYPERLINK("x")'
    assert from_csv[1]["location_text"] == from_csv[1]["series"] == ""
    assert [row["lesion_id"] for row in from_csv] == ["L1", "L2"]
    assert stat.S_IMODE((tmp_path / "lesions.parquet").stat().st_mode) == 0o600


def test_an_empty_table_has_its_columns(tmp_path):
    with TableWriter(tmp_path / "t", {"a": str, "b": float}):
        pass
    assert (tmp_path / "t.csv").read_text() == "a,b\n"
    assert pq.read_table(tmp_path / "t.parquet").column_names == ["a", "b"]


def test_an_error_leaves_no_table(tmp_path):
    with pytest.raises(KeyError), TableWriter(tmp_path / "t", {"a": str}) as table:
        table.write({"b": 1})
    assert list(tmp_path.iterdir()) == []


DANGEROUS = [
    "=1+1",
    "+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1",
    "=cmd|'/c calc'!A1",
    '=HYPERLINK("http://x")',
]


@pytest.mark.parametrize("text", DANGEROUS)
def test_formulas_are_disarmed(text):
    assert spreadsheet_safe(text) == "'" + text


@given(st.one_of(st.text(max_size=20), st.integers(), st.floats(allow_nan=False), st.none(), st.booleans()))
def test_no_text_starts_a_formula_and_numbers_stay_numbers(value):
    safe = spreadsheet_safe(value)
    if isinstance(value, str):
        assert safe in (value, "'" + value)
        assert not safe.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    else:
        assert safe is value


@settings(deadline=None)  # each example waits for the disk
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=12), min_size=1, max_size=5))
def test_any_text_stays_in_its_cell(tmp_path_factory, texts):
    stem = tmp_path_factory.mktemp("cells") / "t"
    with TableWriter(stem, {"n": int, "text": str}) as table:
        for index, text in enumerate(texts):
            table.write({"n": index, "text": text})
    with stem.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert rows == [[str(index), spreadsheet_safe(text)] for index, text in enumerate(texts)]
