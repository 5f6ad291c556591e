import json

import numpy as np
import pytest

from llm_extract.language import is_english, language_words
from llm_extract.reports import Report
from llm_extract.rules import extract_record

FOREIGN = [
    "Leber: 3 cm Raumforderung Segment VII.",
    "Keine Metastasen.",
    "CT Abdomen: Hypodense Läsion im Pankreaskopf, 23 x 18 mm. Milz und Nieren unauffällig.",
    "Rundherd rechter Oberlappen 8 mm",
    "Foie : lésion hypodense de 3 cm du segment VII.",
    "Pas de lésion hépatique.",
    "Reins normaux. Rate normale.",
    "Lesión hipodensa de 3 cm en el segmento VII hepático.",
    "Riñones normales.",
    "Lesione ipodensa di 3 cm nel segmento VII.",
    "Milza e reni regolari.",
    "Lesão hipodensa de 3 cm no segmento VII.",
    "Lever: hypodense laesie van 3 cm in segment 7.",
    "Geen afwijkingen.",
    "Karaciğer segment 7'de 3 cm çapında kitle izlendi.",
    "W wątrobie zmiana ogniskowa 3 cm.",
    "Inga förändringar i njurar.",
    "Leveren: 3 cm stor forandring i segment 7 uden andre fund.",
    "Maksassa segmentissä 7 on 3 cm kokoinen kasvain.",
    "Munuaiset ovat normaalit.",
    "A májban a 7. szegmentumban 3 cm nagyságú góc van.",
    "Ledviny normální.",
    "Ficatul prezintă o leziune de 3 cm în segmentul VII.",
    "U jetri se vidi lezija promjera 3 cm u segmentu 7, bez drugih promjena.",
    "Maksas 7. segmendis on 3 cm suurune kolle, neerud ja põrn on iseärasusteta.",
    "В печени очаг 3 см.",
    "肝脏S7段见3cm低密度灶。",
    "肝S7に3cmの腫瘤あり。",
    "كتلة في الكبد 3 سم",
    "Ήπαρ: βλάβη 3 cm",
    "간 S7에 3 cm 종괴",
    "Tampak massa pada hati ukuran 3 cm.",
    "Khối u gan 3 cm ở hạ phân thùy 7.",
]
ENGLISH = [
    "",
    "3 cm",
    "Normal.",
    "liver",
    "HCC seg 7 3cm",
    "Hepatomegaly. Cholelithiasis.",
    "RLL nodule 8mm",
    "5 mm GGN LUL, f/u",
    "s/p Whipple",
    "Lungs clear",
    "Liver WNL. GB absent. CBD 8mm. Panc NL.",
    "LI-RADS 5 obs 34 mm, APHE, WO",
    "Adenocarcinoma in situ",
    "T3 N0 M0, pT3a",
    "Ca colon, mets liver x3 largest 4.5",
    "A. Liver, biopsy: HCC",
    "Bosniak IIF cyst lt kidney 2cm",
    "CT A/P w/ IV con. Pancreas: IPMN side-branch 12mm uncinate. Spleen: NL.",
    "Hepatic steatosis; diverticulosis coli; situs inversus totalis",
    "Patient: Maria de los Santos. Liver mass 3 cm.",
    "Dr. Müller: Köhler disease. The liver is normal, no mass in the spleen.",
    "Café-au-lait spots. Ménétrier disease of the stomach, 2 cm folds.",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_reports_in_other_languages_are_refused(text):
    assert not is_english(text)


@pytest.mark.parametrize("text", ENGLISH)
def test_short_and_telegraphic_english_passes(text):
    assert is_english(text)


def test_a_foreign_report_fails_with_a_code_and_states_nothing():
    record = extract_record(Report(report_id="A", text="Leber: keine Raumforderung. Milz unauffällig."))
    assert record.status == "failed"
    assert [issue.code for issue in record.issues] == ["unsupported_language"]
    assert record.lesions == ()


def test_an_english_report_with_a_foreign_address_passes():
    address = "Klinikum der Universität, Klinik für Radiologie, Straße 12, München\n"
    findings = (
        "The liver is enlarged. There is a mass in the left lobe. The spleen is normal. No ascites was seen."
    )
    assert is_english(address + findings)


def test_no_word_speaks_for_english_and_for_another_language():
    table = language_words()
    assert not table.english & set(table.others)
    assert not table.neutral & set(table.others)


@pytest.mark.real_data
def test_no_real_english_report_is_refused(shared_data):
    texts = [
        json.loads(line)["text"]
        for name in ("gold_dev", "hard_cases", "reports")
        for line in (shared_data / "reports" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(texts) > 800
    assert sum(not is_english(text) for text in texts) == 0


def test_no_phantom_report_is_refused():
    from rsuper.synthesis.report_truth import LesionFact, ReportFacts
    from rsuper.synthesis.reports import write_report

    lesion = LesionFact(
        organ="pancreas",
        parts=("pancreas_head",),
        side="n/a",
        diameters_mm=(30.0, 20.0, 20.0),
        attenuation="hypo",
    )
    for seed in range(100):
        facts = ReportFacts(lesions=(lesion,) * (seed % 3), duct_mm=3.0, aorta_mm=20.0)
        assert is_english(write_report(facts, np.random.default_rng(seed)).text)
