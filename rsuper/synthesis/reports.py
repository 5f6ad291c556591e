"""Free-text radiology reports in varied wording, each with the record that a perfect reader would write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rsuper.synthesis import phrases
from rsuper.synthesis.lesion_sentences import LesionSentences
from rsuper.synthesis.report_truth import LesionFact, LesionStatement, ReportFacts, ReportTruth, WrittenReport
from rsuper.synthesis.wording import Wording, draw_wording, pick

Status = Literal["lesion_present", "explicitly_lesion_free", "no_statement_on_lesions"]


def write_report(facts: ReportFacts, rng: np.random.Generator) -> WrittenReport:
    """Write one report.

    Args:
        facts: what the image shows.
        rng: draws style, words and which facts are mentioned.

    Returns:
        The text and what it states, ``truth.lesions`` in order of mention.
    """
    wording = draw_wording(rng)
    sentences = LesionSentences(wording, rng)
    statements: list[LesionStatement] = []
    organs: dict[str, Status] = {}
    distractors: list[float] = []
    paragraphs: list[tuple[str, str]] = []
    for organ in _organ_order(facts, rng):
        own = [lesion for lesion in facts.lesions if lesion.organ == organ]
        text, status = _organ_text(organ, own, sentences, statements, distractors, rng)
        if text:
            paragraphs.append((organ, text))
        if status is not None:
            organs[organ] = status
    others = _other_sentences(facts, distractors, rng)
    impression = _impression(sentences, statements, rng)
    head = _head(facts, wording, distractors, rng)
    text = wording.layout(head, paragraphs, others, impression, rng)
    truth = ReportTruth(lesions=tuple(statements), organs=organs, distractors_mm=tuple(distractors))
    return WrittenReport(text=text, truth=truth)


def _organ_order(facts: ReportFacts, rng: np.random.Generator) -> Sequence[str]:
    if rng.random() < 0.6:
        return facts.organs
    return [facts.organs[i] for i in rng.permutation(len(facts.organs))]


def _organ_text(
    organ: str, own: Sequence[LesionFact], sentences: LesionSentences, statements: list[LesionStatement],
    distractors: list[float], rng: np.random.Generator,
) -> tuple[str, Status | None]:
    if own:
        text, new = sentences.describe(organ, own)
        statements.extend(new)
        sides = {lesion.side for lesion in own}
        if organ == "kidney" and len(sides) == 1 and rng.random() < 0.5:
            other = "left" if "right" in sides else "right"
            text += " " + pick(phrases.ONE_KIDNEY_NORMAL, rng).format(side=other, Side=other.capitalize())
        return text, "lesion_present"
    draw = rng.random()
    if draw < 0.05:
        return "", None
    if draw < 0.10 and organ in phrases.NO_STATEMENT:
        liver, spleen = rng.integers(150, 190) / 10, rng.integers(85, 120) / 10
        template = pick(phrases.NO_STATEMENT[organ], rng)
        distractors.extend(10 * v for key, v in (("{liver}", liver), ("{spleen}", spleen)) if key in template)
        return template.format(liver=liver, spleen=spleen), "no_statement_on_lesions"
    return pick(phrases.NEGATIVE[organ], rng), "explicitly_lesion_free"


def _other_sentences(facts: ReportFacts, distractors: list[float], rng: np.random.Generator) -> list[str]:
    values = {
        "aorta": round(facts.aorta_mm), "duct": round(facts.duct_mm), "cbd": round(facts.bile_duct_mm),
        "aorta_cm": round(facts.aorta_mm / 10, 1),
    }
    chosen = []
    for i in rng.permutation(len(phrases.OTHER))[: int(rng.integers(2, 8))]:
        template = phrases.OTHER[i]
        for key, value in values.items():
            if f"{{{key}}}" in template:
                distractors.append(float(value * 10 if key == "aorta_cm" else value))
        chosen.append(template.format(**values))
    return chosen


def _head(facts: ReportFacts, wording: Wording, distractors: list[float], rng: np.random.Generator) -> dict[str, str]:
    head: dict[str, str] = {}
    if rng.random() < 0.6:
        head["title"] = pick(phrases.TITLES, rng)
    if rng.random() < 0.75:
        bank = phrases.HISTORY_TUMOUR if facts.lesions and rng.random() < 0.15 else phrases.HISTORY
        head["history"] = pick(bank, rng).format(age=int(rng.integers(35, 89)), n=int(rng.integers(2, 9)))
    if rng.random() < 0.7:
        t = rng.choice([1.25, 2.5, 3, 5])
        head["technique"] = pick(phrases.TECHNIQUE, rng).format(
            ml=int(rng.choice([80, 100, 120])), t=f"{t:g}", dlp=int(rng.integers(300, 900))
        )
        distractors.append(float(t))
    if wording.has_prior:
        head["comparison"] = pick(phrases.COMPARISON, rng).format(date=wording.prior_date)
    elif rng.random() < 0.5:
        head["comparison"] = pick(phrases.COMPARISON_NONE, rng)
    return head


def _impression(sentences: LesionSentences, statements: Sequence[LesionStatement], rng: np.random.Generator) -> list[str]:
    if rng.random() < 0.15:
        return []
    if not statements:
        return [pick(phrases.IMPRESSION_NORMAL, rng)]
    lines = sentences.impression(statements)
    if rng.random() < 0.5:
        lines.append(pick(phrases.IMPRESSION_EXTRA, rng))
    return lines
