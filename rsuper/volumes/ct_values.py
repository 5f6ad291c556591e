"""Do these voxels look like Hounsfield units? A CT that was rescaled, windowed or emptied is found here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rsuper.errors import DataError
from rsuper.volumes.volume import Volume

_ISSUE_HINTS = {
    "constant_volume": "the export failed; take the series from the archive again",
    "hu_normalised": "use the CT before normalisation; training does that itself",
    "hu_offset": "apply RescaleSlope and RescaleIntercept: subtract 1024 (HU = stored × slope + intercept)",
    "hu_windowed": "use the CT before windowing; grey values 0 to 255 cannot be turned back into HU",
    "hu_all_air": "nothing but air: check RescaleIntercept, it may have been applied twice",
    "hu_out_of_range": "values beyond ±32000 HU are no tissue; check the rescaling and the padding value",
}


@dataclass(frozen=True, kw_only=True)
class CtValueIssue:
    """Why values are no plausible HU: a stable code, how bad it is, what was seen, what to do."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    hint: str


def ct_value_issues(volume: Volume) -> tuple[CtValueIssue, ...]:
    """Compare the value range with what a CT can look like (air -1000, fat -100, water 0, bone to 3000 HU).

    ``constant_volume`` and values normalised to about ±10, windowed to 0…255 or stored with the +1024 offset
    are errors; a volume of air alone and values beyond ±32000 are warnings.
    """
    array = volume.array
    low, high = float(array.min()), float(array.max())
    seen = f"values from {low:g} to {high:g}"
    if low == high:
        return (_issue("constant_volume", "error", f"every voxel is {low:g}"),)
    if low >= -10 and high <= 10:
        return (_issue("hu_normalised", "error", seen),)
    if low >= 0 and high <= 255 and float((array == low).mean()) > 0.02 and high - low >= 200:
        return (_issue("hu_windowed", "error", seen),)
    if low >= 0 and high >= 1500:
        return (_issue("hu_offset", "error", f"{seen}, no negative voxel: air and fat are missing"),)
    if high < -500:
        return (_issue("hu_all_air", "warning", seen),)
    if low < -32000 or high > 32000:
        return (_issue("hu_out_of_range", "warning", seen),)
    return ()


def require_ct_values(volume: Volume, *, case_id: str | None = None) -> None:
    """Refuse a CT whose values cannot be HU.

    Raises:
        DataError: the first error of :func:`ct_value_issues`.
    """
    for issue in ct_value_issues(volume):
        if issue.severity == "error":
            raise DataError(issue.message, code=issue.code, case_id=case_id, hint=issue.hint)


def _issue(code: str, severity: Literal["error", "warning"], message: str) -> CtValueIssue:
    return CtValueIssue(code=code, severity=severity, message=message, hint=_ISSUE_HINTS[code])
