"""The page: hostile text stays text, nothing is loaded, and its words follow from the intervals."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
from page_parser import parsed

from llm_extract.records import Evidence, Lesion, OrganStatement, Provenance, ReportRecord
from rsuper.agreement import AgreementRow, CaseAgreement
from rsuper.errors import DataError
from rsuper.evaluation import Estimate
from rsuper.views import ArmResult, DemoPageData, load_study, render_demo_page
from rsuper.views.case_card import CaseMaterial, build_case_card, case_headline, case_outcome
from rsuper.views.demo_page import agreement_rows, difference_verdict, headline, interval, number, signed
from rsuper.views.plots import ArmPlot, difference_plot, metric_bars, roc_plot
from rsuper.views.report_target import ball, ball_diameter_mm, report_target

HOSTILE = '</div></script><script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" \u2028 {{ 7*7 }}'
SHAPE = (24, 20, 12)


def estimate(value, low=None, high=None):
    return Estimate(value=value, low=low, high=high, n=40, method="bootstrap")


def arm(kind, dsc, auc):
    rng = np.random.default_rng(0)
    present = tuple(bool(i % 2) for i in range(40))
    return ArmResult(
        kind=kind,
        label=kind.replace("_", " "),
        trained_on="4 masks",
        metrics={"dsc": estimate(dsc, dsc - 0.1, dsc + 0.1), "auc": estimate(auc, auc - 0.05, auc + 0.05)},
        scores=tuple(rng.random(40)),
        present=present,
    )


def record_of(text, *lesions, **fields):
    return ReportRecord(
        report_id=fields.pop("report_id", "r1"),
        source="radiology",
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        text_chars=len(text),
        status="ok",
        lesions=lesions,
        organs=fields.pop("organs", {"pancreas": OrganStatement(status="lesion_present")}),
        provenance=Provenance(backend="test", version="1"),
    )


def material(text="A 9 mm mass in the pancreatic head.", **fields):
    reference = np.zeros(SHAPE, bool)
    reference[8:14, 8:14, 5:8] = True
    evidence = Evidence(start=0, end=len(text), text=text, field="size", section="findings")
    lesion = Lesion(
        lesion_id="L1",
        organ="pancreas",
        kind="mass",
        diameters_mm=(9.0,),
        size_kind="exact",
        evidence=(evidence,),
    )
    return CaseMaterial(
        **{
            "case_id": "case_1",
            "ct_hu": np.zeros(SHAPE, np.int16),
            "affine": np.diag([1.5, 1.5, 3.0, 1.0]),
            "class_name": "pancreas_lesion",
            "reference": reference,
            "baseline": np.zeros(SHAPE, bool),
            "ours": reference,
            "organ_masks": {"pancreas": np.ones(SHAPE, bool)},
            "region": np.ones(SHAPE, bool),
            "balls": reference,
            "report_text": text,
            "record": record_of(text, lesion),
            **fields,
        }
    )


def page_data(**fields):
    return DemoPageData(
        **{
            "baseline": arm("masks_only", 0.36, 0.81),
            "ours": arm("masks_and_reports", 0.65, 0.93),
            "differences": {"dsc": estimate(0.29, 0.21, 0.36), "auc": estimate(0.12, 0.03, 0.21)},
            "n_tumour": 20,
            "n_normal": 20,
            "metrics": ("dsc", "auc"),
            "cases": (build_case_card(material()),),
            **fields,
        }
    )


def test_the_page_loads_and_runs_nothing():
    page = render_demo_page(
        page_data(facts=(("4", "masks"),), notes=("A note.",), made_with=(("seed", "0"),))
    )
    found = parsed(page)
    assert found.crossed == []
    assert found.open == []
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    policy = next(
        value for tag, name, value in found.attributes if name == "content" and "default-src" in value
    )
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    [css] = re.findall(r"<style>(.*?)</style>", page, flags=re.S)
    import base64

    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "url(" not in css
    assert "@import" not in css
    for _, name, value in found.attributes:
        assert not name.startswith("on")
        assert name != "style"  # the policy would drop it
        if name in {"src", "href", "xlink:href", "action", "srcset"}:
            assert value.startswith(("data:image/", "#"))
    images = [dict(a[1:] for a in found.attributes if a[0] == "img")]
    assert all(image["alt"] for image in images)


def test_hostile_text_stays_text():
    text = f"A 9 mm mass. {HOSTILE}"
    row = AgreementRow(
        case_id="case_1", class_name="pancreas_lesion", organ="pancreas", verdict="matched", reason=HOSTILE
    )
    card = build_case_card(material(text))
    card = type(card)(
        **{
            **card.__dict__,
            "headline": HOSTILE,
            "truth": HOSTILE,
            "case_id": HOSTILE,
            "agreement": CaseAgreement.of("case_1", (row,)),
        }
    )
    page = render_demo_page(page_data(cases=(card,), facts=((HOSTILE, HOSTILE),), notes=(HOSTILE,)))
    found = parsed(page)
    assert "script" not in found.tags
    assert "onerror" not in {name for _, name, _ in found.attributes}
    assert "{{ 7*7 }}" in "".join(found.text)
    assert "".join(found.text).count("alert(1)") >= 5
    assert found.crossed == []


def test_the_report_is_shown_whole_with_its_evidence_marked():
    text = "FINDINGS:\nA 9 mm mass in the pancreatic head.\nNo other lesion <5 mm."
    page = render_demo_page(page_data(cases=(build_case_card(material(text)),)))
    body = page[page.index('class="report-text"') :]
    shown = parsed(body[: body.index("</section>")])
    assert text in "".join(shown.text)
    assert "mark" in shown.tags


@pytest.mark.parametrize(
    ("dsc", "auc", "wanted"),
    [
        ((0.29, 0.21, 0.36), (0.1, 0.01, 0.2), "With reports added, the same network"),
        ((0.02, -0.1, 0.2), (0.0, -0.1, 0.1), "This run shows no clear difference in DSC"),
        ((-0.2, -0.3, -0.1), (0.0, -0.1, 0.1), "It is worse in DSC"),
    ],
)
def test_the_headline_claims_what_the_intervals_show(dsc, auc, wanted):
    data = page_data(differences={"dsc": estimate(*dsc), "auc": estimate(*auc)})
    assert headline(data).startswith(wanted)


def test_verdict_of_a_difference_follows_its_direction():
    assert difference_verdict("dsc", estimate(0.2, 0.1, 0.3)) == "better"
    assert difference_verdict("dsc", estimate(0.2, -0.1, 0.3)) == "open"
    assert difference_verdict("dsc", estimate(-0.2, -0.3, -0.1)) == "worse"
    assert difference_verdict("dsc", Estimate()) == "open"


def test_numbers_are_typeset():
    assert number(None) == "–"
    assert number(estimate(-0.5)) == "−0.50"
    assert signed(estimate(0.5)) == "+0.50"
    assert signed(-0.001) == "0.00"
    assert interval(estimate(0.5, -0.1, 0.9)) == "−0.10 to 0.90"


def test_case_card_says_what_happened():
    card = build_case_card(material())
    assert card.headline == "A tumour that only the network with reports finds"
    assert [outcome.verdict for outcome in card.outcomes] == ["bad", "good"]
    assert card.truth.startswith("one tumour, 1")
    assert [row.verdict for row in card.agreement.rows] == ["matched"]
    kinds = [[o.kind for o in p.picture.outlines if o.lines] for p in card.pictures]
    assert kinds == [
        ["reference"],
        ["region", "ball", "reference"],
        ["reference"],
        ["masks_and_reports", "reference"],
    ]
    assert card.pictures[1].caption == "the region it names, and a ball of the stated size"
    unsized = record_of("A mass.", Lesion(lesion_id="L1", organ="pancreas", kind="mass"))
    card = build_case_card(material("A mass.", record=unsized))
    assert "states no size" in card.pictures[1].caption
    normal = np.zeros(SHAPE, bool)
    text = "Normal pancreas."
    free = record_of(text, organs={"pancreas": OrganStatement(status="explicitly_lesion_free")})
    card = build_case_card(
        material(text, reference=normal, ours=normal, region=None, balls=None, record=free)
    )
    assert card.headline == "A normal case: both networks leave it alone"
    assert card.pictures[1].caption == "it calls the pancreas free of lesions"
    assert card.truth == "no tumour"


def test_a_long_agreement_is_cut_but_counted():
    rows = [
        AgreementRow(
            case_id="c",
            class_name="pancreas_lesion",
            organ="pancreas",
            verdict="found_not_reported",
            reason="not stated",
            priority=i / 100,
        )
        for i in range(30)
    ]
    missed = rows[0].model_copy(update={"verdict": "reported_not_found"})
    shown, left_out = agreement_rows(CaseAgreement.of("c", (*rows, missed)))
    assert shown[0] == missed
    assert [row.priority for row in shown[1:]] == [0.29, 0.28, 0.27, 0.26]
    assert left_out == 26


def test_outcomes_by_hand():
    reference = np.zeros(SHAPE, bool)
    reference[4:8, 4:8, 4:8] = True
    elsewhere = np.zeros(SHAPE, bool)
    elsewhere[15:18, 15:18, 4:8] = True

    def outcome(truth, prediction):
        return case_outcome(truth, prediction, spacing_mm=(1, 1, 1), kind="masks_only", label="masks only")

    assert outcome(reference, reference).text == "found, DSC 1.00"
    assert outcome(reference, elsewhere).text == "missed; a false alarm elsewhere"
    assert outcome(reference, reference | elsewhere).verdict == "partial"
    assert outcome(reference | elsewhere, reference).text.startswith("1 of 2 found")
    nothing = np.zeros(SHAPE, bool)
    assert outcome(nothing, elsewhere).text == "false alarm"
    good, bad = outcome(reference, reference), outcome(reference, nothing)
    assert case_headline(good, bad, tumour="yes") == "A tumour that only the network without reports finds"
    assert case_headline(bad, bad, tumour="yes") == "A tumour that both networks miss"


def test_plots_are_reproducible_images():
    arms = [
        ArmPlot(
            label=f"arm {i}",
            colour="#112233",
            metrics={"auc": estimate(0.8, 0.7, 0.9)},
            scores=(0.1, 0.8, 0.4),
            present=(False, True, True),
        )
        for i in range(2)
    ]
    for draw in (
        lambda image: roc_plot(arms, image=image),
        lambda image: metric_bars(arms, {"auc": "AUC", "dsc": "DSC"}, image=image),
        lambda image: difference_plot({"auc": estimate(-0.1, -0.2, 0.1)}, {"auc": "AUC"}, image=image),
    ):
        svg = draw("svg")
        assert svg == draw("svg")
        assert b"<svg" in svg
        assert b"http://www.w3.org/2000/svg" in svg
        assert draw("png")[:8] == b"\x89PNG\r\n\x1a\n"


def test_study_is_averaged_over_seeds(tmp_path):
    assert load_study(tmp_path / "none.json") is None
    path = tmp_path / "demo_study.json"
    runs = [
        {
            "arm": "masks",
            "masks": 4,
            "reports": 0,
            "seed": seed,
            "auc": 0.8 + 0.05 * seed,
            "dsc": 0.3,
            "more": 1,
        }
        for seed in (0, 1, 2)
    ]
    difference = {
        "first": "masks", "second": "ball", "masks": 4, "metric": "dsc", "value": 0.2, "low": 0.1, "high": 0.3,
    }  # fmt: skip
    exchange = {
        "arm": "ball", "metric": "dsc", "masks": 4, "reports": 80, "equal_masks": 14.0, "reports_a_mask": 8.0,
        "low": 5.5, "high": None, "bounded_by_curve": True,
    }  # fmt: skip
    document = {"runs": runs, "differences": [difference], "settings": {"seeds": [0, 1, 2]}}
    path.write_text(json.dumps(document | {"reports_that_replace_a_mask": [exchange]}))
    study = load_study(path)
    [row] = study.rows
    assert (row.n_seeds, row.means["auc"]) == (3, pytest.approx(0.85))
    assert row.ranges["auc"] == (pytest.approx(0.8), pytest.approx(0.9))
    assert "sensitivity_at_90" not in row.means
    assert study.differences[0].what == "reports, ball loss − masks only, at 4 masks"
    page = render_demo_page(page_data(study=study))
    assert "Committed study — not from this run" in page
    text = " ".join("".join(parsed(page).text).split())
    assert "≥ 14.0 masks 8.0 5.5 to ∞".replace(" ", "") in text.replace(" ", "")
    assert page.index('id="study"') > page.index('id="result"')
    assert "Committed study" not in render_demo_page(page_data())
    path.write_text('{"runs": [{"arm": 1}]}')
    with pytest.raises(DataError, match="study_invalid"):
        load_study(path)


def test_report_target_places_the_ball_where_the_network_sees_the_tumour():
    head = np.zeros((24, 24, 16), bool)
    head[4:20, 4:20, 3:13] = True
    probability = np.full(head.shape, 0.01, np.float32)
    probability[9:13, 9:13, 6:9] = 0.9
    text = "A 12 mm mass in the pancreatic head."
    evidence = Evidence(start=0, end=len(text), text=text, field="size", section="findings")
    lesion = Lesion(
        lesion_id="L1",
        organ="pancreas",
        parts=("pancreas_head",),
        kind="mass",
        diameters_mm=(12.0,),
        size_kind="exact",
        evidence=(evidence,),
    )
    organs = {"pancreas": head, "pancreas_head": head}
    place = {"case_id": "c1", "spacing_mm": (2.0, 2.0, 2.0), "class_name": "pancreas_lesion"}
    target = report_target([record_of(text, lesion)], organs, probability, **place)
    assert target.state == "reported"
    assert target.region[head].all()
    assert np.argwhere(target.balls).mean(axis=0) == pytest.approx((10.5, 10.5, 7.0), abs=1.0)
    assert target.balls.sum() * 8 == pytest.approx(np.pi / 6 * 12**3, rel=0.25)
    free = record_of("Normal.", organs={"pancreas": OrganStatement(status="explicitly_lesion_free")})
    target = report_target([free], organs, probability, **place)
    assert not target.region.any()
    assert not target.balls.any()


def test_drawn_ball_has_its_volume():
    drawn = ball((40, 40, 20), (20, 20, 10), diameter_mm=20.0, spacing_mm=(1, 1, 2))
    assert drawn.sum() * 2 == pytest.approx(np.pi / 6 * 20**3, rel=0.03)
    assert ball_diameter_mm((8.0, 12.0), (1.0, 2.0)) == 12.0
    assert ball_diameter_mm((), (65.4, float("inf"))) == 6.0
    assert ball_diameter_mm((), (100.0, 100.0)) == pytest.approx((600 / np.pi) ** (1 / 3))
