"""What a backend returns: small drafts that point at measurements by id and quote the text, never a number.

:mod:`llm_extract.assembly` turns them into lesions. A model's answer is read into :class:`RecordDraft`; the rules
fill the same drafts and know the exact spans as well.
"""

from __future__ import annotations

from pydantic import Field

from llm_extract.records import (
    Attenuation,
    Change,
    ContrastPhase,
    CountKind,
    GroupRole,
    Laterality,
    LesionKind,
    Malignancy,
    MeasurementId,
    Model,
    Name,
    OrganScope,
    OrganStatus,
    PartRelation,
    Presence,
    Score,
    UnusedReason,
)


class DraftSpan(Model):
    """Where the text says one field; only the rules know it."""

    field: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)


class LesionDraft(Model):
    """One mention of a lesion or of a group of lesions.

    Args:
        quote: short verbatim stretch of the report that states the lesion.
        quote_start: its code point, where known; else the place nearest to the measurements is taken.
        measurement_ids: lengths of this examination that are this lesion's size.
        prior_measurement_ids: lengths of an earlier examination of the same lesion.
        group: label shared by the index, members and remainder of one group.
        refers_back: True for a definite mention ("the mass described above") of a lesion stated elsewhere.
        spans: where the text says single fields.
    """

    organ: Name
    quote: str = Field(min_length=1, max_length=2000)
    quote_start: int | None = Field(default=None, ge=0)
    parts: tuple[Name, ...] = ()
    part_relation: PartRelation = "unknown"
    laterality: Laterality = "unknown"
    location_text: str | None = None
    kind: LesionKind = "lesion"
    diagnosis: Name | None = None
    diagnosis_text: str | None = None
    diagnosis_certainty: Presence | None = None
    measurement_ids: tuple[MeasurementId, ...] = ()
    prior_measurement_ids: tuple[MeasurementId, ...] = ()
    count: int | None = Field(default=1, ge=1, le=1000)
    count_kind: CountKind = "exact"
    group: str | None = None
    group_role: GroupRole = "individual"
    attenuation: Attenuation = "unknown"
    enhancement: Attenuation = "unknown"
    hounsfield: float | None = None
    reported_volume_mm3: float | None = Field(default=None, gt=0)
    presence: Presence = "definite"
    malignancy: Malignancy = "unknown"
    malignancy_basis: str | None = None
    change: Change = "unknown"
    series: int | None = None
    image: int | None = None
    score: tuple[Score, ...] = ()
    treated: bool = False
    refers_back: bool = False
    spans: tuple[DraftSpan, ...] = ()


class OrganDraft(Model):
    """One statement on focal lesions of an organ, or of one side of it."""

    organ: Name
    status: OrganStatus
    quote: str = Field(min_length=1, max_length=2000)
    quote_start: int | None = Field(default=None, ge=0)
    scope: OrganScope = "any_focal_lesion"
    laterality: Laterality = "unknown"
    limited: bool = False


class SignDraft(Model):
    """A secondary sign with its quote."""

    organ: Name
    sign: Name
    quote: str = Field(min_length=1, max_length=2000)
    quote_start: int | None = Field(default=None, ge=0)
    measurement_ids: tuple[MeasurementId, ...] = ()


class SurgeryDraft(Model):
    """An operation with its quote."""

    organ: Name
    procedure: str
    quote: str = Field(min_length=1, max_length=2000)
    quote_start: int | None = Field(default=None, ge=0)
    laterality: Laterality = "unknown"
    extent: str = Field(default="unknown", pattern="^(total|partial|unknown)$")
    removed_parts: tuple[Name, ...] = ()


class TechniqueDraft(Model):
    """How the examination was made."""

    modality: str = Field(default="unknown", pattern="^(ct|mri|pet_ct|ultrasound|other|unknown)$")
    phase: ContrastPhase = "unknown"
    body_regions: tuple[Name, ...] = ()
    limited: bool = False
    spans: tuple[DraftSpan, ...] = ()


class UnusedDraft(Model):
    """Why a length is no lesion's size."""

    measurement_id: MeasurementId
    reason: UnusedReason


class RecordDraft(Model):
    """All that a backend says of one report.

    Args:
        merged: True where each lesion is already one draft, so that assembly need not look for its other mentions.
    """

    lesions: tuple[LesionDraft, ...] = ()
    organs: tuple[OrganDraft, ...] = ()
    signs: tuple[SignDraft, ...] = ()
    surgery: tuple[SurgeryDraft, ...] = ()
    technique: TechniqueDraft = TechniqueDraft()
    unused: tuple[UnusedDraft, ...] = ()
    merged: bool = False
