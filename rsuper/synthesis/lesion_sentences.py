"""Sentences about lesions, singly and in groups, and their repetition in the impression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rsuper.synthesis.phrases import choose, count_word, phrase_book, pick, plural, sentence
from rsuper.synthesis.report_truth import LesionFact, LesionStatement
from rsuper.synthesis.wording import Wording

SizeKind = Literal["exact", "approximate", "upper_bound", "none"]
Described = tuple[str, list[LesionStatement]]


class LesionSentences:
    """Writes about the lesions of one report and records what it wrote.

    Args:
        wording: the habits of this report.
        rng: draws the words.
    """

    def __init__(self, wording: Wording, rng: np.random.Generator) -> None:
        self.wording, self.rng, self.book = wording, rng, phrase_book()

    def describe(self, organ: str, lesions: Sequence[LesionFact]) -> Described:
        """Text on all lesions of one organ, and its statements in order of mention."""
        ordered = sorted(lesions, key=lambda lesion: -lesion.diameters_mm[0])
        one_side = len({lesion.side for lesion in ordered}) == 1
        draw = self.rng.random()
        if len(ordered) >= 4 or (len(ordered) > 1 and one_side and draw < 0.25):
            return self._group(organ, ordered)
        if len(ordered) > 1 and draw < 0.5:
            return self._listed(organ, ordered)
        texts, statements = [], []
        for nth, lesion in enumerate(ordered):
            text, statement = self._single(lesion, nth=nth)
            texts.append(text)
            statements.append(statement)
        if len(ordered) == 1 and self.rng.random() < 0.08:
            texts.append(self._fill("none_other", {}))
        return " ".join(texts), statements

    def _fill(self, purpose: str, fields: dict[str, Any]) -> str:
        return sentence(choose(pick(self.book[purpose], self.rng), self.rng), fields)

    def _words(
        self, lesion: LesionFact, *, density_share: float = 0.74, margins: Sequence[str] = ()
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The words for one lesion, and what its adjective states."""
        rng = self.rng
        noun = pick(self.book["nouns_large" if lesion.diameters_mm[0] >= 12 else "nouns_small"], rng)
        density, enhancement, adjective = "unknown", "unknown", ""
        draw = rng.random()
        if lesion.attenuation != "iso" and draw < density_share:
            density, adjective = lesion.attenuation, pick(self.book["adjectives"][lesion.attenuation], rng)
        elif lesion.attenuation != "iso" and draw < density_share + 0.12:
            enhancement, adjective = (
                lesion.attenuation,
                pick(self.book["enhancement"][lesion.attenuation], rng),
            )
        adjectives = " ".join(
            word for word in (pick(margins or self.book["margins"], rng), adjective) if word
        )
        words = {
            "noun": noun,
            "nouns": plural(noun),
            "head": noun.split()[-1],
            "adj": adjectives and adjectives + " ",
            "loc": self._place(lesion),
            "rel": choose(pick(self._relative(lesion), rng), rng),
            "ref": "",
            "p": "",
        }
        return words, {"attenuation": density, "enhancement": enhancement}

    def _relative(self, lesion: LesionFact) -> list[str]:
        return list(self.book["relative"].get(lesion.attenuation, ["isodense to the parenchyma"]))

    def _place(self, lesion: LesionFact) -> str:
        key = "+".join(lesion.parts) or lesion.organ
        bank = self.book["locations"].get(key) or self.book["locations"][lesion.organ]
        return str(pick(bank, self.rng)).format(side=lesion.side)

    @staticmethod
    def _where(lesion: LesionFact) -> dict[str, Any]:
        return {"organ": lesion.organ, "parts": lesion.parts, "laterality": lesion.side}

    def _size(self, lesion: LesionFact, *, most: int = 3) -> tuple[str, tuple[float, ...], SizeKind]:
        """Text, stated diameters and size kind of one sized lesion."""
        rounded = tuple(float(max(1, round(d))) for d in lesion.diameters_mm)
        draw = self.rng.random()
        diameters = rounded[: min(most, 1 if draw < 0.42 else 2 if draw < 0.82 else 3)]
        text = self.wording.size(diameters)
        if self.rng.random() < 0.07:
            return (
                f"{pick(self.book['hedges'], self.rng)} {text}".replace("~ ", "~"),
                diameters,
                "approximate",
            )
        return text, diameters, "exact"

    def _single(self, lesion: LesionFact, *, nth: int) -> tuple[str, LesionStatement]:
        words, seen = self._words(lesion)
        base = {**self._where(lesion), **seen}
        draw = self.rng.random()
        if round(lesion.diameters_mm[0]) < 10 and draw < 0.3:
            return self._fill("subcentimetre", words), LesionStatement(
                **base, size_kind="upper_bound", size_max_mm=10.0
            )
        if draw < 0.12:
            words["small"] = "small " if lesion.diameters_mm[0] < 16 else ""
            return self._fill("unsized", words), LesionStatement(**base)
        return self._sized(lesion, words, base, nth=nth)

    def _sized(
        self, lesion: LesionFact, words: dict[str, Any], base: dict[str, Any], *, nth: int
    ) -> tuple[str, LesionStatement]:
        rng = self.rng
        size, diameters, kind = self._size(lesion)
        purpose = "another" if nth and rng.random() < 0.6 else "sized"
        if purpose == "sized" and self.wording.has_prior and rng.random() < 0.2:
            purpose = "sized_again"
        template = choose(pick(self.book[purpose], rng), rng)
        if "{rel}" in template:
            base |= {"attenuation": lesion.attenuation, "enhancement": "unknown"}
        elif "{adj}" not in template:
            base |= {"attenuation": "unknown", "enhancement": "unknown"}
        prior: tuple[float, ...] = ()
        change: Literal["larger", "stable", "unknown"] = "unknown"
        if self.wording.has_prior and purpose != "another" and rng.random() < 0.55:
            words["p"], prior, change = self._prior(diameters)
        if rng.random() < 0.1:
            words["ref"] = pick(self.book["references"], rng).format(
                series=int(rng.integers(2, 9)), image=int(rng.integers(15, 140))
            )
        text = sentence(template, {**words, "size": size})
        statement = LesionStatement(
            **base, diameters_mm=diameters, size_kind=kind, prior_diameters_mm=prior, change=change
        )
        return text, statement

    def _prior(
        self, diameters: Sequence[float]
    ) -> tuple[str, tuple[float, ...], Literal["larger", "stable"]]:
        date = self.wording.prior_date
        if self.rng.random() < 0.35:
            return pick(self.book["prior_stable"], self.rng).format(date=date), (), "stable"
        factor = float(self.rng.uniform(0.5, 0.85))
        prior = tuple(float(max(2, round(d * factor))) for d in diameters)
        text = choose(pick(self.book["prior_larger"], self.rng), self.rng)
        return text.format(prior=self.wording.size(prior), date=date), prior, "larger"

    def _site(self, organ: str, sides: set[str]) -> tuple[str, str]:
        """The organ as named for a group, and the group's laterality."""
        if organ != "kidney":
            return organ, "n/a"
        return (
            ("kidneys", "bilateral") if len(sides) > 1 else (f"{next(iter(sides))} kidney", next(iter(sides)))
        )

    def _group(self, organ: str, ordered: Sequence[LesionFact]) -> Described:
        """One group: its largest lesion is the index, the others the remainder."""
        largest, exact = ordered[0], len(ordered) < 4
        words, seen = self._words(largest)
        site, side = self._site(organ, {lesion.side for lesion in ordered})
        group: dict[str, Any] = {"organ": organ, "laterality": side, **seen}
        counted: dict[str, Any] = {"count": None, "count_kind": "multiple_unknown"}
        if not exact and self.rng.random() < 0.15:
            text = self._fill("multiple_unsized", {**words, "organ": site})
            return text, [LesionStatement(**group, **counted)]
        size, diameters, kind = self._size(largest)
        larger = "larger" if len(ordered) == 2 else "largest"
        fields = {**words, "organ": site, "size": size, "count": count_word(len(ordered)), "larger": larger}
        text = self._fill("counted_sized" if exact else "multiple_sized", fields)
        index = LesionStatement(
            **self._where(largest), **seen, diameters_mm=diameters, size_kind=kind, group_role="index"
        )
        if exact:
            counted = {"count": len(ordered) - 1, "count_kind": "exact"}
        rest = LesionStatement(
            **group, **counted, size_max_mm=max(diameters), size_kind="upper_bound", group_role="remainder"
        )
        return text, [index, rest]

    def _listed(self, organ: str, ordered: Sequence[LesionFact]) -> Described:
        """Two or three lesions in one sentence, each with its own place and size."""
        words, seen = self._words(ordered[0])
        site, _ = self._site(organ, {lesion.side for lesion in ordered})
        items, statements = [], []
        item = pick(self.book["listed_item"], self.rng)
        for lesion in ordered:
            size, diameters, kind = self._size(lesion, most=2)
            items.append(item.format(loc=self._place(lesion), size=size))
            statements.append(
                LesionStatement(**self._where(lesion), **seen, diameters_mm=diameters, size_kind=kind)
            )
        listed = ", ".join(items[:-1]) + " and " + items[-1]
        fields = {**words, "organ": site, "items": listed, "count": count_word(len(ordered))}
        return self._fill("listed", fields), statements

    def impression(self, statements: Sequence[LesionStatement]) -> list[str]:
        """One line a lesion or group, in other words, with the same size if any."""
        lines = []
        for statement in statements:
            if statement.group_role == "individual" and statement.count == 1:
                lines.append(self._single_impression(statement))
            elif statement.group_role != "remainder":
                lines.append(self._group_impression(statement, statements))
        return lines

    def _group_impression(self, statement: LesionStatement, statements: Sequence[LesionStatement]) -> str:
        noun = plural(pick(("lesion", "mass", "nodule"), self.rng))
        rest = next(
            (s for s in statements if s.group_role == "remainder" and s.organ == statement.organ), statement
        )
        organ = "kidneys" if statement.organ == "kidney" else statement.organ
        fields = {"organ_adj": self.book["organ_adjectives"][statement.organ], "nouns": noun, "organ": organ}
        if rest.count is None:
            return self._fill("impression_multiple", fields)
        return self._fill("impression_counted", {**fields, "count": count_word(rest.count + 1)})

    def _single_impression(self, statement: LesionStatement) -> str:
        """Repeats a lesion; an attenuation is repeated only where the findings stated it."""
        longest = max(statement.diameters_mm, default=10.0)
        side = statement.laterality if statement.laterality in ("left", "right") else "n/a"
        fact = LesionFact(
            organ=statement.organ, parts=statement.parts, side=side,  # type: ignore[arg-type]
            diameters_mm=(longest, longest, longest),
            attenuation="iso" if statement.attenuation == "unknown" else statement.attenuation,
        )  # fmt: skip
        words, _ = self._words(fact, density_share=1.0, margins=("",))
        if statement.diameters_mm and self.rng.random() < 0.6:
            most = 3 if self.rng.random() < 0.6 else 1
            words["size"] = self.wording.size(statement.diameters_mm[:most])
            return self._fill("impression_sized", words)
        return self._fill("impression_unsized", words)
