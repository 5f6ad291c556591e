"""Volumes: read, geometry, resample, write. Everything is in array order, millimetres and RAS+."""

from rsuper.volumes.ct_values import CtValueIssue, ct_value_issues, require_ct_values
from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.nifti_labels import read_embedded_labels
from rsuper.volumes.orientation import axis_codes, reorient, to_canonical
from rsuper.volumes.reading import (
    is_volume_name,
    read_grid,
    read_labels,
    read_mask,
    read_volume,
    write_volume,
)
from rsuper.volumes.resample import grid_with_spacing, resample
from rsuper.volumes.volume import (
    Grid,
    Volume,
    grid_difference,
    require_same_grid,
    same_grid,
    volume_mm3_per_voxel,
)

__all__ = [
    "CtValueIssue",
    "Grid",
    "ReadLimits",
    "Volume",
    "axis_codes",
    "ct_value_issues",
    "grid_difference",
    "grid_with_spacing",
    "is_volume_name",
    "read_embedded_labels",
    "read_grid",
    "read_labels",
    "read_mask",
    "read_volume",
    "reorient",
    "require_ct_values",
    "require_same_grid",
    "resample",
    "same_grid",
    "to_canonical",
    "volume_mm3_per_voxel",
    "write_volume",
]
