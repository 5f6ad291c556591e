"""What a network might say: made-up outputs, so that one sees how the targets follow the prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rsuper.views.explain_case import ball_mask
from rsuper.views.explain_phantom import ellipsoid

Bool = NDArray[np.bool_]
Logits = NDArray[np.float32]
GuessKey = Literal[
    "hint",
    "untrained",
    "wrong_spot",
    "wrong_part",
    "too_much",
    "nearly_right",
    "false_alarm",
    "silent",
    "yours",
]
REPORTED: tuple[GuessKey, ...] = (
    "hint",
    "untrained",
    "wrong_spot",
    "wrong_part",
    "too_much",
    "nearly_right",
)
OTHERWISE: tuple[GuessKey, ...] = ("false_alarm", "untrained", "silent")
DARK = -8.5  # a trained network's logit where it sees nothing: p = 0.0002
FAINT, SURE = 0.35, 0.8
SEED = 3


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A place where lesions are (or are assumed to be), on the grid of the crop.

    Args:
        voxel: its centre.
        diameter_mm: its longest diameter.
        mask: its voxels, where they are known.
    """

    voxel: tuple[int, int, int]
    diameter_mm: float
    mask: Bool | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the made-up outputs are drawn from.

    Args:
        blobs: the stated lesions.
        organ: bool [i,j,k], the whole organ.
        region: bool [i,j,k], where the report allows lesions; empty if it states none.
        centers: bool [i,j,k], where balls may be centred.
        spacing_mm: voxel size in array order.
        volume_mm3: the stated interval; (0, inf) if nothing is stated.
    """

    blobs: tuple[Blob, ...]
    organ: Bool
    region: Bool
    centers: Bool
    spacing_mm: tuple[float, float, float]
    volume_mm3: tuple[float, float] = (0.0, math.inf)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the crop."""
        i, j, k = self.organ.shape
        return i, j, k


def make_guess(key: GuessKey, scene: Scene, noise: Logits) -> Logits | None:
    """The logits of one made-up output, float32 [i,j,k]; None where it makes no sense here.

    Args:
        key: which one.
        scene: lesions, organ and region.
        noise: of :func:`smooth_noise`, unit variance.
    """
    if key == "untrained":
        return np.asarray(0.3 * noise, np.float32)
    if key == "silent":
        return np.asarray(DARK - 1.0 + 0.3 * noise, np.float32)
    if key == "hint":
        return _hint(scene, noise)
    if key == "false_alarm":
        middle = _deepest(scene.organ, scene)
        return (
            None if middle is None else _lit(scene, noise, [Blob(voxel=middle, diameter_mm=16.0)], peak=SURE)
        )
    if key in ("wrong_spot", "wrong_part"):
        places = scene.centers if key == "wrong_spot" else scene.organ & ~scene.region
        wrong = _elsewhere(places, scene)
        size = max((blob.diameter_mm for blob in scene.blobs), default=12.0)
        return None if wrong is None else _lit(scene, noise, [Blob(voxel=wrong, diameter_mm=size)], peak=SURE)
    return _drawn(key, scene, noise)


def smooth_noise(shape: tuple[int, int, int], *, spacing_mm: Sequence[float]) -> Logits:
    """Noise with a grain of 5 mm and unit variance; the same every time."""
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
    smooth = gaussian_filter(white, [5.0 / s for s in spacing_mm], mode="wrap", truncate=2.5)
    return np.asarray(smooth / max(float(smooth.std()), 1e-6), np.float32)


def _hint(scene: Scene, noise: Logits) -> Logits:
    """Faint spots a little beside the lesions, as bright as makes the whole belief fit the stated volume."""
    blobs = [_beside(blob, scene) for blob in scene.blobs]
    low, high = scene.volume_mm3
    if low <= 0 or math.isinf(high):
        return _lit(scene, noise, blobs, peak=FAINT)
    whole = float(_spots(scene, blobs)[scene.region].sum()) * math.prod(scene.spacing_mm)
    peak = math.sqrt(low * high) / max(whole, 1e-6)
    return _lit(scene, noise, blobs, peak=min(max(peak, 0.1), 0.6))


def _spots(scene: Scene, blobs: Sequence[Blob]) -> NDArray[np.float64]:
    """A Gaussian of height 1 at each place, half a diameter wide."""
    spots = np.zeros(scene.shape)
    for blob in blobs:
        width = max(blob.diameter_mm, 4.0)
        spots += np.exp(-ellipsoid(scene.shape, blob.voxel, (width,), spacing_mm=scene.spacing_mm) / 2)
    return spots


def _lit(scene: Scene, noise: Logits, blobs: Sequence[Blob], *, peak: float) -> Logits:
    """A dark map with a spot of probability ``peak`` at each place."""
    probability = 1 / (1 + np.exp(-(DARK + 0.4 * noise.astype(np.float64))))
    probability += peak * _spots(scene, blobs) * np.exp(0.12 * noise)
    probability = probability.clip(1e-6, 0.98)
    return np.asarray(np.log(probability / (1 - probability)), np.float32)


def _drawn(key: GuessKey, scene: Scene, noise: Logits) -> Logits:
    """The lesion itself (``nearly_right``), or a ball of twice its diameter in the region (``too_much``)."""
    logits = DARK + 0.3 * noise.astype(np.float64)
    for blob in scene.blobs:
        if key == "too_much":
            body = ball_mask(scene.shape, blob.voxel, 2 * blob.diameter_mm, spacing_mm=scene.spacing_mm)
            body &= scene.region | scene.organ
        elif blob.mask is not None:
            body = blob.mask
        else:
            body = ball_mask(scene.shape, blob.voxel, 0.95 * blob.diameter_mm, spacing_mm=scene.spacing_mm)
        logits[body] = 2.6 + 0.5 * noise[body]
    return np.asarray(logits, np.float32)


def _beside(blob: Blob, scene: Scene) -> Blob:
    """A place a little beside the lesion: a network that has not found it yet."""
    step = [round(0.16 * blob.diameter_mm / s) for s in scene.spacing_mm]
    moved = [
        min(max(0, at + way), size - 1) for at, way, size in zip(blob.voxel, step, scene.shape, strict=True)
    ]
    return Blob(voxel=(moved[0], moved[1], moved[2]), diameter_mm=blob.diameter_mm)


def _elsewhere(places: Bool, scene: Scene) -> tuple[int, int, int] | None:
    """The deepest place of a mask that is clear of every lesion; None if there is none."""
    clear = places.copy()
    for blob in scene.blobs:
        clear &= ~ball_mask(scene.shape, blob.voxel, 1.6 * blob.diameter_mm, spacing_mm=scene.spacing_mm)
    return _deepest(clear, scene)


def _deepest(mask: Bool, scene: Scene) -> tuple[int, int, int] | None:
    from rsuper.views.explain_phantom import seat_in

    return seat_in(mask, np.zeros_like(mask), spacing_mm=scene.spacing_mm)
