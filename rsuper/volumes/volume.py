"""A volume: voxels in array order and the affine that says where they lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsuper.errors import DataError

Affine = NDArray[np.float64]
Triple = tuple[float, float, float]


def checked_affine(affine: ArrayLike) -> Affine:
    """A read-only float64 copy of a 4x4 affine (voxel index to RAS+ millimetres).

    Raises:
        DataError: ``bad_affine`` if it is not 4x4, not finite or not invertible.
    """
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DataError(
            f"the affine must be a finite 4x4 matrix, got shape {matrix.shape}",
            code="bad_affine",
            hint="rewrite the file with a valid sform or qform",
        )
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if (lengths == 0).any() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
        raise DataError(
            "the affine does not span three axes",
            code="bad_affine",
            hint="rewrite the file with a valid sform or qform",
        )
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie, without their values.

    Args:
        shape: voxels per axis, array order.
        affine: float64 [4,4], voxel index to millimetres in RAS+.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", checked_affine(self.affine))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise DataError(f"a grid has three axes of at least one voxel, got {self.shape}", code="not_3d")

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size along the three array axes, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_world_mm(self, index: ArrayLike) -> NDArray[np.float64]:
        """Voxel indices [...,3] to RAS+ millimetres [...,3]."""
        points = np.asarray(index, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, world_mm: ArrayLike) -> NDArray[np.float64]:
        """RAS+ millimetres [...,3] to fractional voxel indices [...,3]."""
        points = np.asarray(world_mm, dtype=np.float64)
        return (points - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels [I,J,K] with their place in the patient.

    Args:
        array: any real dtype; a CT is int16 or float32 HU, a mask is bool.
        affine: float64 [4,4], voxel index to millimetres in RAS+.

    Example:
        >>> volume = Volume(np.zeros((4, 5, 6), np.int16), np.diag([1.0, 1.0, 2.5, 1.0]))
        >>> volume.spacing_mm, volume.voxel_volume_mm3
        ((1.0, 1.0, 2.5), 2.5)
    """

    array: NDArray[Any]
    affine: Affine

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise DataError(
                f"a volume has three axes, got shape {self.array.shape}",
                code="not_3d",
                hint="write one file per phase or time point",
            )
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per axis, array order."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def grid(self) -> Grid:
        """The geometry without the voxels."""
        return Grid(self.shape, self.affine)

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size along the three array axes, in mm."""
        return self.grid.spacing_mm

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return self.grid.voxel_volume_mm3

    def with_array(self, array: NDArray[Any]) -> Volume:
        """Other voxels on the same grid.

        Raises:
            DataError: ``grid_mismatch`` if the shape differs.
        """
        if array.shape != self.array.shape:
            raise DataError(
                f"array of shape {array.shape} does not fit the grid {self.array.shape}", code="grid_mismatch"
            )
        return replace(self, array=array)


def volume_mm3_per_voxel(volume: Volume | Grid) -> float:
    """Volume of one voxel in mm³ (|det| of the affine)."""
    return volume.voxel_volume_mm3


def grid_difference(a: Volume | Grid, b: Volume | Grid) -> str | None:
    """What tells two grids apart, in words, or None if they are the same.

    Grids are the same when the shapes agree and every corner lies within 5 % of the smallest voxel edge: far
    below what moves a lesion, above what float32 headers lose.
    """
    if a.shape != b.shape:
        return f"shape {_numbers(a.shape)} against {_numbers(b.shape)}"
    first, second = _as_grid(a), _as_grid(b)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in first.shape], indexing="ij")).reshape(3, -1).T
    shift_mm = np.linalg.norm(first.to_world_mm(corners) - second.to_world_mm(corners), axis=1).max()
    if shift_mm <= 0.05 * min(*first.spacing_mm, *second.spacing_mm):
        return None
    if not np.allclose(first.spacing_mm, second.spacing_mm, rtol=1e-3):
        return f"spacing {_numbers(first.spacing_mm)} against {_numbers(second.spacing_mm)} mm"
    return f"the corners lie up to {shift_mm:.2f} mm apart (origin or axis directions differ)"


def same_grid(a: Volume | Grid, b: Volume | Grid) -> bool:
    """True if two volumes have the same shape and place (see :func:`grid_difference`)."""
    return grid_difference(a, b) is None


def require_same_grid(
    a: Volume | Grid, b: Volume | Grid, *, names: tuple[str, str], case_id: str | None = None
) -> None:
    """Refuse grids that disagree: an error, never a warning.

    Raises:
        DataError: ``grid_mismatch``, naming both volumes and what differs.
    """
    difference = grid_difference(a, b)
    if difference is not None:
        raise DataError(
            f"{names[0]} and {names[1]} are not on one grid: {difference}",
            code="grid_mismatch",
            case_id=case_id,
            hint="resample the mask onto the CT with nearest neighbour, or export both again from one source",
        )


def _as_grid(volume: Volume | Grid) -> Grid:
    return volume.grid if isinstance(volume, Volume) else volume


def _numbers(values: tuple[float, ...]) -> str:
    return "x".join(f"{value:.4g}" for value in values)
