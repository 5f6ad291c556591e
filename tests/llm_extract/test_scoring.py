import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llm_extract import Evidence, Lesion, OrganStatement, ReportRecord, cli_score
from llm_extract.cli import build_app
from llm_extract.errors import DataError
from llm_extract.gold import Finding, read_gold
from llm_extract.gold_format import ExpectedLesion, ExpectedLine, FindingsLine, GoldFinding
from llm_extract.records import Provenance
from llm_extract.scoring import findings_of, match_findings, score, score_files
from llm_extract.scoring_report import score_lines

TEXT = "Mass in the left kidney, 34 x 28 mm (previously 20 mm). Three liver cysts up to 12 mm. Spleen normal. Node."
REPORT = {
    "id": "A",
    "text": TEXT,
    "kind": "radiology",
    "findings": [
        {
            "organ": "kidney",
            "location": None,
            "laterality": "left",
            "kind": "mass",
            "diameters_mm": [34, 28],
            "count": 1,
            "attenuation": None,
            "certainty": "definite",
            "evidence_span": [0, 35],
        },
        {
            "organ": "liver",
            "location": None,
            "laterality": None,
            "kind": "cyst",
            "diameters_mm": [12],
            "count": 3,
            "attenuation": "hypo",
            "certainty": "definite",
            "evidence_span": [56, 85],
        },
    ],
    "organs_negative": ["spleen", "adrenal"],
    "ignore": ["Node."],
}
CASE = {
    "id": "H",
    "category": "prior",
    "source": "radiology",
    "text": TEXT,
    "expected": [
        {
            "organ": "kidney",
            "location": ["upper_pole"],
            "laterality": "left",
            "diameters_mm": [34.0, 28.0],
            "count": 1,
            "count_kind": "exact",
            "attenuation": "unknown",
            "presence": "definite",
            "prior_diameters_mm": [20.0],
            "evidence": [{"start": 0, "end": 35, "text": TEXT[:35]}],
        }
    ],
    "organ_status": {"spleen": {"status": "explicitly_lesion_free"}},
    "distractors": [{"start": 0, "end": 5, "text": "1.5 x 2 cm"}],
    "needs_review": False,
    "note": "",
}


def gold(tmp_path: Path, *answers: dict) -> Path:
    path = tmp_path / "gold.jsonl"
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return path


def quoted(start: int, end: int) -> tuple[Evidence, ...]:
    return (Evidence(field="kind", start=start, end=end, text=TEXT[start:end], section="findings"),)


KIDNEY = Lesion(
    lesion_id="L1",
    organ="kidney",
    parts=("kidney_upper_pole",),
    laterality="left",
    diameters_mm=(34.0, 28.0),
    evidence=quoted(0, 35),
)
LIVER = Lesion(
    lesion_id="L2",
    organ="liver",
    count=3,
    size_max_mm=12.0,
    size_kind="range",
    attenuation="hypo",
    evidence=quoted(56, 85),
)
FREE = {"spleen": OrganStatement(status="explicitly_lesion_free")}


def record(report_id: str, *lesions: Lesion, **fields) -> ReportRecord:
    base = {
        "report_id": report_id,
        "source": "radiology",
        "text_sha256": "0" * 64,
        "text_chars": len(TEXT),
        "status": "ok",
        "lesions": lesions,
        "provenance": Provenance(backend="x", version="1"),
    }
    return ReportRecord(**base | fields)


def figures(tmp_path, answer: dict, made: ReportRecord | None) -> dict[str, float | None]:
    records = {made.report_id: made} if made else {}
    values = score(records, read_gold(gold(tmp_path, answer)))["figures"]
    return {name: value["value"] for name, value in values.items()}


def test_a_perfect_record_scores_one_everywhere(tmp_path):
    organs = {**FREE, "adrenal_gland": OrganStatement(status="explicitly_lesion_free")}
    values = figures(tmp_path, REPORT, record("A", KIDNEY, LIVER, organs=organs))
    bad = {"contamination", "harmful_negatives", "harmful_targets", "not_in_gold", "failed", "needs_review"}
    assert {name: value for name, value in values.items() if value is not None} == {
        name: 0.0 if name in bad else 1.0 for name, value in values.items() if value is not None
    }


def test_a_perfect_hard_case_is_right_and_each_error_makes_it_wrong(tmp_path):
    assert figures(tmp_path, CASE, record("H", KIDNEY, organs=FREE))["hard_cases_right"] == 1.0
    wrong = [
        (KIDNEY, LIVER),
        (),
        (KIDNEY.model_copy(update={"laterality": "right"}),),
        (KIDNEY.model_copy(update={"laterality": "unknown"}),),
        (KIDNEY.model_copy(update={"diameters_mm": (34.0, 28.2)}),),
        (KIDNEY.model_copy(update={"diameters_mm": (34.0,)}),),
        (KIDNEY.model_copy(update={"count": 2}),),
        (KIDNEY.model_copy(update={"count": None, "count_kind": "multiple_unknown"}),),
        (KIDNEY.model_copy(update={"organ": "liver"}),),
        (KIDNEY, KIDNEY),
    ]
    for lesions in wrong:
        assert figures(tmp_path, CASE, record("H", *lesions))["hard_cases_right"] == 0.0, lesions
    resolved = LIVER.model_copy(update={"change": "resolved"})
    reordered = KIDNEY.model_copy(update={"diameters_mm": (28.0, 34.04)})
    assert figures(tmp_path, CASE, record("H", reordered, resolved))["hard_cases_right"] == 1.0


def test_prior_sizes_and_distractors_contaminate(tmp_path):
    for size in (20.0, 15.0):
        dirty = KIDNEY.model_copy(update={"diameters_mm": (size,)})
        assert figures(tmp_path, CASE, record("H", dirty))["contamination"] == 1.0
    assert figures(tmp_path, CASE, record("H", KIDNEY))["contamination"] == 0.0


def test_missing_and_additional_lesions(tmp_path):
    values = figures(tmp_path, REPORT, record("A", KIDNEY, KIDNEY.model_copy(update={"organ": "lung"})))
    assert (values["lesion_precision"], values["lesion_recall"], values["lesion_f1"]) == (0.5, 0.5, 0.5)
    assert (values["measured_precision"], values["measured_recall"]) == (0.5, 0.5)
    assert values["presence_sensitivity"] == 0.5


def test_what_may_be_extracted_or_not_counts_neither_way(tmp_path):
    start = TEXT.index("Node.")
    node = Lesion(lesion_id="L3", organ="lymph_node", diameters_mm=(9.0,), evidence=quoted(start, start + 5))
    assert figures(tmp_path, REPORT, record("A", KIDNEY, LIVER, node))["lesion_precision"] == 1.0


def test_an_index_lesion_with_its_remainder_is_one_group(tmp_path):
    index = LIVER.model_copy(
        update={
            "group_id": "G1",
            "group_role": "index",
            "count": 1,
            "diameters_mm": (12.0,),
            "size_max_mm": None,
        }
    )
    rest = LIVER.model_copy(
        update={"lesion_id": "L4", "group_id": "G1", "group_role": "remainder", "count": 2}
    )
    values = figures(tmp_path, REPORT, record("A", KIDNEY, index, rest))
    assert (values["lesion_f1"], values["exact_size"], values["count"]) == (1.0, 1.0, 1.0)
    assert len(findings_of(record("A", rest))) == 1


def test_a_hard_case_tells_an_index_lesion_from_its_remainder(tmp_path):
    index = KIDNEY.model_copy(update={"group_id": "G1", "group_role": "index"})
    rest = LIVER.model_copy(
        update={"organ": "kidney", "group_id": "G1", "group_role": "remainder", "count": None}
    )
    rest = rest.model_copy(update={"count_kind": "multiple_unknown", "evidence": ()})
    expected = {**CASE["expected"][0], "diameters_mm": [], "laterality": None, "count": None}
    expected |= {"count_kind": "multiple_unknown", "prior_diameters_mm": [], "evidence": []}
    case = CASE | {"expected": [CASE["expected"][0], expected]}
    values = figures(tmp_path, case, record("H", index, rest))
    assert (values["lesion_f1"], values["measured_f1"], values["hard_cases_right"]) == (1.0, 1.0, 1.0)


def test_a_bound_on_a_group_answers_a_stated_size_and_is_no_size_otherwise(tmp_path):
    bound = LIVER.model_copy(update={"size_kind": "upper_bound"})
    assert figures(tmp_path, REPORT, record("A", KIDNEY, bound))["exact_size"] == 1.0
    silent = REPORT | {"findings": [REPORT["findings"][0], REPORT["findings"][1] | {"diameters_mm": []}]}
    assert figures(tmp_path, silent, record("A", KIDNEY, bound))["measured_precision"] == 1.0


def test_a_lesion_called_free_is_harmful(tmp_path):
    organs = {"liver": OrganStatement(status="explicitly_lesion_free")}
    made = record("A", KIDNEY, organs=organs)
    scores = score({"A": made}, read_gold(gold(tmp_path, REPORT)))
    assert scores["figures"]["harmful_negatives"]["numerator"] == 1
    assert scores["reports_with_harmful_negatives"] == ["A"]


def test_errors_in_matched_lesions_are_counted_by_field(tmp_path):
    wrong = KIDNEY.model_copy(update={"laterality": "right", "diameters_mm": (33.0,)})
    values = figures(tmp_path, REPORT, record("A", wrong, LIVER.model_copy(update={"attenuation": "hyper"})))
    assert values["lesion_f1"] == 1.0
    assert (values["laterality"], values["exact_size"], values["attenuation"]) == (0.0, 0.5, 0.0)


def test_a_report_without_a_record_counts_as_nothing_found(tmp_path):
    scores = score({}, read_gold(gold(tmp_path, REPORT, CASE)))
    assert scores["missing_records"] == ["A", "H"]
    assert scores["figures"]["lesion_recall"]["value"] == 0.0
    assert scores["figures"]["failed"]["value"] == 1.0


def test_quotes_are_checked_against_the_text(tmp_path):
    lie = Evidence(field="kind", start=1, end=5, text="Mass", section="findings")
    assert (
        figures(tmp_path, REPORT, record("A", KIDNEY.model_copy(update={"evidence": (lie,)})))["grounding"]
        == 0.0
    )


def brute_force(agreement: np.ndarray) -> float:
    if agreement.shape[0] == 0:
        return 0.0
    rest = brute_force(agreement[1:])
    for column in range(agreement.shape[1]):
        others = np.delete(agreement, column, axis=1)
        rest = max(rest, agreement[0, column] + brute_force(others[1:]))
    return rest


sides = st.sampled_from([None, "left", "right"])
sizes = st.sampled_from([(), (10.0,), (10.4,), (20.0, 10.0)])
some_findings = st.lists(
    st.builds(Finding, organ=st.sampled_from(["liver", "kidney"]), side=sides, sizes_mm=sizes), max_size=4
)


@given(some_findings, some_findings)
def test_matching_is_one_to_one_within_organs_and_best(left, right):
    from llm_extract.matching import agreement_of

    pairs = match_findings(left, right)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(left[row].organ == right[column].organ for row, column in pairs)
    if left and right:
        agreement = np.array([[agreement_of(one, other) for other in right] for one in left])
        assert sum(agreement[row, column] for row, column in pairs) == pytest.approx(brute_force(agreement))


def test_intervals_hold_the_value_and_follow_the_seed(tmp_path):
    answers = [REPORT | {"id": f"A{index}"} for index in range(20)]
    records = {
        f"A{index}": record(f"A{index}", KIDNEY, *([LIVER] if index % 3 else [])) for index in range(20)
    }
    one = score(records, read_gold(gold(tmp_path, *answers)), seed=1)
    recall = one["figures"]["lesion_recall"]
    share = 13 / 20  # of the reports have both lesions, the others one of two
    standard_error = 0.5 * np.sqrt(share * (1 - share) / 20)
    assert recall["value"] == pytest.approx((1 + share) / 2)
    assert recall["low"] == pytest.approx(recall["value"] - 1.96 * standard_error, abs=0.02)
    assert recall["high"] == pytest.approx(recall["value"] + 1.96 * standard_error, abs=0.02)
    assert one == score(records, read_gold(gold(tmp_path, *answers)), seed=1)


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "A"}', '{"id": "A", "text": "t", "findings": [{}]}'])
def test_a_broken_gold_file_names_its_line(tmp_path, line):
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps(CASE) + "\n" + line + "\n")
    with pytest.raises(DataError, match="line 2"):
        read_gold(path)


def without(answer: dict, *path: str | int) -> dict:
    copy = json.loads(json.dumps(answer))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    return copy


def changed(answer: dict, value: object, *path: str | int) -> dict:
    copy = json.loads(json.dumps(answer))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (without(REPORT, "id"), "id is missing"),
        (without(REPORT, "text"), "text is missing"),
        (without(REPORT, "findings"), "findings (or expected) is missing"),
        (without(REPORT, "findings", 1, "laterality"), "findings[1].laterality is missing"),
        (without(REPORT, "findings", 0, "certainty"), "findings[0].certainty is missing"),
        (changed(REPORT, "12 mm", "findings", 1, "diameters_mm"), "findings[1].diameters_mm is wrong: "),
        (changed(REPORT, [0], "findings", 0, "diameters_mm"), "findings[0].diameters_mm[0] is wrong: "),
        (changed(REPORT, "spleen", "organs_negative"), "organs_negative is wrong: "),
        (without(CASE, "expected", 0, "organ"), "expected[0].organ is missing"),
        (without(CASE, "expected", 0, "evidence", 0, "end"), "expected[0].evidence[0].end is missing"),
        (changed(CASE, {"spleen": "free"}, "organ_status"), "organ_status.spleen is wrong: "),
        (changed(without(REPORT, "findings", 0, "evidence_span"), "cyst of the moon", "findings", 0, "evidence"),
         "findings[0].evidence is not in the text word for word"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_gold_file_is_named_by_line_and_field(tmp_path, answer, said):
    path = gold(tmp_path, REPORT, answer)
    (tmp_path / "records.jsonl").write_text(record("A").model_dump_json() + "\n")
    done = CliRunner().invoke(build_app(), ["score", str(tmp_path / "records.jsonl"), str(path)])
    assert done.exit_code == 3
    assert f"{path}, line 2 is no gold answer: {said}" in done.stderr
    assert "docs/gold.md" in done.stderr
    assert "kidney of" not in done.stderr
    assert "cyst" not in done.stderr
    chat = CliRunner().invoke(build_app(), ["export-chat", str(path), "--out", str(tmp_path / "chat")])
    assert said in chat.stderr


def gold_page() -> str:
    return (Path(__file__).resolve().parents[2] / "docs" / "gold.md").read_text("utf-8")


def test_the_lines_that_the_page_and_the_help_show_are_read_and_can_be_scored(tmp_path):
    shown = re.findall(r"^ {4}(\{.*\})$", gold_page(), re.MULTILINE)
    help_text = " ".join(cli_score.HELP.format(program="x").split())
    shown.append(help_text[help_text.index("{") : help_text.index("A harmful")])
    assert len(shown) >= 3
    path = tmp_path / "gold.jsonl"
    path.write_text("\ufeff" + "\n".join(shown) + "\n", encoding="utf-8")
    answers = read_gold(path)
    assert {answer.layout for answer in answers} == {"report", "hard_case"}
    reports = "".join(json.dumps({"id": a.report_id, "text": a.text}) + "\n" for a in answers)
    (tmp_path / "reports.jsonl").write_text(reports)
    for told in (
        ["extract", tmp_path / "reports.jsonl", "--out", tmp_path / "out", "--workers", 0],
        ["score", tmp_path / "out", path, "--out", tmp_path / "scores.json"],
        ["export-chat", path, "--out", tmp_path / "chat"],
    ):
        done = CliRunner().invoke(build_app(), [str(each) for each in told])
        assert done.exit_code == 0, done.output
        assert "note" not in done.stderr
    figures = json.loads((tmp_path / "scores.json").read_text())["figures"]
    assert figures["lesion_recall"]["value"] == figures["lesion_precision"]["value"] == 1.0


def test_the_page_names_every_field():
    for model in (FindingsLine, GoldFinding, ExpectedLine, ExpectedLesion):
        for name in model.model_fields:
            assert f"`{name}`" in gold_page(), name


def test_an_organ_that_no_record_can_have_is_said(tmp_path):
    path = gold(tmp_path, changed(REPORT, "Liver", "findings", 1, "organ") | {"organs_negative": ["milt"]})
    (tmp_path / "records.jsonl").write_text(record("A").model_dump_json() + "\n")
    done = CliRunner().invoke(build_app(), ["score", str(tmp_path / "records.jsonl"), str(path)])
    assert done.exit_code == 0, done.output
    assert "nothing can match it: Liver, milt" in done.stderr


def test_a_quote_stands_in_for_its_place(tmp_path):
    quoted_only = changed(
        without(REPORT, "findings", 0, "evidence_span"), TEXT[:35], "findings", 0, "evidence"
    )
    assert read_gold(gold(tmp_path, quoted_only)) == read_gold(gold(tmp_path, REPORT))


def test_scoring_from_the_command_line(tmp_path):
    records = tmp_path / "records.jsonl"
    records.write_text(
        record("A", KIDNEY, LIVER).model_dump_json() + "\n" + record("H").model_dump_json() + "\n"
    )
    path = gold(tmp_path, REPORT, CASE)
    (tmp_path / "s").touch(mode=0o644)
    result = CliRunner().invoke(build_app(), ["score", str(records), str(path), "--out", str(tmp_path / "s")])
    assert result.exit_code == 0
    assert oct((tmp_path / "s").stat().st_mode & 0o777) == "0o600"
    assert "lesions, F1" in result.stdout
    assert "hard cases not right: H" in result.stdout
    assert "sensitivity 100.0%" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Next: llm-extract score ")
    assert json.loads((tmp_path / "s").read_text()) == score_files(records, path)
    other = gold(tmp_path, REPORT | {"id": "Z"})
    assert CliRunner().invoke(build_app(), ["score", str(records), str(other)]).exit_code == 3


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["gold_dev.jsonl", "hard_cases.jsonl"])
def test_records_made_of_the_answers_score_one(shared_data, name):
    answers = read_gold(shared_data / "reports" / name)
    records = {}
    for answer in answers:
        lesions = tuple(
            Lesion(
                lesion_id=f"L{index}",
                organ=finding.organ,
                parts=tuple(f"{finding.organ}_{part}" for part in finding.parts),
                laterality=finding.side or "unknown",
                diameters_mm=finding.sizes_mm,
                count=finding.count,
                count_kind="exact" if finding.count else "multiple_unknown",
                attenuation=finding.attenuation or "unknown",
                presence="definite" if finding.is_definite else "possible",
            )
            for index, finding in enumerate(answer.findings)
        )
        free = dict.fromkeys(answer.free_organs, OrganStatement(status="explicitly_lesion_free"))
        records[answer.report_id] = record(answer.report_id, *lesions, organs=free)
    scores = score(records, answers)
    values = {key: value["value"] for key, value in scores["figures"].items()}
    for figure in ("lesion_f1", "measured_f1", "exact_size", "count", "laterality", "attenuation"):
        assert values[figure] == 1.0, figure
    assert values["contamination"] == 0.0
    assert scores["hard_cases_not_right"] == []
    assert list(score_lines(scores))
