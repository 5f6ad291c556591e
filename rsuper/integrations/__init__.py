"""Report supervision in other people's training code: plain PyTorch, MONAI, nnU-Net v2.

``target_map`` turns the reports and masks of a case into one label map; augment it like any label map; then
``supervision_batch`` reads from it what the losses need.
"""

from rsuper.integrations.target_batch import supervision_batch
from rsuper.integrations.target_key import TargetKey
from rsuper.integrations.target_map import TargetMap, encode_targets, softmax_classes, target_map

__all__ = ["TargetKey", "TargetMap", "encode_targets", "softmax_classes", "supervision_batch", "target_map"]
