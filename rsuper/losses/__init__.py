"""Losses: what voxel labels and reports ask of the logits of a network."""

from rsuper.losses.attenuation import attenuation_loss
from rsuper.losses.ball import BallLoss, BallTargets, ball_loss, ball_targets, rank_weights
from rsuper.losses.ball_rules import BallBalance, BallRules
from rsuper.losses.criteria import (
    AttenuationCriterion,
    BallCriterion,
    MalignancyCriterion,
    PresenceCriterion,
    SegmentationCriterion,
    VolumeCriterion,
)
from rsuper.losses.log_odds import softmax_log_odds
from rsuper.losses.malignancy import malignancy_loss
from rsuper.losses.presence import presence_loss
from rsuper.losses.report_config import ReportSupervisionConfig, report_ramp
from rsuper.losses.report_supervision import LossTerms, ReportSupervisionLoss
from rsuper.losses.segmentation import SegmentationLoss, segmentation_loss
from rsuper.losses.volume import volume_loss
from rsuper.losses.volume_rules import VolumeRules
from rsuper.supervision.types import LesionTarget

__all__ = [
    "AttenuationCriterion",
    "BallBalance",
    "BallCriterion",
    "BallLoss",
    "BallRules",
    "BallTargets",
    "LesionTarget",
    "LossTerms",
    "MalignancyCriterion",
    "PresenceCriterion",
    "ReportSupervisionConfig",
    "ReportSupervisionLoss",
    "SegmentationCriterion",
    "SegmentationLoss",
    "VolumeCriterion",
    "VolumeRules",
    "attenuation_loss",
    "ball_loss",
    "ball_targets",
    "malignancy_loss",
    "presence_loss",
    "rank_weights",
    "report_ramp",
    "segmentation_loss",
    "softmax_log_odds",
    "volume_loss",
]
