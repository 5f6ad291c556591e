"""One radiologist's habits for one report: headings, units, number format, layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from rsuper.synthesis import phrases

T = TypeVar("T")


def pick(options: Sequence[T], rng: np.random.Generator) -> T:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


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
    """

    unit: Literal["cm", "mm"]
    times: str
    headings: Literal["upper", "title", "plain", "none"]
    organ_layout: Literal["headings", "prose", "lines"]
    decimal: Literal[".", ","]
    has_prior: bool
    prior_date: str

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
        name = pick(phrases.HEADINGS[section], rng)
        return f"{name.upper() if self.headings == 'upper' else name}:"

    def layout(
        self, head: dict[str, str], organs: Sequence[tuple[str, str]], others: Sequence[str],
        impression: Sequence[str], rng: np.random.Generator,
    ) -> str:
        """Assemble the sections of the report."""
        blocks: list[str] = []
        if "title" in head:
            blocks.append(head["title"])
        for section in ("history", "comparison", "technique"):
            if section in head and (self.headings != "none" or section == "technique"):
                blocks.append(self._section(section, head[section], rng))
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

    def _findings(self, organs: Sequence[tuple[str, str]], others: Sequence[str], rng: np.random.Generator) -> str:
        rest = list(others)
        if self.organ_layout == "prose":
            cut = int(rng.integers(0, len(rest) + 1))
            return " ".join([*rest[:cut], *(text for _, text in organs), *rest[cut:]])
        if self.organ_layout == "lines":
            return "\n".join([*(text for _, text in organs), *rest])
        labels = [(phrases.ORGAN_LABELS[organ], text) for organ, text in organs]
        lines = [f"{label.upper() if self.headings == 'upper' else label}: {text}" for label, text in labels]
        return "\n".join([*lines, " ".join(rest)])


def draw_wording(rng: np.random.Generator) -> Wording:
    """Draw the habits of one report."""
    month, day, year = int(rng.integers(1, 13)), int(rng.integers(1, 29)), int(rng.integers(2012, 2024))
    names = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
             "November", "December")
    dates = (f"{month:02d}/{day:02d}/{year}", f"{names[month - 1]} {day}, {year}", f"{year}-{month:02d}-{day:02d}",
             f"{month}/{day}/{year}", f"{day} {names[month - 1]} {year}")
    unit: Literal["cm", "mm"] = "cm" if rng.random() < 0.55 else "mm"
    headings: tuple[Literal["upper", "title", "plain", "none"], ...] = ("upper", "upper", "title", "title", "plain", "none")
    layouts: tuple[Literal["headings", "prose", "lines"], ...] = ("headings", "headings", "prose", "prose", "lines")
    return Wording(
        unit=unit,
        times=pick((" x ", " x ", "x", " × ", " by ", "Ux"), rng),
        headings=pick(headings, rng),
        organ_layout=pick(layouts, rng),
        decimal="," if rng.random() < 0.04 else ".",
        has_prior=bool(rng.random() < 0.4),
        prior_date=pick(dates, rng),
    )
