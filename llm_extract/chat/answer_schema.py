"""What a model may write: a small answer that points at measurements by id, as models and as a JSON schema.

Every string, list and number is bounded, and strings cannot hold control characters: an engine that decodes under
the schema can neither run away nor write what is no JSON. Keys with a default are left out by the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from llm_extract.records import Attenuation, Change, LesionKind, Malignancy, OrganScope, Presence

BUCKETS = (0, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of measurement ids that a schema offers; a report gets the smallest that holds its own."""

MAX_LESIONS = 40
MAX_FREE = 24
MAX_IDS = 6
MAX_COUNT = 30

Side = Literal["left", "right", "bilateral", "midline"]
Role = Literal["index", "member", "remainder"]
Group = Literal["A", "B", "C", "D", "E", "F", "G", "H"]

MAX_QUOTE = 120
"""Characters of a quote; xgrammar 0.2 cannot compile a pattern that repeats more than 128 times."""

# no control characters, and neither quote nor backslash: what stands between the quotes of the JSON is the value
_CHARS = r'[^\u0000-\u001f\u007f"\\]'
_Quote = Annotated[str, Field(min_length=1, max_length=MAX_QUOTE)]
_Words = Annotated[str, Field(min_length=1, max_length=80)]
_Id = Annotated[str, Field(pattern=r"^M[1-9][0-9]{0,3}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LesionAnswer(_Part):
    """One lesion, or one group of lesions described together.

    Args:
        quote: verbatim words of the report that state it.
        organ: organ it lies in.
        place: verbatim words that say where in the organ; mapped to parts by the anatomy table, not by the model.
        side: side of the body.
        kind: what the report calls it.
        name: verbatim words of its diagnosis.
        size: ids of its current size, in whichever section.
        prior: ids of its size at an earlier examination.
        count: number of lesions it stands for, 1 by default.
        role, group: its place in a group whose largest lesion is measured on its own.
    """

    quote: _Quote
    organ: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    place: _Words | None = None
    side: Side | None = None
    kind: LesionKind = "lesion"
    name: _Words | None = None
    size: Annotated[list[_Id], Field(max_length=MAX_IDS)] = []
    prior: Annotated[list[_Id], Field(max_length=MAX_IDS)] = []
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] | Literal["multiple"] = 1
    role: Role | None = None
    group: Group | None = None
    density: Attenuation = "unknown"
    presence: Presence = "definite"
    malignancy: Malignancy = "unknown"
    change: Change = "unknown"


class FreeAnswer(_Part):
    """Organs that one stretch of the report calls free of lesions."""

    quote: _Quote
    organs: Annotated[list[str], Field(min_length=1, max_length=12)]
    side: Literal["left", "right"] | None = None
    scope: OrganScope = "any_focal_lesion"


class Answer(_Part):
    """All that a model says of one report."""

    lesions: Annotated[list[LesionAnswer], Field(max_length=MAX_LESIONS)]
    free: Annotated[list[FreeAnswer], Field(max_length=MAX_FREE)]


def bucket_of(n_measurements: int) -> int:
    """The smallest bucket that holds a report's measurements; what the largest cannot hold is not offered.

    >>> bucket_of(0), bucket_of(5), bucket_of(1000)
    (0, 8, 256)
    """
    return next((size for size in BUCKETS if size >= n_measurements), BUCKETS[-1])


def max_output_tokens(bucket: int) -> int:
    """Most tokens an answer may take: room for twice the usual number of lesions, and a bound for loops."""
    return min(700 + 110 * bucket, 4096)


def answer_schema(bucket: int, organs: Sequence[str]) -> dict[str, Any]:
    """JSON schema of an answer.

    Args:
        bucket: number of measurement ids it offers.
        organs: names of the anatomy table.
    """
    ids = {
        "type": "array",
        "items": {"enum": [f"M{n + 1}" for n in range(bucket)]},
        "minItems": 1,
        "maxItems": MAX_IDS,
    }
    lesion: dict[str, Any] = {
        "quote": _text(4, MAX_QUOTE),
        "organ": {"enum": list(organs)},
        "place": _text(2, 80),
        "side": _enum(Side),
        "kind": _enum(LesionKind),
        "name": _text(2, 80),
        **({"size": ids, "prior": ids} if bucket else {}),
        "count": {"enum": [*range(1, MAX_COUNT + 1), "multiple"]},
        "role": _enum(Role),
        "group": _enum(Group),
        "density": _enum(Attenuation),
        "presence": _enum(Presence),
        "malignancy": _enum(Malignancy),
        "change": _enum(Change),
    }
    free = {
        "quote": _text(4, MAX_QUOTE),
        "organs": {"type": "array", "items": {"enum": list(organs)}, "minItems": 1, "maxItems": 12},
        "side": {"enum": ["left", "right"]},
        "scope": _enum(OrganScope),
    }
    return _object(
        {
            "lesions": _list(_object(lesion, ["quote", "organ", "kind"]), MAX_LESIONS),
            "free": _list(_object(free, ["quote", "organs"]), MAX_FREE),
        },
        ["lesions", "free"],
    )


def schema_sha256(organs: Sequence[str]) -> str:
    """Hash over the schemas of all buckets."""
    schemas = [answer_schema(bucket, organs) for bucket in BUCKETS]
    return hashlib.sha256(json.dumps(schemas, sort_keys=True).encode()).hexdigest()


def _text(shortest: int, longest: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{_CHARS}{{{shortest},{longest}}}$"}


def _enum(values: Any) -> dict[str, Any]:
    return {"enum": list(get_args(values))}


def _list(items: dict[str, Any], longest: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": longest}


def _object(properties: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
