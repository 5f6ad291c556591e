"""What callers pass to make targets, looked at first: errors that say what to pass instead."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from llm_extract.anatomy import Anatomy
from llm_extract.records import ReportRecord
from rsuper.errors import DataError, UsageError
from rsuper.morphology import UNITS, Spacing, is_in_mm
from rsuper.supervision.policy import SupervisionPolicy
from rsuper.supervision.regions import Mask, Masks

ROUNDING = 1e-3
"""Labels stored as scaled floating-point numbers are as far from whole ones."""


def check_records(records: Sequence[ReportRecord]) -> None:
    """What is easily passed in place of a sequence of records."""
    alone = isinstance(records, str | ReportRecord) or not isinstance(records, Sequence)
    if alone or any(not isinstance(item, ReportRecord) for item in records):
        raise TypeError(
            "records is a sequence of ReportRecord; rsuper.integrations.target_map reads texts too"
        )


def check_words(lesion_classes: Sequence[str], voxel_labelled: Collection[str]) -> None:
    """One name in place of several: as a text it would hold every part of itself."""
    for name, value in (("lesion_classes", lesion_classes), ("voxel_labelled", voxel_labelled)):
        if isinstance(value, str):
            raise TypeError(f"{name} holds names, such as [{value!r}], got one text")


def check_margins(margins_mm: Mapping[str, float], lesion_classes: Sequence[str], anatomy: Anatomy) -> None:
    """Names that are no organ and no class, and margins that are no lengths."""
    known = {*lesion_classes, *anatomy.organs}
    for organ in anatomy.organs.values():
        known |= {organ.class_name, organ.lesion_class}
    if not isinstance(margins_mm, Mapping):
        raise TypeError(f"margins_mm is organ -> mm, such as {{'liver': 15.0}}, got {margins_mm!r}")
    for name, margin_mm in margins_mm.items():
        if name not in known:
            raise UsageError(
                f"margins_mm names {name!r}",
                code="bad_margin",
                hint="name an organ, such as adrenal_gland, or a lesion class",
            )
        if not isinstance(margin_mm, Real) or not (np.isfinite(margin_mm) and margin_mm >= 0):
            raise UsageError(
                f"the margin of {name} is {margin_mm!r}", code="bad_margin", hint="give millimetres"
            )


def check_policy(policy: SupervisionPolicy, anatomy: Anatomy) -> None:
    """A policy or a table by its name, and organs that no lesion can have: their rule would never apply."""
    if not isinstance(anatomy, Anatomy):
        raise TypeError(
            f'anatomy is an Anatomy, got {type(anatomy).__name__}: llm_extract.anatomy.load_anatomy(Path("mine.yaml"))'
        )
    if not isinstance(policy, SupervisionPolicy):
        raise TypeError(
            f"policy is a SupervisionPolicy, got {type(policy).__name__}: "
            'rsuper.supervision.load_policy("tumours")'
        )
    named = dict.fromkeys(organ for rule in policy.rules for organ in rule.organ)
    for name in named:
        if name not in anatomy.organs:
            near = difflib.get_close_matches(name, sorted(anatomy.organs), n=1, cutoff=0.0)
            raise UsageError(
                f"a rule of the policy names the organ {name!r}, which the anatomy table does not have",
                code="unknown_organ",
                hint=f"did you mean {near[0]}? Organs of your own come with --anatomy FILE",
            )


def checked_spacing(spacing_mm: Sequence[float], case_id: str) -> Spacing:
    """Three positive numbers."""
    try:
        values = [float(s) for s in np.ravel(np.asarray(spacing_mm))]
    except (TypeError, ValueError):
        values = []
    if len(values) != 3 or any(not (np.isfinite(s) and s > 0) for s in values):
        raise DataError(
            f"spacing_mm must be 3 positive numbers, got {tuple(values) or spacing_mm!r}",
            code="bad_spacing",
            case_id=case_id,
        )
    spacing = (values[0], values[1], values[2])
    if not is_in_mm(spacing):
        raise DataError(
            f"{UNITS}, got {spacing}",
            code="bad_spacing",
            case_id=case_id,
            hint="metres take 1000 times that, micrometres 0.001",
        )
    return spacing


def common_shape(masks: Masks, case_id: str) -> tuple[int, int, int]:
    """The shape that all masks have."""
    if not masks:
        raise DataError(
            "a case needs at least one organ mask",
            code="no_organ_masks",
            case_id=case_id,
            hint="add CASE/segmentations/STRUCTURE.nii.gz",
        )
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    first = next(iter(shapes.values()))
    odd = {name: shape for name, shape in shapes.items() if shape != first or len(shape) != 3}
    if odd:
        name, shape = next(iter(odd.items()))
        raise DataError(
            f"mask {name} has shape {shape} (D, H, W), the first mask {first}",
            code="mask_grid_mismatch",
            case_id=case_id,
            hint="resample all masks to the grid of the CT"
            if len(shape) == 3
            else "give each as [D,H,W]: mask[0]",
        )
    return (int(first[0]), int(first[1]), int(first[2]))


def as_bool(masks: Mapping[str, NDArray[np.generic]]) -> dict[str, Mask]:
    """The same masks as bool arrays; any non-zero voxel counts, bool arrays are not copied.

    Raises:
        DataError: ``mask_not_finite`` for a NaN, which would count as well; ``mask_not_whole`` for probabilities, of
            which every voxel would.
    """
    if not isinstance(masks, Mapping):
        raise TypeError(
            f"masks are structure -> [D,H,W], such as {{'liver': mask}}, got {type(masks).__name__}"
        )
    for name, mask in masks.items():
        if isinstance(mask, np.ndarray) and mask.dtype.kind == "f" and np.isnan(mask).any():
            raise DataError(
                f"mask {name} holds NaN", code="mask_not_finite", hint="give 0 where the organ is not"
            )
        if (
            isinstance(mask, np.ndarray)
            and mask.dtype.kind == "f"
            and (np.abs(mask - np.rint(mask)) > ROUNDING).any()
        ):
            raise DataError(
                f"mask {name} holds values between whole numbers",
                code="mask_not_whole",
                hint="cut a map of probabilities first: mask > 0.5",
            )
    return {name: np.asarray(mask, dtype=bool) for name, mask in masks.items()}
