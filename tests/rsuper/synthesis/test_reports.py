"""What the report says beside what its truth says it says."""

import re
from collections import Counter

import numpy as np
import pytest

from rsuper.synthesis import LesionFact, ReportFacts, write_report
from rsuper.synthesis.phrases import choose, fit_articles, phrase_book, plural, sentence

N = 400


def random_facts(rng):
    organ = str(rng.choice(["pancreas", "pancreas", "kidney", "liver"]))
    lesions = []
    for _ in range(int(rng.choice([0, 1, 2, 3, 5], p=[0.3, 0.4, 0.12, 0.08, 0.1]))):
        side, parts = "n/a", ()
        if organ == "pancreas":
            parts = [("pancreas_head",), ("pancreas_tail",), ("pancreas_body", "pancreas_tail")][
                rng.integers(3)
            ]
        if organ == "kidney":
            side, parts = str(rng.choice(["left", "right"])), ("kidney_upper_pole",)
        d = float(np.exp(rng.uniform(np.log(6), np.log(45))))
        diameters = (d, d * float(rng.uniform(0.6, 1)), d * float(rng.uniform(0.6, 1.2)))
        attenuation = str(rng.choice(["hypo", "hyper"]))
        lesions.append(
            LesionFact(organ=organ, parts=parts, side=side, diameters_mm=diameters, attenuation=attenuation)
        )
    return ReportFacts(
        lesions=tuple(lesions), aorta_mm=20.3, duct_mm=float(rng.uniform(1.8, 3.4)), bile_duct_mm=5.6
    )


@pytest.fixture(scope="module")
def written():
    result = []
    for seed in range(N):
        rng = np.random.default_rng([4, seed])
        facts = random_facts(rng)
        result.append((facts, write_report(facts, rng)))
    return result


def numbers_in_mm(text):
    """Every number directly before a unit or a multiplication sign of a size, in mm."""
    found = set()
    pattern = r"(\d+(?:[.,]\d+)?)(?:\s*(?:x|×|by)\s*\d+(?:[.,]\d+)?)*\s*(mm|cm)\b"
    for match in re.finditer(pattern, text, re.I):
        scale = 10 if match.group(2).lower() == "cm" else 1
        for number in re.findall(r"\d+(?:[.,]\d+)?", match.group(0)):
            found.add(round(float(number.replace(",", ".")) * scale, 1))
    return found


def test_every_stated_size_is_in_the_text_and_nothing_else_is(written):
    for facts, report in written:
        said = numbers_in_mm(report.text)
        stated = {d for s in report.truth.lesions for d in (*s.diameters_mm, *s.prior_diameters_mm)}
        assert stated <= said, report.text
        history = {float(n) for n in range(2, 10)} | {
            float(10 * n) for n in range(2, 10)
        }  # "4 mm nodule on ultrasound"
        allowed = stated | {round(d, 1) for d in report.truth.distractors_mm} | history | {10.0}
        assert said <= allowed, (said - allowed, report.text)
        for statement in report.truth.lesions:
            rounded = {float(round(d)) for f in facts.lesions for d in f.diameters_mm}
            assert set(statement.diameters_mm) <= rounded


def test_sized_statements_are_the_rounded_diameters_of_one_lesion(written):
    for facts, report in written:
        for statement in report.truth.lesions:
            n = len(statement.diameters_mm)
            fits = [
                f
                for f in facts.lesions
                if f.organ == statement.organ
                and tuple(float(round(d)) for d in f.diameters_mm[:n]) == statement.diameters_mm
            ]
            assert fits
            if n and statement.group_role != "remainder":
                assert any(f.parts == statement.parts and f.side == statement.laterality for f in fits)


def test_every_lesion_is_accounted_for(written):
    for facts, report in written:
        for organ in {f.organ for f in facts.lesions}:
            own = [s for s in report.truth.lesions if s.organ == organ]
            count = sum(f.organ == organ for f in facts.lesions)
            if all(s.count_kind == "exact" for s in own):
                assert sum(s.count for s in own) == count
            else:
                assert count >= 4
        assert {s.organ for s in report.truth.lesions} == {f.organ for f in facts.lesions}
        assert all(report.truth.organs[f.organ] == "lesion_present" for f in facts.lesions)


def test_organs_of_the_truth_are_named_and_the_others_are_not(written):
    words = {
        "pancreas": "pancrea",
        "liver": "liver|hepatic(?! dilat)",
        "kidney": "kidney|renal|hydronephrosis",
        "spleen": "spleen|splenic (?!vein)",
    }
    for _, report in written:
        found = re.search(r"^(findings|report|description):", report.text, re.I | re.M)
        body = report.text[found.start() :] if found else report.text
        body = re.sub(r"(?i)adrenal|extrahepatic|intrahepatic|pancreatic duct", "", body)
        for organ, pattern in words.items():
            if organ in report.truth.organs:
                assert re.search(pattern, body, re.I), (organ, report.text)


def test_templates_leave_nothing_open(written):
    for _, report in written:
        assert not re.search(r"[{}\[\]|]|a~|  |\.\.| ,|,,", report.text, re.I), report.text
        assert not re.search(r"\b(a (8|11|18|8\d)|an (1|[2-79]))(?![\d])\b(?!\.)", report.text), report.text
        assert not re.search(r"\ba [aeio]\w+", report.text), report.text


def test_all_kinds_of_statements_occur(written):
    lesions = [s for _, report in written for s in report.truth.lesions]
    assert {len(s.diameters_mm) for s in lesions} == {0, 1, 2, 3}
    assert {s.size_kind for s in lesions} == {"exact", "approximate", "upper_bound", "none"}
    assert {s.group_role for s in lesions} == {"individual", "index", "remainder"}
    assert {s.change for s in lesions} >= {"stable", "larger", "unknown"}
    assert {s.attenuation for s in lesions} == {"hypo", "hyper", "unknown"}
    assert any(s.size_max_mm == 10 and s.group_role == "individual" for s in lesions)
    statuses = Counter(status for _, report in written for status in report.truth.organs.values())
    assert statuses["no_statement_on_lesions"] > 20
    assert statuses["explicitly_lesion_free"] > 400
    assert sum(bool(s.prior_diameters_mm) for s in lesions) > 10


def test_a_prior_size_is_smaller_and_never_a_current_one(written):
    for _, report in written:
        for s in report.truth.lesions:
            assert all(p < d for p, d in zip(s.prior_diameters_mm, s.diameters_mm, strict=False) if d > 3)


def test_reports_hardly_repeat(written):
    texts = Counter(report.text for _, report in written)
    assert max(texts.values()) == 1
    lesion_sentences = Counter(
        line
        for facts, report in written
        if facts.lesions
        for line in re.split(r"(?<=[.:])\s+", report.text)
        if re.search(r"(mass|lesion|nodule|focus|tumou?r)\b.*\d ?[cm]m", line, re.I)
    )
    repeated = sum(n for n in lesion_sentences.values() if n > 1)
    assert repeated < 0.12 * sum(lesion_sentences.values())


def test_the_same_seed_writes_the_same_report():
    facts = random_facts(np.random.default_rng(3))
    first, second = (write_report(facts, np.random.default_rng(8)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("there is a~ 8 mm mass.", "There is an 8 mm mass."),
        ("a~ 80 mm mass.", "An 80 mm mass."),
        ("a~ 1.8 cm mass.", "A 1.8 cm mass."),
        ("a~ 11 mm mass.", "An 11 mm mass."),
        ("a~ 11.5 cm mass", "An 11.5 cm mass"),
        ("a~ 18 by 12 mm mass", "An 18 by 12 mm mass"),
        ("a~ irregular mass", "An irregular mass"),
        ("a~ hypodense mass", "A hypodense mass"),
    ],
)
def test_articles_fit_the_spoken_word(text, expected):
    assert sentence(text, {}) == expected
    assert fit_articles(text[:1].upper() + text[1:]) == expected


def test_plurals():
    assert [plural(n) for n in ("lesion", "mass", "focus", "solid mass")] == [
        "lesions",
        "masses",
        "foci",
        "solid masses",
    ]


def test_every_choice_of_the_vocabulary_can_be_filled():
    fields = dict.fromkeys(
        [
            "adj",
            "noun",
            "nouns",
            "loc",
            "size",
            "ref",
            "p",
            "rel",
            "head",
            "small",
            "organ",
            "organ_adj",
            "count",
            "larger",
            "items",
            "prior",
            "date",
            "side",
            "series",
            "image",
            "aorta",
            "aorta_cm",
            "duct",
            "cbd",
            "node",
            "liver",
            "spleen",
            "ml",
            "t",
            "dlp",
            "age",
            "n",
        ],
        "x",
    )

    def templates(node):
        if isinstance(node, str):
            yield node
        else:
            for child in node.values() if isinstance(node, dict) else node:
                yield from templates(child)

    rng = np.random.default_rng(0)
    for template in templates(phrase_book()):
        for _ in range(5):
            assert "{" not in sentence(choose(template, rng), fields)
