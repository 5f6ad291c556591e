"""One radiologist's habits for one report: headings, units, number format, layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from rsuper.synthesis.phrases import phrase_book, pick, sentence_case

Headings = Literal["upper", "title", "lower", "none"]
OrganLayout = Literal["headings", "prose", "lines"]


@dataclass(frozen=True)
class Wording:
    """Habits that hold throughout one report.

    Args:
        unit: how sizes are written.
        times: what stands between two diameters.
        headings: how section headings are written, or none at all.
        organ_layout: organ headings, one paragraph, or one short line an organ.
        decimal: decimal mark of sizes in cm.
        has_prior: whether a prior study is compared with.
        prior_date: its date as written.
        shout: all in capitals.
    """

    unit: Literal["cm", "mm"]
    times: str
    headings: Headings
    organ_layout: OrganLayout
    decimal: Literal[".", ","]
    has_prior: bool
    prior_date: str
    shout: bool = False

    def size(self, diameters_mm: Sequence[float]) -> str:
        """Diameters as written, such as ``2.1 x 1.8 cm``."""
        if self.unit == "mm":
            numbers = [f"{d:.0f}" for d in diameters_mm]
        else:
            numbers = [f"{d / 10:.1f}".replace(".", self.decimal) for d in diameters_mm]
        if len(numbers) > 1 and self.times.startswith("U"):
            return f" {self.times[1:]} ".join(f"{n} {self.unit}" for n in numbers)
        return self.times.join(numbers) + f" {self.unit}"

    def heading(self, section: str, rng: np.random.Generator) -> str:
        """A section heading with its colon, empty if this report has none."""
        if self.headings == "none":
            return ""
        name = self._in_case(pick(phrase_book()["headings"][section], rng))
        return f"{name}:"

    def _in_case(self, name: str) -> str:
        case = {"upper": str.upper, "lower": str.lower, "title": str.title, "none": sentence_case}
        return case[self.headings](name)

    def layout(
        self,
        head: dict[str, str],
        organs: Sequence[tuple[str, str]],
        others: Sequence[str],
        impression: Sequence[str],
        rng: np.random.Generator,
    ) -> str:
        """Assemble the sections of the report."""
        blocks: list[str] = []
        if "title" in head:
            blocks.append(head["title"])
        for section in ("history", "comparison", "technique"):
            if section in head and (self.headings != "none" or section == "technique"):
                blocks.append(self._section(section, head[section], rng))  # noqa: PERF401
        blocks.append(self._section("findings", self._findings(organs, others, rng), rng))
        if impression:
            numbered = len(impression) > 1 or rng.random() < 0.2
            lines = [f"{n}. {line}" for n, line in enumerate(impression, 1)] if numbered else list(impression)
            heading = self.heading("impression", rng) or "IMPRESSION:"
            blocks.append(heading + ("\n" if numbered else " ") + "\n".join(lines))
        gap = "\n\n" if rng.random() < 0.6 else "\n"
        return gap.join(blocks)

    def _section(self, section: str, text: str, rng: np.random.Generator) -> str:
        heading = self.heading(section, rng)
        if not heading:
            return text
        return f"{heading}{chr(10) if self.headings == 'upper' or chr(10) in text else ' '}{text}"

    def _findings(
        self, organs: Sequence[tuple[str, str]], others: Sequence[str], rng: np.random.Generator
    ) -> str:
        rest = list(others)
        if self.organ_layout == "prose":
            cut = int(rng.integers(0, len(rest) + 1))
            return " ".join([*rest[:cut], *(text for _, text in organs), *rest[cut:]])
        if self.organ_layout == "lines":
            return "\n".join([*(text for _, text in organs), *rest])
        labels = phrase_book()["organ_labels"]
        lines = [f"{self._in_case(labels[organ])}: {text}" for organ, text in organs]
        return "\n".join([*lines, " ".join(rest)])


def draw_wording(rng: np.random.Generator) -> Wording:
    """Draw the habits of one report."""
    past = date(int(rng.integers(2012, 2024)), int(rng.integers(1, 13)), int(rng.integers(1, 29)))
    formats = ("%m/%d/%Y", "%B {d}, %Y", "%Y-%m-%d", "{m}/{d}/%Y", "{d} %B %Y", "{d} %b %Y")
    written = past.strftime(pick(formats, rng)).format(m=past.month, d=past.day)
    headings: tuple[Headings, ...] = ("upper", "upper", "upper", "title", "title", "lower", "none")
    layouts: tuple[OrganLayout, ...] = ("headings", "headings", "prose", "prose", "lines")
    return Wording(
        unit="cm" if rng.random() < 0.55 else "mm",
        times=pick((" x ", " x ", " x ", "x", " × ", " by ", "Ux"), rng),
        headings=pick(headings, rng),
        organ_layout=pick(layouts, rng),
        decimal="," if rng.random() < 0.04 else ".",
        has_prior=bool(rng.random() < 0.4),
        prior_date=written,
        shout=bool(rng.random() < 0.03),
    )
