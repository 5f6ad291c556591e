"""What does not fit about one lesion: its host, its size, its region. Coded findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llm_extract.anatomy import Anatomy
from llm_extract.records import Lesion
from rsuper.morphology import Spacing
from rsuper.supervision.regions import (
    Host,
    Masks,
    Region,
    RegionBuilder,
    find_host,
    mask_box,
    union_mask,
)
from rsuper.supervision.sizes import lesion_size, stated_longest_mm

FindingCode = Literal[
    "organ_mask_empty",
    "organ_mask_incomplete",
    "organ_mask_missing",
    "part_mask_empty",
    "part_mask_missing",
    "side_mask_missing",
    "side_without_organ",
    "size_above_organ_extent",
    "size_implausible",
    "size_slip_tenfold",
    "volume_above_region",
]

EXCLUDING: frozenset[str] = frozenset(
    {
        "organ_mask_empty",
        "organ_mask_missing",
        "side_without_organ",
        "size_above_organ_extent",
        "size_implausible",
        "size_slip_tenfold",
        "volume_above_region",
    }
)
"""Findings that keep a lesion out of the loss unless the policy gives it a weight."""
SMALLEST_MM = 1.0
"""A stated diameter below this is a slip of the unit rather than a lesion that a CT can show."""
UNEVEN = 8.0
"""Diameters of one lesion that differ by more than this are in different units: 3.4 x 29."""


@dataclass(frozen=True, kw_only=True)
class ConsistencyFinding:
    """One contradiction between a report and the organ masks.

    Args:
        code: stable identifier.
        report_id: the report.
        lesion_id: its lesion; several, joined by commas, where all of a class together do not fit.
        organ: organ of the lesion.
        stated: the offending number (mm or mm³), where there is one.
        limit: what it was compared with.
        counts: False for a lesion that supervises nothing under the policy; its place stays unknown all the same.
    """

    code: FindingCode
    report_id: str
    lesion_id: str
    organ: str
    stated: float | None = None
    limit: float | None = None
    counts: bool = True

    @property
    def excludes(self) -> bool:
        """True if the lesion stays out of the loss by default."""
        return self.code in EXCLUDING


def is_exophytic(lesion: Lesion) -> bool:
    """True if the lesion grows out of its host or lies beside it, and takes a larger margin."""
    return lesion.part_relation == "adjacent" or "exophytic" in (lesion.location_text or "").lower()


def believed_longest_mm(lesion: Lesion, builder: RegionBuilder) -> float:
    """The longest diameter that the report states, 0 if it states none or one that cannot be in these masks."""
    longest_mm = stated_longest_mm(lesion)
    found = _size_findings(lesion, builder) if longest_mm else []
    return 0.0 if any(code in EXCLUDING for code, _, _ in found) else longest_mm


def lesion_findings(
    lesion: Lesion, report_id: str, *, host: Host, region: Region | None, builder: RegionBuilder
) -> list[ConsistencyFinding]:
    """The findings of one lesion, given its host and region."""

    def finding(
        code: FindingCode, stated: float | None = None, limit: float | None = None
    ) -> ConsistencyFinding:
        return ConsistencyFinding(
            code=code,
            report_id=report_id,
            lesion_id=lesion.lesion_id,
            organ=lesion.organ,
            stated=stated,
            limit=limit,
        )

    found = [finding(code) for code in _host_codes(host, lesion, builder.masks, builder.anatomy)]
    found += [finding(*one) for one in _size_findings(lesion, builder)]
    if region is not None:
        low = lesion_size(lesion).volume_mm3[0]
        if low > region.volume_mm3:
            found.append(finding("volume_above_region", low, region.volume_mm3))
    return found


def _host_codes(host: Host, lesion: Lesion, masks: Masks, anatomy: Anatomy) -> list[FindingCode]:
    known: tuple[FindingCode, ...] = (
        "part_mask_missing",
        "part_mask_empty",
        "side_mask_missing",
        "organ_mask_missing",
        "organ_mask_incomplete",
        "organ_mask_empty",
        "side_without_organ",
    )
    codes: list[FindingCode] = [code for code in known if code in host.codes]
    if not host.structures and lesion.laterality in ("left", "right") and anatomy.organs[lesion.organ].paired:
        other = find_host(masks, anatomy, organ=lesion.organ)
        if other.structures:
            codes.append("side_without_organ")
    return codes


def organ_extent_mm(masks: Masks, stems: Sequence[str], *, spacing_mm: Spacing) -> float:
    """Diagonal of the bounding box of the union of the masks in mm; nothing inside it is longer."""
    box = mask_box(union_mask(masks, stems), margin_mm=0.0, spacing_mm=spacing_mm)
    if box is None:
        return 0.0
    return float(np.linalg.norm([(s.stop - s.start) * mm for s, mm in zip(box, spacing_mm, strict=True)]))


def _size_findings(lesion: Lesion, builder: RegionBuilder) -> list[tuple[FindingCode, float, float]]:
    """Sizes that cannot be: longer than the organ, beyond belief, or ten times off (cm for mm); stated, and limit."""
    sizes = [d for d in (*lesion.diameters_mm, lesion.size_min_mm) if d is not None]
    if not sizes:
        return []
    found: list[tuple[FindingCode, float, float]] = []
    entry = builder.anatomy.organs[lesion.organ]
    organ = find_host(builder.masks, builder.anatomy, organ=lesion.organ, laterality=lesion.laterality)
    extent_mm = math.inf
    if organ.structures and organ.complete:
        own_mm = organ_extent_mm(builder.masks, organ.structures, spacing_mm=builder.spacing_mm)
        extent_mm = own_mm + entry.margin_mm
    longest, shortest = max(sizes), min(sizes)
    limit = min(entry.max_diameter_mm, extent_mm)
    if longest > extent_mm:
        found.append(("size_above_organ_extent", longest, extent_mm))
    if longest > entry.max_diameter_mm:
        found.append(("size_implausible", longest, entry.max_diameter_mm))
    uneven = len(lesion.diameters_mm) > 1 and max(lesion.diameters_mm) >= UNEVEN * min(lesion.diameters_mm)
    if shortest < SMALLEST_MM or uneven or limit < longest <= 10 * limit:
        found.append(("size_slip_tenfold", shortest if longest <= limit else longest, limit))
    return found
