"""Report supervision in other people's training code: plain PyTorch, MONAI, nnU-Net v2.

``target_map`` turns the reports and masks of a case into one label map. Crop and augment it like any label map. Then
``supervision_batch`` reads from it what the losses need.

From a CT, organ masks and the text of a report to a loss::

    >>> import torch
    >>> from rsuper.integrations import target_map
    >>> from rsuper.losses import ReportSupervisionLoss
    >>>
    >>> ct = torch.randn(1, 1, 40, 40, 40)  # [B,1,D,H,W], normalised
    >>> organs = {"pancreas": torch.zeros(40, 40, 40), "liver": torch.zeros(40, 40, 40)}
    >>> organs["pancreas"][10:26, 10:20, 10:20] = organs["liver"][22:38, 22:38, 4:36] = 1
    >>> report = "1.8 x 1.6 cm hypoattenuating mass in the pancreas. Liver: no focal lesion."
    >>> channels = ("pancreas", "liver", "pancreas_lesion", "liver_lesion")  # of your network
    >>> network = torch.nn.Conv3d(1, len(channels), 3, padding=1)
    >>>
    >>> case = target_map(report, organs, spacing_mm=(2.0, 2.0, 2.0), channels=channels)
    >>> result = ReportSupervisionLoss()(network(ct), case.supervision())
    >>> result.total.backward()
    >>> case.key.states
    {'pancreas_lesion': 'reported', 'liver_lesion': 'absent'}
"""

from rsuper.integrations.softmax_heads import softmax_classes
from rsuper.integrations.target_batch import supervision_batch
from rsuper.integrations.target_crop import target_crop
from rsuper.integrations.target_key import TargetKey
from rsuper.integrations.target_map import TargetMap, encode_targets, target_map

__all__ = [
    "TargetKey",
    "TargetMap",
    "encode_targets",
    "softmax_classes",
    "supervision_batch",
    "target_crop",
    "target_map",
]
