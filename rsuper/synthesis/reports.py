"""Free-text radiology reports in varied wording, each with the record that a perfect reader would write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsuper.synthesis.lesion_sentences import LesionSentences
from rsuper.synthesis.phrases import choose, phrase_book, pick, sentence
from rsuper.synthesis.report_truth import (
    LesionFact,
    LesionStatement,
    ReportFacts,
    ReportTruth,
    Status,
    WrittenReport,
)
from rsuper.synthesis.wording import Wording, draw_wording


def write_report(facts: ReportFacts, rng: np.random.Generator) -> WrittenReport:
    """Write one report.

    Args:
        facts: what the image shows.
        rng: draws style, words and which facts are mentioned.

    Returns:
        The text and what it states, ``truth.lesions`` in order of mention.

    >>> lesion = LesionFact(organ="pancreas", parts=("pancreas_head",), diameters_mm=(21.2, 17.6, 24.0))
    >>> report = write_report(ReportFacts(lesions=(lesion,)), np.random.default_rng(0))
    >>> report.truth.lesions[0].organ
    'pancreas'
    """
    return _Writer(facts, rng).write()


class _Writer:
    """One report in the making."""

    def __init__(self, facts: ReportFacts, rng: np.random.Generator) -> None:
        self.facts, self.rng, self.book = facts, rng, phrase_book()
        self.wording: Wording = draw_wording(rng)
        self.sentences = LesionSentences(self.wording, rng)
        self.statements: list[LesionStatement] = []
        self.organs: dict[str, Status] = {}
        self.distractors: list[float] = []

    def write(self) -> WrittenReport:
        order = list(self.facts.organs)
        if self.rng.random() < 0.4:
            order = [order[i] for i in self.rng.permutation(len(order))]
        paragraphs = [(organ, text) for organ in order if (text := self._organ(organ))]
        others = self._others()
        impression = self._impression()
        text = self.wording.layout(self._head(), paragraphs, others, impression, self.rng)
        if self.wording.shout:
            text = text.upper()
        truth = ReportTruth(
            lesions=tuple(self.statements), organs=self.organs, distractors_mm=tuple(self.distractors)
        )
        return WrittenReport(text=text, truth=truth)

    def _fill(self, bank: Sequence[str], **fields: object) -> str:
        return sentence(choose(pick(bank, self.rng), self.rng), fields)

    def _organ(self, organ: str) -> str:
        own = [lesion for lesion in self.facts.lesions if lesion.organ == organ]
        if own:
            self.organs[organ] = "lesion_present"
            return self._lesions(organ, own)
        draw = self.rng.random()
        if draw < 0.05:
            return ""
        if draw < 0.10 and organ in self.book["no_statement"]:
            self.organs[organ] = "no_statement_on_lesions"
            template = choose(pick(self.book["no_statement"][organ], self.rng), self.rng)
            values = {"liver": self.rng.integers(165, 190) / 10, "spleen": self.rng.integers(85, 120) / 10}
            self.distractors += [10 * v for key, v in values.items() if f"{{{key}}}" in template]
            return sentence(template, values)
        self.organs[organ] = "explicitly_lesion_free"
        return self._fill(self.book["negative"][organ])

    def _lesions(self, organ: str, own: Sequence[LesionFact]) -> str:
        text, new = self.sentences.describe(organ, own)
        self.statements += new
        sides = {lesion.side for lesion in own}
        if organ == "kidney" and len(sides) == 1 and self.rng.random() < 0.5:
            other = "left" if "right" in sides else "right"
            text += " " + self._fill(self.book["one_kidney_normal"], side=other)
        return text

    def _others(self) -> list[str]:
        facts = self.facts
        values = {
            "aorta": float(round(facts.aorta_mm)),
            "aorta_cm": round(facts.aorta_mm / 10, 1),
            "duct": float(round(facts.duct_mm)),
            "cbd": float(round(facts.bile_duct_mm)),
            "node": float(self.rng.integers(4, 9)),
        }
        written = {key: f"{v:.1f}" if key == "aorta_cm" else f"{v:g}" for key, v in values.items()}
        topics, chosen = list(self.book["other"].values()), []
        for i in self.rng.permutation(len(topics))[: int(self.rng.integers(2, 8))]:
            template = choose(pick(topics[i], self.rng), self.rng)
            for key, value in values.items():
                if f"{{{key}}}" in template:
                    self.distractors.append(value * 10 if key == "aorta_cm" else value)
            chosen.append(sentence(template, written))
        return chosen

    def _head(self) -> dict[str, str]:
        rng, book, head = self.rng, self.book, {}
        if rng.random() < 0.6:
            head["title"] = self._fill(book["titles"])
        if rng.random() < 0.75:
            bank = book["history_tumour" if self.facts.lesions and rng.random() < 0.15 else "history"]
            head["history"] = self._fill(bank, age=int(rng.integers(35, 89)), n=int(rng.integers(2, 9)))
        if rng.random() < 0.7:
            slice_mm = float(rng.choice([1.25, 2.5, 3, 5]))
            fields = {"ml": int(rng.choice([80, 100, 120])), "dlp": int(rng.integers(300, 900))}
            head["technique"] = self._fill(book["technique"], t=f"{slice_mm:g}", **fields)
            if f"{slice_mm:g} mm" in head["technique"]:
                self.distractors.append(slice_mm)
        if self.wording.has_prior:
            head["comparison"] = self._fill(book["comparison"], date=self.wording.prior_date)
        elif rng.random() < 0.5:
            head["comparison"] = self._fill(book["comparison_none"])
        return head

    def _impression(self) -> list[str]:
        if self.rng.random() < 0.15:
            return []
        if not self.statements:
            return [self._fill(self.book["impression_normal"])]
        lines = self.sentences.impression(self.statements)
        if self.rng.random() < 0.5:
            lines.append(self._fill(self.book["impression_extra"]))
        return lines
