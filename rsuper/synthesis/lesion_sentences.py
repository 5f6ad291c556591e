"""Sentences about lesions, singly and in groups, and their repetition in the impression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsuper.synthesis import phrases
from rsuper.synthesis.report_truth import LesionFact, LesionStatement
from rsuper.synthesis.wording import Wording, pick


def with_article(phrase: str) -> str:
    """``a mass``, ``an ill-defined mass``, ``an 8 mm nodule``, ``an 11 mm nodule``."""
    first = phrase.split()[0] if phrase.split() else phrase
    digits = first.split(".")[0].split(",")[0].split("x")[0].split("-")[0].split("×")[0]
    vowel = digits in {"8", "11", "18"} or (digits.isdigit() and len(digits) == 2 and digits.startswith("8"))
    return f"{'an' if vowel or first[:1].lower() in 'aeiou' else 'a'} {phrase}"


def sentence_case(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


class LesionSentences:
    """Writes about the lesions of one report and records what it wrote.

    Args:
        wording: the habits of this report.
        rng: draws the words.
    """

    def __init__(self, wording: Wording, rng: np.random.Generator) -> None:
        self.wording, self.rng = wording, rng

    def describe(self, organ: str, lesions: Sequence[LesionFact]) -> tuple[str, list[LesionStatement]]:
        """Text on all lesions of one organ and its statements."""
        ordered = sorted(lesions, key=lambda lesion: -lesion.diameters_mm[0])
        one_side = len({lesion.side for lesion in ordered}) == 1
        if len(ordered) >= 4 or (len(ordered) > 1 and one_side and self.rng.random() < 0.3):
            return self._group(organ, ordered)
        written = [self._single(lesion) for lesion in ordered]
        return " ".join(text for text, _ in written), [statement for _, statement in written]

    def _words(self, lesion: LesionFact, *, location: str | None = None) -> dict[str, Any]:
        """Noun, adjective and place, with what the adjective says; template fields."""
        rng = self.rng
        large = lesion.diameters_mm[0] >= 12
        noun = pick(phrases.NOUNS_LARGE if large else phrases.NOUNS_ANY, rng)
        draw = rng.random()
        attenuation, enhancement, adjective = "unknown", "unknown", ""
        if draw < 0.72:
            attenuation, adjective = lesion.attenuation, pick(phrases.ADJECTIVES[lesion.attenuation], rng) + " "
        elif draw < 0.85:
            enhancement, adjective = lesion.attenuation, pick(phrases.ENHANCEMENT[lesion.attenuation], rng) + " "
        adjective = pick(phrases.MARGINS, rng) + adjective
        place = location or pick(phrases.LOCATIONS[lesion.part or lesion.organ], rng).format(side=lesion.side)
        return {
            "noun": noun, "adj": adjective, "loc": place, "Noun": sentence_case(noun), "nouns": _plural(noun),
            "Adj_noun": sentence_case(adjective + noun), "a_adj_noun": with_article(adjective + noun),
            "A_adj_noun": sentence_case(with_article(adjective + noun)), "head": noun.split()[-1],
            "rel": pick(phrases.RELATIVE[lesion.attenuation], rng),
            "attenuation": attenuation, "enhancement": enhancement,
        }

    def _place(self, lesion: LesionFact) -> dict[str, Any]:
        parts = (lesion.part,) if lesion.part else ()
        return {"organ": lesion.organ, "parts": parts, "laterality": lesion.side}

    def _size(self, lesion: LesionFact) -> tuple[str, tuple[float, ...], str]:
        """Text, stated diameters and size kind of one sized lesion."""
        longest, perpendicular, height = (float(max(1, round(d))) for d in lesion.diameters_mm)
        draw = self.rng.random()
        diameters: tuple[float, ...]
        if draw < 0.45:
            diameters = (longest,)
        elif draw < 0.85:
            diameters = (longest, perpendicular)
        else:
            diameters = (longest, perpendicular, height)
        text = self.wording.size(diameters)
        hedge = self.rng.random()
        if hedge < 0.08:
            return f"{pick(('approximately', 'about', 'approx.', 'roughly'), self.rng)} {text}", diameters, "approximate"
        return text, diameters, "exact"

    def _single(self, lesion: LesionFact) -> tuple[str, LesionStatement]:
        words = self._words(lesion)
        draw = self.rng.random()
        base = {**self._place(lesion), "attenuation": words["attenuation"], "enhancement": words["enhancement"]}
        if lesion.diameters_mm[0] < 9.5 and draw < 0.3:
            text = pick(phrases.SUBCENTIMETRE, self.rng).format(**words)
            return text, LesionStatement(**base, size_kind="upper_bound", size_max_mm=10.0)
        if draw < 0.12:
            small = "small " if lesion.diameters_mm[0] < 15 else pick(("", "", "sizeable "), self.rng)
            words |= {"a_small": with_article(small + words["adj"] + words["noun"])[: -len(words["adj"] + words["noun"])],
                      "Small": sentence_case(small)}
            words["A_small"] = sentence_case(words["a_small"])
            text = pick(phrases.UNSIZED, self.rng).format(**words)
            return sentence_case(text), LesionStatement(**base)
        return self._sized(lesion, words, base)

    def _sized(self, lesion: LesionFact, words: dict[str, Any], base: dict[str, Any]) -> tuple[str, LesionStatement]:
        size, diameters, kind = self._size(lesion)
        template = pick(phrases.SIZED, self.rng)
        if template.startswith("Redemonstrated") and not self.wording.has_prior:
            template = phrases.SIZED[0]
        if "{rel}" in template:
            base["attenuation"], base["enhancement"] = lesion.attenuation, "unknown"
        prior_text, prior, change = "", (), "unknown"
        if self.wording.has_prior and "{size}." in template and self.rng.random() < 0.6:
            prior_text, prior, change = self._prior(diameters)
        plain = size
        if template.find("{a_size}") >= 0 or template.find("{A_size}") >= 0:
            plain = size
        words = {**words, "size": size + prior_text, "a_size": with_article(plain)}
        words["A_size"] = sentence_case(words["a_size"])
        text = sentence_case(template.format(**words))
        statement = LesionStatement(
            **base, diameters_mm=diameters, size_kind=kind, prior_diameters_mm=prior, change=change  # type: ignore[arg-type]
        )
        return text, statement

    def _prior(self, diameters: Sequence[float]) -> tuple[str, tuple[float, ...], str]:
        date = self.wording.prior_date
        if self.rng.random() < 0.35:
            return pick(phrases.PRIOR_STABLE, self.rng).format(date=date), (), "stable"
        factor = float(self.rng.uniform(0.5, 0.85))
        prior = tuple(float(max(2, round(d * factor))) for d in diameters)
        text = pick(phrases.PRIOR_LARGER, self.rng).format(prior=self.wording.size(prior), date=date)
        return text, prior, "larger"

    def _group(self, organ: str, ordered: Sequence[LesionFact]) -> tuple[str, list[LesionStatement]]:
        rng, largest = self.rng, ordered[0]
        words = self._words(largest)
        place = {"adj": words["adj"], "nouns": words["nouns"], "loc": words["loc"]}
        sides = {lesion.side for lesion in ordered}
        group_side = sides.pop() if len(sides) == 1 else "bilateral"
        site = {"kidney": "kidneys" if group_side == "bilateral" else f"{group_side} kidney"}.get(organ, organ)
        seen = {"attenuation": words["attenuation"], "enhancement": words["enhancement"]}
        group = {"organ": organ, "laterality": group_side, **seen}
        exact = len(ordered) < 4
        counted: dict[str, Any] = {"count": len(ordered) if exact else None,
                                   "count_kind": "exact" if exact else "multiple_unknown"}
        if not exact and rng.random() < 0.15:
            text = pick(phrases.MULTIPLE_UNSIZED, rng).format(organ=site, **place)
            return sentence_case(text), [LesionStatement(**group, **counted)]
        size, diameters, kind = self._size(largest)
        count = phrases.COUNT_WORDS.get(len(ordered), "several")
        larger = "larger" if len(ordered) == 2 else "largest"
        bank = phrases.COUNTED_SIZED if exact else phrases.MULTIPLE_SIZED
        text = pick(bank, rng).format(organ=site, size=size, count=count, Count=count.capitalize(), larger=larger, **place)
        index = LesionStatement(**self._place(largest), **seen, diameters_mm=diameters, size_kind=kind, group_role="index")  # type: ignore[arg-type]
        counted["count"] = len(ordered) - 1 if exact else None
        rest = LesionStatement(**group, **counted, size_max_mm=max(diameters), size_kind="upper_bound", group_role="remainder")
        return sentence_case(text), [index, rest]

    def impression(self, statements: Sequence[LesionStatement]) -> list[str]:
        """One line a lesion or group, in other words."""
        lines = []
        for statement in statements:
            if statement.group_role == "remainder":
                continue
            if statement.group_role == "index" or statement.count != 1:
                lines.append(self._group_impression(statement))
                continue
            lines.append(self._single_impression(statement))
        return lines

    def _group_impression(self, statement: LesionStatement) -> str:
        noun = _plural(pick(("lesion", "mass", "nodule"), self.rng))
        word = phrases.ORGAN_WORDS[statement.organ]
        text = pick(phrases.IMPRESSION_MULTIPLE, self.rng)
        organ = "kidneys" if statement.organ == "kidney" else statement.organ
        return text.format(organ_adj=word, Organ_adj=word.capitalize(), nouns=noun, organ=organ)

    def _single_impression(self, statement: LesionStatement) -> str:
        longest = max(statement.diameters_mm, default=12.0)
        fact = LesionFact(
            organ=statement.organ, part=statement.parts[0] if statement.parts else None,
            side=statement.laterality if statement.laterality in ("left", "right") else "n/a",  # type: ignore[arg-type]
            diameters_mm=(longest, longest, longest),
            attenuation=next((a for a in (statement.attenuation, statement.enhancement) if a != "unknown"), "hypo"),  # type: ignore[arg-type]
        )
        words = self._words(fact)
        if statement.attenuation == "unknown" and statement.enhancement == "unknown":
            words |= {"adj": "", "Adj_noun": words["Noun"]}
        elif statement.attenuation != "unknown":
            adjective = pick(phrases.ADJECTIVES[fact.attenuation], self.rng) + " "
            words |= {"adj": adjective, "Adj_noun": sentence_case(adjective + words["noun"])}
        else:
            words |= {"adj": "", "Adj_noun": words["Noun"]}
        if statement.diameters_mm and self.rng.random() < 0.6:
            stated = statement.diameters_mm if self.rng.random() < 0.6 else statement.diameters_mm[:1]
            size = self.wording.size(stated)
            words |= {"size": size, "A_size": sentence_case(with_article(size))}
            return sentence_case(pick(phrases.IMPRESSION_SIZED, self.rng).format(**words))
        return sentence_case(pick(phrases.IMPRESSION_UNSIZED, self.rng).format(**words))


def _plural(noun: str) -> str:
    if noun.endswith("focus"):
        return noun[:-2] + "i"
    return noun + ("es" if noun.endswith("s") else "s")
