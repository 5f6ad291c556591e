import csv
import io
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.decoding import decode
from llm_extract.errors import DataError, UsageError
from llm_extract.reports import MAX_TEXT_CHARS, ReportSource, check_source, read_reports

AWKWARD = 'Liver: "mass"\r\n 3,4 cm;\n\ttab\u2028line \ufeffmark\u200b e\u0301 é 🫁\r end '


def read(path: Path, **options):
    return list(read_reports(ReportSource(path, **options)))


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


def csv_bytes(rows: list[list[str]], *, encoding: str = "utf-8", delimiter: str = ",") -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    return buffer.getvalue().encode(encoding)


def write_all_formats(folder: Path, text: str) -> list[Path]:
    pq.write_table(pa.table({"id": ["A1"], "text": [text]}), folder / "r.parquet")
    (folder / "texts").mkdir()
    return [
        write(folder / "r.csv", csv_bytes([["id", "text"], ["A1", text]])),
        write(folder / "bom.csv", csv_bytes([["id", "text"], ["A1", text]], encoding="utf-8-sig")),
        write(folder / "wide.csv", csv_bytes([["id", "text"], ["A1", text]], encoding="utf-16")),
        write(folder / "r.tsv", csv_bytes([["id", "text"], ["A1", text]], delimiter="\t")),
        write(folder / "excel.csv", csv_bytes([["id", "text"], ["A1", text]], delimiter=";")),
        write(folder / "r.jsonl", json.dumps({"id": "A1", "text": text}) + "\n"),
        write(folder / "raw.jsonl", json.dumps({"id": "A1", "text": text}, ensure_ascii=False)),
        folder / "r.parquet",
        write(folder / "texts" / "A1.txt", text).parent,
    ]


def test_every_format_gives_the_text_exactly(tmp_path):
    for path in write_all_formats(tmp_path, AWKWARD):
        (report,) = read(path)
        assert (report.report_id, report.text, report.issues) == ("A1", AWKWARD, ()), path.name


printable = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=60)


@given(st.lists(printable, min_size=1, max_size=4))
def test_texts_survive_csv_unchanged(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("csv") / "r.csv"
    rows = [["id", "text"], *([f"R{index}", text] for index, text in enumerate(texts))]
    path.write_bytes(csv_bytes(rows))
    reports = read(path)
    assert [report.report_id for report in reports] == [row[0] for row in rows[1:]]
    for report, text in zip(reports, texts, strict=True):
        assert report.text == text
        assert bool(report.issues) == (not text.strip())


def test_a_bom_inside_a_text_file_is_part_of_the_text(tmp_path):
    write(tmp_path / "A1.txt", b"\xef\xbb\xbfLiver normal.")
    assert read(tmp_path)[0].text == "\ufeffLiver normal."


def test_windows_1252_is_read_and_declared(tmp_path):
    data = b"id,text\nA1,L\xe4sion 3\x96 4 mm\nA2,L\xc3\xa4sion\nA3,bad \x81\xe4\nA4,plain\n"
    reports = read(write(tmp_path / "r.csv", data))
    assert [report.text for report in reports] == ["Läsion 3– 4 mm", "Läsion", "", "plain"]
    assert [report.issues for report in reports] == [("fallback_encoding",), (), ("undecodable_text",), ()]


def test_decode_tells_utf8_from_windows_1252():
    assert decode("é".encode()) == ("é", ())
    assert decode("é".encode("cp1252")) == ("é", ("fallback_encoding",))
    assert decode(b"\x81\xff") == ("", ("undecodable_text",))


def test_missing_invalid_and_repeated_ids_keep_their_rows(tmp_path):
    ids = ["A1", "", "../etc", "A1", " A2", "A2\n", "a" * 129, "A3"]
    path = write(tmp_path / "r.jsonl", "\n".join(json.dumps({"id": name, "text": "t"}) for name in ids))
    reports = read(path)
    assert [report.report_id for report in reports] == [
        "A1",
        "row-1",
        "row-2",
        "A1",
        "row-4",
        "row-5",
        "row-6",
        "A3",
    ]
    assert [report.issues for report in reports] == [
        (),
        ("missing_id",),
        ("invalid_id",),
        ("duplicate_id",),
        *[("invalid_id",)] * 3,
        (),
    ]
    assert reports[3].fatal_issue == "duplicate_id"
    assert reports[1].fatal_issue is None


def test_ids_may_be_whole_numbers(tmp_path):
    pq.write_table(pa.table({"id": [7, None], "text": ["a", "b"]}), tmp_path / "r.parquet")
    assert [report.report_id for report in read(tmp_path / "r.parquet")] == ["7", "row-1"]
    path = write(
        tmp_path / "r.jsonl", '{"id": 7, "text": "a"}\n{"id": true, "text": "b"}\n{"id": [1], "text": "c"}'
    )
    assert [report.report_id for report in read(path)] == ["7", "row-1", "row-2"]


def test_without_an_id_column_rows_are_numbered(tmp_path):
    reports = read(write(tmp_path / "r.csv", "text\nfirst\nsecond\n"))
    assert [(report.report_id, report.issues) for report in reports] == [
        ("row-0", ("missing_id",)),
        ("row-1", ("missing_id",)),
    ]


def test_texts_that_cannot_be_used_are_named(tmp_path):
    rows = [
        {"id": "none"},
        {"id": "null", "text": None},
        {"id": "blank", "text": " \n "},
        {"id": "number", "text": 5},
        {"id": "half", "text": "lone \ud800 surrogate"},
        {"id": "long", "text": "x" * (MAX_TEXT_CHARS + 1)},
    ]
    path = write(tmp_path / "r.jsonl", "\n".join(map(json.dumps, rows)) + "\n[1]\n{broken\n")
    assert [report.fatal_issue for report in read(path)] == [
        "missing_text",
        "missing_text",
        "empty_report",
        "undecodable_text",
        "undecodable_text",
        "report_too_long",
        "malformed_row",
        "malformed_row",
    ]


def test_a_row_with_too_many_cells_is_malformed_not_cut(tmp_path):
    reports = read(write(tmp_path / "r.csv", "id,text\nA1,Liver, spleen normal\nA2,ok\nA3\n"))
    assert [report.fatal_issue for report in reports] == ["malformed_row", None, "missing_text"]


def test_optional_columns(tmp_path):
    header = "id,text,kind,patient_id,date,case_id\n"
    rows = "A1,t,Pathology,P1,2020-05-12,CT1\nA2,t,note,,12 May 2020,../x\nA3,t,,P2,2020-05-12T10:30:00,\n"
    first, second, third = read(write(tmp_path / "r.csv", header + rows))
    assert (first.kind, first.patient_id, first.study_date) == ("pathology", "P1", date(2020, 5, 12))
    assert first.case_id == "CT1"
    assert (second.kind, second.patient_id, second.study_date, second.case_id) == ("auto", None, None, None)
    assert second.issues == ("invalid_case_id", "invalid_date")
    assert (third.study_date, third.case_id, third.issues) == (date(2020, 5, 12), None, ())


def test_the_kind_option_overrides_the_input(tmp_path):
    path = write(tmp_path / "r.csv", "id,text,kind\nA1,t,pathology\n")
    assert read(path, kind="radiology")[0].kind == "radiology"


def test_named_columns(tmp_path):
    path = write(tmp_path / "r.csv", "accession,impression,text\nX9,No mass.,other\n")
    (report,) = read(path, id_column="accession", text_column="impression")
    assert (report.report_id, report.text) == ("X9", "No mass.")


@pytest.mark.parametrize("option", ["id_column", "text_column"])
@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_a_named_column_that_does_not_exist_is_a_usage_error_that_lists_columns(tmp_path, option, name):
    write(tmp_path / "r.csv", "id,text,extra\nA1,t,e\n")
    write(tmp_path / "r.jsonl", '{"id": "A1", "text": "t", "extra": 1}\n')
    pq.write_table(pa.table({"id": ["A1"], "text": ["t"], "extra": ["e"]}), tmp_path / "r.parquet")
    with pytest.raises(UsageError, match="id, text, extra") as caught:
        read(tmp_path / name, **{option: "nope"})
    assert caught.value.code == "missing_column"


def test_no_text_column_is_a_data_error_that_lists_columns(tmp_path):
    with pytest.raises(DataError, match="id, body"):
        read(write(tmp_path / "r.csv", "id,body\nA1,t\n"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.csv", b""),
        ("header.csv", b"id,text\n"),
        ("blank.csv", b"\n\n"),
        ("empty.jsonl", b""),
        ("blank.jsonl", b"\n \n"),
        ("empty.parquet", b""),
        ("broken.parquet", b"PAR1 not really"),
    ],
)
def test_an_empty_or_broken_file_is_a_data_error(tmp_path, name, data):
    with pytest.raises(DataError) as caught:
        read(write(tmp_path / name, data))
    assert caught.value.code in {"empty_table", "unreadable_table", "missing_column"}
    assert caught.value.exit_code == 3


def test_an_empty_folder_is_a_data_error(tmp_path):
    write(tmp_path / "notes.md", "x")
    with pytest.raises(DataError, match=r"\.txt"):
        read(tmp_path)


def test_a_path_that_does_not_exist_or_has_an_unknown_type(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(UsageError, match="not a"):
        read(write(tmp_path / "r.docx", "x"))
    write(tmp_path / "A1.txt", "x")
    with pytest.raises(UsageError, match="no columns"):
        read(tmp_path, id_column="id")


def test_a_quote_that_never_closes_is_an_error_with_its_line(tmp_path):
    rows = 'id,text\nA1,fine\nA2,"never closed\nA3,lost\nA4,lost\n'
    with pytest.raises(DataError, match="line 3") as caught:
        read(write(tmp_path / "r.csv", rows))
    assert "never closed" not in str(caught.value)


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="same name"):
        read(write(tmp_path / "r.csv", "id,text,text\nA1,a,b\n"))


def test_other_columns_are_never_looked_at(tmp_path):
    data = b"id,text,name\nA1,fine,\x81\x8d\n"
    assert read(write(tmp_path / "r.csv", data))[0].issues == ()


def test_texts_of_folders_come_in_the_order_of_names(tmp_path):
    for name in ("b.txt", "a.txt", "C.TXT", "two words.txt"):
        write(tmp_path / name, name)
    reports = read(tmp_path)
    assert [report.report_id for report in reports] == ["C", "a", "b", "row-3"]
    assert reports[3].issues == ("invalid_id",)


@pytest.mark.real_data
def test_all_real_reports_are_read(shared_data):
    reports = read(shared_data / "reports" / "reports.jsonl")
    lines = (shared_data / "reports" / "reports.jsonl").read_bytes().split(b"\n")
    given_texts = [json.loads(line)["text"] for line in lines if line.strip()]
    assert [report.text for report in reports] == given_texts
    assert not any(report.issues for report in reports)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp1250", "utf-16", "iso8859-9", "utf-8"])
def test_a_declared_encoding_is_used_in_every_format(tmp_path, encoding):
    text = "Größe 3 × 4 mm" if encoding in ("cp1252", "latin-1", "utf-16", "utf-8") else "Größe 3 cm"
    (tmp_path / "texts").mkdir()
    paths = [
        write(tmp_path / "r.csv", csv_bytes([["id", "text"], ["A1", text]], encoding=encoding)),
        write(
            tmp_path / "r.jsonl",
            (json.dumps({"id": "A1", "text": text}, ensure_ascii=False) + "\n").encode(encoding),
        ),
        write(tmp_path / "texts" / "A1.txt", text.encode(encoding)).parent,
    ]
    pq.write_table(pa.table({"id": ["A1"], "text": [text.encode(encoding)]}), tmp_path / "r.parquet")
    for path in [*paths, tmp_path / "r.parquet"]:
        (report,) = read(path, encoding=encoding)
        assert (report.report_id, report.text, report.issues) == ("A1", text, ()), path.name


def test_what_a_declared_encoding_does_not_have_is_no_text(tmp_path):
    data = b"id,text\nA1,ok\nA2,bad \x81\n"
    assert [report.issues for report in read(write(tmp_path / "r.csv", data), encoding="cp1252")] == [
        (),
        ("undecodable_text",),
    ]
    lines = b'{"id": "A1", "text": "ok"}\n{"id": "A2", "text": "bad \xff"}\n'
    reports = read(write(tmp_path / "r.jsonl", lines), encoding="utf-8")
    assert [report.issues for report in reports] == [(), ("undecodable_text",)]
    with pytest.raises(UsageError, match="unknown_encoding"):
        read(tmp_path / "r.csv", encoding="klingon")
    with pytest.raises(UsageError, match="unknown_encoding"):
        read(tmp_path / "r.csv", encoding="base64")


def test_mark_up_is_taken_out_and_the_report_says_so(tmp_path):
    rows = [
        ["id", "text"],
        ["A1", r"{\rtf1 Liver \b normal\b0 .}"],
        ["A2", r"Mass.\.br\Cyst."],
        ["A3", "Plain."],
    ]
    path = write(tmp_path / "r.csv", csv_bytes(rows))
    reports = read(path)
    assert [report.text for report in reports] == ["Liver normal.", "Mass.\nCyst.", "Plain."]
    assert [report.is_cleaned for report in reports] == [True, True, False]
    assert [report.text for report in read(path, markup="keep")] == [row[1] for row in rows[1:]]


def test_a_folder_may_hold_rtf_and_hl7(tmp_path):
    write(tmp_path / "A1.rtf", r"{\rtf1 Liver normal.}")
    write(tmp_path / "A2.hl7", "MSH|^~\\&|\rOBX|1|TX|||Spleen normal.\r")
    write(tmp_path / "notes.docx", "x")
    assert [(report.report_id, report.text) for report in read(tmp_path)] == [
        ("A1", "Liver normal."),
        ("A2", "Spleen normal."),
    ]


def test_addenda_are_joined_to_their_report_wherever_they_stand(tmp_path):
    rows = [
        ["accession", "text", "date"],
        ["1", "Liver mass 3 cm.", "2020-01-02"],
        ["2", "Spleen normal.", ""],
        ["1", "The mass is 4 cm.", "2020-01-05"],
        ["", "A report of its own.", ""],
        ["1", "ADDENDUM #2: no change.", ""],
        ["1", "Liver mass 3 cm.", ""],
        ["1", "", ""],
        ["", "Another one.", ""],
    ]
    reports = read(write(tmp_path / "r.csv", csv_bytes(rows)), group_column="accession")
    assert [report.report_id for report in reports] == ["1", "2", "row-2", "row-3"]
    assert reports[0].text == ("Liver mass 3 cm.\n\nADDENDUM:\nThe mass is 4 cm.\n\nADDENDUM #2: no change.")
    assert (reports[0].is_cleaned, reports[1].is_cleaned) == (True, False)
    assert reports[0].study_date == date(2020, 1, 2)
    assert [report.row for report in reports] == [0, 1, 2, 3]


def test_an_addendum_that_cannot_be_read_quarantines_its_report(tmp_path):
    data = b"id,text\nA1,fine\nA1,bad \x81\n"
    (report,) = read(write(tmp_path / "r.csv", data), group_column="id")
    assert report.fatal_issue == "undecodable_text"


def test_an_addendum_may_come_before_any_text(tmp_path):
    rows = [["id", "text"], ["A1", ""], ["A1", r"{\rtf1 Liver normal.}"]]
    (report,) = read(write(tmp_path / "r.csv", csv_bytes(rows)), group_column="id")
    assert (report.text, report.issues) == ("Liver normal.", ())
    with pytest.raises(UsageError, match="--group-column"):
        read(tmp_path / "r.csv", group_column="no")


def test_case_ids_name_the_reports_where_nothing_else_does(tmp_path):
    rows = [["case_id", "text"], ["C1", "a"], ["C1", "b"], ["C1-2", "c"], ["C1", "d"], ["", "e"], ["C2", "f"]]
    path = write(tmp_path / "r.csv", csv_bytes(rows))
    reports = read(path)
    assert [report.report_id for report in reports] == ["C1", "C1-2", "C1-2-2", "C1-3", "row-4", "C2"]
    assert [report.case_id for report in reports] == ["C1", "C1", "C1-2", "C1", None, "C2"]
    assert [report.fatal_issue for report in reports] == [None] * 6
    assert "CASE-2" in check_source(ReportSource(path))


def test_a_source_says_which_columns_it_uses(tmp_path):
    both = write(tmp_path / "r.csv", csv_bytes([["id", "case_id", "report"], ["A", "C", "t"]]))
    assert check_source(ReportSource(both)) == "ids from column id; texts from column report"
    none = write(tmp_path / "n.csv", csv_bytes([["text"], ["t"]]))
    assert "row-0, row-1" in check_source(ReportSource(none))
    write(tmp_path / "A1.txt", "x")
    assert check_source(ReportSource(tmp_path)) == ""


def test_the_limit_of_a_csv_cell_is_left_as_it_was(tmp_path):
    path = tmp_path / "reports.csv"
    path.write_text("id,text\na,Normal liver.\n", encoding="utf-8")
    before = csv.field_size_limit()
    assert len(list(read_reports(ReportSource(path=path)))) == 1
    assert csv.field_size_limit() == before
