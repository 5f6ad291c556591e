"""Which fields of a record may leave the hospital. A field that is not listed as released is withheld.

A released field holds numbers, words of a closed list, or what :mod:`llm_extract.handover.released_record` makes of it;
a test holds both tables against the models, so that a new field is a decision.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_extract.records import (
    Evidence,
    Issue,
    Lesion,
    Model,
    OrganStatement,
    Provenance,
    ReportRecord,
    Score,
    Section,
    SideStatement,
    Sign,
    Span,
    Surgery,
    Technique,
    UnusedMeasurement,
)

_KEYED = "keyed hash of the hospital's id"
_CODE_OR_NONE = "; left out where it is not in the package's own list"

RELEASED: Mapping[type[Model], Mapping[str, str]] = {
    ReportRecord: {
        "schema_version": "version of the record's schema",
        "report_id": _KEYED,
        "case_id": f"{_KEYED}: the CT that the report belongs to",
        "patient_id": _KEYED,
        "source": "kind of report",
        "status": "how far the record can be relied on",
        "issues": "what a reader should know, by code",
        "lesions": "lesions, or groups of lesions described together",
        "organs": "what the report says about focal lesions of each organ",
        "technique": "how the examination was made",
        "signs": "secondary signs, never lesions",
        "surgery": "operations that removed an organ or parts of it",
        "unused_measurements": "current measurements that are no lesion's size, and why",
        "provenance": "how the record was made",
    },
    Lesion: {
        "lesion_id": "number of the lesion within its record",
        "organ": "organ it lies in; other where it is not in the package's own list",
        "parts": "parts of the organ",
        "part_relation": "how it lies to these parts",
        "laterality": "side of the body",
        "location_text": "the word withheld where the report has words for the place, else empty",
        "kind": "what the report calls it",
        "diagnosis": f"code of its diagnosis{_CODE_OR_NONE}",
        "diagnosis_certainty": "how sure the report is of the diagnosis",
        "diameters_mm": "0 to 3 stated diameters",
        "size_min_mm": "lower bound of its size",
        "size_max_mm": "upper bound of its size",
        "size_kind": "how the size is stated",
        "size_precision_mm": "half a unit of the last stated digit",
        "measurement_ids": "numbers of its measurements within the report",
        "count": "number of lesions it stands for; empty where several are stated without a number",
        "count_kind": "how the number is stated",
        "group_id": "group of lesions described together, within the record",
        "group_role": "its place in that group",
        "reported_volume_mm3": "stated volume",
        "attenuation": "density before or without contrast",
        "enhancement": "enhancement after contrast",
        "hounsfield": "stated Hounsfield units",
        "presence": "how sure the report is that it exists",
        "malignancy": "malignant or benign, as far as stated",
        "malignancy_basis": "what says so",
        "change": "since the earlier examination",
        "prior_diameters_mm": "diameters at an earlier examination",
        "series": "stated number of the series, up to 9999",
        "image": "stated number of the image, up to 9999",
        "score": "standard categories such as LI-RADS 4",
        "treated": "whether it was treated",
        "evidence": "one entry without text: that a quote grounds it, and whether word for word",
        "conflict": "fields on which the report contradicts itself",
    },
    OrganStatement: {
        "status": "what the report says about focal lesions of the organ",
        "sides": "the same for each side of a paired organ",
        "scope": "what kind of lesion is denied",
        "limited": "whether the statement is limited by technique",
        "evidence": "one entry without text",
    },
    SideStatement: {"status": "as of the organ", "scope": "as of the organ"},
    Technique: {
        "modality": "modality",
        "phase": "contrast phase",
        "body_regions": "regions covered",
        "limited": "whether the examination was limited",
    },
    Sign: {
        "organ": "organ of the sign",
        "sign": "code of the sign",
        "value_mm": "its stated measure",
        "measurement_ids": "numbers of its measurements",
    },
    Surgery: {
        "organ": "organ that was operated",
        "laterality": "side",
        "procedure": "code of the operation; other where it is not in the package's own list",
        "extent": "whether all of the organ was removed",
        "removed_parts": "parts that were removed",
    },
    Issue: {"code": "code of a closed list", "field": "field of the record that it is about"},
    Score: {"system": "name of the system", "value": "category"},
    Evidence: {"field": "always quote", "match": "whether the quote is word for word in the report"},
    UnusedMeasurement: {
        "measurement_id": "number of the measurement within the report",
        "reason": "what it measures",
    },
    Provenance: {
        "backend": "name of the backend; own where it is not one of the package's",
        "version": "its version",
        "prompt_sha256": "hash of the instructions",
        "schema_sha256": "hash of the answer schema",
    },
    Span: {},
    Section: {},
}
"""Model -> field -> what it holds, for the data dictionary."""

WITHHELD: Mapping[type[Model], Mapping[str, str]] = {
    ReportRecord: {
        "study_date": "a date; studies.csv has days since the patient's first study",
        "text_sha256": "would tell whoever guesses a text that the guess is right",
        "text_chars": "length of the text",
        "sections": "places in the text",
    },
    Lesion: {
        "diagnosis_text": "words of the report",
        "mentions": "places in the text",
    },
    OrganStatement: {},
    SideStatement: {},
    Technique: {"evidence": "words of the report"},
    Sign: {"evidence": "words of the report"},
    Surgery: {"evidence": "words of the report"},
    Issue: {"span": "a place in the text"},
    Score: {},
    Evidence: {
        "text": "words of the report",
        "start": "a place in the text",
        "end": "a place in the text",
        "section": "a place in the text",
    },
    UnusedMeasurement: {"start": "a place in the text", "end": "a place in the text"},
    Provenance: {
        "model": "may be a path on the hospital's machine",
        "revision": "may be a path on the hospital's machine",
        "decoding": "free keys and values",
    },
    Span: {"start": "a place in the text", "end": "a place in the text"},
    Section: {"start": "a place in the text", "end": "a place in the text", "name": "free words"},
}
"""Model -> field -> why it stays in the hospital."""
