"""Do the reports of a case fit its organ masks? Coded findings, before any training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import Lesion, ReportRecord
from rsuper.supervision.findings import ConsistencyFinding, lesion_findings
from rsuper.supervision.inputs import (
    as_bool,
    check_margins,
    check_policy,
    check_records,
    checked_spacing,
    common_shape,
)
from rsuper.supervision.placing import CaseScene, place_class
from rsuper.supervision.policy import SupervisionPolicy, load_policy
from rsuper.supervision.regions import Masks
from rsuper.supervision.states import organ_evidence

MASK_SOURCES: Mapping[str, str] = {
    "breast": "TotalSegmentator's task `breasts` makes one mask of both: save it as breast.nii.gz, or cut it at the "
    "midline into breast_left and breast_right so that a stated side counts",
    "prostate": "TotalSegmentator from version 2 on makes prostate.nii.gz",
    "uterus": "no task of TotalSegmentator makes it: add uterus.nii.gz of another tool (networks trained on "
    "AMOS have prostate/uterus as one class) or draw it",
    "ovary": "no common tool makes it: draw ovary_left and ovary_right",
    "bone": "all bones of TotalSegmentator's task `total` together are the skeleton; keep empty files too: they "
    "say that a bone is out of view",
    "lymph_node": "nodes have no organ mask: a file lymph_node.nii.gz of the region that may hold them is one",
}
"""Where a mask of the organ may come from, for organs that the usual tools do not give as they are."""


def mask_advice(organ: str) -> str:
    """What to do where lesions of an organ are reported and no mask of it is there.

    >>> mask_advice("liver")
    'segment the organ (e.g. with TotalSegmentator), or these lesions supervise nothing'
    """
    source = MASK_SOURCES.get(organ, "segment the organ (e.g. with TotalSegmentator)")
    return f"{source}, or these lesions supervise nothing"


def finding_advice(finding: ConsistencyFinding, policy: SupervisionPolicy | None = None) -> str:
    """What to do about one finding.

    Args:
        finding: from :func:`check_consistency`.
        policy: what becomes of such a lesion; the preset ``tumours`` by default.
    """
    if finding.code in ("organ_mask_missing", "organ_mask_incomplete"):
        return mask_advice(finding.organ)
    if finding.code == "side_mask_missing":
        return (
            "the mask does not tell left from right, both are used; split it so that the stated side counts"
        )
    if finding.code in ("part_mask_missing", "part_mask_empty"):
        return "the whole organ is used instead; add a mask of the part for a tighter region"
    if not finding.counts:
        return "the lesion does not count under this policy; correct the report or its record if it is wrong"
    weight = (policy or load_policy()).inconsistent_weight
    fate = f"the lesion counts {weight:g} times" if weight else "the lesion stays out of the loss"
    if finding.code == "size_slip_tenfold":
        return f"{fate}; is it cm for mm? Correct the report or its record"
    return f"{fate}; correct the report, the link or the mask"


def check_consistency(
    records: ReportRecord | Sequence[ReportRecord],
    organ_masks: Masks,
    *,
    spacing_mm: Sequence[float],
    anatomy: Anatomy | None = None,
    margins_mm: Mapping[str, float] | None = None,
    policy: SupervisionPolicy | None = None,
) -> tuple[ConsistencyFinding, ...]:
    """Compare the lesions of a case with its organ masks, in the very regions that its targets get.

    Lesions that the policy drops are passed over; those that it does not count are compared with their organ, and have
    no region of their own. Of several mentions of one lesion the surest is looked at.

    Args:
        records: what all reports of the case say, or one record.
        organ_masks: structure stem -> bool [D,H,W]; the more organs, the tighter the regions.
        spacing_mm: voxel size in array order.
        anatomy: the table of organs; the built-in one by default.
        margins_mm: organ or its class -> margin of its region; the table's by default.
        policy: which lesions count and how regions are made; the preset ``tumours`` by default.

    Returns:
        Findings in the order of the records and their lesions; empty if everything fits.
    """
    said = (records,) if isinstance(records, ReportRecord) else records
    check_records(said)
    case_id = said[0].case_id or said[0].report_id if said else ""
    masks = as_bool(organ_masks)
    if masks:
        common_shape(masks, case_id)
    table, rules = anatomy or load_anatomy(), policy or load_policy()
    check_policy(rules, table)
    check_margins(margins_mm or {}, (), table)
    scene = CaseScene.of(
        masks,
        spacing_mm=checked_spacing(spacing_mm, case_id),
        anatomy=table,
        policy=rules,
        margins_mm=margins_mm or {},
    )
    found = [*_counted(said, scene), *_not_counted(said, scene)]
    order = [(r.report_id, lesion.lesion_id) for r in said for lesion in r.lesions]
    return tuple(sorted(found, key=lambda item: order.index((item.report_id, _first(item)))))


def _first(finding: ConsistencyFinding) -> str:
    return finding.lesion_id.split(", ")[0]


def _counted(records: Sequence[ReportRecord], scene: CaseScene) -> Iterator[ConsistencyFinding]:
    """The findings of the lesions of each class, from the places that its targets are made of."""
    classes = dict.fromkeys(
        (lesion.organ, name)
        for record in records
        for lesion in record.lesions
        if (name := scene.policy.lesion_class(lesion, scene.anatomy)) is not None
    )
    for organ, name in classes:
        evidence = organ_evidence(
            records, organ, lesion_class=name, anatomy=scene.anatomy, policy=scene.policy
        )
        yield from place_class(scene, organ, name, evidence).findings


def _not_counted(records: Sequence[ReportRecord], scene: CaseScene) -> Iterator[ConsistencyFinding]:
    for record in records:
        for lesion in record.lesions:
            if _is_ignored(lesion, scene):
                host = scene.host(lesion)
                for finding in lesion_findings(
                    lesion, record.report_id, host=host, region=None, builder=scene.builder
                ):
                    yield replace(finding, counts=False)


def _is_ignored(lesion: Lesion, scene: CaseScene) -> bool:
    return (
        lesion.organ in scene.anatomy.organs
        and scene.policy.lesion_class(lesion, scene.anatomy) is None
        and scene.policy.action(lesion) != "drop"
    )
