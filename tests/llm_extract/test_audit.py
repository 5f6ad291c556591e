import json
import random
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llm_extract import Evidence, Lesion, OrganStatement, ReportRecord
from llm_extract.audit import SHOWN_LESIONS, allocate, claims_of, draw_sample, stratum_of
from llm_extract.audit_estimate import ANSWERS_FORMAT, AuditAnswers, estimate, estimate_lines, read_answers
from llm_extract.audit_page import joined_spans, texts_of, write_page
from llm_extract.cli import build_app
from llm_extract.errors import DataError, UsageError
from llm_extract.intervals import clopper_pearson
from llm_extract.records import Provenance
from llm_extract.reports import Report, ReportSource

TEXT = (
    "Mass of 34 x 28 mm in the left kidney. Two liver cysts. Spleen normal. 🫁 </script><script>window.hit=1"
)


def evidence(field: str, words: str) -> Evidence:
    start = TEXT.index(words)
    return Evidence(field=field, start=start, end=start + len(words), text=words, section="findings")


MASS = Lesion(
    lesion_id="L1",
    organ="kidney",
    kind="mass",
    laterality="left",
    diameters_mm=(34.0, 28.0),
    evidence=(
        evidence("lesion", "Mass of 34 x 28 mm in the left kidney"),
        evidence("diameters_mm", "34 x 28 mm"),
    ),
)
CYSTS = Lesion(
    lesion_id="L2",
    organ="liver",
    kind="cyst",
    count=2,
    laterality="n/a",
    evidence=(evidence("kind", "cysts"),),
)
FREE = {
    "spleen": OrganStatement(status="explicitly_lesion_free", evidence=(evidence("status", "Spleen normal"),))
}


def record(report_id: str, *lesions: Lesion, **fields) -> ReportRecord:
    base = {
        "report_id": report_id,
        "source": "radiology",
        "text_sha256": Report(report_id="R", text=TEXT).text_sha256,
        "text_chars": len(TEXT),
        "status": "ok",
        "lesions": lesions,
        "provenance": Provenance(backend="x", version="1"),
    }
    return ReportRecord(**base | fields)


def archive(folder: Path, number: int = 60) -> Path:
    """Six in ten reports without a lesion, three with one, one with two; every twentieth is quarantined."""
    folder.mkdir(exist_ok=True)
    with (folder / "records.jsonl").open("w") as file:
        for index in range(number):
            lesions = [(), (), (MASS,), (), (), (MASS,), (), (), (MASS, CYSTS), (MASS,)][index % 10]
            made = record(f"R{index}", *lesions, organs=FREE)
            if index % 20 == 19:
                made = record(f"R{index}", status="failed")
            file.write(made.model_dump_json() + "\n")
    rows = (json.dumps({"id": f"R{index}", "text": TEXT}) + "\n" for index in range(number))
    (folder / "reports.jsonl").write_text("".join(rows))
    return folder


def answers_for(sample, verdict) -> AuditAnswers:
    verdicts = {
        claim.claim_id: said
        for report in sample.reports
        for claim in report.claims
        if (said := verdict(report, claim)) is not None
    }
    return AuditAnswers(sample.audit_id, sample.size, sample.seed, verdicts)


def test_claims_ask_for_every_field_that_the_record_states():
    claims = {claim.claim_id: claim for claim in claims_of(record("A", MASS, CYSTS, organs=FREE))}
    assert set(claims) == {
        *(f"A/L1/{name}" for name in ("lesion", "laterality", "size", "count")),
        *(f"A/L2/{name}" for name in ("lesion", "size", "count")),
        "A/spleen/negative",
        "A/report/missed",
    }
    assert claims["A/L1/size"].value == "34 × 28 mm"
    assert [TEXT[slice(*span)] for span in claims["A/L1/size"].spans] == ["34 x 28 mm"]
    assert claims["A/L2/size"].value == "no size stated"
    assert claims["A/L2/count"].value == "2"
    assert claims["A/report/missed"].value == "recorded: left kidney mass, 34 × 28 mm; 2 × liver cyst"
    assert not [
        c
        for c in claims_of(record("A", MASS.model_copy(update={"change": "resolved"})))
        if "L1" in c.claim_id
    ]


def test_of_many_lesions_some_are_asked_and_stand_for_the_others():
    many = [MASS.model_copy(update={"lesion_id": f"L{index}"}) for index in range(10)]
    asked = [claim for claim in claims_of(record("A", *many)) if claim.field == "lesion"]
    assert len(asked) == SHOWN_LESIONS
    assert sum(claim.weight for claim in asked) == pytest.approx(10)
    assert asked == [claim for claim in claims_of(record("A", *many)) if claim.field == "lesion"]


@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 5000), min_size=1, max_size=8), st.integers(1, 300)
)
def test_shares_fit_their_strata_and_add_up(numbers, size):
    shares = allocate(numbers, size)
    assert sum(shares.values()) == min(size, sum(numbers.values()))
    assert all(0 <= shares[name] <= numbers[name] for name in numbers)
    if size >= 3 * len(numbers):
        assert all(shares.values())


def test_the_draw_is_stratified_and_does_not_depend_on_the_order(tmp_path):
    folder = archive(tmp_path / "a")
    sample = draw_sample(folder, size=20, seed=3)
    assert sample.quarantined == 3
    assert sample.strata == {
        "radiology, no lesion": 36,
        "radiology, one lesion": 15,
        "radiology, several lesions": 6,
    }
    assert set(Counter(report.stratum for report in sample.reports)) == set(sample.strata)
    lines = (folder / "records.jsonl").read_text().splitlines()
    random.Random(1).shuffle(lines)
    (tmp_path / "b.jsonl").write_text("\n".join(lines) + "\n")
    again = draw_sample(tmp_path / "b.jsonl", size=20, seed=3)
    ids = [report.record.report_id for report in sample.reports]
    assert [report.record.report_id for report in again.reports] == ids
    assert [r.record.report_id for r in draw_sample(folder, size=20, seed=4).reports] != ids
    assert stratum_of(record("A", status="needs_review")) == "radiology, needs review"


def test_every_report_of_a_stratum_is_drawn_equally_often(tmp_path):
    folder = archive(tmp_path / "a")
    drawn = Counter(
        report.record.report_id
        for seed in range(120)
        for report in draw_sample(folder, size=12, seed=seed).reports
    )
    none = [drawn[f"R{index}"] for index in range(60) if index % 10 in (0, 1, 3, 4, 6, 7)]
    mean = sum(none) / len(none)
    chi2 = sum((number - mean) ** 2 / mean for number in none)
    assert chi2 < 63  # 35 degrees of freedom, p = 0.0025


def test_all_right_gives_one_with_exact_intervals(tmp_path):
    sample = draw_sample(archive(tmp_path / "a"), size=30, seed=0)
    result = estimate(sample, answers_for(sample, lambda *_: "right"))
    size = result["fields"]["size"]
    assert (size["rate"], size["archive"]["rate"]) == (1.0, 1.0)
    assert (size["low"], size["high"]) == clopper_pearson(size["judged"], size["judged"])
    assert size["archive"]["low"] < size["low"]
    assert result["claims"]["judged"] == result["claims"]["sampled"]
    assert any("size" in line for line in estimate_lines(result))


def test_the_archive_estimate_weights_strata_by_their_size(tmp_path):
    """Wrong in every report with several lesions, right elsewhere: the archive's share of them is known."""
    sample = draw_sample(archive(tmp_path / "a"), size=30, seed=0)
    result = estimate(
        sample, answers_for(sample, lambda report, _: "wrong" if "several" in report.stratum else "right")
    )
    missed = result["fields"]["missed"]
    assert missed["archive"]["rate"] == pytest.approx((36 + 15) / 57)
    assert missed["rate"] < missed["archive"]["rate"]
    lesion = result["fields"]["lesion"]
    assert lesion["archive"]["rate"] == pytest.approx(15 / (15 + 2 * 6))


def test_the_interval_for_the_archive_covers_the_truth_as_often_as_it_says(tmp_path):
    """Each report's completeness is right or wrong by a coin that depends on its stratum."""
    coin = random.Random(7)
    folder = archive(tmp_path / "a", 400)
    wrong = {f"R{index}": coin.random() < (0.4 if index % 10 == 8 else 0.05) for index in range(400)}
    usable = [index for index in range(400) if index % 20 != 19]
    truth = sum(not wrong[f"R{index}"] for index in usable) / len(usable)
    covered = []
    for seed in range(60):
        sample = draw_sample(folder, size=60, seed=seed)
        said = answers_for(sample, lambda report, _: "wrong" if wrong[report.record.report_id] else "right")
        value = estimate(sample, said)["fields"]["missed"]["archive"]
        covered.append(value["low"] <= truth <= value["high"])
    assert sum(covered) >= 54  # 57 expected of 60; fewer than 54 has a chance of 3 in 100 at exactly 95 %


def test_half_an_audit_counts_and_unsure_ones_are_left_out(tmp_path):
    sample = draw_sample(archive(tmp_path / "a"), size=20, seed=0)
    first = {report.record.report_id for report in sample.reports[:8]}

    def half(report, claim):
        if report.record.report_id not in first:
            return None
        return "unsure" if claim.field == "count" else "right"

    result = estimate(sample, answers_for(sample, half))
    assert result["reports"]["judged"] == 8
    assert result["fields"]["count"]["judged"] == 0
    assert result["fields"]["count"]["archive"] is None
    assert result["fields"]["missed"]["judged"] == 8
    empty = estimate(sample, answers_for(sample, lambda *_: None))
    assert empty["fields"]["missed"] == {
        "judged": 0, "right": 0, "rate": None, "low": 0.0, "high": 1.0, "archive": None,
    }  # fmt: skip


def test_answers_of_other_records_are_refused(tmp_path):
    sample = draw_sample(archive(tmp_path / "a"), size=20, seed=0)
    with pytest.raises(UsageError, match="other records"):
        estimate(sample, AuditAnswers("0" * 64, 20, 0, {}))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"answers": 1}', "nonsense", '{"audit_id": "a", "size": "x"}']
)
def test_a_file_that_holds_no_answers_is_named(tmp_path, text):
    path = tmp_path / "answers.json"
    path.write_text(text)
    with pytest.raises(DataError, match="answers_invalid"):
        read_answers(path)
    with pytest.raises(DataError, match="answers_missing"):
        read_answers(tmp_path / "no.json")


def test_texts_must_be_the_ones_that_were_extracted(tmp_path):
    folder = archive(tmp_path / "a")
    sample = draw_sample(folder, size=10, seed=0)
    assert set(texts_of(sample, ReportSource(folder / "reports.jsonl")).values()) == {TEXT}
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"id": f"R{i}", "text": "CANARY"}) + "\n" for i in range(60)))
    with pytest.raises(DataError, match="text_differs") as caught:
        texts_of(sample, ReportSource(other))
    assert "CANARY" not in str(caught.value)
    other.write_text(json.dumps({"id": "Z", "text": TEXT}) + "\n")
    with pytest.raises(DataError, match="report_not_found"):
        texts_of(sample, ReportSource(other))


def invoke(*arguments: object):
    return CliRunner().invoke(build_app(), ["audit", *map(str, arguments)])


def test_the_command_line_makes_a_page_and_reads_its_answers(tmp_path):
    folder = archive(tmp_path / "my archive")
    result = invoke(folder, "--reports", folder / "reports.jsonl", "--sample", 12)
    assert result.exit_code == 0
    page = folder / "audit.html"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert f"llm-extract audit '{folder}' --answers audit-answers.json" in result.stdout
    assert "12 reports" in result.stdout
    assert "kidney" not in result.stdout
    sample = draw_sample(folder, size=12)
    said = answers_for(sample, lambda _, claim: "wrong" if claim.field == "size" else "right")
    path = tmp_path / "answers.json"
    value = {"format": ANSWERS_FORMAT, "audit_id": said.audit_id, "size": 12, "seed": 0}
    path.write_text(json.dumps(value | {"answers": said.verdicts}))
    told = invoke(folder, "--answers", path)
    assert told.exit_code == 0
    assert "0.0% (0.0%–" in told.stdout
    assert told.stdout.splitlines()[-1].startswith("Next: ")
    as_json = json.loads(invoke(folder, "--answers", path, "--json").stdout)
    assert as_json["fields"]["laterality"]["rate"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("{a}",), 2, "missing_argument"),
        (("{a}/none.jsonl", "--reports", "{a}/reports.jsonl"), 3, "records_missing"),
        (("{a}", "--reports", "{a}/none.csv"), 3, "reports_missing"),
        (("{a}", "--reports", "{a}/reports.jsonl", "--text-column", "no"), 2, "missing_column"),
        (("{a}", "--answers", "{a}/none.json"), 3, "answers_missing"),
    ],
)
def test_mistakes_have_the_codes_of_the_other_verbs(tmp_path, arguments, exit_code, code):
    folder = archive(tmp_path / "a", 12)
    result = invoke(*(str(argument).format(a=folder) for argument in arguments))
    assert (result.exit_code, code in result.stderr) == (exit_code, True), result.stderr


@pytest.mark.browser
def test_two_keys_judge_and_the_page_remembers(browser, tmp_path):
    folder = archive(tmp_path / "a")
    sample = draw_sample(folder, size=12, seed=0)
    texts = texts_of(sample, ReportSource(folder / "reports.jsonl"))
    write_page(tmp_path / "audit.html", sample, texts, command="rsuper audit '<b>' --answers x")
    browser.events.clear()
    browser.open(tmp_path / "audit.html")
    assert browser.value("document.querySelector('#text').textContent") == TEXT
    assert browser.value("document.querySelectorAll('#text script').length") == 0
    first = sample.reports[0]
    place = "document.querySelector('#report-place').textContent"
    done = "document.querySelector('#progress-text').textContent"
    assert browser.value("document.querySelector('#report-id').textContent") == first.record.report_id
    assert browser.value("document.querySelectorAll('#claims li').length") == len(first.claims)
    shown = browser.value("[...document.querySelectorAll('#text mark')].map((mark) => mark.textContent)")
    assert shown == [TEXT[slice(*span)] for span in joined_spans(first.claims[0].spans)]
    about = "document.querySelector('#question .about').textContent"
    with_lesion = next(index for index, one in enumerate(sample.reports) if one.record.lesions)
    for _ in range(with_lesion):
        browser.press("ArrowDown")
    browser.press("ArrowRight")
    assert browser.value(about) == "side · kidney: mass"
    for _ in range(with_lesion):
        browser.press("ArrowUp")
    if with_lesion == 0:
        browser.press("ArrowLeft")
    browser.press("n")
    for _ in first.claims[1:]:
        browser.press("y")
    assert browser.value(place) == "report 2 of 12"
    assert browser.value(done).startswith("1 of 12 reports done")
    browser.press("a")
    assert browser.value(place) == "report 3 of 12"
    browser.press("ArrowUp")
    browser.press("Delete")
    assert browser.value(done).startswith("1 of 12 reports done")
    browser.press("y")
    asked = (
        "(async () => { let blob; const make = URL.createObjectURL; URL.createObjectURL = (b) => { blob = b; "
        "return make.call(URL, b); }; document.querySelector('#save').click(); URL.createObjectURL = make; "
        "return blob.text(); })()"
    )
    saved = json.loads(browser.value(asked))
    judged = [claim.claim_id for report in sample.reports[:2] for claim in report.claims]
    assert saved["answers"] == dict.fromkeys(judged, "right") | {judged[0]: "wrong"}
    assert "window.hit" not in json.dumps(saved)
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(saved))
    assert estimate(sample, read_answers(path))["claims"]["judged"] == len(judged)
    browser.events.clear()
    browser.open(tmp_path / "audit.html")  # after closing and opening, the answers are there again
    assert browser.value(done).startswith("2 of 12 reports done")
    for _ in range(10):
        browser.press("a")
    assert browser.value("document.querySelector('#done').hidden") is False
    assert (
        browser.value("document.querySelector('#done pre').textContent") == "rsuper audit '<b>' --answers x"
    )
    assert browser.value("window.hit === undefined") is True
    assert browser.problems() == []


@pytest.mark.browser
def test_saved_answers_can_be_loaded_and_foreign_ones_not(browser, tmp_path):
    folder = archive(tmp_path / "a", 40)
    sample = draw_sample(folder, size=10, seed=5)
    texts = texts_of(sample, ReportSource(folder / "reports.jsonl"))
    write_page(tmp_path / "audit.html", sample, texts, command="x")
    browser.events.clear()
    browser.open(tmp_path / "audit.html")
    give = (
        "(async (text) => {{ const files = new DataTransfer(); files.items.add(new File([text], 'a.json'));"
        "const input = document.querySelector('#file'); input.files = files.files;"
        "input.dispatchEvent(new Event('change')); await new Promise((r) => setTimeout(r, 200));"
        "return document.querySelector('#saved').textContent; }})({})"
    )
    said = answers_for(sample, lambda *_: "right")
    value = {
        "format": ANSWERS_FORMAT,
        "audit_id": said.audit_id,
        "size": 10,
        "seed": 5,
        "answers": said.verdicts,
    }
    foreign = value | {"audit_id": "0" * 64}
    assert "another audit" in browser.value(give.format(json.dumps(json.dumps(foreign))))
    assert "no file of answers" in browser.value(give.format(json.dumps("{")))
    hostile = value | {"answers": said.verdicts | {"<img onerror=x>": "right", "R1": "maybe"}}
    assert (
        browser.value(give.format(json.dumps(json.dumps(hostile)))) == f"{len(said.verdicts)} answers loaded"
    )
    assert browser.value("document.querySelector('#done').hidden") is False
    assert browser.problems() == []


HOSTILE = (
    "</script><script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "<!--<script>",
    "\u2028window.hit = 1\u2029",
    "{{ window.hit = 1 }} ${window.hit = 1} javascript:window.hit=1",
    "<svg onload=window.hit=1><style>*{display:none}</style>",
    "]]>--></style></title></textarea><script>window.hit = 1</script>",
    "\u202eliver\u202c 🫁 e\u0301",
)


@pytest.mark.browser
def test_nothing_in_a_hostile_report_runs(browser, tmp_path):
    with (tmp_path / "records.jsonl").open("w", encoding="utf-8") as file:
        for index, text in enumerate(HOSTILE):
            whole = Evidence(field="kind", start=0, end=len(text), text=text, section="s")
            lesion = Lesion(lesion_id="L1", organ="liver", evidence=(whole,), diagnosis_text=text)
            sha256 = Report(report_id="R", text=text).text_sha256
            made = record(f"R{index}", lesion, text_sha256=sha256, text_chars=len(text))
            file.write(made.model_dump_json() + "\n")
    sample = draw_sample(tmp_path / "records.jsonl", size=len(HOSTILE))
    texts = {f"R{index}": text for index, text in enumerate(HOSTILE)}
    page = tmp_path / "audit.html"
    write_page(page, sample, texts, command="</pre><script>window.hit = 1</script>")
    written = page.read_text(encoding="utf-8")
    assert written.count("<script") == written.count("</script") == 2
    assert "default-src 'none'" in written
    assert "unsafe" not in written
    browser.events.clear()
    browser.open(page)
    for one in sample.reports:
        text = texts[one.record.report_id]
        assert browser.value("document.querySelector('#text').textContent") == text
        assert browser.value("document.querySelector('#text mark').textContent") == text
        browser.press("ArrowDown")
    assert browser.value("window.hit === undefined") is True
    assert browser.problems() == []
