"""A case card from arrays: the slice to show, four pictures, what each network made of it, the agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llm_extract.anatomy import load_anatomy
from llm_extract.records import ReportRecord
from rsuper.agreement.compare_case import compare_case
from rsuper.evaluation.detection import match_lesions
from rsuper.evaluation.segmentation import segmentation_scores
from rsuper.prediction.findings import CaseFindings, Finding
from rsuper.prediction.lesions import find_lesions, spacing_of
from rsuper.supervision.policy import load_policy
from rsuper.views.overlays import Layer, LayerKind, best_slice, frame_around, slice_picture
from rsuper.views.page_data import ArmKind, CaseCard, CaseOutcome, CasePicture

Mask = NDArray[np.bool_]
GOOD_DSC = 0.5


@dataclass(frozen=True, kw_only=True)
class CaseMaterial:
    """Everything known about one case, on one canonical (RAS) grid.

    Args:
        case_id: the case.
        ct_hu: [I,J,K] HU.
        affine: 4×4 voxel index -> RAS+ mm.
        class_name: lesion class such as ``pancreas_lesion``.
        reference: bool, the true lesions; empty in a normal case.
        baseline: bool, prediction of the network that learned from masks only.
        ours: bool, prediction of the network that learned from masks and reports.
        ours_probability: its probabilities, for the confidence of findings.
        organ_masks: structure name -> bool.
        region: bool, where the report puts the lesions; None or empty where it states none.
        balls: bool, balls of the reported size.
        report_text: the report exactly as it was extracted.
        record: its record.
    """

    case_id: str
    ct_hu: NDArray[np.generic]
    affine: NDArray[np.float64]
    class_name: str
    reference: Mask
    baseline: Mask
    ours: Mask
    report_text: str
    record: ReportRecord
    ours_probability: NDArray[np.floating] | None = None
    organ_masks: Mapping[str, Mask] = field(default_factory=dict)
    region: Mask | None = None
    balls: Mask | None = None


def build_case_card(
    material: CaseMaterial, *, baseline_label: str = "masks only", ours_label: str = "masks + reports"
) -> CaseCard:
    """Choose the slice, draw the pictures, word the outcome and compare the findings with the report."""
    spacing = spacing_of(material.affine)
    outcomes = (
        case_outcome(
            material.reference, material.baseline, spacing_mm=spacing, kind="masks_only", label=baseline_label
        ),
        case_outcome(
            material.reference, material.ours, spacing_mm=spacing, kind="masks_and_reports", label=ours_label
        ),
    )
    agreement = compare_case(
        CaseFindings(
            case_id=material.case_id,
            spacing_mm=spacing,
            lesions=tuple(_findings(material, material.ours, material.ours_probability)),
        ),
        [material.record],
        classes=[material.class_name],
        anatomy=load_anatomy(),
        policy=load_policy(),
    )
    return CaseCard(
        case_id=material.case_id,
        headline=case_headline(outcomes[0], outcomes[1], tumour="yes" if material.reference.any() else "no"),
        truth=truth_text(_findings(material, material.reference, None)),
        pictures=case_pictures(material, titles=(baseline_label, ours_label)),
        outcomes=outcomes,
        report_text=material.report_text,
        record=material.record,
        agreement=agreement,
        agreement_label=ours_label,
    )


def case_pictures(
    material: CaseMaterial, *, titles: tuple[str, str], margin_mm: float = 15.0
) -> tuple[CasePicture, ...]:
    """The CT with the truth, what the report asks for, and both predictions: one slice, one frame."""
    spacing = spacing_of(material.affine)
    nothing = np.zeros_like(material.reference)
    region = nothing if material.region is None else material.region
    balls = nothing if material.balls is None else material.balls
    organ = _organ(material)
    masks = [material.reference, material.ours, material.baseline, region, organ]
    index = best_slice(masks)
    here = [_only(mask, index) for mask in (material.reference, material.ours, material.baseline, region)]
    if not any(mask.any() for mask in here):
        here = [_only(organ, index)]
    frame = frame_around(here, spacing_mm=spacing, margin_mm=margin_mm, min_size_mm=75.0)
    tumour = bool(material.reference.any())

    def picture(title: str, caption: str, layers: Sequence[tuple[LayerKind, Mask]]) -> CasePicture:
        drawn = [Layer(kind=kind, mask=mask) for kind, mask in (*layers, ("reference", material.reference))]
        return CasePicture(
            title=title,
            caption=caption,
            picture=slice_picture(material.ct_hu, drawn, spacing_mm=spacing, slice_index=index, frame=frame),
        )

    asked = _asked(material) if region.any() else _nothing_asked(material)
    return (
        picture("CT", "with the true tumour" if tumour else "no tumour here", ()),
        picture("What the report says", asked, (("region", region), ("ball", balls))),
        picture(
            titles[0].capitalize(), _drawn(material.baseline, index), (("masks_only", material.baseline),)
        ),
        picture(
            titles[1].capitalize(), _drawn(material.ours, index), (("masks_and_reports", material.ours),)
        ),
    )


def case_outcome(
    reference: Mask, prediction: Mask, *, spacing_mm: Sequence[float], kind: ArmKind, label: str
) -> CaseOutcome:
    """What one network made of a case, in a few words."""
    if not reference.any():
        if prediction.any():
            return CaseOutcome(kind=kind, label=label, verdict="bad", text="false alarm")
        return CaseOutcome(kind=kind, label=label, verdict="good", text="no false alarm")
    matches = match_lesions(reference, prediction)
    dsc = segmentation_scores(reference, prediction, spacing_mm=spacing_mm).dsc or 0.0
    if not matches.matched:
        where = "missed; a false alarm elsewhere" if prediction.any() else "missed"
        if (prediction & reference).any():
            where = "missed: hardly any overlap"
        return CaseOutcome(kind=kind, label=label, verdict="bad", text=where)
    found = "found" if matches.n_reference == 1 else f"{len(matches.matched)} of {matches.n_reference} found"
    extra = "" if not matches.n_false else f", {matches.n_false} false"
    good = dsc >= GOOD_DSC and not matches.n_missed and not matches.n_false
    return CaseOutcome(
        kind=kind, label=label, verdict="good" if good else "partial", text=f"{found}{extra}, DSC {dsc:.2f}"
    )


def case_headline(baseline: CaseOutcome, ours: CaseOutcome, *, tumour: str) -> str:
    """One plain sentence about the two outcomes; it takes no side.

    Args:
        baseline: of the network that learned from masks only.
        ours: of the other one.
        tumour: ``yes`` or ``no``.
    """
    rank = {"bad": 0, "partial": 1, "good": 2}
    one, two = rank[baseline.verdict], rank[ours.verdict]
    if tumour == "no":
        return {
            (2, 2): "A normal case: both networks leave it alone",
            (0, 2): f"A normal case: a false alarm of {baseline.label}, none with reports",
            (2, 0): "A normal case: a false alarm only with reports",
        }.get((one, two), "A normal case: both networks raise a false alarm")
    if one == 0 and two == 0:
        return "A tumour that both networks miss"
    if one == 0:
        return "A tumour that only the network with reports finds"
    if two == 0:
        return "A tumour that only the network without reports finds"
    if two > one:
        return "Both find the tumour; with reports the outline is better"
    if one > two:
        return "Both find the tumour; the outline is better without reports"
    return "Both networks find the tumour"


def truth_text(findings: Sequence[Finding]) -> str:
    """What is really there: number, longest diameter and part of the true lesions."""
    if not findings:
        return "no tumour"
    sizes = [
        f"{finding.diameters_mm[0]:.0f} mm in the {(finding.part or finding.organ).replace('_', ' ')}"
        for finding in findings
    ]
    number = "one tumour" if len(findings) == 1 else f"{len(findings)} tumours"
    return f"{number}, {'; '.join(sizes)}"


def _findings(material: CaseMaterial, mask: Mask, probability: NDArray[np.floating] | None) -> list[Finding]:
    return find_lesions(
        mask,
        probability,
        material.ct_hu,
        affine=material.affine,
        class_name=material.class_name,
        organ_masks=material.organ_masks,
    )


def _host(material: CaseMaterial) -> str:
    """Name of the organ of the lesion class."""
    return next(o.name for o in load_anatomy().organs.values() if o.lesion_class == material.class_name)


def _organ(material: CaseMaterial) -> Mask:
    """Union of the masks of the host organ; empty where there is none."""
    union = np.zeros_like(material.reference)
    for name in load_anatomy().organ_structures(_host(material)):
        if name in material.organ_masks:
            union |= material.organ_masks[name]
    return union


def _asked(material: CaseMaterial) -> str:
    sized = [
        lesion.diameters_mm or lesion.size_max_mm is not None
        for lesion in material.record.lesions
        if lesion.organ == _host(material)
    ]
    if sized and not any(sized):
        return "the region it names; it states no size, so only a small core is taught"
    return "the region it names, and a ball of the stated size"


def _nothing_asked(material: CaseMaterial) -> str:
    organ = _host(material)
    statement = material.record.organs.get(organ)
    if statement is not None and statement.status == "explicitly_lesion_free":
        return f"it calls the {organ.replace('_', ' ')} free of lesions"
    return f"it states no lesion of the {organ.replace('_', ' ')}"


def _drawn(mask: Mask, index: int) -> str:
    """Says so where a prediction is empty, or lies in other slices than the one that is shown."""
    if not mask.any():
        return "outlines nothing"
    return "" if mask[:, :, index].any() else "outlines something in other slices only"


def _only(mask: Mask, index: int) -> Mask:
    """The mask in one axial slice."""
    kept = np.zeros_like(mask)
    kept[:, :, index] = mask[:, :, index]
    return kept
