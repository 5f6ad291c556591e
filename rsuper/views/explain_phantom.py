"""The patient of the explain page where no CT is given: a phantom that ships as a file, and lesions painted into it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from llm_extract.records import Attenuation

Bool = NDArray[np.bool_]
FILE = "explain_phantom.npz"
SPACING_MM = (2.0, 2.0, 2.0)
SHAPE = (150, 116, 88)
SEED = 7
LOW_HU, STEP_HU, STEPS = -250, 5, 120  # what the file keeps of the grey values: fat, soft tissue, contrast
PARTS = ("pancreas_head", "pancreas_body", "pancreas_tail")
LABELS = (
    *("liver", "spleen", "kidney_left", "kidney_right", "gallbladder", "duodenum", "stomach", "colon"),
    *("small_bowel", "aorta", *PARTS),
)
CONTRAST_HU: Mapping[Attenuation, float] = {"hypo": -48, "iso": -6, "hyper": 52, "mixed": -25, "unknown": -34}
FLUID_HU = 8.0
UNSIZED_MM = 12.0
EDGE_MM = 1.2


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """A healthy simulated abdomen, RAS array order.

    Args:
        ct_hu: int16 [i,j,k].
        organs: structure name -> bool [i,j,k].
        spacing_mm: voxel size in array order.
    """

    ct_hu: NDArray[np.int16]
    organs: Mapping[str, Bool]
    spacing_mm: tuple[float, float, float] = SPACING_MM


@lru_cache(maxsize=1)
def load_phantom() -> Phantom:
    """The phantom from its file; drawing it would take most of the time that a page may take."""
    content = resources.files("rsuper.views").joinpath(FILE).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return _phantom(stored["grey"], stored["label"])


def draw_phantom() -> Phantom:
    """The same phantom drawn by ``rsuper.synthesis``; ``phantom_file`` of it is what ships."""
    from rsuper.synthesis.anatomy_phantom import PANCREAS_PARTS, PART_BOUNDS, draw_anatomy
    from rsuper.synthesis.body_phantom import Tissue
    from rsuper.synthesis.phantom_config import PhantomConfig
    from rsuper.synthesis.texture import blurred, correlated_noise

    rng = np.random.default_rng(SEED)
    config = PhantomConfig(shape=SHAPE, spacing_mm=SPACING_MM, prevalence={})
    anatomy = draw_anatomy(config, rng, enhancement=1.0)
    image = blurred(anatomy.canvas.hu, sigma_mm=1.2, spacing_mm=SPACING_MM)
    image += np.float32(8.0) * correlated_noise(SHAPE, rng, sigma_mm=2.2, spacing_mm=SPACING_MM)
    label = np.zeros(SHAPE, np.uint8)
    tissues = {"small_bowel": Tissue.BOWEL} | {
        name: Tissue[name.upper()] for name in LABELS if name.upper() in Tissue.__members__
    }
    for name, tissue in tissues.items():
        label[anatomy.canvas.label == tissue] = LABELS.index(name) + 1
    voxels = np.argwhere(anatomy.canvas.label == Tissue.PANCREAS)
    nth = np.digitize(anatomy.pancreas_share(voxels), PART_BOUNDS)
    for number, part in enumerate(PANCREAS_PARTS):
        label[tuple(voxels[nth == number].T)] = LABELS.index(f"pancreas_{part}") + 1
    grey = np.clip(np.rint((image - LOW_HU) / STEP_HU), 0, STEPS).astype(np.uint8)
    return _phantom(grey, label)


def phantom_file(phantom: Phantom) -> bytes:
    """The content of the shipped file; ``load_phantom`` gives the phantom back exactly."""
    label = np.zeros(phantom.ct_hu.shape, np.uint8)
    for number, name in enumerate(LABELS, start=1):
        label[phantom.organs[name]] = number
    buffer = io.BytesIO()
    grey = ((phantom.ct_hu.astype(np.int32) - LOW_HU) // STEP_HU).astype(np.uint8)
    np.savez_compressed(buffer, grey=grey, label=label)
    return buffer.getvalue()


def _phantom(grey: NDArray[np.uint8], label: NDArray[np.uint8]) -> Phantom:
    organs: dict[str, Bool] = {
        name: np.asarray(label == number) for number, name in enumerate(LABELS, start=1)
    }
    organs["pancreas"] = np.logical_or.reduce([organs[part] for part in PARTS])
    ct_hu = (grey.astype(np.int16) * STEP_HU + LOW_HU).astype(np.int16)
    return Phantom(ct_hu=ct_hu, organs=organs)


def seat_in(host: Bool, taken: Bool, *, spacing_mm: Sequence[float]) -> tuple[int, int, int] | None:
    """The voxel of a host that lies deepest inside it and farthest from what is taken; None if nothing is free.

    Args:
        host: bool [i,j,k].
        taken: bool [i,j,k], places that other lesions hold.
        spacing_mm: voxel size in array order.
    """
    from scipy.ndimage import distance_transform_edt

    free = host & ~taken
    if not free.any():
        return None
    ends = [np.flatnonzero(free.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(int(end[0]), int(end[-1]) + 1) for end in ends)
    depth = distance_transform_edt(np.pad(free[box], 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    at = np.unravel_index(int(np.argmax(depth)), depth.shape)
    i, j, k = (int(index) + part.start for index, part in zip(at, box, strict=True))
    return i, j, k


def ellipsoid(
    shape: tuple[int, int, int],
    centre: Sequence[int],
    diameters_mm: Sequence[float],
    *,
    spacing_mm: Sequence[float],
) -> NDArray[np.float64]:
    """Distance to the surface of an ellipsoid in units of its radius, squared: at most 1 inside; [i,j,k].

    Args:
        shape: voxels of the grid.
        centre: voxel of its centre.
        diameters_mm: 1 to 3 diameters; a missing third is the mean of two, one makes a ball.
        spacing_mm: voxel size in array order.
    """
    sizes = [float(d) for d in diameters_mm]
    sizes = sizes * 3 if len(sizes) == 1 else [*sizes, sum(sizes) / 2] if len(sizes) == 2 else sizes
    squared = np.zeros(shape)
    for axis in range(3):
        offset = (np.arange(shape[axis]) - centre[axis]) * float(spacing_mm[axis])
        squared += ((offset / (sizes[axis] / 2)) ** 2).reshape([-1 if axis == d else 1 for d in range(3)])
    return squared


def paint_lesion(
    ct_hu: NDArray[np.generic],
    seat: tuple[int, int, int],
    diameters_mm: Sequence[float],
    *,
    spacing_mm: Sequence[float],
    contrast_hu: float | None,
) -> tuple[NDArray[np.generic], Bool]:
    """An ellipsoid of the stated diameters with a soft edge: the new CT, and its mask.

    Args:
        ct_hu: [i,j,k].
        seat: voxel of its centre.
        diameters_mm: 1 to 3 diameters; none is drawn as 12 mm.
        spacing_mm: voxel size in array order.
        contrast_hu: shift against what was there; None fills it with fluid.
    """
    sizes = tuple(diameters_mm) or (UNSIZED_MM,)
    shape = (ct_hu.shape[0], ct_hu.shape[1], ct_hu.shape[2])
    squared = ellipsoid(shape, seat, sizes, spacing_mm=spacing_mm)
    mask = np.asarray(squared <= 1)
    if not mask.any():
        mask[seat] = True
    distance_mm = (np.sqrt(squared) - 1) * min(sizes) / 2
    soft = 1 / (1 + np.exp(np.clip(distance_mm / (0.4 * EDGE_MM), -30, 30)))
    hu = ct_hu.astype(np.float64)
    tissue = float(np.median(hu[mask])) + contrast_hu if contrast_hu is not None else FLUID_HU
    grain = 0.6 * (hu - np.median(hu[mask])).clip(-20, 20)
    painted = np.rint(hu + soft * (tissue + grain - hu))
    return painted.astype(ct_hu.dtype), mask
