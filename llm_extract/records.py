"""What a report says, as frozen Pydantic models: the contract between extraction and everything after it.

Unknown is always a value of its own, never 0, -1 or an empty string. Offsets are code points of the input text
exactly as read. What a loss may use of a record is decided later, in ``rsuper.supervision``.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = "1.0.0"
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

Source = Literal["radiology", "pathology"]
Status = Literal["ok", "ok_with_warnings", "needs_review", "failed"]
Laterality = Literal["left", "right", "bilateral", "midline", "unknown", "n/a"]
PartRelation = Literal["within", "spanning", "one_of", "adjacent", "unknown"]
LesionKind = Literal[
    "mass",
    "nodule",
    "cyst",
    "lesion",
    "metastasis",
    "tumor",
    "polyp",
    "lymph_node",
    "wall_thickening",
    "other",
]
SizeKind = Literal["exact", "approximate", "upper_bound", "lower_bound", "range", "none"]
CountKind = Literal["exact", "at_least", "approximate", "multiple_unknown"]
GroupRole = Literal["individual", "index", "member", "remainder"]
Attenuation = Literal["hypo", "iso", "hyper", "mixed", "unknown"]
Presence = Literal["definite", "probable", "possible"]
Malignancy = Literal["malignant", "benign", "indeterminate", "unknown"]
Change = Literal["new", "stable", "larger", "smaller", "resolved", "unknown"]
OrganStatus = Literal[
    "lesion_present",
    "explicitly_lesion_free",
    "no_statement_on_lesions",
    "indeterminate",
    "surgically_absent",
    "not_mentioned",
]
OrganScope = Literal["any_focal_lesion", "suspicious_only", "recurrence_only", "metastasis_only"]
Match = Literal["exact", "normalised"]
ContrastPhase = Literal["non_contrast", "arterial", "portal_venous", "delayed", "unknown"]
UnusedReason = Literal[
    "duct",
    "vessel",
    "organ_size",
    "stone",
    "node",
    "prior",
    "specimen",
    "margin",
    "effusion",
    "device",
    "recommendation",
    "other",
]
IssueCode = Literal[
    "ambiguous_laterality",
    "conflicting_laterality",
    "conflicting_presence",
    "conflicting_size",
    "deidentification_failed",
    "duplicate_id",
    "empty_report",
    "extraction_error",
    "extraction_timeout",
    "extractors_disagree",
    "fallback_encoding",
    "implausible_size",
    "inferred_unit",
    "instruction_like_text",
    "invalid_case_id",
    "invalid_date",
    "invalid_id",
    "malformed_row",
    "missing_id",
    "missing_text",
    "model_output_invalid",
    "model_request_failed",
    "nothing_read",
    "report_too_long",
    "undecodable_text",
    "ungrounded_quote",
    "unmapped_anatomy",
    "unsupported_language",
    "unused_measurement",
    "worker_crashed",
]

Millimetre = Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False)]
MeasurementId = Annotated[str, Field(pattern=r"^M[1-9][0-9]{0,3}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Model(BaseModel):
    """Base of every record model: immutable, and a key that is not in the schema is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of_own(cls, **values: Any) -> Self:
        """An instance of values that our own code has just made, which are not checked again: a third of the time.

        Only for parts of which a checked model is made, never for what came from outside.
        """
        made = cls.__new__(cls)
        object.__setattr__(made, "__dict__", _defaults(cls) | values)
        object.__setattr__(made, "__pydantic_fields_set__", set(values))
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made


@cache
def _defaults(model: type[Model]) -> dict[str, Any]:
    """Every field in the order of the schema, a required one as None."""
    return {
        n: None if field.is_required() else field.get_default() for n, field in model.model_fields.items()
    }


class Span(Model):
    """Code points ``start:end`` of the report text."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if self.end < self.start:
            raise ValueError(f"a span ends before it starts: {self.start}:{self.end}")
        return self


class Evidence(Span):
    """A quote that grounds one field: ``text`` is the slice ``start:end`` of the report, always."""

    field: str
    text: str
    section: str
    match: Match = "exact"

    @model_validator(mode="after")
    def _same_length(self) -> Evidence:
        if len(self.text) != self.end - self.start:
            raise ValueError(f"evidence of {len(self.text)} characters on a span of {self.end - self.start}")
        return self


class Section(Span):
    """A named stretch of the report, such as findings or impression."""

    name: Name


class Issue(Model):
    """Something a reader should know about this record, by a code from a closed list."""

    code: IssueCode
    field: str | None = None
    span: Span | None = None


class Score(Model):
    """A standard category as written, such as LI-RADS 4."""

    system: str
    value: str


class Lesion(Model):
    """One lesion, or one group of lesions that the report describes together."""

    lesion_id: str
    organ: Name
    parts: tuple[Name, ...] = ()
    part_relation: PartRelation = "unknown"
    laterality: Laterality = "unknown"
    location_text: str | None = None
    kind: LesionKind = "lesion"
    diagnosis: Name | None = None
    diagnosis_text: str | None = None
    diagnosis_certainty: Presence | None = None
    diameters_mm: tuple[Millimetre, ...] = Field(default=(), max_length=3)
    size_min_mm: Millimetre | None = None
    size_max_mm: Millimetre | None = None
    size_kind: SizeKind = "none"
    size_precision_mm: Annotated[float, Field(ge=0, le=100)] = 0.0
    measurement_ids: tuple[MeasurementId, ...] = ()
    count: Annotated[int, Field(ge=1, le=1000)] | None = 1
    count_kind: CountKind = "exact"
    group_id: str | None = None
    group_role: GroupRole = "individual"
    reported_volume_mm3: Annotated[float, Field(gt=0)] | None = None
    attenuation: Attenuation = "unknown"
    enhancement: Attenuation = "unknown"
    hounsfield: float | None = None
    presence: Presence = "definite"
    malignancy: Malignancy = "unknown"
    malignancy_basis: str | None = None
    change: Change = "unknown"
    prior_diameters_mm: tuple[Millimetre, ...] = ()
    series: int | None = None
    image: int | None = None
    score: tuple[Score, ...] = ()
    treated: bool = False
    evidence: tuple[Evidence, ...] = ()
    mentions: tuple[Span, ...] = ()
    conflict: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _bounds(self) -> Lesion:
        if (
            self.size_min_mm is not None
            and self.size_max_mm is not None
            and self.size_min_mm > self.size_max_mm
        ):
            raise ValueError("size_min_mm is above size_max_mm")
        if self.count is None and self.count_kind == "exact":
            raise ValueError("an exact count needs a number")
        return self


class SideStatement(Model):
    """What the report says about one side of a paired organ."""

    status: OrganStatus = "not_mentioned"
    scope: OrganScope = "any_focal_lesion"


class OrganStatement(Model):
    """What the report says about focal lesions of one organ.

    Only ``explicitly_lesion_free`` with ``any_focal_lesion`` and not ``limited`` is a full-strength negative.
    """

    status: OrganStatus = "not_mentioned"
    sides: dict[Literal["left", "right"], SideStatement] = Field(default_factory=dict)
    scope: OrganScope = "any_focal_lesion"
    limited: bool = False
    evidence: tuple[Evidence, ...] = ()


class Technique(Model):
    """How the examination was made, as far as the report says."""

    modality: Literal["ct", "mri", "pet_ct", "ultrasound", "other", "unknown"] = "unknown"
    phase: ContrastPhase = "unknown"
    body_regions: tuple[Name, ...] = ()
    limited: bool = False
    evidence: tuple[Evidence, ...] = ()


class Sign(Model):
    """An early cue or secondary sign, such as a dilated duct; never a lesion."""

    organ: Name
    sign: Name
    value_mm: Millimetre | None = None
    measurement_ids: tuple[MeasurementId, ...] = ()
    evidence: tuple[Evidence, ...] = ()


class Surgery(Model):
    """An operation that removed an organ or parts of it."""

    organ: Name
    laterality: Laterality = "unknown"
    procedure: str
    extent: Literal["total", "partial", "unknown"] = "unknown"
    removed_parts: tuple[Name, ...] = ()
    evidence: tuple[Evidence, ...] = ()


class UnusedMeasurement(Span):
    """A current measurement that no lesion uses, and why."""

    measurement_id: MeasurementId
    reason: UnusedReason


class Provenance(Model):
    """How the record was made; nothing here differs from run to run, so that records are byte-identical."""

    backend: str
    version: str
    model: str | None = None
    revision: str | None = None
    prompt_sha256: str | None = None
    schema_sha256: str | None = None
    decoding: dict[str, str | int | float | bool | None] = Field(default_factory=dict)


class ReportRecord(Model):
    """What one report says. There is exactly one record a report, also when extraction failed."""

    schema_version: Literal["1.0.0"] = "1.0.0"
    report_id: Annotated[str, Field(pattern=ID_PATTERN)]
    case_id: Annotated[str, Field(pattern=ID_PATTERN)] | None = None
    patient_id: str | None = None
    study_date: date | None = None
    source: Source
    text_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    text_chars: int = Field(ge=0)
    sections: tuple[Section, ...] = ()
    status: Status
    issues: tuple[Issue, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    organs: dict[Name, OrganStatement] = Field(default_factory=dict)
    technique: Technique = Technique()
    signs: tuple[Sign, ...] = ()
    surgery: tuple[Surgery, ...] = ()
    unused_measurements: tuple[UnusedMeasurement, ...] = ()
    provenance: Provenance
