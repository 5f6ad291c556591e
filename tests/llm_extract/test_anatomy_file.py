import json
import re

import pytest
from typer.testing import CliRunner

from llm_extract.anatomy import load_anatomy
from llm_extract.anatomy_file import check_anatomy_file
from llm_extract.backends import load_backend
from llm_extract.backends.rules import RulesBackend
from llm_extract.cli import build_app
from llm_extract.errors import UsageError
from llm_extract.reports import Report
from llm_extract.rules import RulesExtractor

MINE = """\
organs:
  parotid_gland:
    paired: true
    synonyms: [parotid gland, parotid]
    side_structures: {left: [parotid_left], right: [parotid_right]}
    max_diameter_mm: 120
  liver:
    synonyms: [hepar lobatum]
    parts:
      liver_papillary_process: {synonyms: [papillary process], structures: [liver_segment_1]}
"""
TEXT = "Mass of 23 mm in the left parotid gland. Nodule of 8 mm in the papillary process. Hepar lobatum: 9 mm cyst."


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, "utf-8")
    return path


def test_an_organ_a_part_and_a_synonym_are_read_from_reports(mine):
    record = RulesExtractor(check_anatomy_file(mine)).extract(Report(report_id="A", text=TEXT))
    found = [
        (lesion.organ, lesion.laterality, lesion.parts, lesion.diameters_mm) for lesion in record.lesions
    ]
    assert found == [
        ("parotid_gland", "left", (), (23.0,)),
        ("liver", "n/a", ("liver_papillary_process",), (8.0,)),
        ("liver", "n/a", (), (9.0,)),
    ]
    assert record.organs["parotid_gland"].status == "lesion_present"


def test_the_catch_all_organ_gives_up_the_names_of_a_new_one(mine):
    assert "parotid gland" in load_anatomy().organs["other"].synonyms
    assert "parotid gland" not in load_anatomy(mine).organs["other"].synonyms
    assert set(load_anatomy(mine).organs) == {*load_anatomy().organs, "parotid_gland"}


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("organs:\n  liver:\n    synonyms: hepar\n", {3: "synonyms: must be a list"}),
        ("organs:\n  liver:\n    margin: 4\n", {3: "margin"}),
        ("organs:\n  liver:\n    margin_mm: -4\n", {3: "greater than or equal to 0"}),
        (
            "organs:\n  liver:\n    synonyms:\n      - hepar x\n      - Hepar\n",
            {5: "synonyms[1]: must be lower case"},
        ),
        ("organs:\n  liver:\n    synonyms: [spleen]\n", {3: "'spleen' already names 'spleen'"}),
        ("organs:\n  Parotid: {synonyms: [a]}\n", {2: "names of a-z"}),
        ("organs:\n  parotid: {paired: true}\n", {2: "needs synonyms"}),
        ("organs:\n  parotid:\n    synonyms: [a]\n    side_structures: {left: [x]}\n", {4: "paired: true"}),
        ("organs:\n  liver:\n    parts:\n      lobe: {}\n", {4: "liver_lobe"}),
        ("organs:\n  liver:\n    parts:\n      liver_x: {one_of: [liver_y]}\n", {4: "liver_y"}),
        ("organs:\n  liver:\n    parts:\n      liver_x: {side: up}\n", {4: "'left' or 'right'"}),
        ("organs:\n  liver: {}\n  liver: {}\n", {3: "second time"}),
        ("organs:\n  liver: [\n", {3: "no valid YAML"}),
        ("", {1: "the file"}),
        ("liver: {}\n", {1: "organs"}),
        ("organs: {liver: {structures: ['../x']}}\n", {1: "structures[0]"}),
        (
            "organs:\n  liver:\n    margin_mm: x\n    synonyms: y\n",
            {3: "margin_mm", 4: "synonyms"},
        ),
    ],
)
def test_every_mistake_is_named_with_its_line(tmp_path, text, mistakes):
    path = tmp_path / "bad.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError) as caught:
        check_anatomy_file(path)
    assert caught.value.code == "anatomy_invalid"
    for line, words in mistakes.items():
        assert re.search(rf"line {line}: [^;]*{re.escape(words)}", str(caught.value)), str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(UsageError, match="anatomy_missing"):
        check_anatomy_file(tmp_path / "no.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="anatomy_invalid"):
        check_anatomy_file(tmp_path / "b.yaml")
    (tmp_path / "e.yaml").write_text("organs: !!python/object/apply:os.system [x]\n")
    with pytest.raises(UsageError, match="anatomy_invalid"):
        check_anatomy_file(tmp_path / "e.yaml")


def test_the_file_is_part_of_the_ledger_key(mine):
    without, with_file = RulesBackend().settings(), load_backend("rules", anatomy=mine).settings()
    assert {key: value for key, value in with_file.items() if key != "anatomy_sha256"} == without
    mine.write_text(MINE + "  spleen: {margin_mm: 11}\n", "utf-8")
    assert RulesBackend(mine).settings()["anatomy_sha256"] != with_file["anatomy_sha256"]
    with pytest.raises(UsageError, match="--backend rules"):
        load_backend("toy:Backend", anatomy=mine)


def test_extraction_takes_it_from_the_command_line_and_by_workers(tmp_path, mine):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"id": "A", "text": TEXT}) + '\n{"id": "B", "text": ""}\n')
    arguments = [
        "extract",
        str(path),
        "--out",
        str(tmp_path / "out"),
        "--anatomy",
        str(mine),
        "--workers",
        "1",
    ]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 4, result.output
    first, second = (
        json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    )
    assert first["lesions"][0]["organ"] == "parotid_gland"
    assert "parotid_gland" in second["organs"]
    assert "parotid_gland" in (tmp_path / "out" / "studies.csv").read_text().splitlines()[0]
    mine.write_text("organs: {liver: {synonyms: x}}")
    again = CliRunner().invoke(build_app(), arguments)
    assert (again.exit_code, "line 1" in again.stderr) == (2, True)


def test_scores_know_the_parts_of_the_users_own_table(tmp_path, mine):
    """An answer that places a lesion in a part of the user's own is held against the record by that part."""
    text = "Nodule of 8 mm in segment 6 of the liver."
    made = RulesExtractor(check_anatomy_file(mine)).extract(Report(report_id="A", text=text))
    (tmp_path / "records.jsonl").write_text(made.model_dump_json() + "\n", "utf-8")
    finding = {
        "organ": "liver", "location": "papillary process", "laterality": None, "kind": "nodule", "diameters_mm": [8],
        "count": 1, "attenuation": None, "certainty": "definite", "evidence_span": [0, len(text)],
    }  # fmt: skip
    answer = {"id": "A", "text": text, "kind": "radiology", "findings": [finding], "organs_negative": []}
    (tmp_path / "gold.jsonl").write_text(json.dumps(answer) + "\n", "utf-8")

    def harmful(*options: str) -> int:
        errors = tmp_path / f"errors{len(options)}.jsonl"
        files = [str(tmp_path / "records.jsonl"), str(tmp_path / "gold.jsonl"), "--errors", str(errors)]
        result = CliRunner().invoke(build_app(), ["score", *files, "--json", *options])
        assert result.exit_code == 0, result.output
        parts = sum(json.loads(line)["field"] == "part" for line in errors.read_text("utf-8").splitlines())
        assert json.loads(result.stdout)["harms"]["part"] == min(parts, 1)
        return parts

    assert harmful() == 0  # the built-in table knows no such part, so nothing is held against the record
    assert harmful("--anatomy", str(mine)) > 0


def test_scoring_refuses_a_broken_file(tmp_path):
    (tmp_path / "broken.yaml").write_text("organs: [liver]\n", "utf-8")
    files = [str(tmp_path / "records.jsonl"), str(tmp_path / "gold.jsonl")]
    result = CliRunner().invoke(build_app(), ["score", *files, "--anatomy", str(tmp_path / "broken.yaml")])
    assert result.exit_code == 2
