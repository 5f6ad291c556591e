"""Everything that can be wrong with one case: its CT, its masks, and whether they fit its reports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.data.class_map import LESION_SUFFIX
from rsuper.data.issues import DataIssue, Severity
from rsuper.data.layout import Dataset
from rsuper.data.mask_summary import MaskSummary, boxes_apart_mm, centre_x_mm, summarise_mask
from rsuper.data.reported_organs import ReportedOrgans
from rsuper.errors import RsuperError
from rsuper.supervision import (
    SupervisionPolicy,
    check_consistency,
    finding_advice,
    load_policy,
    mask_contradiction,
)
from rsuper.volumes import Volume, ct_value_issues, grid_difference, read_volume, to_canonical

_THICK_SLICE_MM = 6.0


@dataclass(frozen=True, kw_only=True)
class CaseCheck:
    """What was found in one case.

    Args:
        case_id: the case.
        issues: errors and warnings.
        image_sha256: hash of the CT's voxels in canonical order, whatever its dtype; None if it cannot be
            read.
        masks: structure -> summary.
    """

    case_id: str
    issues: tuple[DataIssue, ...]
    image_sha256: str | None = None
    masks: Mapping[str, MaskSummary] | None = None


class CaseChecker:
    """Checks one case; nothing that a file holds can make it raise.

    Args:
        dataset: the opened dataset.
        case_id: the case.
        required: structures that must be there.
        anatomy: the table of organs.
        policy: which reported lesions count, and how their regions are made; the preset ``tumours`` by default.
    """

    def __init__(
        self,
        dataset: Dataset,
        case_id: str,
        *,
        required: Sequence[str] = (),
        anatomy: Anatomy | None = None,
        policy: SupervisionPolicy | None = None,
    ) -> None:
        self._dataset = dataset
        self._case_id = case_id
        self._required = tuple(required)
        self._anatomy = anatomy or load_anatomy()
        self._policy = policy or load_policy()
        self._issues: list[DataIssue] = []

    def run(self) -> CaseCheck:
        """Read everything the case has and say what is wrong with it."""
        ct = self._check_ct()
        masks, kept = self._check_masks(ct)
        self._check_sides(masks)
        self._check_lesion_places(masks)
        self._check_reports(masks, kept, ct)
        return CaseCheck(
            case_id=self._case_id,
            issues=tuple(self._issues),
            image_sha256=None if ct is None else image_sha256(ct),
            masks=masks,
        )

    def _add(
        self,
        code: str,
        severity: Severity,
        message: str,
        hint: str,
        *,
        structure: str | None = None,
        report_id: str | None = None,
    ) -> None:
        self._issues.append(
            DataIssue(
                code=code,
                severity=severity,
                message=message,
                hint=hint,
                case_id=self._case_id,
                structure=structure,
                report_id=report_id,
            )
        )

    def _add_error(self, error: RsuperError, *, structure: str | None = None) -> None:
        self._add(error.code, "error", str(error.args[0]), error.hint or "", structure=structure)

    def _check_ct(self) -> Volume | None:
        try:
            path = self._dataset.ct_path(self._case_id)
            if not path.exists():
                return self._dataset.read_ct(self._case_id)
            ct = to_canonical(read_volume(path))
        except RsuperError as error:
            self._add_error(error)
            return None
        for issue in ct_value_issues(ct):
            self._add(issue.code, issue.severity, issue.message, issue.hint)
        if max(ct.spacing_mm) > _THICK_SLICE_MM:
            self._add(
                "thick_slices",
                "warning",
                f"voxels are {max(ct.spacing_mm):.1f} mm long",
                "lesions below about twice that length cannot be seen; prefer a thinner reconstruction",
            )
        return ct

    def _check_masks(self, ct: Volume | None) -> tuple[dict[str, MaskSummary], dict[str, NDArray[np.bool_]]]:
        """Summaries of all masks, and the voxels of those that the regions of reported lesions depend on."""
        try:
            names = sorted(self._dataset.structures(self._case_id))
        except RsuperError as error:
            self._add_error(error)
            return {}, {}
        for name in self._required:
            if name not in names:
                self._add(
                    "missing_organ_mask",
                    "error",
                    f"there is no mask of {name}",
                    "add the file, or leave the structure out of the configuration",
                    structure=name,
                )
        kept = ReportedOrgans(self._reported_organs(), names, self._anatomy)
        summaries: dict[str, MaskSummary] = {}
        for name in names:
            mask = self._check_mask(name, ct)
            if mask is not None:
                summaries[name] = summarise_mask(mask)
                kept.add(name, mask.array)
        self._check_empty(summaries)
        return summaries, kept.masks

    def _check_empty(self, masks: Mapping[str, MaskSummary]) -> None:
        """Empty organ masks in one issue a case: a slab has dozens of them, rightly."""
        empty = [
            name for name, mask in masks.items() if mask.low_mm is None and not name.endswith(LESION_SUFFIX)
        ]
        if empty:
            shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
            self._add(
                "empty_mask",
                "warning",
                f"no voxel in {shown}",
                "outside the field of view or removed? Delete files that were never segmented",
                structure=empty[0] if len(empty) == 1 else None,
            )

    def _check_mask(self, name: str, ct: Volume | None) -> Volume | None:
        try:
            mask = to_canonical(self._dataset.read_structure(self._case_id, name))
        except RsuperError as error:
            self._add_error(error, structure=name)
            return None
        difference = None if ct is None else grid_difference(mask, ct)
        if difference is not None:
            self._add(
                "grid_mismatch",
                "error",
                f"mask and CT are not on one grid: {difference}",
                "resample the mask onto the CT with nearest neighbour, or export both again from one source",
                structure=name,
            )
            return None
        if mask.array.all():
            self._add(
                "full_mask",
                "error",
                "the mask fills the whole volume",
                "export the mask again",
                structure=name,
            )
            return None
        return mask

    def _reported_organs(self) -> frozenset[str]:
        records = self._dataset.records(self._case_id)
        return frozenset(lesion.organ for record in records for lesion in record.lesions) & frozenset(
            self._anatomy.organs
        )

    def _check_sides(self, masks: Mapping[str, MaskSummary]) -> None:
        """Left organs lie to the left of right ones: else the volume or the labels are mirrored."""
        for left_name, left in masks.items():
            right = (
                masks.get(left_name.removesuffix("_left") + "_right") if left_name.endswith("_left") else None
            )
            left_x, right_x = centre_x_mm(left), centre_x_mm(right)
            if left_x is not None and right_x is not None and left_x > right_x:
                self._add(
                    "left_right_swapped",
                    "error",
                    f"lies {left_x - right_x:.0f} mm to the right of its counterpart",
                    "the labels are exchanged or the file is mirrored; compare with the original series",
                    structure=left_name,
                )
        liver_x, spleen_x = centre_x_mm(masks.get("liver")), centre_x_mm(masks.get("spleen"))
        if liver_x is not None and spleen_x is not None and liver_x < spleen_x:
            self._add(
                "organs_mirrored",
                "warning",
                "the liver lies to the left of the spleen",
                "situs inversus, or the whole case is mirrored; compare with the original series",
                structure="liver",
            )

    def _check_lesion_places(self, masks: Mapping[str, MaskSummary]) -> None:
        for organ in self._anatomy.organs.values():
            lesion = masks.get(organ.lesion_class)
            hosts = [masks[stem] for stem in self._anatomy.organ_structures(organ.name) if stem in masks]
            known = [host for host in hosts if host.low_mm is not None]
            if lesion is None or lesion.low_mm is None or not known or len(known) < len(hosts):
                continue
            if all(boxes_apart_mm(lesion, host) > organ.margin_mm for host in known):
                self._add(
                    "lesion_outside_organ",
                    "warning",
                    f"no voxel within {organ.margin_mm:g} mm of the box of the {organ.name}",
                    "wrong organ, or a mask that was flipped or shifted; look at the case",
                    structure=organ.lesion_class,
                )

    def _check_reports(
        self, masks: Mapping[str, MaskSummary], kept: Mapping[str, NDArray[np.bool_]], ct: Volume | None
    ) -> None:
        records = self._dataset.records(self._case_id)
        reports = self._dataset.reports(self._case_id)
        if not records and not reports and not any(name.endswith(LESION_SUFFIX) for name in masks):
            self._add(
                "ct_without_report",
                "warning",
                "neither a report nor a lesion mask: the case teaches organs only",
                "link its report by case_id or in links.csv",
            )
        done = {record.report_id for record in records}
        if self._dataset.records_path is not None:
            for report in reports:
                if report.report_id not in done:
                    self._add(
                        "report_without_record",
                        "warning",
                        "the report has no record",
                        "run `rsuper extract` on reports.jsonl again",
                        report_id=report.report_id,
                    )
        for record in records:
            if record.status == "failed":
                codes = ", ".join(sorted({issue.code for issue in record.issues})) or "no code"
                self._add(
                    "record_failed",
                    "warning",
                    f"extraction failed ({codes}); the report supervises nothing",
                    "see the extraction's summary.json",
                    report_id=record.report_id,
                )
        self._check_agreement(masks)
        if kept and ct is not None:
            self._check_consistency(kept, ct)

    def _check_agreement(self, masks: Mapping[str, MaskSummary]) -> None:
        """Human lesion masks against what the reports say of the same class, as the policy counts it."""
        for name, lesion in masks.items():
            if not name.endswith(LESION_SUFFIX):
                continue
            for record in self._dataset.records(self._case_id):
                code = mask_contradiction(
                    record,
                    name,
                    drawn=lesion.low_mm is not None,
                    anatomy=self._anatomy,
                    policy=self._policy,
                )
                if code is not None:
                    stated = code == "mask_denies_report"
                    self._add(
                        code,
                        "warning",
                        f"the report states {'a lesion' if stated else 'no lesion'}, the mask "
                        f"{'is empty' if stated else f'has {lesion.volume_mm3:.0f} mm³'}",
                        "the mask wins in training; look at the case",
                        structure=name,
                        report_id=record.report_id,
                    )

    def _check_consistency(self, kept: Mapping[str, NDArray[np.bool_]], ct: Volume) -> None:
        findings = check_consistency(
            self._dataset.records(self._case_id),
            kept,
            spacing_mm=ct.spacing_mm,
            anatomy=self._anatomy,
            policy=self._policy,
        )
        for finding in findings:
            if finding.code == "organ_mask_missing":
                continue  # said once a case, in comparison with the other cases
            numbers = ""
            if finding.stated is not None and finding.limit is not None:
                unit = "mm³" if finding.code == "volume_above_region" else "mm"
                digits = 0 if unit == "mm³" else 1  # 0.4 mm is the slip itself
                stated, limit = (round(value, digits) for value in (finding.stated, finding.limit))
                numbers = f": stated {stated:.10g} {unit}, limit {limit:.10g} {unit}"
            self._add(
                finding.code,
                "warning",
                f"{finding.organ} lesion {finding.lesion_id}{numbers}",
                finding_advice(finding, self._policy),
                report_id=finding.report_id,
            )


def image_sha256(ct: Volume) -> str:
    """Hash of the voxels of a canonical CT in whole HU: the same after a change of dtype or axis order."""
    whole = np.clip(np.rint(ct.array), -32768, 32767).astype(np.int16)
    digest = hashlib.sha256(repr(ct.shape).encode())
    digest.update(np.ascontiguousarray(whole).tobytes())
    return digest.hexdigest()
