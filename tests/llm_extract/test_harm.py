import csv
import json
import stat

import pytest
from typer.testing import CliRunner

from llm_extract import Evidence, Lesion, OrganStatement, ReportRecord
from llm_extract.certainty import lesion_certainty, would_supervise
from llm_extract.cli import build_app
from llm_extract.errors import UsageError
from llm_extract.gold import Finding, GoldReport
from llm_extract.harm import HARMS, Target, judge_targets, risk_coverage
from llm_extract.records import Issue, Provenance, SideStatement, Span
from llm_extract.score_errors import errors_of, sentence_around, write_errors

TEXT = "A mass of 34 mm in the tail of the pancreas, before 20 mm. A cyst in the left kidney. Spleen normal. Node."
MASS = (0, 43)
CYST = (59, 85)


def gold(*findings: Finding, **fields) -> GoldReport:
    return GoldReport(report_id="A", text=TEXT, layout="report", findings=findings, **fields)


def lesion(organ: str = "pancreas", *, at=MASS, **fields) -> Lesion:
    quote = Evidence(field="kind", start=at[0], end=at[1], text=TEXT[slice(*at)], section="findings")
    return Lesion(**{"lesion_id": "L1", "organ": organ, "evidence": (quote,)} | fields)


def record(*lesions: Lesion, **fields) -> ReportRecord:
    base = {
        "report_id": "A",
        "source": "radiology",
        "text_sha256": "0" * 64,
        "text_chars": len(TEXT),
        "status": "ok",
        "lesions": lesions,
        "provenance": Provenance(backend="x", version="1"),
    }
    return ReportRecord(**base | fields)


TAIL = Finding(organ="pancreas", sizes_mm=(34.0,), spans=(MASS,), place="tail")
LEFT = Finding(organ="kidney", side="left", spans=(CYST,))


def harms(answer: GoldReport, made: ReportRecord | None) -> list[tuple[str, ...]]:
    return [target.harms for target in judge_targets(answer, made)]


def test_a_right_lesion_does_no_harm():
    right = lesion(diameters_mm=(34.0,), parts=("pancreas_tail",))
    cyst = lesion("kidney", at=CYST, laterality="left", kind="cyst")
    assert harms(gold(TAIL, LEFT), record(right, cyst)) == [(), ()]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"parts": ("pancreas_head",)}, ("part",)),
        ({"parts": ("pancreas_tail", "pancreas_body")}, ()),
        ({"parts": ("pancreas_head",), "part_relation": "adjacent"}, ()),
        ({"diameters_mm": (20.0,)}, ("prior",)),
        ({"diameters_mm": (36.0,)}, ("size",)),
        ({"diameters_mm": (34.9, 12.0)}, ()),
        ({"size_max_mm": 30.0}, ("size",)),
        ({"size_min_mm": 30.0, "size_max_mm": 40.0}, ()),
        ({"size_min_mm": 40.0}, ("size",)),
        ({}, ()),
        ({"organ": "liver", "diameters_mm": (34.0,)}, ("organ",)),
        ({"organ": "liver"}, ("organ",)),
        ({"organ": "liver", "diameters_mm": (20.0,)}, ("prior",)),
    ],
)
def test_each_error_is_its_own_harm(fields, expected):
    made = record(lesion(**fields))
    assert harms(gold(TAIL, forbidden_mm=frozenset({20.0})), made) == [expected]


def test_a_wrong_side_is_harmful_and_an_unknown_one_is_not():
    for side, expected in (("right", ("side",)), ("unknown", ()), ("left", ())):
        assert harms(gold(LEFT), record(lesion("kidney", at=CYST, laterality=side))) == [expected]
    elsewhere = lesion("kidney", at=MASS, laterality="right", diameters_mm=(34.0,))
    answer = gold(Finding(organ="kidney", side="left", sizes_mm=(34.0,), spans=(CYST,)))
    assert harms(answer, record(elsewhere)) == [("side",)]


def test_a_size_that_the_answer_does_not_have_is_harmful():
    assert harms(gold(LEFT), record(lesion("kidney", at=CYST, diameters_mm=(12.0,)))) == [("size",)]


def test_a_lobe_holds_its_segments():
    answer = gold(Finding(organ="liver", spans=(MASS,), place="capsule, segment 6"))
    for parts, expected in ((("liver_right_lobe",), ()), (("liver_left_lobe",), ("part",)), ((), ())):
        assert harms(answer, record(lesion("liver", parts=parts))) == [expected]


def test_a_missed_lesion_does_no_harm_and_a_full_strength_negative_does():
    free = OrganStatement(status="explicitly_lesion_free")
    assert harms(gold(TAIL), record()) == []
    assert harms(gold(TAIL), None) == []
    assert harms(gold(TAIL), record(organs={"pancreas": free})) == [("false_negative",)]
    for weaker in ({"limited": True}, {"scope": "suspicious_only"}):
        assert harms(gold(TAIL), record(organs={"pancreas": free.model_copy(update=weaker)})) == []
    one_side = OrganStatement(
        status="lesion_present",
        sides={"left": SideStatement(status="explicitly_lesion_free"), "right": SideStatement()},
    )
    assert harms(gold(LEFT), record(organs={"kidney": one_side})) == [("false_negative",)]


def test_a_lesion_of_no_answer_is_told_apart_and_one_that_may_be_ignored_is_left_out():
    extra = lesion("lung", diameters_mm=(9.0,))
    (target,) = judge_targets(gold(LEFT), record(extra))
    assert (target.harms, target.is_harmful) == (("unmatched",), False)
    assert judge_targets(gold(LEFT, ignored=(MASS,)), record(extra)) == []


@pytest.mark.parametrize(
    "fields",
    [{"evidence": ()}, {"presence": "possible"}, {"change": "resolved"}, {"kind": "wall_thickening"}],
)
def test_what_would_not_supervise_is_not_judged(fields):
    some = lesion("lung", **fields)
    assert not would_supervise(some, record(some))
    assert judge_targets(gold(LEFT), record(some)) == []


def test_certainty_in_pathology_falls_with_what_is_not_said_of_the_lesion_itself():
    def certainty(one: Lesion, *others: Lesion) -> float:
        return lesion_certainty(one, record(one, *others, source="pathology"))

    sure = lesion("kidney", laterality="left", diagnosis="oncocytoma", location_text="left kidney")
    assert certainty(sure) == 1.0  # a size is not needed: a record without one allows any
    assert certainty(sure.model_copy(update={"location_text": None})) == 0.7
    assert certainty(sure.model_copy(update={"diagnosis": None})) == 0.8
    assert certainty(sure, lesion("kidney", lesion_id="L2")) == 0.85
    assert certainty(sure, lesion("liver", lesion_id="L2")) == 1.0


def test_certainty_falls_with_everything_that_speaks_against_a_lesion():
    sure = lesion(diameters_mm=(34.0,), laterality="n/a", location_text="tail of the pancreas")
    assert lesion_certainty(sure, record(sure)) == 1.0
    less = [
        sure.model_copy(update=update)
        for update in (
            {"presence": "probable"},
            {"conflict": ("diameters_mm",)},
            {"count": None, "count_kind": "multiple_unknown"},
            {"laterality": "unknown"},
            {"diameters_mm": ()},
            {"part_relation": "spanning"},
            {"location_text": None},
            {"diagnosis_certainty": "possible"},
            {"evidence": (sure.evidence[0].model_copy(update={"match": "normalised"}),)},
        )
    ]
    assert all(0 < lesion_certainty(one, record(one)) < 1 for one in less)
    assert lesion_certainty(sure.model_copy(update={"evidence": ()}), record(sure)) == 0.0
    assert lesion_certainty(sure, record(sure, status="needs_review")) == 0.5
    here, there = Span(start=3, end=7), Span(start=90, end=95)
    for issue, value in (
        (Issue(code="inferred_unit", span=here), 0.8),
        (Issue(code="inferred_unit", span=there), 1.0),
        (Issue(code="implausible_size", field="L1.diameters_mm", span=there), 0.3),
        (Issue(code="implausible_size", field="L2.diameters_mm"), 1.0),
        (Issue(code="fallback_encoding"), 1.0),
    ):
        assert lesion_certainty(sure, record(sure, issues=(issue,))) == value


def test_risk_over_coverage_is_the_running_share_of_harmful_ones():
    def target(certainty: float, *wrong: str) -> Target:
        return Target("A", "liver", certainty, harms=wrong, lesion=lesion())

    curve = risk_coverage(
        [target(0.2, "size"), target(1.0), target(0.5), target(0.5, "side"), target(1.0, "unmatched")]
    )
    assert [tuple(point.values()) for point in curve["points"]] == [
        (1.0, 0.4, 0),
        (0.5, 0.8, 0.25),
        (0.2, 1.0, 0.4),
    ]
    assert curve["area"] == pytest.approx(0.4 * 0 + 0.4 * 0.25 + 0.2 * 0.4)
    assert risk_coverage([Target("A", "liver", 1.0, harms=("false_negative",))])["area"] is None
    assert "unmatched" not in HARMS


def test_every_error_is_listed_with_its_sentence():
    wrong = lesion(diameters_mm=(20.0,), parts=("pancreas_head",), count=2, presence="probable")
    extra = lesion("lung", at=(102, 106), lesion_id="L2")
    answer = gold(TAIL, LEFT, free_organs=frozenset({"spleen"}), forbidden_mm=frozenset({20.0}))
    found = {error.field: error for error in errors_of(answer, record(wrong, extra))}
    assert set(found) == {"missed", "not_in_gold", "size", "count", "part", "certainty", "organ_status"}
    assert found["size"].sentence == "A mass of 34 mm in the tail of the pancreas, before 20 mm."
    assert (found["size"].gold, found["size"].found, found["size"].harm) == ("34 mm", "20 mm", "part prior")
    assert found["missed"].sentence == "A cyst in the left kidney."
    assert found["organ_status"].sentence == "Spleen normal."
    assert (found["not_in_gold"].organ, found["not_in_gold"].sentence) == ("lung", "Node.")
    free = {"kidney": OrganStatement(status="explicitly_lesion_free")}
    (denied,) = [e for e in errors_of(gold(LEFT), record(organs=free)) if e.field == "organ_status"]
    assert (denied.harm, denied.sentence) == ("false_negative", "A cyst in the left kidney.")


def test_a_perfect_record_has_no_errors():
    right = lesion(diameters_mm=(34.0,), parts=("pancreas_tail",))
    assert list(errors_of(gold(TAIL), record(right))) == []


def test_sentences_end_where_they_should():
    text = "One 3.4 cm mass. Two\nThree"
    assert sentence_around(text, 4, 5) == "One 3.4 cm mass."
    assert sentence_around(text, 17, 20) == "Two"
    assert sentence_around(text, 22, 23) == "Three"
    assert len(sentence_around("x" * 2000, 5, 9)) == 500


def test_errors_are_written_privately_and_safe_for_spreadsheets(tmp_path):
    answer = GoldReport("A", "=cmd() mass. Liver.", "report", (Finding(organ="liver", spans=((0, 11),)),))
    for name in ("e.csv", "e.jsonl"):
        assert write_errors(tmp_path / name, errors_of(answer, None)) == 1
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    with (tmp_path / "e.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["sentence"] == "'=cmd() mass."
    assert json.loads((tmp_path / "e.jsonl").read_text())["field"] == "missed"
    with pytest.raises(UsageError, match="neither"):
        write_errors(tmp_path / "e.txt", ())


def test_the_command_line_writes_sentences_to_the_file_only(tmp_path):
    folder = tmp_path / "my records"
    folder.mkdir()
    (folder / "records.jsonl").write_text(record().model_dump_json() + "\n")
    finding = {"organ": "pancreas", "laterality": None, "diameters_mm": [34], "count": 1, "attenuation": None}
    finding |= {"certainty": "definite", "location": "tail", "evidence_span": list(MASS)}
    (tmp_path / "gold.jsonl").write_text(json.dumps({"id": "A", "text": TEXT, "findings": [finding]}) + "\n")
    arguments = ["score", str(folder), str(tmp_path / "gold.jsonl")]
    result = CliRunner().invoke(build_app(), [*arguments, "--errors", str(tmp_path / "e.csv")])
    assert result.exit_code == 0
    assert "mass of" not in result.output
    assert "A mass of 34 mm" in (tmp_path / "e.csv").read_text()
    hint = CliRunner().invoke(build_app(), arguments).stdout.splitlines()[-1]
    assert "'" + str(folder) + "'" in hint
    assert "--errors" in hint
    missing = CliRunner().invoke(build_app(), ["score", str(tmp_path / "no"), str(tmp_path / "gold.jsonl")])
    assert (missing.exit_code, "records_missing" in missing.stderr) == (3, True)


def test_help_names_the_program_it_was_called_from():
    from rsuper.cli import app

    for program, build in (("rsuper", app), ("llm-extract", build_app())):
        for verb in ("extract", "score", "audit"):
            text = CliRunner().invoke(build, [verb, "--help"]).stdout
            assert f"Example: {program} {verb}" in text
