"""What a prediction says about one lesion, and the file that holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rsuper.errors import DataError
from rsuper.files import write_atomic_text

Side = Literal["left", "right", "unknown", "n/a"]
FINDINGS_FILE = "findings.json"
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Finding(BaseModel):
    """One connected lesion of a prediction, measured on the grid of the input CT.

    Args:
        lesion_id: ``<class>-<n>``, the largest lesion first.
        class_name: lesion class, key ``class`` in JSON.
        organ: organ of the anatomy table.
        part: part of the organ, None where no part mask was at hand or near.
        side: ``n/a`` for organs that are not paired, ``unknown`` where no side mask was at hand.
        diameters_mm: longest axial, perpendicular to it in the same slice, cranio-caudal.
        volume_mm3: voxel count times voxel volume.
        mean_hu: mean CT number inside the lesion, None without a CT.
        confidence: mean probability of its most probable 100 mm³, None without a probability.
        centre_mm: centre of mass in RAS+ mm.
        centre_voxel: centre of mass in array order, 0-based, fractional.
        slice_index: 0-based axial slice that holds the longest diameter, key ``slice`` in JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    lesion_id: str
    class_name: str = Field(validation_alias="class", serialization_alias="class")
    organ: str
    part: str | None = None
    side: Side = "unknown"
    diameters_mm: tuple[_Positive, _Positive, _Positive]
    volume_mm3: _Positive
    mean_hu: _Finite | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    centre_mm: tuple[_Finite, _Finite, _Finite]
    centre_voxel: tuple[_Finite, _Finite, _Finite]
    slice_index: int = Field(validation_alias="slice", serialization_alias="slice", ge=0)


class CaseFindings(BaseModel):
    """All lesions of one case: the content of ``findings.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_id: str
    spacing_mm: tuple[_Positive, _Positive, _Positive]
    lesions: tuple[Finding, ...] = ()


def write_findings(path: Path, findings: CaseFindings) -> Path:
    """Write ``findings.json`` whole or not at all (temporary file in the same folder, fsync, rename).

    Args:
        path: the file, or the case folder that shall hold it.
        findings: the lesions of the case.

    Returns:
        The file.
    """
    target = path / FINDINGS_FILE if path.is_dir() else path
    text = json.dumps(findings.model_dump(mode="json", by_alias=True), indent=1) + "\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic_text(target, text)
    return target


def read_findings(path: Path) -> CaseFindings:
    """Read ``findings.json`` (or the one in a case folder).

    Raises:
        DataError: the file is missing, is not JSON, or does not follow the contract.
    """
    target = path / FINDINGS_FILE if path.is_dir() else path
    try:
        return CaseFindings.model_validate_json(target.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"no findings at {target}", code="findings_missing", hint="run `rsuper predict` first"
        ) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{target} is not a findings file: {where}: {first['msg']}", code="findings_invalid"
        ) from error
