"""Synthetic report-positive cases: small organs of all 16 tumour types, and records with the mix of real reports.

Of the organ-CT pairs of the public set 47 % state no size; sides, parts and counts are missing as often as here. Every
case is possible (sizes fit the organ that is there), so every case should be usable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llm_extract.anatomy import Anatomy
from llm_extract.records import Evidence, Lesion, OrganStatement, Provenance, ReportRecord

ORGANS = (
    "adrenal_gland",
    "bladder",
    "bone",
    "breast",
    "colon",
    "duodenum",
    "esophagus",
    "gallbladder",
    "kidney",
    "liver",
    "lung",
    "pancreas",
    "prostate",
    "spleen",
    "stomach",
    "uterus",
)
IN_VIEW = ("vertebrae_L3", "sacrum", "hip_left", "hip_right", "rib_left_9")
UNSIZED = 0.47
CELL_MM = 34.0
SPACINGS = ((3.0, 3.0, 3.0), (2.0, 2.0, 4.0), (4.0, 2.0, 2.5))
SEMI_AXES_MM = (13.0, 11.0, 12.0)
QUOTE = Evidence(field="lesion", start=0, end=4, text="mass", section="findings")
KINDS = ("mass", "nodule", "lesion", "tumor", "metastasis")


@dataclass(frozen=True, kw_only=True)
class Body:
    """Organ masks on one grid: stem -> bool [D,H,W]."""

    masks: dict[str, np.ndarray]
    spacing_mm: tuple[float, float, float]


def make_body(anatomy: Anatomy, spacing_mm: tuple[float, float, float]) -> Body:
    """An ellipsoid an organ (two where there is one on each side), each in a cell of its own, cut into its parts."""
    stems = [stem for organ in ORGANS for stem in organ_stems(anatomy, organ)]
    cells = np.array([math.ceil(len(stems) / 6), 3, 2])
    shape = [round(n * CELL_MM / mm) for n, mm in zip(cells, spacing_mm, strict=True)]
    grid = [(np.arange(n) + 0.5) * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    masks: dict[str, np.ndarray] = {}
    for number, stem in enumerate(stems):
        center = (np.array(np.unravel_index(number, cells)) + 0.5) * CELL_MM
        scaled = [((axis - c) / s) ** 2 for axis, c, s in zip(grid, center, SEMI_AXES_MM, strict=True)]
        masks[stem] = scaled[0][:, None, None] + scaled[1][None, :, None] + scaled[2][None, None, :] <= 1.0
    outside = np.zeros(shape, dtype=bool)
    masks |= {stem: outside for stem in anatomy.organ_structures("bone") if stem not in masks}
    for organ in ("liver", "pancreas"):
        masks |= cut_into_parts(anatomy, organ, masks[organ])
    return Body(masks=masks, spacing_mm=spacing_mm)


def organ_stems(anatomy: Anatomy, organ: str) -> tuple[str, ...]:
    """Label files of an organ; of the skeleton those that are in view."""
    return IN_VIEW if organ == "bone" else anatomy.organ_structures(organ)


def cut_into_parts(anatomy: Anatomy, organ: str, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Slices of an organ along the first axis, one a part file."""
    stems = list(
        dict.fromkeys(stem for part in anatomy.organs[organ].parts.values() for stem in part.structures)
    )
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    parts = {}
    for stem, own in zip(stems, np.array_split(rows, len(stems)), strict=True):
        part = np.zeros_like(mask)
        part[own] = mask[own]
        parts[stem] = part
    return parts


class ReportMix:
    """Draws records; record i is a pure function of the seed and i."""

    def __init__(self, anatomy: Anatomy, seed: int) -> None:
        self.anatomy = anatomy
        self.seed = seed
        self.rng = np.random.default_rng([seed, 47])
        self.seen: dict[str, int] = {}

    def record(self, number: int) -> tuple[ReportRecord, tuple[str, ...]]:
        """One report-positive record, and the organs in which it states lesions."""
        self.rng = np.random.default_rng([self.seed, 47, number])
        count = int(self.rng.choice([1, 2, 3], p=[0.7, 0.22, 0.08]))
        organs = tuple(str(name) for name in self.rng.choice(ORGANS, size=count, replace=False))
        lesions = [lesion for organ in organs for lesion in self.lesions(organ)]
        lesions = [
            lesion.model_copy(update={"lesion_id": f"L{index}"}) for index, lesion in enumerate(lesions, 1)
        ]
        others = [name for name in ORGANS if name not in organs]
        free = [str(name) for name in self.rng.choice(others, size=3, replace=False)]
        statements = {name: OrganStatement(status="explicitly_lesion_free") for name in free}
        statements |= {name: OrganStatement(status="lesion_present") for name in organs}
        record = ReportRecord(
            report_id=f"R{number}",
            source="radiology",
            text_sha256="0" * 64,
            text_chars=1000,
            status=str(self.rng.choice(["ok", "ok_with_warnings", "needs_review"], p=[0.8, 0.15, 0.05])),
            lesions=tuple(lesions),
            organs=statements,
            provenance=Provenance(backend="rules", version="0"),
        )
        return record, organs

    def lesions(self, organ: str) -> list[Lesion]:
        """The entries of one organ: sized or not, one or many, with whatever place is stated."""
        unsized: list[tuple[str, Callable[[str], list[Lesion]], float]] = [
            ("one, no size", self._one, 0.62),
            ("multiple, no size", self._multiple, 0.2),
            ("a number, no size", self._number, 0.08),
            ("at least or about a number, no size", self._vague_number, 0.05),
            ("more than ten, no size", self._many, 0.05),
        ]
        sized: list[tuple[str, Callable[[str], list[Lesion]], float]] = [
            ("one, 1 to 3 diameters", self._measured, 0.5),
            ("approximate", self._approximate, 0.06),
            ("upper bound", self._below, 0.1),
            ("lower bound", self._above, 0.03),
            ("range", self._between, 0.06),
            ("largest of several", self._largest, 0.1),
            ("several, each measured", self._several, 0.07),
            ("more than ten, bounded or measured", self._many_sized, 0.04),
            ("volume", self._volume, 0.02),
            ("size conflict", self._conflict, 0.02),
        ]
        table = unsized if self.rng.random() < UNSIZED else sized
        shares = np.array([row[2] for row in table])
        name, draw, _ = table[int(self.rng.choice(len(table), p=shares / shares.sum()))]
        self.seen[name] = self.seen.get(name, 0) + 1
        return draw(organ)

    def base(self, organ: str, **fields: object) -> Lesion:
        """One entry with a place, a kind, a certainty and its evidence."""
        rng = self.rng
        entry = self.anatomy.organs[organ]
        side = "n/a"
        if entry.paired:
            side = str(rng.choice(["left", "right", "unknown", "bilateral"], p=[0.35, 0.35, 0.25, 0.05]))
        fitting = [p.name for p in entry.parts.values() if p.side is None or p.side == side]
        parts: tuple[str, ...] = ()
        if fitting and rng.random() < 0.6:
            number = min(len(fitting), int(rng.choice([1, 2], p=[0.85, 0.15])))
            parts = tuple(str(name) for name in rng.choice(fitting, size=number, replace=False))
        values: dict[str, object] = {
            "lesion_id": "L1",
            "organ": organ,
            "parts": parts,
            "part_relation": str(
                rng.choice(["within", "one_of", "adjacent", "unknown"], p=[0.6, 0.1, 0.1, 0.2])
            ),
            "laterality": side,
            "kind": str(rng.choice(KINDS)),
            "presence": str(rng.choice(["definite", "probable"], p=[0.85, 0.15])),
            "attenuation": str(rng.choice(["hypo", "iso", "hyper", "unknown"], p=[0.3, 0.05, 0.1, 0.55])),
            "evidence": (QUOTE if rng.random() < 0.9 else QUOTE.model_copy(update={"match": "normalised"}),),
        }
        return Lesion.model_validate(values | fields)

    def length(self, most_mm: float = 17.0, *, of: int = 1) -> float:
        """A diameter in mm as reports round them; smaller where many share an organ."""
        most = max(4.5, most_mm / of ** (1 / 3))
        return float(round(math.exp(self.rng.uniform(math.log(4.0), math.log(most)))))

    def sizes(self, *, of: int = 1) -> tuple[float, ...]:
        """1 to 3 diameters, the longest first."""
        longest = self.length(of=of)
        number = int(self.rng.choice([1, 2, 3], p=[0.5, 0.4, 0.1]))
        shorter = [float(max(3.0, round(longest * self.rng.uniform(0.5, 1.0)))) for _ in range(number - 1)]
        return (longest, *(min(value, longest) for value in shorter))

    def _one(self, organ: str) -> list[Lesion]:
        return [self.base(organ)]

    def _multiple(self, organ: str) -> list[Lesion]:
        return [self.base(organ, count=None, count_kind="multiple_unknown")]

    def _number(self, organ: str) -> list[Lesion]:
        return [self.base(organ, count=int(self.rng.integers(2, 6)))]

    def _vague_number(self, organ: str) -> list[Lesion]:
        kind = str(self.rng.choice(["at_least", "approximate"]))
        return [self.base(organ, count=int(self.rng.integers(2, 8)), count_kind=kind)]

    def _many(self, organ: str) -> list[Lesion]:
        kind = str(self.rng.choice(["exact", "at_least", "approximate"]))
        return [self.base(organ, count=int(self.rng.integers(11, 16)), count_kind=kind, parts=())]

    def _measured(self, organ: str) -> list[Lesion]:
        sizes = self.sizes()
        precision = float(self.rng.choice([0.05, 0.5, 5.0], p=[0.2, 0.7, 0.1]))
        if any(size % 10 for size in sizes):  # only "2 cm" is rounded to centimetres
            precision = min(precision, 0.5)
        return [self.base(organ, diameters_mm=sizes, size_kind="exact", size_precision_mm=precision)]

    def _approximate(self, organ: str) -> list[Lesion]:
        return [self.base(organ, diameters_mm=self.sizes(), size_kind="approximate")]

    def _below(self, organ: str) -> list[Lesion]:
        bound = float(self.rng.choice([5.0, 10.0, 15.0]))
        return [self.base(organ, size_max_mm=bound, size_kind="upper_bound")]

    def _above(self, organ: str) -> list[Lesion]:
        return [self.base(organ, size_min_mm=self.length(13.0), size_kind="lower_bound")]

    def _between(self, organ: str) -> list[Lesion]:
        first, last = sorted((self.length(of=3), self.length(of=3)))
        count = int(self.rng.integers(1, 4))
        return [self.base(organ, size_min_mm=first, size_max_mm=last, size_kind="range", count=count)]

    def _largest(self, organ: str) -> list[Lesion]:
        place = {"laterality": self.base(organ).laterality, "group_id": "G1"}
        index = self.base(
            organ, **place, group_role="index", diameters_mm=self.sizes(of=2), size_kind="exact"
        )
        longest = max(index.diameters_mm)
        rest = self.base(
            organ,
            **place,
            parts=(),
            group_role="remainder",
            count=None,
            count_kind="multiple_unknown",
            size_max_mm=longest if self.rng.random() < 0.5 else None,
            size_kind="upper_bound",
        )
        return [index, rest]

    def _several(self, organ: str) -> list[Lesion]:
        count = int(self.rng.integers(2, 5))
        return [
            self.base(organ, diameters_mm=self.sizes(of=2 * count), size_kind="exact") for _ in range(count)
        ]

    def _many_sized(self, organ: str) -> list[Lesion]:
        count = int(self.rng.integers(11, 16))
        if self.rng.random() < 0.5:
            return [self.base(organ, count=count, size_max_mm=8.0, size_kind="upper_bound", parts=())]
        sizes = [(self.length(of=8 * count),) for _ in range(count)]
        return [self.base(organ, diameters_mm=size, size_kind="exact", parts=()) for size in sizes]

    def _volume(self, organ: str) -> list[Lesion]:
        return [self.base(organ, reported_volume_mm3=float(round(math.exp(self.rng.uniform(5.0, 7.3)))))]

    def _conflict(self, organ: str) -> list[Lesion]:
        return [self.base(organ, diameters_mm=self.sizes(of=2), size_kind="exact", conflict=("size",))]
