"""Distances, dilation and ball search in mm, on boxes."""

from rsuper.morphology.ball import (
    BallCenter,
    ball_kernel,
    ball_mask,
    ball_scores,
    find_center,
    find_centers,
    squared_radius_mm2,
)
from rsuper.morphology.boxes import Box, bounding_box, bounding_boxes, box_shape, grow_box
from rsuper.morphology.distance import (
    dilate_mm,
    dilate_within,
    distance_mm,
    reach_voxels,
    squared_distance_within,
)
from rsuper.morphology.spacing import Spacing, SpacingLike, spacing_rows, voxel_volume_mm3

__all__ = [
    "BallCenter",
    "Box",
    "Spacing",
    "SpacingLike",
    "ball_kernel",
    "ball_mask",
    "ball_scores",
    "bounding_box",
    "bounding_boxes",
    "box_shape",
    "dilate_mm",
    "dilate_within",
    "distance_mm",
    "find_center",
    "find_centers",
    "grow_box",
    "reach_voxels",
    "spacing_rows",
    "squared_distance_within",
    "squared_radius_mm2",
    "voxel_volume_mm3",
]
