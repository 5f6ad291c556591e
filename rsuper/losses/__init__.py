"""Losses: what voxel labels and reports ask of the logits of a network."""

from rsuper.losses.attenuation import attenuation_loss
from rsuper.losses.ball import BallLoss, BallTargets, ball_loss, ball_targets, rank_weights
from rsuper.losses.ball_rules import BallRules
from rsuper.losses.malignancy import malignancy_loss
from rsuper.losses.presence import presence_loss
from rsuper.losses.report_config import ReportSupervisionConfig, report_ramp
from rsuper.losses.report_supervision import LossTerms, ReportSupervisionLoss
from rsuper.losses.segmentation import SegmentationLoss, segmentation_loss
from rsuper.losses.volume import volume_loss
from rsuper.supervision.types import LesionTarget

__all__ = [
    "BallLoss",
    "BallRules",
    "BallTargets",
    "LesionTarget",
    "LossTerms",
    "ReportSupervisionConfig",
    "ReportSupervisionLoss",
    "SegmentationLoss",
    "attenuation_loss",
    "ball_loss",
    "ball_targets",
    "malignancy_loss",
    "presence_loss",
    "rank_weights",
    "report_ramp",
    "segmentation_loss",
    "volume_loss",
]
