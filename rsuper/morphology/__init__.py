"""Distances, dilation and ball search in mm, on boxes."""

from rsuper.morphology.ball import ball_cells, ball_kernel, ball_mask, ball_scores, squared_radius_mm2
from rsuper.morphology.boxes import (
    Box,
    bounding_box,
    bounding_boxes,
    box_profiles,
    box_shape,
    boxes_of_profiles,
    grow_box,
)
from rsuper.morphology.distance import (
    dilate_mm,
    dilate_within,
    distance_mm,
    reach_voxels,
    squared_distance_within,
)
from rsuper.morphology.gaps import gaps
from rsuper.morphology.host import read_once, reads_are_free, untraced, upload
from rsuper.morphology.search import BallCenter, BallPlaces, ball_places, find_center, find_centers
from rsuper.morphology.spacing import UNITS, Spacing, SpacingLike, is_in_mm, spacing_rows, voxel_volume_mm3

__all__ = [
    "UNITS",
    "BallCenter",
    "BallPlaces",
    "Box",
    "Spacing",
    "SpacingLike",
    "ball_cells",
    "ball_kernel",
    "ball_mask",
    "ball_places",
    "ball_scores",
    "bounding_box",
    "bounding_boxes",
    "box_profiles",
    "box_shape",
    "boxes_of_profiles",
    "dilate_mm",
    "dilate_within",
    "distance_mm",
    "find_center",
    "find_centers",
    "gaps",
    "grow_box",
    "is_in_mm",
    "reach_voxels",
    "read_once",
    "reads_are_free",
    "spacing_rows",
    "squared_distance_within",
    "squared_radius_mm2",
    "untraced",
    "upload",
    "voxel_volume_mm3",
]
