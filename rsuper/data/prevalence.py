"""The prevalence of lesions in reports against that in masks, as findings of a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llm_extract.anatomy import Anatomy
from rsuper.data.class_map import LESION_SUFFIX
from rsuper.data.issues import DataIssue
from rsuper.data.layout import Dataset
from rsuper.data.mask_summary import MaskSummary
from rsuper.supervision import load_policy, organ_of_class
from rsuper.supervision.prevalence import prevalence_gaps


def prevalence_issues(
    dataset: Dataset, masks: Mapping[str, Mapping[str, MaskSummary]], *, policy: str, anatomy: Anatomy
) -> Iterator[DataIssue]:
    """One warning a class that the reports state much more, or much less, often than the masks show it.

    Args:
        dataset: an opened dataset folder.
        masks: case -> structure -> summary of its mask.
        policy: which reported lesions count; a preset or a file.
        anatomy: the table of organs.
    """
    drawn: dict[str, dict[str, bool]] = {}
    for case_id, own in masks.items():
        for name, summary in own.items():
            if name.endswith(LESION_SUFFIX):
                drawn.setdefault(name, {})[case_id] = summary.low_mm is not None
    organs = {name: organ for name in drawn if (organ := organ_of_class(name, anatomy)) is not None}
    records = {case_id: dataset.records(case_id) for case_id in masks}
    rules = load_policy(policy)
    for gap in prevalence_gaps(records, drawn, organs=organs, anatomy=anatomy, policy=rules):
        more = gap.reported * gap.with_masks > gap.drawn * gap.with_reports
        both = f"; of {gap.both} cases with both, {gap.denied} are stated and not drawn" if gap.both else ""
        yield DataIssue(
            code="prevalence_disagrees",
            severity="warning",
            message=f"{gap.lesion_class}: reports state one in {gap.reported} of {gap.with_reports} cases, masks show "
            f"one in {gap.drawn} of {gap.with_masks}{both}",
            hint=f"the policy {policy} may count what the masks do not mean (cysts, benign nodules): compare "
            "--policy tumours, tumours_and_cysts, malignant or a file of your own"
            if more
            else f"the policy {policy} may leave out what the masks hold: compare --policy all_lesions, or the masked "
            "cases were selected for their lesions",
            structure=gap.lesion_class,
        )
