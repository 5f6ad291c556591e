"""What a line of a gold file holds, in its two layouts; docs/gold.md says it in words.

Keys that are not listed here are ignored: notes, licences and the like may stand beside them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Place = Annotated[int, Field(ge=0)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Quote(_Entry):
    """A stretch of the report: code points from ``start`` to before ``end``."""

    start: Place
    end: Place


class Distractor(_Entry):
    """Words with a number that is no current size."""

    text: str


class FreeWords(_Entry):
    """What is said of an organ."""

    status: str


class GoldFinding(_Entry):
    """A lesion of the layout ``findings``, or a group of lesions described together."""

    organ: str
    laterality: str | None
    diameters_mm: tuple[Millimetres, ...]
    count: int | str | None
    attenuation: str | None
    certainty: str
    location: str | None = None
    evidence: object = None
    evidence_span: tuple[Place, Place] | None = None


class ExpectedLesion(_Entry):
    """A lesion of the layout ``expected``."""

    organ: str
    diameters_mm: tuple[Millimetres, ...]
    location: tuple[str, ...] | None = None
    laterality: str | None = None
    count: int | None = None
    count_kind: str | None = None
    attenuation: str | None = None
    presence: str = "definite"
    prior_diameters_mm: tuple[Millimetres, ...] = ()
    evidence: tuple[Quote, ...] = ()


class FindingsLine(_Entry):
    """A whole report with all of its lesions."""

    id: str
    text: str
    findings: tuple[GoldFinding, ...]
    organs_negative: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class ExpectedLine(_Entry):
    """A short text with what must not be taken for a current size."""

    id: str
    text: str
    expected: tuple[ExpectedLesion, ...]
    organ_status: dict[str, FreeWords] | None = None
    distractors: tuple[Distractor, ...] = ()


def parse_line(line: str) -> FindingsLine | ExpectedLine:
    """Read a line of a gold file.

    Raises:
        ValueError: it is none; the message names the field and never quotes the line.

    >>> parse_line('{"id": "A", "text": "Liver cyst.", "findings": [{"organ": "liver"}]}')
    Traceback (most recent call last):
    ...
    ValueError: findings[0].laterality is missing; and 4 more
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of the file, not of a type here
    if not {"findings", "expected"} & value.keys():
        raise ValueError("findings (or expected) is missing")
    try:
        return (ExpectedLine if "expected" in value else FindingsLine).model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise ValueError(_words(problems[0]) + more) from None


def _words(problem: Any) -> str:
    said = "is missing" if problem["type"] == "missing" else f"is wrong: {problem['msg']}"
    return f"{_dotted(problem['loc'])} {said}"


def _dotted(place: Sequence[str | int]) -> str:
    """A place in an object.

    >>> _dotted(("findings", 0, "organ"))
    'findings[0].organ'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
