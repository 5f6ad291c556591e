"""What a perfect reader of a phantom's report would write down, and the facts the report is written from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["lesion_present", "explicitly_lesion_free", "no_statement_on_lesions"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LesionFact(_Model):
    """One lesion of the image, as its report writer knows it.

    Args:
        organ: host organ.
        parts: part ids such as ``pancreas_head``; two where it spans them.
        side: side of a paired organ.
        diameters_mm: measured longest axial, perpendicular, cranio-caudal.
        attenuation: against the parenchyma.
    """

    organ: str
    parts: tuple[str, ...] = ()
    side: Literal["left", "right", "n/a"] = "n/a"
    diameters_mm: tuple[float, float, float]
    attenuation: Literal["hypo", "iso", "hyper"] = "hypo"


class ReportFacts(_Model):
    """All that a report is written from.

    Args:
        lesions: the lesions of the image.
        organs: organs the field of view shows, in reporting order.
        aorta_mm, duct_mm, bile_duct_mm: calibres that a report may quote and that are no lesion sizes.
    """

    lesions: tuple[LesionFact, ...] = ()
    organs: tuple[str, ...] = ("liver", "spleen", "pancreas", "kidney")
    aorta_mm: float = 20.0
    duct_mm: float = 2.5
    bile_duct_mm: float = 5.0


class LesionStatement(_Model):
    """One lesion or group as the text states it; field names and values are those of a lesion record."""

    organ: str
    parts: tuple[str, ...] = ()
    laterality: Literal["left", "right", "bilateral", "unknown", "n/a"] = "n/a"
    diameters_mm: tuple[float, ...] = ()
    size_min_mm: float | None = None
    size_max_mm: float | None = None
    size_kind: Literal["exact", "approximate", "upper_bound", "none"] = "none"
    count: int | None = 1
    count_kind: Literal["exact", "multiple_unknown"] = "exact"
    group_role: Literal["individual", "index", "remainder"] = "individual"
    attenuation: Literal["hypo", "iso", "hyper", "unknown"] = "unknown"
    enhancement: Literal["hypo", "iso", "hyper", "unknown"] = "unknown"
    change: Literal["new", "stable", "larger", "smaller", "unknown"] = "unknown"
    prior_diameters_mm: tuple[float, ...] = ()


class ReportTruth(_Model):
    """What the text states.

    Args:
        lesions: current lesions in order of mention.
        organs: organ -> what is said about lesions in it; organs the text does not name are absent.
        distractors_mm: measurements that are no lesion sizes: ducts, vessels, organs, nodes, slices.
    """

    lesions: tuple[LesionStatement, ...] = ()
    organs: dict[str, Status] = Field(default_factory=dict)
    distractors_mm: tuple[float, ...] = ()


class WrittenReport(_Model):
    """A free-text report and what it states."""

    text: str
    truth: ReportTruth
