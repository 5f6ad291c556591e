"""Records + organ masks -> targets: states, regions, counts, volume intervals, and what a crop keeps."""

from rsuper.supervision.consistency import check_consistency, finding_advice, mask_advice
from rsuper.supervision.crops import CropLabel, crop_label, crop_pairs
from rsuper.supervision.drawn_masks import mask_codes, mask_contradiction, with_mask_codes
from rsuper.supervision.findings import ConsistencyFinding
from rsuper.supervision.policy import PolicyRule, SupervisionPolicy, load_policy
from rsuper.supervision.sizes import (
    SizeTarget,
    ellipsoid_volume_mm3,
    lesion_size,
    volume_interval_mm3,
    volume_prior,
)
from rsuper.supervision.targets import build_case_targets, organ_of_class
from rsuper.supervision.types import (
    CaseTargets,
    ClassState,
    ClassTarget,
    LesionPlace,
    LesionTarget,
    PairTarget,
    SupervisionBatch,
)

__all__ = [
    "CaseTargets",
    "ClassState",
    "ClassTarget",
    "ConsistencyFinding",
    "CropLabel",
    "LesionPlace",
    "LesionTarget",
    "PairTarget",
    "PolicyRule",
    "SizeTarget",
    "SupervisionBatch",
    "SupervisionPolicy",
    "build_case_targets",
    "check_consistency",
    "crop_label",
    "crop_pairs",
    "ellipsoid_volume_mm3",
    "finding_advice",
    "lesion_size",
    "load_policy",
    "mask_advice",
    "mask_codes",
    "mask_contradiction",
    "organ_of_class",
    "volume_interval_mm3",
    "volume_prior",
    "with_mask_codes",
]
