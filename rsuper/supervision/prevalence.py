"""Do reports and masks speak of the same lesions? How often each states one, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from llm_extract.anatomy import Anatomy
from llm_extract.records import ReportRecord
from rsuper.supervision.policy import SupervisionPolicy
from rsuper.supervision.states import organ_evidence

SMALLEST_RATIO = 2.0
"""Prevalences that differ by less than this may be the selection of the cases."""
LARGEST_P = 0.01


@dataclass(frozen=True, kw_only=True)
class PrevalenceGap:
    """A class that reports state much more or less often than masks show it.

    Args:
        lesion_class: the class.
        reported: cases in which the reports state a lesion of the class, under the policy.
        with_reports: cases that have a report.
        drawn: voxel-labelled cases with a lesion.
        with_masks: voxel-labelled cases.
        denied: cases with both in which the report states a lesion and the mask is empty.
        both: cases with both.
    """

    lesion_class: str
    reported: int
    with_reports: int
    drawn: int
    with_masks: int
    denied: int = 0
    both: int = 0


def prevalence_gaps(
    records: Mapping[str, Sequence[ReportRecord]],
    masks: Mapping[str, Mapping[str, bool]],
    *,
    organs: Mapping[str, str],
    anatomy: Anatomy,
    policy: SupervisionPolicy,
) -> tuple[PrevalenceGap, ...]:
    """Classes whose prevalence in the reports differs from that in the masks.

    A gap is a ratio of at least 2 that chance does not explain (Fisher's exact test, p < 0.01). Where the reports
    state far more, the policy counts something that the masks do not mean, cysts most of all.

    Args:
        records: case -> its records.
        masks: class -> case -> whether the human mask of that class has a voxel.
        organs: class -> its organ.
        anatomy: the table of organs.
        policy: which lesions count.
    """
    gaps = []
    for name, drawn in sorted(masks.items()):
        if name not in organs:
            continue
        said = {
            case: organ_evidence(own, organs[name], lesion_class=name, anatomy=anatomy, policy=policy).state
            for case, own in records.items()
            if own
        }
        reported = {case for case, state in said.items() if state == "reported"}
        both = drawn.keys() & said.keys()
        gap = PrevalenceGap(
            lesion_class=name,
            reported=len(reported),
            with_reports=len(said),
            drawn=sum(drawn.values()),
            with_masks=len(drawn),
            denied=sum(case in reported and not drawn[case] for case in both),
            both=len(both),
        )
        if _differs(gap):
            gaps.append(gap)
    return tuple(gaps)


def _differs(gap: PrevalenceGap) -> bool:
    if not gap.with_reports or not gap.with_masks:
        return False
    first, second = gap.reported / gap.with_reports, gap.drawn / gap.with_masks
    if max(first, second) < SMALLEST_RATIO * min(first, second):
        return False
    table = [
        [gap.reported, gap.with_reports - gap.reported],
        [gap.drawn, gap.with_masks - gap.drawn],
    ]
    return float(stats.fisher_exact(table).pvalue) < LARGEST_P
