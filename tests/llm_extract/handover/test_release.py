"""A release holds no word, place, date or id of the hospital, whatever the records hold; and it supervises alike."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import stat
import types
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from llm_extract import ReportRecord, private_files, rules
from llm_extract.anatomy import load_anatomy
from llm_extract.certainty import lesion_certainty, would_supervise
from llm_extract.cli import build_app
from llm_extract.errors import UsageError
from llm_extract.handover import fields, released_record
from llm_extract.handover.pseudonyms import Pseudonyms, create_key, read_key
from llm_extract.handover.release import ReleaseOptions, release
from llm_extract.handover.released_record import Releaser
from llm_extract.handover.vocabulary import MALIGNANCY_BASES, REGIONS, vocabulary
from llm_extract.records import Lesion
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from llm_extract.rules.surroundings import _REGIONS

KEY = b"k" * 32
TEXTS = (
    "FINDINGS: A hypodense mass of 3.4 cm in segment 7 of the liver, LI-RADS 5. The spleen is normal.",
    "Numerous liver metastases, the largest 3.4 cm in segment 7. Status post Whipple. Dilated pancreatic duct, 6 mm.",
    "CT chest. Technique: portal venous phase. Possible nodule of 8 mm in the left upper lobe, previously 6 mm.",
    "Simple cyst of 9 mm in the left kidney. IMPRESSION: cyst of the right kidney. Adrenals: no nodule.",
    "Image quality limited by motion. 4 x 900 mm mass of the gallbladder. Lesion in the pancreas (series 4, image 9).",
)


def models() -> set[type[BaseModel]]:
    """Every model that a record may hold."""
    found: set[type[BaseModel]] = set()

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in found:
            found.add(annotation)
            for info in annotation.model_fields.values():
                visit(info.annotation)
        for part in get_args(annotation):
            visit(part)

    visit(ReportRecord)
    return found


class Poison:
    """Fills every field of a record with something that must not leave: canaries in texts, ids, dates and numbers."""

    DAY = date(1961, 7, 13)
    SHA256 = hashlib.sha256(b"canary").hexdigest()

    def __init__(self) -> None:
        self.planted: Counter[str] = Counter()

    def make(self, model: type[BaseModel], **given: Any) -> Any:
        values = {}
        for name, info in model.model_fields.items():
            self._where = f"{model.__name__}.{name}"
            values[name] = given[name] if name in given else self.value(info.annotation, info.metadata)
        if "text" in values:
            values |= {"start": 900_001, "end": 900_001 + len(values["text"])}
        elif "start" in values:
            values |= {"start": 900_002, "end": 900_003}
        if model is ReportRecord:
            values |= {"text_sha256": self.SHA256, "text_chars": 987_654, "schema_version": "1.0.0"}
        if model is Lesion:
            values |= {"size_min_mm": 7.0, "size_max_mm": 7.0, "measurement_ids": ("M1",), "count": 1}
            values |= {"series": 123_456_789, "image": 123_456_789}
        if "measurement_ids" in values:
            values["measurement_ids"] = ("M1",)
        if "measurement_id" in values:
            values["measurement_id"] = "M1"
        return model(**values)

    def value(self, annotation: Any, metadata: Any = ()) -> Any:
        origin, parts = get_origin(annotation), get_args(annotation)
        if hasattr(annotation, "__metadata__"):
            return self.value(annotation.__origin__)
        if origin is Literal:
            return parts[-1]
        if origin in (Union, types.UnionType):
            return self.value(next(part for part in parts if part is not type(None)))
        if origin is tuple:
            return (self.value(parts[0]),)
        if origin is dict:
            return {self.value(parts[0]): self.value(parts[1])}
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self.make(annotation)
        if annotation is str:
            self.planted[self._where] += 1
            return f"canary_{sum(self.planted.values())}"
        return {date: self.DAY, bool: True, int: 31, float: 7.0}[annotation]


def poisoned(n: int) -> ReportRecord:
    return Poison().make(ReportRecord, report_id=f"canary-report-{n}", patient_id=f"canary-patient-{n % 3}")


def write(path: Path, records) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), "utf-8")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def everything_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file's name with its bytes as text, and every value and all metadata of a Parquet file."""
    for path in sorted(folder.rglob("*")):
        yield path.name, path.name
        if path.is_file():
            yield path.name, path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield (
                path.name,
                repr(table.to_pylist()) + repr(table.schema.metadata) + repr(pq.read_metadata(path)),
            )


def test_no_canary_leaves(tmp_path):
    """Planted: in every text of every model by its annotations, in ids, date, hash, offsets, numbers and paths."""
    poison = Poison()
    poison.make(ReportRecord)
    texts = set(poison.planted)
    assert {
        "Evidence.text",
        "Lesion.location_text",
        "Surgery.procedure",
        "Provenance.model",
        "Score.value",
    } <= texts
    assert {"Provenance.decoding", "Lesion.organ", "Sign.sign", "Section.name", "Issue.field"} <= texts
    source = write(tmp_path / "canary-folder" / "records.jsonl", [poisoned(n) for n in range(20)])
    assert source.read_text().count("canary") > 20 * 30
    out, link = tmp_path / "out", tmp_path / "linking.csv"
    result = release(source, ReleaseOptions(out=out, key=KEY, linking_table=link))
    assert (result.records, result.patients, result.lesions) == (20, 3, 20)
    assert len(list(out.iterdir())) == 9
    forbidden = [
        "canary",
        "Canary",
        "1961",
        "07-13",
        Poison.SHA256,
        "90000",
        "987654",
        "123456789",
        KEY.hex(),
        "kkkk",
    ]
    for name, held in everything_in(out):
        for word in forbidden:
            assert word not in held, (name, word)
    assert "canary-report-7" in link.read_text()
    assert stat.S_IMODE(link.stat().st_mode) == 0o600
    assert result.left_out["organ"] > 0


def test_every_field_of_every_model_is_released_or_withheld():
    for model in models():
        released, withheld = set(fields.RELEASED[model]), set(fields.WITHHELD[model])
        assert released | withheld == set(model.model_fields), model
        assert not released & withheld, model
    assert models() == set(fields.RELEASED) == set(fields.WITHHELD)


def test_a_released_text_is_always_made_and_never_passed_on():
    """Released fields that may hold any text are those that the releaser makes from closed lists."""

    def is_open(annotation: Any) -> bool:
        if get_origin(annotation) is Literal:
            return False
        if get_args(annotation) and not isinstance(annotation, type):
            return any(is_open(part) for part in get_args(annotation))
        return annotation is str or any(is_open(part) for part in get_args(annotation))

    made = set(Releaser(Pseudonyms(KEY), vocabulary(load_anatomy()))._made)
    own = {("ReportRecord", "organs"), ("ReportRecord", "provenance"), ("Lesion", "lesion_id"), ("Lesion", "group_id"),
           ("Issue", "field"), ("Score", "system"), ("Score", "value"), ("Evidence", "field"),
           *(("Provenance", name) for name in fields.RELEASED[fields.Provenance])}  # fmt: skip
    patterned = {(m, n) for m in ("Lesion", "Sign") for n in ("measurement_ids",)} | {
        ("UnusedMeasurement", "measurement_id")
    }
    for model, names in fields.RELEASED.items():
        for name in names:
            if is_open(model.model_fields[name].annotation):
                assert (model.__name__, name) in made | own | patterned, (model, name)


def test_a_field_that_nobody_listed_does_not_leave(tmp_path, monkeypatch):
    listed = dict(fields.RELEASED)
    listed[Lesion] = {name: words for name, words in listed[Lesion].items() if name != "hounsfield"}
    record = extract_record(Report(report_id="A", text="Liver cyst of 9 mm with 12 HU."))
    assert record.lesions[0].hounsfield == 12
    releaser = Releaser(Pseudonyms(KEY), vocabulary(load_anatomy()))
    assert releaser.release(record).lesions[0].hounsfield == 12
    monkeypatch.setattr(released_record, "RELEASED", listed)
    assert releaser.release(record).lesions[0].hounsfield is None


@pytest.fixture(scope="module")
def extracted() -> list[ReportRecord]:
    return [extract_record(Report(report_id=f"A{n}", text=text)) for n, text in enumerate(TEXTS)]


def test_a_released_record_supervises_like_its_original(extracted, shared_data):
    hard = (shared_data / "reports" / "hard_cases.jsonl").read_text("utf-8").splitlines()
    more = [extract_record(Report(report_id=v["id"], text=v["text"])) for v in map(json.loads, hard)]
    _same_supervision([*extracted, *more])


def test_released_records_of_plain_sentences_supervise_like_their_originals(extracted):
    assert sum(len(record.issues) for record in extracted) > 0
    _same_supervision(extracted)


def _same_supervision(records: list[ReportRecord]) -> None:
    releaser = Releaser(Pseudonyms(KEY), vocabulary(load_anatomy()))
    words = {"location_text", "diagnosis_text", "mentions", "evidence", "score"}
    for record in records:
        released = releaser.release(record)
        assert ReportRecord.model_validate_json(released.model_dump_json()) == released
        assert [i.code for i in released.issues] == [i.code for i in record.issues]
        assert {n: (s.status, s.scope, s.limited) for n, s in released.organs.items()} == {
            n: (s.status, s.scope, s.limited) for n, s in record.organs.items()
        }
        for ours, theirs in zip(released.lesions, record.lesions, strict=True):
            assert ours.model_dump(exclude=words) == theirs.model_dump(exclude=words)
            assert [s.value for s in ours.score] == [s.value.upper() for s in theirs.score]
            assert lesion_certainty(ours, released) == lesion_certainty(theirs, record)
            assert would_supervise(ours, released) == would_supervise(theirs, record)
    assert not +releaser.left_out


def test_everything_that_the_rules_write_is_in_the_lists(shared_data):
    lines = (shared_data / "reports" / "gold_dev.jsonl").read_text("utf-8").splitlines()
    releaser = Releaser(Pseudonyms(KEY), vocabulary(load_anatomy()))
    for value in map(json.loads, lines):
        releaser.release(
            extract_record(Report(report_id=value["id"], text=value["text"], kind=value["kind"]))
        )
    assert not +releaser.left_out


def test_the_lists_hold_the_words_of_the_rules():
    assert {name for name, _ in _REGIONS} == REGIONS
    written = {
        word
        for path in Path(rules.__file__).parent.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if "malignancy_basis" in line or line.strip().startswith("return")
        for word in re.findall(r'"([a-z]+)"', line)
    }
    assert written >= MALIGNANCY_BASES


def test_ids_are_hmac_sha256_and_differ_by_kind_and_key():
    def by_definition(key: bytes, message: bytes) -> str:
        padded = key.ljust(64, b"\0")
        inner = hashlib.sha256(bytes(b ^ 0x36 for b in padded) + message).digest()
        return hashlib.sha256(bytes(b ^ 0x5C for b in padded) + inner).hexdigest()

    ids = Pseudonyms(KEY)
    assert ids.report("R1") == "R" + by_definition(KEY, b"report\0R1")[:32]
    assert len({ids.report("x")[1:], ids.case("x")[1:], ids.patient("x")[1:]}) == 3
    assert Pseudonyms(b"l" * 32).report("R1") != ids.report("R1")
    assert Pseudonyms(b"l" * 32).key_id != ids.key_id


def test_days_count_from_the_first_study_of_each_patient_and_rows_stand_by_patient(tmp_path, extracted):
    days = [date(2020, 3, 1), date(2020, 2, 1), date(2021, 2, 1), None, date(2019, 1, 1)]
    patients = ["p", "p", "p", "p", None]
    records = [
        record.model_copy(update={"study_date": day, "patient_id": patient})
        for record, day, patient in zip(extracted, days, patients, strict=True)
    ]
    out = tmp_path / "out"
    release(write(tmp_path / "r.jsonl", [*records, records[0]]), ReleaseOptions(out=out, key=KEY))
    studies = {row["report_id"]: row for row in rows(out / "studies.csv")}
    ids = Pseudonyms(KEY)
    found = [studies[ids.report(record.report_id)]["day"] for record in records]
    assert found == ["29", "0", "366", "", ""]
    order = [row["patient_id"] or row["report_id"] for row in rows(out / "studies.csv")]
    assert order == sorted(order)
    assert len(order) == 5


def test_the_summary_counts_patients_and_hides_small_counts(tmp_path, extracted):
    def copies(record, numbers, patients):
        return [
            record.model_copy(
                update={"report_id": f"{record.report_id}-{patients}{n}", "patient_id": f"{patients}{n}"}
            )
            for n in numbers
        ]

    liver, kidney = extracted[0], extracted[3]
    records = [*copies(liver, range(9), "a"), *copies(kidney, range(3), "b"), *copies(kidney, range(20), "c")]
    records += copies(kidney, range(20, 23), "a")
    out = tmp_path / "out"
    release(write(tmp_path / "r.jsonl", records), ReleaseOptions(out=out, key=KEY))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["patients"] == 9 + 3 + 20 + 3
    assert summary["tables"]["lesions by organ"] == {"kidney": 26, "liver": 9}
    assert summary["tables"]["organ: spleen"] == {"explicitly_lesion_free": 9, "not_mentioned": 26}
    few = tmp_path / "few"
    release(write(tmp_path / "f.jsonl", [*records, extracted[4]]), ReleaseOptions(out=few, key=KEY))
    tables = json.loads((few / "summary.json").read_text())["tables"]
    assert tables["lesions by organ"] == {"gallbladder": None, "kidney": 26, "liver": 9, "pancreas": None}
    assert tables["organ: gallbladder"] == {"lesion_present": None, "not_mentioned": None}
    assert tables["organ: kidney"] == {"lesion_present": 26, "not_mentioned": 10}


def test_the_dictionary_and_the_manifest_are_about_what_is_there(tmp_path, extracted):
    out = tmp_path / "out"
    release(write(tmp_path / "r.jsonl", extracted), ReleaseOptions(out=out, key=KEY))
    said = {(row["file"], row["column"]): row for row in rows(out / "data_dictionary.csv")}
    for table in ("studies", "lesions"):
        columns = pq.read_schema(out / f"{table}.parquet").names
        assert columns == [column for file, column in said if file == table]
    assert all(row["meaning"] for row in said.values())
    assert said["lesions", "size_max_mm"]["unit"] == "mm"
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["files"]) == {path.name for path in out.iterdir()} - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    again = tmp_path / "again"
    release(write(tmp_path / "r2.jsonl", extracted[::-1]), ReleaseOptions(out=again, key=KEY))
    same = [path.name for path in out.iterdir() if path.read_bytes() == (again / path.name).read_bytes()]
    assert sorted(same) == sorted(path.name for path in out.iterdir()), (
        "the order of the input cannot be told"
    )


def test_the_key_is_private_and_never_replaced(tmp_path):
    path = tmp_path / "key"
    create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_key(path)) == 32
    codes = []
    for prepare in (
        lambda: create_key(path),
        lambda: (path.chmod(0o640), read_key(path)),
        lambda: (path.write_text("short"), path.chmod(0o600), read_key(path)),
        lambda: (path.unlink(), read_key(path)),
    ):
        with pytest.raises(UsageError) as caught:
            prepare()
        codes.append(caught.value.code)
    assert codes == ["key_exists", "key_not_private", "key_invalid", "key_missing"]


@pytest.mark.parametrize("content", ["", "short", "z" * 64, "a" * 65])
def test_what_is_said_about_a_key_leads_to_one(tmp_path, extracted, content):
    """Whoever does what the errors say gets a release, and no two errors send each other round."""
    source, key = write(tmp_path / "records.jsonl", extracted), tmp_path / "key"
    told = ["release", str(source), "--out", str(tmp_path / "out")]

    def said(path: Path, *more: str) -> str:
        return CliRunner().invoke(build_app(), [*told, "--key", str(path), *more]).stderr

    key.write_text(content)
    key.chmod(0o600)
    for more in ([], ["--create-key"]):
        assert "a new name with --create-key" in said(key, *more)
        assert "leave out --create-key" not in said(key, *more)
    assert key.read_text() == content
    assert "add --create-key" in said(tmp_path / "new")
    assert "error" not in said(tmp_path / "new", "--create-key")
    (tmp_path / "out").rename(tmp_path / "first")
    assert "leave out --create-key to use the key" in said(tmp_path / "new", "--create-key")
    assert "error" not in said(tmp_path / "new")


def test_a_release_that_fails_leaves_no_new_key_and_keeps_an_old_one(tmp_path, extracted, monkeypatch):
    source, key, out = write(tmp_path / "r.jsonl", extracted), tmp_path / "key", tmp_path / "out"

    def run(*more: str) -> int:
        told = ["release", str(source), "--out", str(out), "--key", str(key), *more]
        return CliRunner().invoke(build_app(), told).exit_code

    out.mkdir()
    (out / "something").write_text("in the way")
    assert run("--create-key") == 2
    assert not key.exists()
    (out / "something").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Releaser, "release", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        assert run("--create-key") == 5
        assert not key.exists()
        create_key(key)
        secret = key.read_bytes()
        assert run() == 5
        assert run("--create-key") == 2
    assert key.read_bytes() == secret
    assert run() == 0


def test_the_command_makes_a_key_and_refuses_what_would_leak(tmp_path, extracted):
    source, key, out = (
        write(tmp_path / "rec" / "records.jsonl", extracted),
        tmp_path / "key",
        tmp_path / "out",
    )

    def run(*more):
        return CliRunner().invoke(build_app(), ["release", *map(str, (source.parent, "--out", out, *more))])

    assert "key_missing" in run("--key", key).stderr
    assert "secret_in_release" in run("--key", out / "key", "--create-key").stderr
    assert not key.exists()
    assert "secret_in_release" in run("--key", key, "--create-key", "--linking-table", out / "l.csv").stderr
    assert "bad_option" in run("--key", key, "--create-key", "--smallest-count", 2).stderr
    assert not out.exists()
    assert not key.exists()
    done = run("--key", key, "--create-key", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["records"] == 5
    again = run("--key", key)
    assert (again.exit_code, "output_not_empty" in again.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_linking_table_replaces_nothing_and_comes_last(tmp_path, extracted, monkeypatch):
    source, key = write(tmp_path / "rec" / "records.jsonl", extracted), tmp_path / "key"
    before, old, out = source.read_bytes(), tmp_path / "old.csv", tmp_path / "out"
    old.write_text("of the last release")

    def run(link: Path, *more: str):
        told = [source.parent, "--out", out, "--key", key, "--linking-table", link, *more]
        return CliRunner().invoke(build_app(), ["release", *map(str, told)])

    assert "output_is_input" in run(tmp_path / "rec" / ".." / "key", "--create-key").stderr
    assert not key.exists()
    create_key(key)
    secret = key.read_bytes()
    for link, code in (
        (key, "output_is_input"), (old, "output_exists"), (source, "output_exists"),
        (source.parent / "link.csv", "output_is_input"),
    ):  # fmt: skip
        done = run(link)
        assert (done.exit_code, code in done.stderr) == (2, True), link
    assert (source.read_bytes(), key.read_bytes(), old.read_text()) == (before, secret, "of the last release")
    link = tmp_path / "link.csv"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            release(source, ReleaseOptions(out=out, key=KEY, linking_table=link))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "old.csv", "rec"]
    with monkeypatch.context() as patch:  # the folder has its name, the linking table cannot get its own
        commit = private_files.commit

        def but_for_the_link(temporary: Path, path: Path) -> None:
            if path == link:
                raise OSError("full")
            commit(temporary, path)

        patch.setattr(private_files, "commit", but_for_the_link)
        with pytest.raises(OSError, match="full"):
            release(source, ReleaseOptions(out=out, key=KEY, linking_table=link))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "old.csv", "rec"]
    assert run(link).exit_code == 0
    assert len(rows(link)) == len(extracted)


def test_the_release_says_that_its_tables_can_be_counted(tmp_path, extracted):
    out = tmp_path / "out"
    release(write(tmp_path / "r.jsonl", extracted), ReleaseOptions(out=out, key=KEY))
    said = " ".join((out / "README.md").read_text().split())
    assert "Counts are protected in this file only" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["patients"] == len(rows(out / "studies.csv")) or summary["patients"] is None


def test_a_broken_line_leaves_no_half_release(tmp_path, extracted):
    source = write(tmp_path / "r.jsonl", extracted)
    source.write_text(source.read_text() + '{"canary": 1}\n')
    done = CliRunner().invoke(
        build_app(),
        ["release", str(source), "--out", str(tmp_path / "o"), "--key", str(tmp_path / "k"), "--create-key"],
    )
    assert (done.exit_code, "line 6" in done.stderr, "canary" in done.output) == (3, True, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl"]
